"""What `[[hub]]` and `[notice]` must hold beyond the type of each key: points that there are, files, who and why."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gateway import listen
from gateway.settings_rules import BROKER_RULES, Verdict, check_keys
from gateway.toml_tables import Problems, near

#: keys that name files
PATHS = ("client_secret_file", "token_ca_file", "ca_file", "cert_file", "key_file", "schema_folder")
NOTICE_PATHS = ("smtp_password_file", "smtp_ca_file", "webhook_token_file", "webhook_ca_file")
_FILES = ("client_secret_file", "token_ca_file", "ca_file", "cert_file", "key_file")
#: a path that begins so is in the folder in which systemd puts the secrets of a service (systemd.exec(5))
CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"
#: what a message to a production hub must be able to say (guarantee 17: the sandbox first)
_PRODUCTION = ("party", "role", "legal_basis")
#: kinds that are spoken to; of the others a person may carry files instead
_CALLED = frozenset(("dk-datahub3", "eu-vhd", "ee-estfeed", "lt-eso"))
#: kinds whose parties have a GLN or EIC
_PARTIES: Final[dict[str, tuple[str, ...]]] = {
    "dk-datahub3": ("GLN", "EIC"),
    "ee-estfeed": ("EIC",),
    "eu-vhd": ("GLN", "EIC"),
    "cz-ote": ("GLN", "EIC"),
}
#: kinds that readings go to
_FED = frozenset(("dk-datahub3", "cz-ote", "eu-vhd", "ee-estfeed"))
#: kinds that tell sums of a month when they are asked, with the arguments that may stand in `sums`; and who is told
_SUMS: Final = {"dk-datahub3": frozenset(("role", "process", "grid-area", "supplier"))}
_SUMS_ROLES: Final = frozenset(("DDQ", "DDM", "EZ"))
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_EIC: Final = {sign: n for n, sign in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-")}


def check(
    hubs: Mapping[str, dict[str, Any]], points: Mapping[str, dict[str, Any]], problems: Problems, *, files: bool = True
) -> None:
    """Check tables by how a message names them; `points` are those of `[[point]]`, `files`: whether those open."""
    known = {name for values in points.values() for key in ("id", "id_export") if (name := values.get(key))}
    for where, text in _mixed(points) if hubs else ():
        problems.add(where, text, "one [[point]] for each id; a meter that was exchanged keeps its name")
    first: dict[str, str] = {}
    fed: dict[tuple[object, ...], tuple[str, str]] = {}
    for where, values in hubs.items():
        name = values.get("name")
        if name is not None and (other := first.setdefault(name, where)) != where:
            problems.add(f"{where} name", f"{name!r} is the name of {other}", "a name of its own for each hub")
        for point in values.get("points", ()):
            if point not in known:
                problems.add(f"{where} points", f"no [[point]] has the id {point!r}{near(point, known)}")
        for point, other in _fed_twice(values, where, fed):
            text = f"{point!r} goes to the same hub by {other}, too: it would have every day twice"
            problems.add(f"{where} points", text, "each point in one [[hub]] of a hub, a party and a resolution")
        check_keys(dict.fromkeys(_FILES if files else (), _file), values, where, problems)
        for key, what, allowed in (*_addresses(values), *_together(values), *_sums(values), *_production(values)):
            problems.add(f"{where} {key}", what, allowed)


def _mixed(points: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Tables of which a hub would get the days under the id of another table, with a sentence."""
    first: dict[tuple[str, str, bool], str] = {}
    for where, values in points.items():
        for direction in ("id", "id_export"):
            name = values.get(direction) or values.get("id")
            if name and (other := first.setdefault((name, direction, not values.get("channel")), where)) != where:
                yield where, f"{name!r} is an id of {other}, too: a hub would get the days of one or the other"
                break


