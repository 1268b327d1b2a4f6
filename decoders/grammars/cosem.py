"""Grammar axdr, second half: a data-notification (IEC 62056-5-3) to a telegram, by meaning where the meter sends codes.

Four forms are met: pairs of code and value; triples with scaler and unit; a push object list (class, code, attribute)
before the values; and values alone, whose order only a profile knows. All leaves are kept in order for the last form.
The header's time is that of the push; a clock object among the values may differ by seconds and counts only without it.
"""

from collections.abc import Iterable
from functools import lru_cache
from operator import itemgetter
from struct import Struct

from decoders.clock import Time, parse_date_time
from decoders.errors import GrammarError
from decoders.grammars.axdr import DATE_TIME, ENUM, INT8, INTEGERS, OCTETS, STRINGS, UINT16, Data, Value
from decoders.grammars.axdr_template import Templates, Walk
from decoders.grammars.cosem_objects import INTEGER_LEAF, Cut, cut
from decoders.model import Frame, Leaf, Register, Telegram
from decoders.obis import COSEM_UNITS

DATA_NOTIFICATION = 0x0F
CLOCKS = ("0-0:1.0.0", "0-1:1.0.0")
LIST_ID = "1-1:0.2.129"
#: group A of what an electricity meter says: of itself, and of electricity
MEDIA_OF_METERS = (0, 1)
#: tags of attribute descriptors, and of scaler and unit, as slices of leaves give them: a slice of a list is no tuple
_CLASS, _CODE, _ATTRIBUTE = (UINT16,), (OCTETS,), (INT8,)
_SCALER, _UNIT = (INT8,), (ENUM,)
#: code or tag, and unit
_FIRST, _LAST = itemgetter(0), itemgetter(-1)
_SCALER_UNIT = Struct(">bBB")


class AxdrGrammar:
    """Reads the data-notifications of one meter; keeps the shape of the last one, to tell equal layouts."""

    def __init__(self) -> None:
        self._shape: object = None
        self._templates = Templates()

    def parse(self, frame: Frame) -> Telegram:
        """Read one APDU whole; raises GrammarError."""
        payload = frame.payload
        telegram = self._templates.read(payload)
        if telegram is None:
            telegram = self._walk(payload)
        self._shape = telegram.layout
        return telegram

    def _walk(self, payload: bytes) -> Telegram:
        header, start = _header(payload)
        collector, tagged = _Collector(), True
        objects = cut(payload, start)
        if objects:
            collector.take_objects(objects)
        else:
            try:
                body = _whole(payload, start, bare=False)
            except GrammarError:
                body, tagged = _whole(payload, start, bare=True), False
            collector.take(body)
        shape = collector.shape()
        telegram = collector.telegram(header, self._shape if shape == self._shape else shape)
        if tagged and self._templates.is_due(len(payload), telegram.layout):
            self._templates.learn(_walked(payload, header, start, telegram.layout))
        return telegram


def _header(payload: bytes) -> tuple[bytes, int]:
    """The octets of the header's date-time, often none, and where the body begins."""
    if payload[:1] != bytes([DATA_NOTIFICATION]):
        raise GrammarError("type", len(payload))
    # tag, long-invoke-id-and-priority, date-time as octet string; Kaifa writes its tag before the length
    data = Data(payload, 6 if payload[5:7] == b"\x09\x0c" else 5)
    header = data.take(data.length())
    return header, data.pos


def _whole(payload: bytes, start: int, *, bare: bool) -> Value:
    """The body, which ends with the payload; `bare`: with attribute descriptors without tags."""
    data = Data(payload, start, bare_descriptors=bare)
    body = data.value()
    if data.rest:
        raise GrammarError("rest", len(payload))
    return body


def _walked(payload: bytes, header: bytes, start: int, layout: object) -> Walk:
    """A notification as a template is made of it: read value by value."""
    collector, body = _Collector(), _whole(payload, start, bare=False)
    collector.take(body)
    telegram = collector.telegram(header, layout)
    return Walk(payload, header, start, body, collector.places, collector.clock_place, telegram)


