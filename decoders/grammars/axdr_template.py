"""Grammar axdr, what is remembered: where the numbers and the times stand in a notification that came before.

A meter repeats itself: from push to push its numbers and its clock change, and nothing else does. What the octets say
depends on them alone. So where every other octet is proven to be the same, by one comparison, the numbers and the time
are read from their places, and the result is that of reading all. Whatever else differs is read whole.

Little is remembered, and not in vain: a template is made of the second notification of one shape in a row, a few
lengths are kept, and each template that never fitted doubles the wait for the next one of its length.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from decoders.clock import parse_date_time
from decoders.grammars.axdr import ARRAY, BITS, COMPACT, FORMS, INTEGERS, NULL, STRUCTURE, Data, Value
from decoders.model import Leaf, Telegram

#: lengths of notifications that are remembered: Nordic meters take turns between three lists
KEPT = 8
#: notifications of one length after which at the latest another template of it is made
LONGEST_WAIT = 1_024

_SIZES = {tag: Struct(">" + form).size for tag, form in FORMS.items()} | {NULL: 0}
_DATE_TIME = 12
#: long-invoke-id-and-priority: stands behind the tag, differs from push to push, and is read by nobody
_INVOKE, _INVOKE_SIZE = 1, 4


class Walk(NamedTuple):
    """A notification that was read whole: where its body starts, and what stands where among its values."""

    payload: bytes
    header: bytes
    start: int
    body: Value
    #: of the registers, in their order
    registers: list[int]
    #: of the clock object
    clock: int | None
    telegram: Telegram


class Template:
    """The places of the numbers and times of one notification, and what stands everywhere else."""

    def __init__(self, walk: Walk, places: list[int]) -> None:
        """`places`: where the octets of each value stand in the payload."""
        self.used = False
        self._telegram = telegram = walk.telegram
        values = telegram.values
        numbers = [at for at, (tag, _) in enumerate(values) if tag in INTEGERS]
        self._tags = [values[at][0] for at in numbers]
        #: of the numbers those of the registers; of all values before, and the new numbers, all values now
        self._registers = _picking([numbers.index(at) for at in walk.registers])
        self._values = _picking(_replacing(len(values), numbers))
        self._described = [list(column) for column in zip(*telegram.registers, strict=True)] or [[]] * 4
        self._clock = walk.clock if _is_moving_clock(walk) else None
        #: where the time of the header stands, and that of the clock object; 0 for none
        self._header_at = walk.start - _DATE_TIME if len(walk.header) == _DATE_TIME else 0
        self._clock_at = 0 if self._clock is None else places[self._clock]
        self._moves = bool(self._header_at or self._clock_at)
        fields = [(places[at], _SIZES[tag], FORMS[tag]) for at, tag in zip(numbers, self._tags, strict=True)]
        self._struct = Struct(_form(fields, len(walk.payload)))
        moving = [(at, size) for at, size, _ in fields] + [(_INVOKE, _INVOKE_SIZE)]
        moving += [(at, _DATE_TIME) for at in (self._header_at, self._clock_at) if at]
        self._mask = _mask(moving, len(walk.payload))
        self._rest = int.from_bytes(walk.payload, "big") & self._mask

    def read(self, payload: bytes) -> Telegram | None:
        """The telegram in a payload of the same length; None unless everything else in it is the same."""
        if int.from_bytes(payload, "big") & self._mask != self._rest:
            return None
        last, numbers = self._telegram, self._struct.unpack(payload)
        values = self._values((*last.values, *zip(self._tags, numbers, strict=True)))
        time, valid, clock = last.time, last.clock_valid, last.clock
        if self._clock is not None:
            octets = payload[self._clock_at : self._clock_at + _DATE_TIME]
            values = (*values[: self._clock], (values[self._clock][0], octets), *values[self._clock + 1 :])
        if self._header_at:
            octets = payload[self._header_at : self._header_at + _DATE_TIME]
        if self._moves:
            (time, valid), clock = parse_date_time(octets), octets.hex()
            if time is None:
                return None
        codes, _, exponents, units = self._described
        self.used = True
        return Telegram(
            identification=last.identification,
            time=time,
            clock=clock,
            clock_valid=valid,
            registers=tuple(zip(codes, self._registers(numbers), exponents, units, strict=True)),
            register_times={},
            texts=last.texts,
            sub=(),
            values=values,
            layout=last.layout,
        )


class _Slot:
    """What is known of the notifications of one length."""

    def __init__(self) -> None:
        self.shape: object = None
        self.template: Template | None = None
        self._wait = self._left = 1

    def is_due(self, layout: object) -> bool:
        """Take notice of a notification that the template does not fit; whether it is worth another template."""
        self._left -= 1
        again, self.shape = layout == self.shape, layout
        return self._left <= 0 and again

    def learn(self, walk: Walk) -> None:
        """Make another template."""
        places = _places(walk)
        self._wait = 1 if self.template and self.template.used else min(2 * self._wait, LONGEST_WAIT)
        self._left = self._wait
        self.template = Template(walk, places) if places else None


class Templates:
    """The templates of one meter, by the length of its notifications."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}

    def read(self, payload: bytes) -> Telegram | None:
        """The telegram, where a template fits; None where all must be read."""
        slot = self._slots.get(len(payload))
        return slot.template.read(payload) if slot and slot.template else None

    def is_due(self, length: int, layout: object) -> bool:
        """Take notice of a notification that had to be read whole; whether to remember it is worth it."""
        if length not in self._slots:
            if len(self._slots) >= KEPT:
                del self._slots[next(iter(self._slots))]
            self._slots[length] = _Slot()
        return self._slots[length].is_due(layout)

    def learn(self, walk: Walk) -> None:
        """Remember a notification that is due."""
        self._slots[len(walk.payload)].learn(walk)