def _fed_twice(
    values: Mapping[str, Any], where: str, fed: dict[tuple[object, ...], tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Points that go to the same place by an earlier table of another name, with that table; `fed` is added to."""
    name, address = str(values.get("name")), str(values.get("url")).rstrip("/").lower()
    for point in values.get("points", ()) if values.get("kind") in _FED else ():
        place = values["kind"], address, values.get("party"), values.get("resolution", "PT15M"), point
        other, called = fed.setdefault(place, (where, name))
        if called != name:
            yield point, other


def check_notice(values: Mapping[str, Any], problems: Problems) -> None:
    """Check `[notice]`."""
    check_keys(dict.fromkeys(NOTICE_PATHS, _file), values, "[notice]", problems)
    for key in ("mail_from", "mail_to") if values.get("smtp_host") else ():
        if not values.get(key):
            problems.add(f"[notice] {key}", "is missing: smtp_host needs it", "an address, such as ops@example.net")
    if bool(values.get("smtp_username")) != bool(values.get("smtp_password_file")):
        problems.add("[notice] smtp_username", "a user and the file of the password belong together")
    if (url := values.get("webhook_url")) is not None and (wrong := _wrong(url, mqtt=False)):
        problems.add("[notice] webhook_url", wrong, "https://HOST[:PORT][/PATH]")
    for key in ("webhook_template", "escalate_webhook_template"):
        if wrong := _wrong_template(values, key):
            problems.add(f"[notice] {key}", wrong, 'such as \'{"to":["+370..."],"message":"{subject}: {text}"}\'')
    for what, (key, way) in _escalations(values):
        problems.add(f"[notice] {key}", what, way)


def is_gln(text: str) -> bool:
    """Whether it is a GLN: 13 digits, the last one a check digit (GS1 General Specifications, 7.9.1)."""
    if len(text) != 13 or not (text.isascii() and text.isdigit()):
        return False
    return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(text)) % 10 == 0


def is_eic(text: str) -> bool:
    """Whether it is an EIC: 16 characters, the last one a check character (ENTSO-E, EIC Reference Manual, annex 1)."""
    if len(text) != 16 or not set(text) <= set(_EIC):
        return False
    total = sum(_EIC[sign] * (16 - place) for place, sign in enumerate(text[:15]))
    return _EIC[text[15]] == 36 - (total + 36) % 37


def expanded(path: str) -> str | None:
    """A path in the folder of the service's secrets: as it is on disk, or as it is outside the service; else None."""
    if not path.startswith(CREDENTIALS):
        return None
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return f"{folder}/{path.removeprefix(CREDENTIALS)}" if folder else path


def _file(path: str) -> Verdict:
    """A file that can be read; one among the secrets of the service is there only when that runs."""
    wrong = None if path.startswith(CREDENTIALS) else BROKER_RULES["ca_file"](path)
    return wrong and (wrong[0], "a file that the user of `meterd uploader` can read")


def _addresses(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, what is wrong and what is allowed."""
    kind = values.get("kind")
    if kind in _CALLED and not values.get("url"):
        yield "url", "is missing: where the hub is", "https://HOST[:PORT][/PATH]"
    if values.get("listen"):
        try:
            listen.parse(values["listen"])
        except ValueError as error:
            yield "listen", str(error), listen.FORM
    for key in ("url", "token_url", "permissions_url"):
        if (url := values.get(key)) is not None and (wrong := _wrong(url, mqtt=kind == "eu-vhd" and key == "url")):
            yield key, wrong, "https://HOST[:PORT][/PATH]"


def _wrong(url: str, *, mqtt: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is no address: {error}"
    if parts.username or parts.password:
        return "holds a name or password: secrets have files of their own"
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        return None
    if host and mqtt and parts.scheme == "mqtts":
        return None
    return f"{url!r} is no https address"


def _escalations(values: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """What is wrong with the second circle of people: the key, and what is allowed."""
    mails, template = values.get("escalate_mail_to"), values.get("escalate_webhook_template")
    if mails and not values.get("smtp_host"):
        yield "needs smtp_host: nothing sends mail", ("escalate_mail_to", "smtp_host with mail_from and mail_to")
    if template and not values.get("webhook_url"):
        yield "needs webhook_url: nothing is posted", ("escalate_webhook_template", "https://HOST[:PORT][/PATH]")
    if "escalate_h" in values and not mails and not template:
        allowed = "escalate_mail_to, escalate_webhook_template, or both"
        yield "has no effect: nobody is named to escalate to", ("escalate_h", allowed)


def _wrong_template(values: Mapping[str, Any], key: str) -> str | None:
    """What is wrong with a template, as it is sent: places filled, in the form that the content type says."""
    template, kind = values.get(key), str(values.get("webhook_content_type", "application/json"))
    if not isinstance(template, str):
        return None
    if "{subject}" not in template and "{text}" not in template:
        return "has neither {subject} nor {text}: every notice would be the same"
    if "json" not in kind:
        return None
    try:
        json.loads(template.replace("{subject}", "x").replace("{text}", "x"))
    except ValueError as error:
        return f"is no JSON: {error}; quote the places, or set webhook_content_type"
    return None


def _together(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, what is wrong and what is allowed."""
    if values.get("points") and not values.get("legal_basis"):
        yield "legal_basis", "is missing: data of points leave only on a legal basis or a permission", "its words"
    if values.get("permissions_url") and not (values.get("receiver") or values.get("permissions_party")):
        yield "permissions_party", "is missing: whose permissions send data here", "as the administrator names it"
    if bool(values.get("cert_file")) != bool(values.get("key_file")):
        yield "cert_file", "a certificate and its key belong together", "cert_file and key_file, or neither"
    if values.get("token_url"):
        # the secret may be a credential of the service (docs/hubs/credentials.md)
        if not values.get("client_id"):
            yield "client_id", "is missing: token_url needs it", "what the hub's operator gave you"
    elif values.get("client_secret_file"):
        yield "token_url", "is missing: nothing else uses client_secret_file", "where tokens are given"


def _sums(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What keeps the hub from being asked for its sums: key, what is wrong and what is allowed."""
    kind, arguments = values.get("kind"), values.get("sums", {})
    if not values.get("sums_on_day"):
        return
    if kind not in _SUMS:
        text = f"a hub of kind {kind} cannot be asked for sums of a month"
        yield "sums_on_day", text, f"0; sums are told by hubs of kind {', '.join(_SUMS)}"
        return
    if unknown := sorted(set(arguments) - _SUMS[kind]):
        yield "sums", f"{unknown[0][:40]!r} is no argument of it", ", ".join(sorted(_SUMS[kind]))
    role = arguments.get("role") or values.get("role")
    if role not in _SUMS_ROLES:
        yield "sums", f"role {role}: it gets no sums", f"role = one of {', '.join(sorted(_SUMS_ROLES))}"
    elif role == "DDM" and not arguments.get("grid-area"):
        yield "sums", "a grid company (DDM) names its grid area", 'sums = { role = "DDM", grid-area = "244" }'


def _production(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What keeps data from a production hub: key, what is wrong and what is allowed."""
    if values.get("environment") != "production":
        return
    kind = values.get("kind")
    for key in _PRODUCTION:
        told = key == "legal_basis" and values.get("points")
        if not values.get(key) and not told:
            yield key, "is missing: nothing goes to a production hub without it", "what the hub's operator gave you"
    for key in ("party", "receiver"):
        party, forms = values.get(key), _PARTIES.get(str(kind), ())
        if party and forms and not any(_IS[form](party) for form in forms):
            yield key, f"{party!r} is no {' or '.join(forms)}: its check digit is wrong, or its length", _ALLOWED
    if kind == "cz-ote" and not values.get("schema_folder"):
        text = "is missing: without OTE's own schemas the documents are in the namespace of the sandbox"
        yield "schema_folder", text, "a folder with the official XSD"


_IS = {"GLN": is_gln, "EIC": is_eic}
_ALLOWED = "a GLN of 13 digits or an EIC of 16 characters, as the hub's operator knows you"
