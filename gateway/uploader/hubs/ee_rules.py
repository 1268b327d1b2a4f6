"""Rules of metering data at Estfeed, checked on the octets before they leave: form, bounds in time, numbers.

Source: Elering, Estfeed Datahub documentation, "Metering data" (github.com/Elering/estfeed-datahub-docs, eng/12 and 35,
21 July 2026). Codes that begin with `opp.` are the hub's own. Its OpenAPI could not be read: the form is that of its
published examples, and the outer key `meteringData` is not verified.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from gateway.hub_model import Reason

#: periods of one message: 365 metering points of one day each
MOST_PERIODS: Final = 35_040
AHEAD_S: Final = 45 * 86_400
#: corrections are taken for 12 months; no leap day counted, which is the safe side
BACK_DAYS: Final = 365
STEP_S: Final = 900
MOST_DECIMALS: Final = 3
EIC: Final = re.compile(r"[0-9A-Z-]{16}", re.ASCII)
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
#: key of a quantity -> direction of ours: the hub looks from the grid, so that IN is production
DIRECTIONS: Final[Mapping[str, str]] = {"inQty": "export", "outQty": "import"}
TYPES: Final = frozenset(("M", "E"))
#: the code that says that a document, or a value, came before
DUPLICATED: Final = "opp.error.business.metering-data-is-duplicated"
_FUTURE: Final = "opp.error.business.period-start-too-far-in-future"
_RESOLUTION: Final = "opp.error.business.wrong-resolution"


def faults(message: Any, now: int) -> Iterator[tuple[str, int | None, Reason]]:
    """Whatever is wrong with a message that is to leave at `now` (UTC s): meter, start of the interval, and why."""
    meters = _listed(message, "meteringData")
    count = 0
    seen: set[tuple[str, int, str]] = set()
    for meter in meters:
        name = str(meter.get("meterEic"))
        if not EIC.fullmatch(name):
            yield name, None, Reason("eic", f"metering point {name[:40]} is no EIC of 16 characters")
        for period in _listed(meter, "periods"):
            if period.get("r") != "PT15M":
                yield (
                    name,
                    None,
                    Reason(_RESOLUTION, f"electricity is taken by quarter-hours, not by {period.get('r')}"),
                )
            for interval in _listed(period, "aI"):
                count += 1
                yield from _interval_faults(name, interval, now, seen)
    if not 0 < count <= MOST_PERIODS:
        yield "", None, Reason("size", f"the message has {count} periods: 1 to {MOST_PERIODS} are taken")


def _interval_faults(
    name: str, interval: Any, now: int, seen: set[tuple[str, int, str]]
) -> Iterator[tuple[str, int | None, Reason]]:
    start = _instant(interval.get("pS"))
    if start is None or start % STEP_S:
        yield name, start, Reason(_RESOLUTION, f"{interval.get('pS')} is no start of a quarter-hour")
        return
    if start > now + AHEAD_S:
        yield name, start, Reason(_FUTURE, f"{interval['pS']} lies more than 45 days ahead")
    if start < now - BACK_DAYS * 86_400:
        yield name, start, Reason("too_old", f"{interval['pS']} lies more than 12 months back")
    quantities = [key for key in DIRECTIONS if key in interval]
    if not quantities or set(interval) - {"pS", *DIRECTIONS}:
        yield name, start, Reason("form", f"{interval['pS']} has no quantity, or one that is not known")
    for key in quantities:
        if (name, start, key) in seen:
            yield name, start, Reason(DUPLICATED, f"{interval['pS']} comes twice")
        seen.add((name, start, key))
        reason = _quantity_fault(interval[key])
        if reason is not None:
            yield name, start, reason


def _quantity_fault(quantity: Any) -> Reason | None:
    kwh = quantity.get("kwh")
    if quantity.get("rType") not in TYPES:
        return Reason("type", f"rType is {quantity.get('rType')}, neither M nor E")
    if not isinstance(kwh, Decimal) or kwh.is_signed():
        return Reason("quantity", f"{kwh} kWh is less than nothing, or no decimal")
    if -int(kwh.as_tuple().exponent) != MOST_DECIMALS:
        return Reason("quantity", f"{kwh} kWh has not {MOST_DECIMALS} decimals")
    return None


def _instant(text: Any) -> int | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return int(found.timestamp()) if found.tzinfo else None


def _listed(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []
