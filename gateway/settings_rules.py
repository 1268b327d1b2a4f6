"""What a configuration must hold beyond the type of each key: names that exist, files that open, keys that agree."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from gateway.key_material import KeyFileError, parse_keys, parse_one, read_file, told
from gateway.toml_tables import Problems, near

#: what is wrong with a value and what is allowed, or None
Verdict: TypeAlias = tuple[str, str] | None


class Known(NamedTuple):
    """What only other modules know: names of profiles, names of register topics, the forms of a port."""

    profiles: Collection[str] | None = None
    registers: Collection[str] | None = None
    #: says what is wrong with a port, or None
    port_problem: Callable[[str], str | None] = lambda _: None


def check(
    meters: Mapping[str, dict[str, Any]],
    tables: Mapping[str, dict[str, Any]],
    known: Known,
    problems: Problems,
) -> None:
    """Check values that passed their types; a key that did not is absent here and was reported already."""
    for where, values in meters.items():
        check_keys(METER_RULES, values, where, problems)
        if wrong := known.port_problem(values.get("port", "/")):
            problems.add(f"{where} port", wrong)
        if values.get("profile", "auto") != "auto":
            _known_name(f"{where} profile", values["profile"], known.profiles, problems)
    _check_distinct(meters, "name", str, problems)
    _check_distinct(meters, "port", port_identity, problems)
    mqtt = tables.get("mqtt", {})
    check_keys(BROKER_RULES, mqtt, "[mqtt]", problems)
    for key, what, allowed in broker_together(mqtt):
        problems.add(f"[mqtt] {key}", what, allowed)
    for name in mqtt.get("registers", ()):
        _known_name("[mqtt] registers", name, known.registers, problems)


def port_identity(port: str) -> str:
    """Find the port behind its names: the target of a link under /dev/serial, a host in lower case."""
    return port.lower() if "://" in port else str(Path(port).resolve())


def check_keys(
    rules: Mapping[str, Callable[[str], Verdict]], values: Mapping[str, Any], where: str, problems: Problems
) -> None:
    """Apply the rule of each key that is there."""
    for key, rule in rules.items():
        verdict = rule(values[key]) if values.get(key) is not None else None
        if verdict:
            problems.add(f"{where} {key}", *verdict)


def _check_distinct(
    meters: Mapping[str, dict[str, Any]], key: str, identity: Callable[[str], str], problems: Problems
) -> None:
    first: dict[str, str] = {}
    for where, values in meters.items():
        if key in values and (other := first.setdefault(identity(values[key]), where)) != where:
            problems.add(f"{where} {key}", f"{values[key]!r} is used by {other} too", f"each {key} once")


def _known_name(where: str, name: str, names: Collection[str] | None, problems: Problems) -> None:
    if names is not None and name not in names:
        problems.add(where, f"{name!r} is not known{near(name, names)}", ", ".join(sorted(names)))


def _timezone(name: str) -> Verdict:
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = near(name, zoneinfo.available_timezones())
        return f"{name!r} is not a time zone{hint}", 'a name of the tz database such as "Europe/Amsterdam"'
    return None


def _readable(path: str) -> Verdict:
    try:
        with Path(path).open("rb"):
            return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"{path} cannot be read: {reason}", "a file that the daemon's user can read"


def _key_file(path: str) -> Verdict:
    return _keys(path, parse_keys)


def _auth_key_file(path: str) -> Verdict:
    return _keys(path, partial(parse_one, role="authentication"))


def _keys(path: str, parse: Callable[[str], object]) -> Verdict:
    try:
        told(path, parse, read_file(Path(path)))
    except KeyFileError as error:
        return str(error), "a file of mode 0400 that the daemon's user can read, with the key as 32 hexadecimal digits"
    return None


def broker_together(mqtt: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Keys of a broker that contradict each other: key, what is wrong, what is allowed."""
    if mqtt.get("live_qos") == 1 and mqtt.get("version") == "3.1.1":
        yield "live_qos", "1 needs MQTT 5: without expiry a broker would deliver old power", '0, or version = "5"'
    if "cert_file" in mqtt and "key_file" not in mqtt:
        yield "cert_file", "a client certificate needs its key", "key_file beside it"
    if "key_file" in mqtt and "cert_file" not in mqtt:
        yield "key_file", "a key needs its client certificate", "cert_file beside it"
    if not mqtt.get("tls", False):
        for key in ("ca_file", "cert_file"):
            if key in mqtt:
                yield key, "has no effect without TLS", "tls = true"
    if "password_file" in mqtt and "username" not in mqtt:
        yield "password_file", "a password needs a username", "username beside it"


METER_RULES: dict[str, Callable[[str], Verdict]] = {
    "timezone": _timezone,
    "key_file": _key_file,
    "auth_key_file": _auth_key_file,
}
BROKER_RULES: dict[str, Callable[[str], Verdict]] = dict.fromkeys(
    ("password_file", "ca_file", "cert_file", "key_file"), _readable
)
