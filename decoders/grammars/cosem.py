"""Grammar axdr, second half: a data-notification (IEC 62056-5-3) to a telegram, by meaning where the meter sends codes.

Four forms are met: pairs of code and value; triples with scaler and unit; a push object list (class, code, attribute)
before the values; and values alone, whose order only a profile knows. All leaves are kept in order for the last form.
The header's time is that of the push; a clock object among the values may differ by seconds and counts only without it.
"""

from decoders.clock import Time, parse_date_time
from decoders.errors import GrammarError
from decoders.grammars.axdr import ENUM, INT8, INTEGERS, OCTETS, STRINGS, UINT16, Data, Value
from decoders.model import Frame, Leaf, Register, Telegram
from decoders.obis import COSEM_UNITS

DATA_NOTIFICATION = 0x0F
CLOCKS = ("0-0:1.0.0", "0-1:1.0.0")
LIST_ID = "1-1:0.2.129"


class AxdrGrammar:
    """Reads the data-notifications of one meter; keeps the shape of the last one, to tell equal layouts."""

    def __init__(self) -> None:
        self._shape: object = None

    def parse(self, frame: Frame) -> Telegram:
        """Read one APDU whole; raises GrammarError."""
        payload = frame.payload
        header, start = _header(payload)
        data = Data(payload, start)
        try:
            body = data.value()
        except GrammarError:
            data = Data(payload, start, bare_descriptors=True)
            body = data.value()
        if data.rest:
            raise GrammarError("rest", len(payload))
        collector = _Collector(body)
        shape = collector.shape()
        if shape != self._shape:
            self._shape = shape
        return collector.telegram(header, self._shape)


def _header(payload: bytes) -> tuple[bytes, int]:
    """The octets of the header's date-time, often none, and where the body begins."""
    if payload[:1] != bytes([DATA_NOTIFICATION]):
        raise GrammarError("type", len(payload))
    # tag, long-invoke-id-and-priority, date-time as octet string; Kaifa writes its tag before the length
    data = Data(payload, 6 if payload[5:7] == b"\x09\x0c" else 5)
    header = data.take(data.length())
    return header, data.pos


class _Collector:
    """What the values of one notification say."""

    def __init__(self, body: Value) -> None:
        self._registers: list[Register] = []
        self._texts: dict[str, str] = {}
        self._values: list[Leaf] = []
        self._clock: bytes | None = None
        self._code: str | None = None
        self._scalable = False
        self._first = ""
        descriptors = _push_list(body)
        if descriptors:
            for descriptor, value in zip(descriptors, body, strict=False):
                self._code = None if value is body[0] else _obis(descriptor[1][1])
                self._take(value)
        else:
            self._take(body)
        if self._values and self._values[0][0] in STRINGS and all(0x20 <= octet < 0x7F for octet in self._values[0][1]):
            self._first = _text(self._values[0][1])

    def shape(self) -> tuple[object, ...]:
        """What two telegrams of one layout have in common: objects, units and types in order."""
        return tuple([(code, unit) for code, _, _, unit in self._registers] + [tag for tag, _ in self._values])

    def telegram(self, header: bytes, layout: object) -> Telegram:
        """The telegram with the header's time, else the clock object's."""
        clock = header or self._clock
        time, valid = parse_date_time(clock) if clock else Time(None, True)
        return Telegram(
            identification=self._texts.get(LIST_ID, self._first),
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

    def _take(self, value: Value) -> None:
        if not isinstance(value, list):
            self._leaf(value)
        elif _is_scaler_unit(value):
            self._scale(value[0][1], value[1][1])
        elif _is_descriptor(value):
            self._code, self._scalable = _obis(value[1][1]), False
        else:
            for element in value:
                self._take(element)

    def _leaf(self, leaf: Leaf) -> None:
        tag, value = leaf
        if tag == OCTETS and self._code is None and _is_obis(value):
            self._code, self._scalable = _obis(value), False
            self._values.append(leaf)
            return
        self._values.append(leaf)
        code, self._code, self._scalable = self._code, None, False
        if code is None:
            if tag == OCTETS and self._clock is None and parse_date_time(value).time:
                self._clock = value
        elif tag in INTEGERS:
            self._registers.append((code, value, 0, ""))
            self._scalable = True
        elif code in CLOCKS and tag in (OCTETS, 25):
            self._clock = value
        elif tag in STRINGS or tag == ENUM:
            self._texts.setdefault(code, _text(value) if tag in STRINGS else str(value))

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
        isinstance(value, list)
        and len(value) in (3, 4)
        and [element[0] for element in value if not isinstance(element, list)][:3] == [UINT16, OCTETS, INT8]
        and len(value[1][1]) == 6
    )


def _is_scaler_unit(value: list[Value]) -> bool:
    return len(value) == 2 and [element[0] for element in value if isinstance(element, tuple)] == [INT8, ENUM]


def _is_obis(octets: bytes) -> bool:
    """Six octets that can be a code: group F is 255, and A one of the media of meters."""
    return len(octets) == 6 and octets[5] == 0xFF and octets[0] in (0, 1)


def _obis(octets: bytes) -> str:
    a, b, c, d, e, f = octets
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == 0xFF else f"*{f}")


def _text(octets: bytes) -> str:
    """A string as sent: printable ones as text, others as hexadecimal digits."""
    return octets.decode("ascii") if all(0x20 <= octet < 0x7F for octet in octets) else octets.hex()
