"""Lists of a simulated meter: tables of what a data-notification says, and how they become its body.

A row is `code type field [scaler unit]`. The code is `-` where the meter sends none; the field is one of `p1.State`
(whole Wh, W, varh, var; mV, mA, thousandths), or a literal behind `=`. The scaler is the power of ten of the unit that
the integer on the wire counts in, whether the meter sends it or not. Types are those of `axdr`, and `octets.12` or
`visible.16` for a text of that length, `octets.16.ISK` for one that begins with these letters, `hex` for octets,
`code` for an OBIS code as a value, `clock` for a date-time as an octet string.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias

from gateway.simulator import axdr
from gateway.simulator.p1 import State

#: how the rows become values: bare values; code and value; code, value, scaler and unit; structures of these
Style: TypeAlias = Literal["values", "pairs", "triples", "objects", "descriptors"]

#: enumeration of units (IEC 62056-6-2, table 4) and the power of ten in which `p1.State` counts them
UNITS = {"W": (27, 0), "var": (29, 0), "Wh": (30, 0), "varh": (32, 0), "A": (33, -3), "V": (35, -3), "1": (255, -3)}
#: what a reader makes of a field: item P in W and Wh
_ITEM_P = {
    "p_import": "p_import_w",
    "p_export": "p_export_w",
    "a_import.total": "a_import_wh",
    "a_export.total": "a_export_wh",
}
#: classes (IEC 62056-6-2): data, register, clock, push setup; and the code of the latter
_DATA, _REGISTER, _CLOCK, _PUSH_SETUP = 1, 3, 8, 40
_SETUP_CODE = "0-8:25.9.0"
#: attributes: the name of an object, its value (of the push setup: the push object list)
_NAME, _VALUE = 1, 2


@dataclass(frozen=True, slots=True)
class PushList:
    """One list: its rows, when it is sent, and what its notification looks like."""

    rows: str
    style: Style
    #: sent at the first push at or after each multiple of this, plus `at_s`; 0: with every push
    every_s: int = 0
    at_s: int = 0
    #: an array of elements instead of a structure
    is_array: bool = False
    #: the header's date-time: with its length, with a tag before that as Kaifa writes it, or none
    header: Literal["plain", "tagged", "none"] = "plain"

    def is_due(self, now_ms: int, interval_ms: int) -> bool:
        """Whether its time came since the push before, one interval ago."""
        if not self.every_s:
            return True
        every, at = self.every_s * 1000, self.at_s * 1000
        return (now_ms - at) // every != (now_ms - interval_ms - at) // every


class Row(NamedTuple):
    """A row as read: what fetches its value, and how that is written."""

    code: str
    kind: str
    field: str
    scaler: int
    unit: str

    @property
    def is_number(self) -> bool:
        """Whether it has a unit, and so is a register."""
        return bool(self.unit)

    def count(self, state: State) -> int:
        """The integer on the wire, in steps of 10^scaler of its unit; what is finer is cut off."""
        value = int(self.value(state))
        step = self.scaler - UNITS[self.unit][1]
        return int(value // 10**step if step >= 0 else value * 10**-step)

    def value(self, state: State) -> Any:
        """The field, or the literal."""
        if self.field.startswith("="):
            return self.field[1:]
        return attrgetter(self.field)(state)


def body(list_: PushList, state: State, clock: bytes) -> bytes:
    """The body of a notification; `clock` is the date-time of its clock objects."""
    rows = parse(list_.rows)
    values = [_value(row, state, clock) for row in rows]
    elements = _STYLES[list_.style](rows, values)
    return axdr.array(elements) if list_.is_array else axdr.structure(elements)


def item_p(list_: PushList, state: State) -> dict[str, int]:
    """What of item P the list holds, in W and Wh, as exact as the wire has it."""
    truth = {
        _ITEM_P[row.field]: row.count(state) * 10**row.scaler
        for row in parse(list_.rows)
        if row.field in _ITEM_P and row.is_number
    }
    if {"p_import_w", "p_export_w"} <= truth.keys():
        truth["p_net_w"] = truth["p_import_w"] - truth["p_export_w"]
    return truth


@lru_cache(maxsize=64)
def parse(text: str) -> tuple[Row, ...]:
    """The rows of a list."""
    return tuple(_row(*line.split()) for line in text.strip().splitlines())


def _row(code: str, kind: str, field: str, scaler: str = "0", unit: str = "") -> Row:
    return Row("" if code == "-" else code, kind, field, int(scaler), unit)


def _value(row: Row, state: State, clock: bytes) -> bytes:
    """A value with its tag."""
    kind, _, size = row.kind.partition(".")
    if kind == "clock":
        return axdr.string("octets", clock)
    if kind == "code":
        return axdr.string("octets", axdr.code(str(row.value(state))))
    if kind == "hex":
        return axdr.string("octets", bytes.fromhex(str(row.value(state))))
    if kind in ("octets", "visible"):
        return axdr.string(kind, _fit(str(row.value(state)), size).encode("ascii"))
    return axdr.integer(kind, row.count(state) if row.is_number else int(row.value(state)))


def _fit(text: str, size: str) -> str:
    """A serial number cut to its length on the wire: letters in front, its own unless others are given, last digits."""
    if not size:
        return text
    length, _, letters = size.partition(".")
    letters = letters or text[:3]
    return letters + text[len(letters) - int(length) :]


def _scaler_unit(row: Row) -> list[bytes]:
    if not row.is_number:
        return []
    unit = axdr.integer("enum", UNITS[row.unit][0])
    return [axdr.structure([axdr.integer("i8", row.scaler), unit])]


def _code(row: Row) -> list[bytes]:
    return [axdr.string("octets", axdr.code(row.code))] if row.code else []


def _bare(_rows: tuple[Row, ...], values: list[bytes]) -> list[bytes]:
    return values


def _pairs(rows: tuple[Row, ...], values: list[bytes]) -> list[bytes]:
    return [octets for row, value in zip(rows, values, strict=True) for octets in (*_code(row), value)]


def _triples(rows: tuple[Row, ...], values: list[bytes]) -> list[bytes]:
    parts = zip(rows, values, strict=True)
    return [octets for row, value in parts for octets in (*_code(row), value, *_scaler_unit(row))]


def _objects(rows: tuple[Row, ...], values: list[bytes]) -> list[bytes]:
    """A structure for each object; a row without code stands by itself."""
    return [
        axdr.structure([*_code(row), value, *_scaler_unit(row)]) if row.code else value
        for row, value in zip(rows, values, strict=True)
    ]


def _descriptors(rows: tuple[Row, ...], values: list[bytes]) -> list[bytes]:
    """A push object list (class, code, attribute, index of each value, itself the first), then the values."""
    own = _descriptor(_PUSH_SETUP, _SETUP_CODE, _VALUE)
    described = [_descriptor(*_object(row)) for row in rows]
    return [axdr.array([own, *described]), *values]


def _object(row: Row) -> tuple[int, str, int]:
    """Class, code and attribute of what a row holds."""
    if row.code == _SETUP_CODE:
        return _PUSH_SETUP, row.code, _NAME
    if row.is_number:
        return _REGISTER, row.code, _VALUE
    return _CLOCK if row.kind == "clock" else _DATA, row.code, _VALUE


def _descriptor(class_: int, code: str, attribute: int) -> bytes:
    name = axdr.string("octets", axdr.code(code))
    return axdr.structure([axdr.integer("u16", class_), name, axdr.integer("i8", attribute), axdr.integer("u16", 0)])


_STYLES: dict[str, Callable[[tuple[Row, ...], list[bytes]], list[bytes]]] = {
    "values": _bare,
    "pairs": _pairs,
    "triples": _triples,
    "objects": _objects,
    "descriptors": _descriptors,
}
