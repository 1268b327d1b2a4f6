"""What `[[virtual_p1]]` and `[[homewizard]]` must hold beyond the type of each key: a meter, a zone, a port each."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway import listen
from gateway.settings_rules import METER_RULES, check_keys
from gateway.toml_tables import Problems, near

#: tables of all such outputs together
MAX_TABLES = 16


def check(
    outputs: Mapping[str, dict[str, Any]], meters: Mapping[str, dict[str, Any]], problems: Problems
) -> dict[str, str]:
    """Check tables by how a message names them; `meters` are all meters in the same form. Where each output listens."""
    if len(outputs) > MAX_TABLES:
        problems.add("[[virtual_p1]], [[homewizard]]", f"{len(outputs)} tables", f"at most {MAX_TABLES}")
    names = [values["name"] for values in meters.values() if "name" in values]
    rules = {"timezone": METER_RULES["timezone"]}
    listening: dict[str, str] = {}
    for where, values in outputs.items():
        meter = values.get("meter")
        if meter is not None and meter not in names:
            hint = near(meter, names)
            problems.add(f"{where} meter", f"there is no meter {meter!r}{hint}", ", ".join(sorted(names)))
        check_keys(rules, values, where, problems)
        # A table without `listen` has the default of its kind.
        if text := values.get("listen", listen.VIRTUAL_P1 if "virtual_p1" in where else None):
            for what in _listen(text, listening):
                problems.add(f"{where} listen", what, listen.FORM)
            listening[where] = text
    return listening


def check_metrics(values: Mapping[str, Any] | None, taken: Mapping[str, str], problems: Problems) -> None:
    """Check `[metrics]`, None where it is not there, beside where other outputs listen."""
    if values is None:
        return
    text = values.get("listen", listen.METRICS)
    wrong = list(_listen(text, taken))
    for what in wrong:
        problems.add("[metrics] listen", what, listen.FORM)
    if not wrong and not listen.is_loopback(text) and not values.get("remote", False):
        problems.add(
            "[metrics] listen",
            f"{text!r} is reached by other machines",
            "127.0.0.1 or [::1]; or remote = true beside it",
        )


def _listen(text: str, others: Mapping[str, str]) -> Iterator[str]:
    try:
        _, port = listen.parse(text)
    except ValueError as error:
        yield str(error)
        return
    if port == 0:
        yield f"{text!r}: port 0 is none that a reader could know"
    for where, other in others.items():
        if _overlap(text, other):
            yield f"{text!r} is taken by {where} already"


def _overlap(text: str, other: str) -> bool:
    try:
        return listen.overlap(text, other)
    except ValueError:
        return False
