"""What `[[hub]]` and `[notice]` must hold beyond the type of each key: points that there are, files, who and why."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway import listen
from gateway.settings_rules import BROKER_RULES, check_keys
from gateway.toml_tables import Problems, near

#: keys that name files
PATHS = ("client_secret_file", "token_ca_file", "ca_file", "cert_file", "key_file", "schema_folder")
NOTICE_PATHS = ("smtp_password_file", "smtp_ca_file", "webhook_token_file", "webhook_ca_file")
_FILES = ("client_secret_file", "token_ca_file", "ca_file", "cert_file", "key_file")
#: what a message to a production hub must be able to say (guarantee 17: the sandbox first)
_PRODUCTION = ("party", "role", "legal_basis", "url")


def check(hubs: Mapping[str, dict[str, Any]], points: Mapping[str, dict[str, Any]], problems: Problems) -> None:
    """Check tables by how a message names them; `points` are those of `[[point]]`."""
    known = {name for values in points.values() for key in ("id", "id_export") if (name := values.get(key))}
    first: dict[str, str] = {}
    for where, values in hubs.items():
        name = values.get("name")
        if name is not None and (other := first.setdefault(name, where)) != where:
            problems.add(f"{where} name", f"{name!r} is the name of {other}", "a name of its own for each hub")
        for point in values.get("points", ()):
            if point not in known:
                problems.add(f"{where} points", f"no [[point]] has the id {point!r}{near(point, known)}")
        check_keys(dict.fromkeys(_FILES, BROKER_RULES["ca_file"]), values, where, problems)
        for key, what, allowed in _together(values):
            problems.add(f"{where} {key}", what, allowed)


def check_notice(values: Mapping[str, Any], problems: Problems) -> None:
    """Check `[notice]`."""
    check_keys(dict.fromkeys(NOTICE_PATHS, BROKER_RULES["ca_file"]), values, "[notice]", problems)


def _together(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, what is wrong and what is allowed."""
    if values.get("environment") == "production":
        for key in _PRODUCTION:
            # PND is sent nothing: it has no address
            if not values.get(key) and (key, values.get("kind")) != ("url", "cz-pnd"):
                yield key, "is missing: nothing goes to a production hub without it", "what the hub's operator gave you"
    if values.get("points") and not values.get("legal_basis"):
        yield "legal_basis", "is missing: data of points leave only on a legal basis or a permission", "its words"
    if bool(values.get("cert_file")) != bool(values.get("key_file")):
        yield "cert_file", "a certificate and its key belong together", "cert_file and key_file, or neither"
    if values.get("listen"):
        try:
            listen.parse(values["listen"])
        except ValueError as error:
            yield "listen", str(error), listen.FORM
