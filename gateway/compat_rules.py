"""What `[[compat]]` must hold beyond the type of each key: a meter and a broker that there are, a topic of its own."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.settings_rules import BROKER_RULES, broker_together, check_keys
from gateway.toml_tables import Problems, near

MAX_TABLES = 16
#: keys of a connection: without `host` they would be taken for those of [mqtt]
_CONNECTION = ("port", "version", "username", "password_file", "tls", "ca_file", "cert_file", "key_file", "keepalive_s")
#: keys that only one kind has
_ONLY = {"country": "aiida-cim", "phases": "victron"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def check(
    compat: Mapping[str, dict[str, Any]],
    meters: Collection[str],
    mqtt: Mapping[str, Any] | None,
    problems: Problems,
) -> None:
    """Check tables by how a message names them; `meters` are the names of all meters, `mqtt` the table or None."""
    if len(compat) > MAX_TABLES:
        problems.add("[[compat]]", f"{len(compat)} tables", f"at most {MAX_TABLES}: each is a connection of its own")
    for where, values in compat.items():
        check_keys(BROKER_RULES, values, where, problems)
        for key, what, allowed in (*_alone(values, meters, mqtt), *broker_together(values)):
            problems.add(f"{where} {key}", what, allowed)
    _check_topics(compat, mqtt, problems)


def data_source(topic: str) -> str:
    """The level of an AIIDA topic that is the UUID of its data source; empty where there is none."""
    return next((level for level in topic.split("/") if _UUID.fullmatch(level)), "")


def _alone(
    values: Mapping[str, Any], meters: Collection[str], mqtt: Mapping[str, Any] | None
) -> Iterator[tuple[str, str, str]]:
    """What is wrong with one table: key, what is wrong, what is allowed."""
    kind, meter = values.get("kind"), values.get("meter")
    if meter is not None and meter not in meters:
        yield "meter", f"there is no meter {meter!r}{near(meter, meters)}", ", ".join(sorted(meters))
    for key, owner in _ONLY.items():
        if key in values and kind is not None and kind != owner:
            yield key, f'has no effect with kind = "{kind}"', f'kind = "{owner}"'
    if kind == "aiida-cim":
        yield from _aiida(values)
    if "host" not in values:
        if mqtt is None:
            yield "host", "no broker: there is no [mqtt]", "host here, or [mqtt]"
        for key in _CONNECTION:
            if key in values:
                yield key, "has no effect without host: the broker is that of [mqtt]", "host beside it"


def _aiida(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if "topic" in values and not data_source(values["topic"]):
        yield (
            "topic",
            f"{values['topic']!r} has no UUID of a data source",
            "the topic that AIIDA shows: aiida/UUID/data",
        )
    for key, what in (("host", "the broker that AIIDA shows"), ("country", "two capital letters (ISO 3166)")):
        if key not in values:
            yield key, "is missing", what


def _check_topics(compat: Mapping[str, dict[str, Any]], mqtt: Mapping[str, Any] | None, problems: Problems) -> None:
    """Refuse two tables with one topic at one broker, and topics of meterd itself."""
    taken: list[tuple[tuple[str, int], str, str]] = []
    if mqtt is not None:
        taken.append((_address(mqtt), mqtt.get("base", "meterd"), "[mqtt] base"))
    for where, values in compat.items():
        topic, address = values.get("topic"), _address(values if "host" in values else mqtt or {})
        if topic is None:
            continue
        other = next((of for at, used, of in taken if at == address and _overlap(topic, used)), None)
        if other:
            problems.add(f"{where} topic", f"{topic!r} belongs to {other} at the same broker", "a topic of its own")
        taken.append((address, topic, where))


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _address(values: Mapping[str, Any]) -> tuple[str, int]:
    return str(values.get("host", "localhost")).lower(), values.get("port") or (8883 if values.get("tls") else 1883)
