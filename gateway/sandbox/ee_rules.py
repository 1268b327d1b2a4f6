"""What the Estfeed-like profile reads and judges: `meteringData` of meters, periods, and values in and out of the grid.

IN is production and OUT consumption, seen from the grid (hubs.md 4.4). One bad value fails the whole message; gaps are
no fault: this hub does not check completeness.
"""

import re
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from jsonschema import Draft7Validator

from gateway.sandbox import points
from gateway.sandbox.effects import Accepted
from gateway.sandbox.instants import STEPS, instant
from gateway.sandbox.schemas import DocumentError

#: periods of one message at most: a year of quarter-hours
MOST: Final = 35_040
_AHEAD_S: Final = 45 * 86_400
_BACK_S: Final = 366 * 86_400
_QUALITIES: Final = {"M": "A04", "E": "A03"}
_DIRECTIONS: Final = {"inQty": "production", "outQty": "consumption"}
_EIC: Final = re.compile(r"[0-9A-Z-]{16}", re.ASCII)
_QUANTITY: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rType", "kwh"],
    "properties": {"rTime": {"type": "string"}, "rType": {"enum": ["M", "E"]}, "kwh": {"type": "number"}},
}
_INTERVAL: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["pS"],
    "minProperties": 2,
    "properties": {"pS": {"type": "string"}, "inQty": _QUANTITY, "outQty": _QUANTITY},
}
_PERIOD: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["r", "aI"],
    "properties": {"r": {"type": "string"}, "aI": {"type": "array", "minItems": 1, "items": _INTERVAL}},
}
_METER: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["meterEic", "periods"],
    "properties": {
        "meterEic": {"type": "string"},
        "periods": {"type": "array", "minItems": 1, "items": _PERIOD},
    },
}
_MESSAGE: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["meteringData"],
    "properties": {"meteringData": {"type": "array", "minItems": 1, "items": _METER}},
}
_VALIDATOR: Final = Draft7Validator(_MESSAGE)
_PLAIN: Final = [{"pS": "", "outQty": {"rType": "M", "kwh": 0}}]
#: a series as it waits: meter, resolution, direction, and [start as text, kWh as text, M or E] of each interval
Series = dict[str, Any]


def error(code: str, text: str) -> dict[str, str]:
    """Return one entry of an error report."""
    return {"code": code, "message": text[:300]}


def read(value: Any) -> list[Series]:
    """Read a message; raises DocumentError where it does not have the form of one."""
    if count(value) > MOST:
        raise DocumentError(f"more than {MOST} periods")
    fault = next(iter(_VALIDATOR.iter_errors(_without_plain_intervals(value))), None)
    if fault is not None:
        where = "/".join(map(str, fault.absolute_path))
        raise DocumentError(f"{where or 'message'}: {' '.join(fault.message.split())[:200]}")
    return [
        {"meter": meter["meterEic"], "resolution": period["r"], "direction": direction, "values": values}
        for meter in value["meteringData"]
        for period in meter["periods"]
        for key, direction in _DIRECTIONS.items()
        if (values := list(_values(period["aI"], key)))
    ]


def count(value: Any) -> int:
    """How many intervals a message has, whatever else it is."""
    meters = value.get("meteringData") if isinstance(value, dict) else None
    periods = [p for m in _dicts(meters) for p in _dicts(m.get("periods"))]
    return sum(len(period["aI"]) for period in periods if isinstance(period.get("aI"), list))


def judge(db: sqlite3.Connection, series: list[Series], eic: str, now: int, registered: bool) -> list[dict[str, str]]:
    """Return the error report of a message: empty when it is taken over."""
    found: list[dict[str, str]] = []
    seen: set[tuple[str, str, str]] = set()
    for entry in series:
        found += _of_meter(db, entry, eic, registered)
        for start, kwh, _ in entry["values"]:
            found += _of_value(entry, start, kwh, now)
            place = (entry["meter"], entry["direction"], str(instant(start)))
            if place in seen:
                found.append(_at(entry, start, "opp.error.business.metering-data-is-duplicated", "comes twice"))
            seen.add(place)
        if len(found) > 1000:
            break
    return found


