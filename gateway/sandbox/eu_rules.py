"""What the EU profile judges a document by, with the reason codes of ENTSO-E (hubs.md 4.2).

Of the whole document: A51 id was used before, A53 wrong receiver, A59 wrong sender or role, A94 not a document of
realised measurement values. Of a series: A04 interval, A41 resolution, A46 sign, A49 positions, A50 version, A55 id
used twice in the document, A57 too old, A59 direction, unit or owner, A69 something is missing.
"""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from gateway.sandbox import effects, points
from gateway.sandbox.eu_read import Document, Period, Series, resolution
from gateway.sandbox.parties import Party

DIRECTIONS: Final = {"A01": "production", "A02": "consumption"}
_BUSINESS: Final = {"A01": "A01", "A02": "A04"}
_UNITS: Final = ("KWH", "MWH")
_DAY: Final = 86_400


class Reason(NamedTuple):
    """A reason code with words."""

    code: str
    text: str


class Bounds(NamedTuple):
    """What a hub is set to: its own id ("" takes any), only registered points, and how old a series may be."""

    hub: str
    registered: bool
    oldest: int
    reject_unchanged: bool


def of_document(document: Document, party: Party, hub: str) -> list[Reason]:
    """Return why a document is refused as a whole."""
    found = []
    if document.sender[0] != party.id("eu"):
        found.append(Reason("A59", f"sender {document.sender[0]} is not the party of the client certificate"))
    if document.sender[2] not in party.roles.get("eu", ()):
        found.append(Reason("A59", f"{party.name} does not have the role {document.sender[2]}"))
    if hub and document.receiver[0] != hub:
        found.append(Reason("A53", f"receiver {document.receiver[0]} is not {hub}"))
    if document.type != "A45" or document.process != "A16":
        found.append(Reason("A94", "type has to be A45 and process A16"))
    if any(not series.id for series in document.series):
        found.append(Reason("A69", "a time series has no mRID"))
    return found


def of_series(db: sqlite3.Connection, series: Series, document: Document, sender: str, bounds: Bounds) -> list[Reason]:
    """Return why a series is refused; what the store says of versions is asked last."""
    found = list(_head(db, series, sender, bounds.registered))
    if sum(other.id == series.id for other in document.series) > 1:
        found.append(Reason("A55", f"series {series.id} comes twice"))
    before = document.start
    for period in series.periods:
        found += _period(period, before, document.end, bounds.oldest)
        before = max(before, period.end)
    return found[:20]


def of_version(db: sqlite3.Connection, series: effects.Accepted) -> list[Reason]:
    """Return A50 when this version, or a later one, is stored of the same period."""
    stored = effects.newest_version(db, series)
    if series.version is None or series.version > stored:
        return []
    return [Reason("A50", f"version {series.version} is not above the stored version {stored}")]


def accepted(series: Series, party: str, document: str) -> effects.Accepted:
    """Return a series that broke no rule as it is stored."""
    values = tuple(value for period in series.periods for value in _values(period))
    return effects.Accepted(
        "eu", party, series.point or "", DIRECTIONS[series.direction], series.unit, series.periods[0].start,
        series.periods[-1].end, resolution(series.periods[0].step or 0), document, series.id or "", values,
        series.version,
    )  # fmt: skip


def _values(period: Period) -> Iterator[effects.Value]:
    for position, quantity, quality in sorted(period.points, key=lambda point: point[0]):
        t = period.start + (position - 1) * (period.step or 0)
        yield t, None if quantity is None else format(quantity or abs(quantity), "f"), quality


def _head(db: sqlite3.Connection, series: Series, sender: str, registered: bool) -> Iterator[Reason]:
    if not series.point:
        yield Reason("A69", "marketEvaluationPoint.mRID is missing")
        return
    known = points.facts(db, "eu", series.point)
    if known is None and registered:
        yield Reason("A59", f"there is no point {series.point}")
    if known and known.get("owner", sender) != sender:
        yield Reason("A59", f"{sender} is not responsible for {series.point}")
    if series.direction not in DIRECTIONS:
        yield Reason("A59", f"direction {series.direction} is neither A01 (production) nor A02 (consumption)")
    elif series.business not in (None, _BUSINESS[series.direction], "A64", "A65", "A66"):
        yield Reason("A59", f"business type {series.business} contradicts direction {series.direction}")
    if series.unit not in _UNITS:
        yield Reason("A59", f"unit {series.unit} is none of {', '.join(_UNITS)}")
    if not series.periods:
        yield Reason("A69", "the series has no period")
    if len({period.step for period in series.periods}) > 1:
        yield Reason("A41", "the periods of the series have different resolutions")


def _period(period: Period, before: int, until: int, oldest: int) -> Iterator[Reason]:
    if period.step is None:
        yield Reason("A41", "the resolution has no fixed length")
        return
    length = period.end - period.start
    if not (before <= period.start < period.end <= until) or length > 400 * _DAY:
        yield Reason("A04", "a period begins before the one before it ends, or leaves the interval of the document")
        return
    if length % period.step or period.start % min(period.step, 3600):
        yield Reason("A04", "a period is no whole number of intervals, or does not begin where one begins")
        return
    if period.start < oldest:
        yield Reason("A57", "the period lies too far back")
    expected = length // period.step
    if sorted(position for position, _, _ in period.points) != list(range(1, expected + 1)):
        yield Reason("A49", f"{len(period.points)} points, expected positions 1 to {expected}, each once")
    yield from _quantities(period)


def _quantities(period: Period) -> Iterator[Reason]:
    """The first fault of each kind."""
    found: dict[str, Reason] = {}
    for position, quantity, quality in period.points:
        if quantity is None and quality != "A02":
            found.setdefault("A69", Reason("A69", f"position {position} has no quantity"))
        if quantity is not None and (quality == "A02" or not _sane(quantity)):
            found.setdefault("A59", Reason("A59", f"position {position}: no quantity is expected, or not such a one"))
        if quantity is not None and quantity < 0:
            found.setdefault("A46", Reason("A46", f"position {position} is negative"))
    yield from found.values()


def _sane(quantity: Decimal) -> bool:
    exponent = quantity.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -12 and (not quantity or quantity.adjusted() <= 12)