class _Collector:
    """What the values of one notification say."""

    def __init__(self) -> None:
        #: where the registers stand among the values
        self.places: list[int] = []
        #: where the clock stands among the values
        self.clock_place: int | None = None
        self._registers: list[Register] = []
        self._texts: dict[str, str] = {}
        self._values: list[Leaf] = []
        self._code: str | None = None
        self._scalable = False

    def take_objects(self, objects: list[Cut]) -> None:
        """Take objects that were cut without reading their values one by one: the same as `take` of them."""
        registers, values = self._registers, self._values
        for _, octets, value, scaled in objects:
            values.append((OCTETS, octets))
            read = INTEGER_LEAF.get(value[0])
            if read:
                leaf = read(value)
                registers.append((_obis(octets), leaf[1], *_scaler_unit(scaled)))
                values.append(leaf)
            else:
                self._code = _obis(octets)
                self._leaf((value[0], value[2:]))

    def take(self, body: Value) -> None:
        """Take all values of a body."""
        descriptors = _push_list(body)
        if descriptors:
            for descriptor, value in zip(descriptors, body, strict=False):
                self._code = None if value is body[0] else _obis(descriptor[1][1])
                self._take((value,))
        else:
            self._take((body,))

    def shape(self) -> tuple[object, ...]:
        """What two telegrams of one layout have in common: objects, units and types in order."""
        registers = self._registers
        return tuple(map(_FIRST, registers)), tuple(map(_LAST, registers)), tuple(map(_FIRST, self._values))

    def telegram(self, header: bytes, layout: object) -> Telegram:
        """The telegram with the header's time, else the clock object's."""
        clock = header or (None if self.clock_place is None else self._values[self.clock_place][1])
        time, valid = parse_date_time(clock) if clock else Time(None, True)
        return Telegram(
            identification=self._texts.get(LIST_ID, self._first()),
            time=time,
            clock=clock.hex() if clock else None,
            clock_valid=valid,
            registers=tuple(self._registers),
            register_times={},
            texts=self._texts,
            sub=(),
            values=tuple(self._values),
            layout=layout,
        )

    def _first(self) -> str:
        """The first value, where it is a text: meters that send no codes begin with the name of their list."""
        tag, value = self._values[0] if self._values else (None, b"")
        return _text(value) if tag in STRINGS and _printable(value) else ""

    def _take(self, values: Iterable[Value]) -> None:
        for value in values:
            if type(value) is tuple:
                self._leaf(value)
            elif _is_scaler_unit(value):
                self._scale(value[0][1], value[1][1])
            elif _is_descriptor(value):
                self._code, self._scalable = _obis(value[1][1]), False
            else:
                self._take(value)

    def _leaf(self, leaf: Leaf) -> None:
        tag, value = leaf
        code, self._code, self._scalable = self._code, None, False
        if code is None:
            if tag == OCTETS:
                self._uncoded(value)
        elif tag in INTEGERS:
            self.places.append(len(self._values))
            self._registers.append((code, value, 0, ""))
            self._scalable = True
        elif code in CLOCKS and tag in (OCTETS, DATE_TIME):
            self.clock_place = len(self._values)
        elif tag in STRINGS or tag == ENUM:
            self._texts.setdefault(code, _text(value) if tag in STRINGS else str(value))
        self._values.append(leaf)

    def _uncoded(self, octets: bytes) -> None:
        """Octets that no code announced: a code themselves, or the time."""
        if len(octets) == 6 and octets[5] == 0xFF and octets[0] in MEDIA_OF_METERS:
            self._code = _obis(octets)
        elif self.clock_place is None and parse_date_time(octets).time:
            self.clock_place = len(self._values)

    def _scale(self, scaler: int, unit: int) -> None:
        """Scaler and unit belong to the register just before them."""
        if self._scalable:
            code, integer, _, _ = self._registers[-1]
            self._registers[-1] = (code, integer, scaler, COSEM_UNITS.get(unit, ""))
            self._scalable = False


def _push_list(body: Value) -> list[Value] | None:
    """The push object list, when the first element is one: (class, code, attribute, index) for every value."""
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, list) and len(first) == len(body) and all(_is_descriptor(entry) for entry in first):
        return first
    return None


def _is_descriptor(value: Value) -> bool:
    return (
        type(value) is list
        and len(value) in (3, 4)
        and value[0][:1] == _CLASS
        and value[1][:1] == _CODE
        and value[2][:1] == _ATTRIBUTE
        and len(value[1][1]) == 6
    )


def _is_scaler_unit(value: list[Value]) -> bool:
    return len(value) == 2 and value[0][:1] == _SCALER and value[1][:1] == _UNIT


@lru_cache(maxsize=1_024)
def _scaler_unit(octets: bytes) -> tuple[int, str]:
    """Scaler and unit of a register, from the octets of both with the unit's tag between; empty for none."""
    if not octets:
        return 0, ""
    scaler, _, unit = _SCALER_UNIT.unpack(octets)
    return scaler, COSEM_UNITS.get(unit, "")


@lru_cache(maxsize=1_024)
def _obis(octets: bytes) -> str:
    """Six octets as `A-B:C.D.E`, with `*F` unless that is 255."""
    a, b, c, d, e, f = octets
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == 0xFF else f"*{f}")


def _printable(octets: bytes) -> bool:
    return octets.isascii() and octets.decode("ascii").isprintable()


def _text(octets: bytes) -> str:
    """A string as sent: printable ones as text, others as hexadecimal digits."""
    return octets.decode("ascii") if _printable(octets) else octets.hex()
