"""CDSDATA and CDSGASDATA: the values of whole energy days, as the sandbox schema has them (docs/hubs/cz-ote.md).

A Location is one supply point on one day, with a ProfileData for each direction. Periods count from 1 in UTC: 92, 96 or
100 quarter-hours of a local day of Prague, or of a gas day from 06:00 to 06:00.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Final, NamedTuple
from xml.sax.saxutils import quoteattr
from zoneinfo import ZoneInfo

from gateway.exports.about import decimal
from gateway.hub_model import Part
from gateway.intervals.calendar import FIXED, GAS_DAY, MIDNIGHT, bounds_of_day, day_of
from gateway.intervals.model import Direction, Interval, Status
from gateway.uploader.hubs.cz_parties import Commodity, is_point, scheme

PRAGUE: Final = ZoneInfo("Europe/Prague")
#: code of the message: a placeholder of the sandbox
MESSAGE_CODE: Final = "SBX"
ROLE: Final[dict[tuple[Commodity, Direction], str]] = {
    ("electricity", "import"): "SBX-A-PLUS", ("electricity", "export"): "SBX-A-MINUS", ("gas", "import"): "SBX-GAS",
}  # fmt: skip
#: letters of the sandbox; what is not validated is missing
STATUS: Final[dict[Status, str]] = {"valid": "S1", "estimated": "S2", "edited": "S3"}
MISSING: Final = "S4"
#: kWh have 10 digits before the point and 3 behind
DECIMALS: Final = 3
MOST: Final = 10 ** (10 + DECIMALS) - 1


def commodity_of(part: Part) -> Commodity:
    """Electricity and gas never share a message."""
    return "gas" if part.series.medium == "gas" or part.slot.kind == "gas" else "electricity"


def day_of_part(part: Part) -> date:
    """The energy day that a part begins with."""
    return day_of(part.slot.start, PRAGUE, GAS_DAY if commodity_of(part) == "gas" else MIDNIGHT)


def trouble(part: Part) -> str | None:
    """Why a part cannot go to OTE, in one sentence; None where it can."""
    slot, series, commodity = part.slot, part.series, commodity_of(part)
    if not is_point(slot.point, commodity):
        return f"{slot.point!r} is no supply point of {commodity}: an EAN of 18 digits with its check digit"
    if slot.kind != ("gas" if commodity == "gas" else "active") or series.unit.name != "Wh":
        return f"{slot.point}: OTE takes active energy and energy of gas in kWh, not {slot.kind} in {series.unit.name}"
    if (commodity, slot.direction) not in ROLE:
        return f"{slot.point}: {slot.direction} of {commodity} has no profile"
    return _trouble_of_day(part, commodity) or _trouble_of_values(part)


class Head(NamedTuple):
    """What the envelope of a document says; `made` is UTC s."""

    root: str
    namespace: str
    number: str
    sender: str
    receiver: str
    made: int


def document(head: Head, parts: Sequence[Part]) -> Iterator[str]:
    """The document in pieces; the parts are those of one commodity, in order."""
    stamp = datetime.fromtimestamp(head.made, UTC).astimezone(PRAGUE)
    yield (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{head.root} xmlns={quoteattr(head.namespace)} id="{head.number}" '
        f'message-code="{MESSAGE_CODE}" date-time="{stamp:%Y-%m-%dT%H:%M:%S}" dtd-version="1" dtd-release="1" '
        'answer-required="1" language="CS">\n'
    )
    for name, party in (("SenderIdentification", head.sender), ("ReceiverIdentification", head.receiver)):
        yield f'  <{name} id="{party}" coding-scheme="{scheme(party)}"/>\n'
    for (point, day, revision), together in groupby(parts, key=place):
        yield f'  <Location opm-id="{point}" date-from="{day}" date-to="{day}" version="{revision}">\n'
        for part in together:
            yield from _profile(part)
        yield "  </Location>\n"
    yield f"</{head.root}>\n"


def place(part: Part) -> tuple[str, date, int]:
    """What the parts of one Location have in common: point, day, version."""
    return part.slot.point, day_of_part(part), part.revision


def order(parts: Iterable[Part]) -> list[Part]:
    """Parts in the order of a document."""
    return sorted(parts, key=lambda part: (*place(part), part.slot.direction != "import"))


def _profile(part: Part) -> Iterator[str]:
    role = ROLE[commodity_of(part), part.slot.direction]
    shift = part.series.unit.exponent - DECIMALS
    yield f'    <ProfileData profile-role="{role}" resolution="{FIXED[part.slot.resolution] // 60}">\n'
    yield "".join(_data(period, interval, shift) for period, interval in enumerate(part.series.intervals, 1))
    yield "    </ProfileData>\n"


def _data(period: int, interval: Interval, shift: int) -> str:
    """One value as an exact decimal; without one where nothing validated is known."""
    if interval.quantity is None or not interval.is_item_e:
        return f'      <Data period="{period}" unit="KWH" status="{MISSING}"/>\n'
    value, status = decimal(interval.quantity, shift), STATUS[interval.status]
    return f'      <Data period="{period}" value="{value}" unit="KWH" status="{status}"/>\n'


def _trouble_of_day(part: Part, commodity: Commodity) -> str | None:
    """The intervals must be those of one whole energy day, in their order."""
    slot = part.slot
    if slot.resolution not in FIXED:
        return f"{slot.point}: OTE takes quarter-hours and hours, not {slot.resolution}"
    bounds = bounds_of_day(day_of_part(part), slot.resolution, PRAGUE, GAS_DAY if commodity == "gas" else MIDNIGHT)
    found = [interval.start for interval in part.series.intervals]
    ends = [interval.end for interval in part.series.intervals]
    if found != bounds[:-1] or ends != bounds[1:] or part.end != bounds[-1]:
        what = "gas day, 06:00 to 06:00 (gas_day = true" if commodity == "gas" else "day ("
        zone = 'timezone = "Europe/Prague" in [[point]])'
        return (
            f"{slot.point}: the intervals are not those of one whole {what}{', ' if commodity == 'gas' else ''}{zone}"
        )
    return None


def _trouble_of_values(part: Part) -> str | None:
    """Quantities must fit: not negative, at most 10 digits before the point and 3 behind."""
    exponent = part.series.unit.exponent
    if exponent < 0:
        return f"{part.slot.point}: the unit 10^{exponent} Wh is finer than the three decimals of a kWh"
    for position, interval in enumerate(part.series.intervals, 1):
        if interval.quantity is not None and not 0 <= interval.quantity * 10**exponent <= MOST:
            return (
                f"{part.slot.point}: period {position} has {interval.quantity} x 10^{exponent} Wh, which no field holds"
            )
    return None
