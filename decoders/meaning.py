"""M-Bus records to item P, and to the reading of a meter for something else, by their meaning (EN 13757-3).

A record is named by its selector: `energy` or `power`, the VIFEs that make it another quantity behind `/`, then subunit
and tariff where they are not 0. What finds two records of the same kind is ambiguous, and gives none: nothing in them
tells which one is the total.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from decoders.dib import FUNCTIONS, HEAD, HEADS_KEPT, PREFIX, parse_dib
from decoders.grammars.mbus_fixed import COUNTERS
from decoders.grammars.mbus_heads import meaning_of
from decoders.model import Register, SubTelegram, Telegram
from decoders.profile import Records

#: DIF with data field 5
_FLOAT = 0x05
_PHASE_QUANTITY = "power"
#: what energy that comes as a float may be in, whatever its VIF says -> power of ten
_FLOAT_UNITS = {"Wh": 0, "kWh": 3}
#: units of item P: what counts in joules or watts per hour is no electricity
_UNITS = ("W", "Wh")
#: present values of the fixed structure
_COUNTER = COUNTERS[0]

#: what is counted, by device type: the quantity and its units that a sub-meter reading gives
_VOLUME, _HEAT = ("volume", ("m3", "l")), ("energy", ("Wh", "J"))
MAIN: dict[int, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys((1, 3, 5, 6, 7, 9, 21, 22, 40), _VOLUME),
    **dict.fromkeys((2, 4, 10, 11, 12, 13), _HEAT),
    8: ("heat cost allocation", ("HCA",)),
}


class Record(NamedTuple):
    """What the code of a register says of it."""

    quantity: str
    tail: str
    storage: int
    function: int
    tariff: int
    subunit: int
    is_float: bool
    #: power of ten of its VIF
    exponent: int

    @property
    def present(self) -> bool:
        """Whether it is the value of now."""
        return not self.storage and not self.function

    def selector(self) -> str:
        """Its name without the tariff."""
        subunit = f" u{self.subunit}" if self.subunit else ""
        return self.quantity + (f"/{self.tail}" if self.tail else "") + subunit


class Choice(NamedTuple):
    """Places of the registers that add up to one quantity, each with the power of ten that its profile adds."""

    places: tuple[int, ...]
    power_of_ten: int = 0
    ambiguous: bool = False


_NONE = Choice(())


@lru_cache(maxsize=HEADS_KEPT)
def record_of(code: str) -> Record | None:
    """What a register is; None for a code that is none of M-Bus records."""
    if code in COUNTERS:
        return Record("", "", 0 if code == _COUNTER else 1, 0, 0, 0, is_float=False, exponent=0)
    head = HEAD.match(bytes.fromhex(code[len(PREFIX) :])) if code.startswith(PREFIX) else None
    if head is None:
        return None
    dib, meaning = parse_dib(head[1]), meaning_of(head[2])
    is_float = head[1][0] & 0x0F == _FLOAT
    vif = meaning.vif
    numbers = dib.storage, dib.function, dib.tariff, dib.subunit
    return Record(vif.quantity, meaning.tail, *numbers, is_float=is_float, exponent=vif.exponent)


def choices(records: Records, telegram: Telegram, registers: Sequence[Register]) -> tuple[Choice, ...]:
    """Where P+, P-, A+ and A- stand; nothing where the meter is none of electricity."""
    if telegram.device_type not in records.device_types:
        return (_NONE,) * 4
    present = [
        (place, _record(register), register[0]) for place, register in enumerate(registers) if register[3] in _UNITS
    ]
    known = [(place, record, code) for place, record, code in present if record and record.present]
    search = _Search(records, known, complete=not telegram.partial)
    powers = (search.power(records.p_import, alone=True), search.power(records.p_export, alone=False))
    return (*powers, search.energy(records.a_import), search.energy(records.a_export))


class _Search:
    """The present values of one telegram, and what finds them."""

    def __init__(self, records: Records, known: list[tuple[int, Record, str]], *, complete: bool) -> None:
        self._records = records
        self._known = known
        self._complete = complete

    def power(self, selectors: Sequence[str], *, alone: bool) -> Choice:
        """The one record that a selector finds; else, where that is allowed, the only phase."""
        for selector in selectors:
            found = [record for record in self._found(selector) if " t" in selector or not record[1].tariff]
            if found:
                return _only([place for place, _, _ in found])
        phases = [place for place, record, _ in self._known if record.selector() in self._phases()] if alone else []
        return Choice(tuple(phases)) if len(phases) == 1 else _NONE

    def energy(self, selectors: Sequence[str]) -> Choice:
        """The total that a selector finds, else the sum of its tariffs from 1 on, each of them once."""
        for selector in selectors:
            found = self._found(selector)
            if found:
                return self._total(found, selector)
        return _NONE

    def _total(self, found: list[tuple[int, Record, str]], selector: str) -> Choice:
        exact = " t" in selector or selector.startswith(PREFIX)
        floats = self._records.float_energy
        if floats and (integers := [known for known in found if not known[1].is_float]):
            found = integers
        scale = _FLOAT_UNITS[floats] - found[0][1].exponent if floats and found[0][1].is_float else 0
        totals = [place for place, record, _ in found if exact or not record.tariff]
        if totals:
            return _only(totals)._replace(power_of_ten=scale)
        tariffs = sorted(record.tariff for _, record, _ in found)
        if self._records.tariffs == "never" or not self._complete:
            return _NONE
        if tariffs != list(range(1, len(tariffs) + 1)):
            return Choice((), ambiguous=len(set(tariffs)) < len(tariffs))
        return Choice(tuple(place for place, _, _ in found), scale)

    def _found(self, selector: str) -> list[tuple[int, Record, str]]:
        if selector.startswith(PREFIX):
            return [known for known in self._known if known[2] == selector]
        name, _, tariff = selector.partition(" t")
        return [
            known
            for known in self._known
            if known[1].selector() == name and (not tariff or known[1].tariff == int(tariff))
        ]

    def _phases(self) -> set[str]:
        return {f"{_PHASE_QUANTITY}/{tail}" for tail in self._records.phases}


def _only(places: list[int]) -> Choice:
    return Choice(tuple(places)) if len(places) == 1 else Choice((), ambiguous=True)


def _record(register: Register) -> Record | None:
    """What a register is; a counter of the fixed structure by its unit."""
    record = record_of(register[0])
    if record and not record.quantity and register[0] in COUNTERS:
        quantity = {
            "Wh": "energy",
            "J": "energy",
            "W": "power",
            "m3": "volume",
            "l": "volume",
            "HCA": "heat cost allocation",
        }
        return record._replace(quantity=quantity.get(register[3], ""))
    return record


def main_place(records: Records, telegram: Telegram, registers: Sequence[Register]) -> int | None:
    """Where a meter for something else than electricity has the one total of what it counts."""
    device_type = telegram.device_type
    if device_type is None or device_type in records.device_types or device_type not in MAIN:
        return None
    quantity, units = MAIN[device_type]
    totals = [
        place
        for place, register in enumerate(registers)
        if register[3] in units
        and (record := _record(register))
        and record.present
        and record.selector() == quantity
        and not record.tariff
    ]
    return totals[0] if len(totals) == 1 else None


def sub_telegram(telegram: Telegram, value: Register) -> SubTelegram:
    """The meter that sent a telegram as a sub-meter, with its total."""
    time = telegram.time if telegram.clock_valid else None
    return SubTelegram(telegram.address or 0, telegram.device_type, telegram.device, value, time, present=True)


#: VIFs that name no quantity in the tables of units -> what they are
NAMES = {"6c": "date", "6d": "date and time", "fd17": "error flags", "fd0a": "manufacturer", "fd0c": "model or version"}


def words(code: str) -> str:
    """What a record is, for people: quantity, VIFEs, storage, tariff, subunit, function."""
    if code in COUNTERS:
        return "counter"
    head = HEAD.match(bytes.fromhex(code[len(PREFIX) :])) if len(code) > len(PREFIX) + 2 else None
    if head is None:
        return "manufacturer data"
    dib, said = parse_dib(head[1]), meaning_of(head[2])
    name = said.vif.quantity or NAMES.get(head[2].hex()) or ("manufacturer's own" if head[2][:1] == b"\xff" else "")
    parts = [name or f"VIF {head[2].hex(' ').upper()}"]
    parts += [f"VIFE {bytes.fromhex(said.tail).hex(' ').upper()}"] if said.tail and head[2][:1] != b"\xff" else []
    parts += [f"{what} {n}" for what, n in zip(dib._fields[1:], dib[1:], strict=True) if n]
    return ", ".join([*parts, *([FUNCTIONS[dib.function]] if dib.function else [])])