def _is_moving_clock(walk: Walk) -> bool:
    """Whether the clock object may differ; not where it stands first, because a first text names the list."""
    if not walk.clock:
        return False
    octets = walk.telegram.values[walk.clock][1]
    return len(octets) == _DATE_TIME and parse_date_time(octets).time is not None


def _places(walk: Walk) -> list[int] | None:
    """Where the octets of each value stand; None where some of them have no tag (compact array)."""
    values = walk.telegram.values
    found: list[int] = []
    data = Data(walk.payload, walk.start)
    for leaf in _leaves(walk.body):
        tag = data.take(1)[0]
        while tag in (ARRAY, STRUCTURE):
            data.length()
            tag = data.take(1)[0]
        if tag == COMPACT:
            return None
        size = _SIZES[tag] if tag in _SIZES else data.length()
        if len(found) < len(values) and leaf is values[len(found)]:
            found.append(data.pos)
        data.take((size + 7) // 8 if tag == BITS else size)
    return found


def _leaves(value: Value) -> Iterator[Leaf]:
    if type(value) is tuple:
        yield value
    else:
        for element in value:
            yield from _leaves(element)


def _picking(places: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What takes the items at these places."""
    if len(places) < 2:
        return lambda items: tuple([items[at] for at in places])
    return itemgetter(*places)


def _replacing(count: int, places: list[int]) -> list[int]:
    """The places of `count` items where some of them are replaced by others, which stand behind all of them."""
    all_places = list(range(count))
    for number, at in enumerate(places):
        all_places[at] = count + number
    return all_places


def _form(fields: list[tuple[int, int, str]], length: int) -> str:
    """What reads the numbers and passes over the octets between them; fields are (place, size, form)."""
    parts, end = [">"], 0
    for at, size, form in fields:
        parts.append(f"{at - end}x{form}")
        end = at + size
    return "".join([*parts, f"{length - end}x"])


def _mask(moving: list[tuple[int, int]], length: int) -> int:
    """Ones where nothing may differ."""
    octets = bytearray(b"\xff" * length)
    for at, size in moving:
        octets[at : at + size] = bytes(size)
    return int.from_bytes(octets, "big")
