"""Heads of M-Bus records to what their data are: kind, size, unit and power of ten (EN 13757-3, clause 6)."""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, TypeAlias

from decoders import vif as tables
from decoders.dib import HEAD, HEADS_KEPT, LENGTHS, PLAIN_TEXT, PREFIX, parse_dib
from decoders.errors import GrammarError
from decoders.vif import Vif


class Kind(IntEnum):
    """How the octets of a record are read."""

    INTEGER = 0
    UNSIGNED = 1
    BCD = 2
    REAL = 3
    VARIABLE = 4
    DATE = 5
    DATE_TIME = 6
    TIME = 7
    #: no data, or the meter says with the record that its value is an error
    NONE = 8


class Head(NamedTuple):
    """One head as learned; `size` in octets of data, `plain_text` where its unit is a text in the telegram."""

    kind: Kind
    size: int
    #: the number that stands for none
    none: int | None
    code: str
    #: the value is number * factor * 10**exponent in the unit
    exponent: int
    unit: str
    factor: int
    storage: int
    function: int
    plain_text: bool


class Meaning(NamedTuple):
    """What a VIB says: its VIF, its combinable VIFEs that change the meaning (hexadecimal digits), its error if any."""

    vif: Vif
    tail: str
    error: bool
    date: bool
    unsigned: bool


#: low half of a DIF -> kind, where the VIF does not say date
_KINDS = {
    **dict.fromkeys((1, 2, 3, 4, 6, 7), Kind.INTEGER),
    5: Kind.REAL,
    **dict.fromkeys((9, 10, 11, 12, 14), Kind.BCD),
    13: Kind.VARIABLE,
}
_UNKNOWN = Vif("", "", 0)
_DATES = {2: Kind.DATE, 3: Kind.TIME, 4: Kind.DATE_TIME, 6: Kind.DATE_TIME}


def learn(dib: bytes, vib: bytes) -> Head:
    """What a head says; raises GrammarError for a data field that no record has."""
    field = dib[0] & 0x0F
    if field not in LENGTHS:
        raise GrammarError("type")
    meaning, parts = meaning_of(vib), parse_dib(dib)
    kind = _KINDS.get(field, Kind.NONE)
    if meaning.date:
        kind = _DATES.get(field, Kind.NONE)
    elif meaning.unsigned and kind is Kind.INTEGER:
        kind = Kind.UNSIGNED
    unit, size = meaning.vif.unit, LENGTHS[field]
    return Head(
        kind=Kind.NONE if meaning.error else kind,
        size=size,
        none=-1 << (8 * size - 1) if size > 1 else None,
        code=PREFIX + (dib + vib).hex(),
        factor=tables.SECONDS.get(unit, 1),
        exponent=meaning.vif.exponent,
        unit="s" if unit in tables.SECONDS else unit,
        storage=parts.storage,
        function=parts.function,
        plain_text=vib[0] & 0x7F == PLAIN_TEXT,
    )


def meaning_of(vib: bytes) -> Meaning:
    """Quantity, unit and power of ten of a VIB, with those of its combinable VIFEs."""
    first, rest = vib[0], vib[1:]
    date = first & 0x7F in (tables.DATE, tables.DATE_TIME) and first not in (tables.ALTERNATIVE, tables.EXTENSION)
    unsigned = False
    if first in (tables.ALTERNATIVE, tables.EXTENSION) and rest:
        table = tables.FB if first == tables.ALTERNATIVE else tables.FD
        unsigned = first == tables.EXTENSION and rest[0] & 0x7F in tables.FD_UNSIGNED
        vif, rest = table.get(rest[0] & 0x7F, _UNKNOWN), rest[1:]
    elif first & 0x7F == tables.MANUFACTURER:
        return Meaning(_UNKNOWN, rest.hex(), error=False, date=False, unsigned=False)
    else:
        vif = tables.PRIMARY.get(first & 0x7F, _UNKNOWN)
    vif, tail, error = _combined(vif, rest)
    return Meaning(vif, tail, error, date or not tables.DATES.isdisjoint(bytes.fromhex(tail)[:1]), unsigned)


def _combined(vif: Vif, vifes: bytes) -> tuple[Vif, str, bool]:
    """The unit and power of ten with combinable VIFEs (table 15), and those VIFEs that make it another quantity."""
    quantity, unit, exponent = vif
    tail, error = b"", False
    for at, octet in enumerate(vifes):
        vife = octet & 0x7F
        if vife in (tables.VIFE_MANUFACTURER, tables.VIFE_EXTENSION):
            # ABB ends its own VIFEs with 00, "no error": that belongs to the record
            own = vifes[at:-1] if len(vifes) - at > 2 and vifes[-1] == 0 else vifes[at:]
            tail += bytes(own_vife & 0x7F for own_vife in own) if vife == tables.VIFE_EXTENSION else _plain(own)
            break
        if vife in tables.FACTORS:
            exponent += tables.FACTORS[vife]
        elif vife in tables.PER:
            unit, tail = (f"{unit}/{tables.PER[vife]}" if unit else ""), tail + bytes([vife])
        elif vife <= tables.LAST_ERROR:
            error = error or vife > 0
        else:
            unit, tail = ("" if vife in tables.OTHER_UNIT else unit), tail + bytes([vife])
    return Vif(quantity, unit, exponent), tail.hex(), error


def _plain(own: bytes) -> bytes:
    """The manufacturer's VIFEs without their extension bits: FF, then his."""
    return own[:1] + bytes(octet & 0x7F for octet in own[1:])


Unpack: TypeAlias = Callable[[bytes, int], tuple[int, ...]]
#: what a plain number needs of its Head, and the Head
Known: TypeAlias = tuple[bytes, int, int, Kind, Unpack | None, int | None, str, int, str, int, Head]
#: octets of data -> what reads them as a signed number, least significant octet first
_UNPACK: dict[int, Unpack] = {
    size: Struct(form).unpack_from for size, form in ((1, "<b"), (2, "<h"), (4, "<i"), (8, "<q"))
}
#: a size beyond every telegram, for data that begin with their length
_ODD = 1 << 16


class Heads:
    """The heads that were learned, and which one came behind which: a meter sends its records in one order."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        self.following: dict[bytes, Known] = {}

    def find(self, body: bytes, at: int) -> Known | None:
        """The head that stands at `at`, where it was learned."""
        match = HEAD.match(body, at)
        return self._known.get(match[0]) if match else None

    def keep(self, octets: bytes, head: Head) -> None:
        """Learn a head."""
        if len(self._known) >= HEADS_KEPT:
            self._known.clear()
            self.following.clear()
        kind, size, none, code, exponent, unit, factor, *_ = head
        unpack = _UNPACK.get(size) if kind is Kind.INTEGER else None
        length, room = len(octets), _ODD if size < 0 else size
        self._known[octets] = (octets, length, room, kind, unpack, none, code, exponent, unit, factor, head)
