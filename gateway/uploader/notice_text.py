"""Words of a notice: lines of a digest as a subject and a text that hold no secret; pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Final, Literal, TypeAlias

import msgspec

#: new: not told before; again: lasts since it was told; escalated: lasts so long that others are told; over: the end of
#: what was told; once: has no end
How: TypeAlias = Literal["new", "again", "escalated", "over", "once"]
Severity: TypeAlias = Literal["info", "warning", "error"]

RANK: Final[dict[str, int]] = {"info": 0, "warning": 1, "error": 2}
#: characters of an event's sentence, of a subject (a short message has 160), of a text
MOST_SENTENCE: Final = 240
MOST_SUBJECT: Final = 120
MOST_TEXT: Final = 3_000
#: sentences of one sort of event
_MOST_SHOWN: Final = 10
#: secrets and addresses of people have no business in an event: should one be there, it ends here
_HIDDEN: Final = (
    (re.compile(r"-----BEGIN.*", re.DOTALL), "…"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), r"\1 …"),
    (
        re.compile(
            r"(?i)([\w-]*(?:secret|passw(?:or)?d|passphrase|token|api-?key)[\w-]*\"?)\s*[=:]\s*\"?[^\s\"&,;]{4,}"
        ),
        r"\1=…",
    ),
    (re.compile(r"(?<=//)[^/\s@]+@"), "…@"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "…@…"),
)


class Line(msgspec.Struct):
    """What a digest says of one trouble: `count` events since `since` (UTC s)."""

    how: How
    name: str
    key: str
    severity: Severity
    text: str
    since: int
    count: int = 1


def clean(sentence: str, most: int = MOST_SENTENCE) -> str:
    """One printable line of at most `most` characters, without what looks like a secret or an address of a person."""
    sentence = sentence[: 8 * most]
    for pattern, instead in _HIDDEN:
        sentence = pattern.sub(instead, sentence)
    sentence = " ".join("".join(char if char.isprintable() else " " for char in sentence).split())
    return sentence if len(sentence) <= most else f"{sentence[: most - 1]}…"


def subject(hub: str, lines: Iterable[Line], more: Mapping[str, int]) -> str:
    """What happened, in one line: the sentence of a single event, or how many there are of which sort."""
    lines = list(lines)
    if len(lines) == 1 and not more:
        return clean(f"meterd {hub}: {_WORD[lines[0].how]}{lines[0].text}", MOST_SUBJECT)
    tally = Counter(dict.fromkeys(("error", "warning", "info", "over"), 0))
    for line in lines:
        tally["over" if line.how == "over" else line.severity] += 1
    for sort, count in more.items():
        tally[_sort(sort)] += count
    said = ", ".join(f"{count} {_plural(sort, count)}" for sort, count in tally.items() if count)
    mark = _WORD["escalated"] if any(line.how == "escalated" for line in lines) else ""
    return clean(f"meterd {hub}: {mark}{said}", MOST_SUBJECT)


def text(hub: str, at: int, lines: Iterable[Line], more: Mapping[str, int]) -> str:
    """The whole notice: a paragraph for each sort of event, worst first, cut to MOST_TEXT with counts of the rest."""
    order = sorted(lines, key=_order)
    groups = {name: list(group) for name, group in groupby(order, key=group_of)}
    paragraphs = [f"meterd, hub {hub}, {stamp(at)}"]
    room = (MOST_TEXT - len(paragraphs[0])) // max(1, len(groups.keys() | more.keys()))
    names = dict.fromkeys((*groups, *more))
    paragraphs += [_paragraph(name, groups.get(name, []), more.get(name, 0), max(room, 80)) for name in names]
    return "\n\n".join(paragraphs)[: 2 * MOST_TEXT] + "\n"


def group_of(line: Line) -> str:
    """Sort, severity and name of the event: what is counted together."""
    return f"{line.how} {line.severity} {line.name}"


def stamp(t: int) -> str:
    """UTC seconds for people; a time beyond every calendar is told as its number."""
    try:
        return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M UTC}"
    except (OverflowError, ValueError, OSError):
        return str(t)


_SINCE: Final[dict[str, str]] = {"again": " (since {})", "escalated": " (since {})", "over": " (it began {})"}
_WORD: Final[dict[str, str]] = {"new": "", "again": "still: ", "escalated": "escalated: ", "over": "over: ", "once": ""}
_MARK: Final[dict[str, str]] = {"again": " (still)", "escalated": " (escalated)"}


def _order(line: Line) -> tuple[object, ...]:
    return line.how == "over", -RANK[line.severity], line.how, line.name, line.since


def _sort(group: str) -> str:
    how, severity, _ = group.split(" ", 2)
    return "over" if how == "over" else severity


def _plural(sort: str, count: int) -> str:
    return {"error": "errors", "warning": "warnings"}.get(sort, sort) if count != 1 else sort


def _paragraph(group: str, lines: list[Line], more: int, room: int) -> str:
    """Head with the count of events, then as many sentences as there is room for."""
    how, severity, name = group.split(" ", 2)
    events = sum(line.count for line in lines) + more
    head = f"{'over' if how == 'over' else severity}: {name}{_MARK.get(how, '')}"
    said = [head + (f", {events} times" if events > 1 and how != "over" else f", {events}" if events > 1 else "")]
    shown = 0
    for line in lines:
        sentence = f"  {line.text}" + (_SINCE.get(how, "").format(stamp(line.since)))
        if shown == _MOST_SHOWN or (shown and sum(map(len, said)) + len(sentence) > room):
            break
        said.append(sentence)
        shown += 1
    rest = events - sum(line.count for line in lines[:shown])
    return "\n".join(said + ([f"  and {rest} more"] if rest else []))
