"""Edits by a person: the version that one makes, the one that takes it back, and what of it longer intervals carry.

An edit stands above whatever the fold says of the interval, before or after it. What it adds to the difference of the
registers is stated with it (`sum_break`), and carried by every longer interval that contains it (docs/vee.md).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from gateway.intervals.model import RESOLUTIONS, Interval, Resolution, break_of, revised

#: key of an edit among the inputs of a version
EDIT: Final = "edit"
#: reason of a longer interval that carries an edit
WITHIN: Final = "edit_within"
#: characters of a reason, and of the name of a person: the metrology log keeps 200 of a text
MOST_REASON, MOST_PERSON = 200, 64
#: no interval of a customer has as much, in any unit
MOST_QUANTITY: Final = 10**12
#: ways to a quantity that follow the registers, and so must follow what is added to them
_BY_REGISTER: Final = ("register", "power", "linear", "E03")


class Edited(NamedTuple):
    """An edit that holds, and the version of the fold that it stands above; None where the fold never had it."""

    version: Interval
    below: Interval | None


def edit(interval: Interval, quantity: int, *, reason: str, person: str, at: datetime) -> Interval:
    """The version that a person makes of an interval, the current one; `quantity` in the unit of the series.

    Raises ValueError, as a sentence, for a quantity that cannot be, and without a reason or a person.
    """
    if not 0 <= quantity <= MOST_QUANTITY:
        raise ValueError("a quantity is not negative (import and export are two series), and at most 10^12")
    told = {"at": _second(at), "before": interval.quantity, "person": _text(person, "person", MOST_PERSON)}
    return revised(
        interval,
        quantity=quantity,
        status="edited",
        method="edit",
        author="person",
        reason=_text(reason, "reason", MOST_REASON),
        rules=(),
        inputs=_packed(told),
        sum_break=break_of(interval, quantity),
    )


def withdraw(current: Interval, below: Interval, *, reason: str, person: str, at: datetime) -> Interval:
    """The version that takes an edit back: what the fold says, until it is judged again; raises ValueError."""
    told = {"at": _second(at), "before": current.quantity, "person": _text(person, "person", MOST_PERSON)}
    return replace(
        below,
        version=current.version + 1,
        author="person",
        reason=_text(reason, "reason", MOST_REASON),
        inputs=_packed(told | {"withdrawn": True}),
        made=None,
    )


def holds(version: Interval) -> bool:
    """Whether a version is an edit by a person."""
    return version.author == "person" and version.method == "edit"


def above(edited: Interval, below: Interval) -> Interval:
    """An edit once more above a newer version of the fold, whose bounds and evidence it takes."""
    return replace(
        below,
        quantity=edited.quantity,
        status="edited",
        method="edit",
        author="person",
        reason=edited.reason,
        inputs=_packed(told_of(edited).get(EDIT, {})),
        rules=(),
        sum_break=break_of(below, edited.quantity),
        version=below.version + 1,
        made=None,
    )


def told_of(interval: Interval) -> dict[str, dict[str, Any]]:
    """Who edited an interval, when and from what, or which edits it carries, as its inputs keep it."""
    if interval.method != "edit" or interval.inputs is None:
        return {}
    found = json.loads(interval.inputs).get(EDIT)
    return {EDIT: found} if isinstance(found, dict) else {}


def amount(edited: Edited) -> int:
    """By how much an edit differs from what the registers say; 0 where they say nothing of the interval alone."""
    if edited.below is None or edited.below.quantity is None or edited.version.quantity is None:
        return 0
    return edited.version.quantity - edited.below.quantity


def carried(spans: Sequence[tuple[int, int]], edits: Mapping[Resolution, Iterable[Edited]]) -> dict[int, int]:
    """By how much edits within longer intervals (start, end) change them, by start; those of no change are left out.

    `edits` are those of shorter resolutions. Where an interval and a longer one around it are both edited, the longer
    one holds, for it was said of the whole.
    """
    counted: list[tuple[int, int, int]] = []
    for resolution in reversed(RESOLUTIONS):
        for one in edits.get(resolution, ()):
            start, end = one.version.start, one.version.end
            if not any(since <= start and end <= until for since, until, _ in counted):
                counted.append((start, end, amount(one)))
    return {since: total for since, until in spans if (total := sum(_within(counted, since, until)))}


def carry(interval: Interval, added: int) -> Interval:
    """A longer interval with what edits within it add; unchanged where it was edited itself or follows no register."""
    if interval.quantity is None or interval.method not in _BY_REGISTER or interval.quantity + added < 0:
        return interval
    return replace(
        interval,
        quantity=interval.quantity + added,
        sum_break=interval.sum_break + added,
        method="edit",
        reason=",".join(filter(None, (interval.reason, WITHIN))),
        inputs=_packed({"carried": added}),
    )


def _within(counted: Iterable[tuple[int, int, int]], since: int, until: int) -> Iterator[int]:
    return (added for start, end, added in counted if since <= start and end <= until)


def _packed(told: Mapping[str, Any]) -> str:
    return json.dumps({EDIT: dict(told)}, separators=(",", ":"), sort_keys=True)


def _second(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _text(text: str, what: str, most: int) -> str:
    """A text that a person gave, without blanks around it."""
    text = text.strip()
    if not text:
        raise ValueError(f"an edit needs a {what}")
    if len(text) > most or not text.isprintable():
        raise ValueError(f"the {what} has at most {most} printable characters, in one line")
    return text