def accepted(series: list[Series], party: str, document: str) -> Iterator[Accepted]:
    """Give the series that a message without fault stores: one for each meter, direction and resolution."""
    for entry in series:
        step = STEPS[entry["resolution"]]
        values = sorted((instant(start) or 0, kwh, _QUALITIES[type_]) for start, kwh, type_ in entry["values"])
        yield Accepted(
            "ee", party, entry["meter"], entry["direction"], "KWH", values[0][0], values[-1][0] + step,
            entry["resolution"], document, document, tuple(values),
        )  # fmt: skip


def _without_plain_intervals(value: Any) -> Any:
    """Leave out intervals that surely fit the schema: nearly all do, and the validator takes its time with each."""
    if not isinstance(value, dict) or not isinstance(value.get("meteringData"), list):
        return value
    return {**value, "meteringData": [_thinned(meter) for meter in value["meteringData"]]}


def _thinned(meter: Any) -> Any:
    if not isinstance(meter, dict) or not isinstance(meter.get("periods"), list):
        return meter
    periods = [
        {**period, "aI": _PLAIN} if isinstance(period, dict) and _plain_all(period.get("aI")) else period
        for period in meter["periods"]
    ]
    return {**meter, "periods": periods}


def _plain_all(intervals: Any) -> bool:
    return isinstance(intervals, list) and len(intervals) > 0 and all(map(_plain, intervals))


def _plain(interval: Any) -> bool:
    if type(interval) is not dict or not isinstance(interval.get("pS"), str) or not 2 <= len(interval) <= 3:
        return False
    return all(key == "pS" or (key in _DIRECTIONS and _plain_quantity(of)) for key, of in interval.items())


def _plain_quantity(quantity: Any) -> bool:
    if type(quantity) is not dict or not quantity.keys() <= {"rTime", "rType", "kwh"}:
        return False
    fits = type(quantity.get("kwh")) in (int, Decimal) and isinstance(quantity.get("rTime", ""), str)
    return fits and quantity.get("rType") in ("M", "E")


def _values(intervals: list[dict[str, Any]], key: str) -> Iterator[list[str]]:
    for interval in intervals:
        quantity = interval.get(key)
        if quantity is not None:
            yield [interval["pS"], _text(quantity["kwh"]), quantity["rType"]]


def _of_meter(db: sqlite3.Connection, entry: Series, eic: str, registered: bool) -> Iterator[dict[str, str]]:
    """What is wrong with the meter or the resolution."""
    known = points.facts(db, "ee", entry["meter"])
    if (known is None and registered) or not _EIC.fullmatch(entry["meter"]):
        yield error("sandbox.error.metering-point-not-found", f"{entry['meter']}: there is no such meter")
    facts = known or {}
    if facts.get("owner", eic) != eic:
        code = "opp.error.business.market-participant-mismatch-error"
        yield error(code, f"{entry['meter']}: {eic} is not its manager")
    resolution = facts.get("resolution", entry["resolution"])
    if entry["resolution"] not in ("PT15M", "PT1H") or resolution != entry["resolution"]:
        code = "opp.error.business.wrong-resolution"
        yield error(code, f"{entry['meter']}: {entry['resolution'][:20]} is not its resolution")


def _of_value(entry: Series, start: str, kwh: str, now: int) -> Iterator[dict[str, str]]:
    """What is wrong with one value."""
    t = instant(start)
    if t is None or t % STEPS.get(entry["resolution"], 900):
        yield _at(entry, start, "sandbox.error.invalid-period-start", "is no start of a period")
        return
    if t > now + _AHEAD_S:
        yield _at(entry, start, "opp.error.business.period-start-too-far-in-future", "lies more than 45 days ahead")
    if t < now - _BACK_S:
        yield _at(entry, start, "sandbox.error.period-start-too-old", "lies more than 12 months back")
    whole, _, part = kwh.partition(".")
    if kwh.startswith("-") or len(whole) > 12 or len(part) > 3:
        yield _at(entry, start, "sandbox.error.invalid-quantity", f"{kwh[:30]} kWh: from 0 up, 3 decimals at most")


def _at(entry: Series, start: str, code: str, text: str) -> dict[str, str]:
    return error(code, f"{entry['meter']} {start[:40]}: {text}")


def _text(quantity: Decimal | int) -> str:
    """Return a quantity as digits; `-` where they would fill the memory."""
    exact = Decimal(quantity)
    if exact and not -40 <= exact.adjusted() <= 40:
        return "-"
    return format(exact or abs(exact), "f")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
