"""Which live readings are proven to have arrived at the broker, by meter and sequence number.

QoS 0 is never acknowledged. But TCP keeps the order: when the broker answers a ping that went out behind a reading, it
has read the reading, too (`Link.proven`). With QoS 1 the acknowledgement of the reading itself is the proof.
"""

import time
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

#: a reading that is not proven after so long (s) counts as missed: it may come twice then, but is not waited for
PATIENCE_S = 10.0
#: per meter: readings under way, and gaps between proven ones that are remembered; beyond it the oldest count as missed
MAX_UNDER_WAY, MAX_RANGES = 20_000, 1_000


class Line(Protocol):
    """What proves arrival: mqtt_link.Link."""

    proven: int

    @property
    def unacked(self) -> Container[int]:
        """Message ids that are not acknowledged."""
        ...


class _UnderWay(NamedTuple):
    seq: int
    #: of the publication in its connection; and its message id with QoS 1
    number: int
    mid: int | None
    at: float


@dataclass(slots=True)
class _Meter:
    #: first and last number of each run of proven readings, rising
    ranges: list[tuple[int, int]] = field(default_factory=list)
    under_way: deque[_UnderWay] = field(default_factory=lambda: deque(maxlen=MAX_UNDER_WAY))

    def add(self, seq: int) -> None:
        if self.ranges and seq == self.ranges[-1][1] + 1:
            self.ranges[-1] = self.ranges[-1][0], seq
            return
        self.ranges.append((seq, seq))
        if len(self.ranges) > MAX_RANGES:
            del self.ranges[0]


class Proven:
    """Live readings of all meters, from their publication until they are settled."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._meters: dict[str, _Meter] = {}
        self._line: Line | None = None

    def begin(self, line: Line) -> None:
        """Count on in a new connection."""
        self._line = line

    def end(self) -> None:
        """Let what the connection did not prove be missed."""
        for meter in self._meters.values():
            self._look(meter)
            meter.under_way.clear()
        self._line = None

    def distrust(self) -> None:
        """Let nothing be proven any more in this connection: the broker reads readings, and throws them away."""
        self._line = None
        for meter in self._meters.values():
            meter.under_way.clear()

    def published(self, meter: str, seq: int | None, number: int, mid: int | None = None) -> None:
        """Note a reading that was sent, or that stands for nothing new beside the one that was sent with `number`."""
        if self._line is None or seq is None:
            return
        known = self._meters.setdefault(meter, _Meter())
        self._look(known)
        known.under_way.append(_UnderWay(seq, number, mid, self._monotonic()))

    def has(self, meter: str, seq: int | None) -> bool:
        """Tell whether a reading arrived."""
        known = self._meters.get(meter)
        if known is None or seq is None:
            return False
        self._look(known)
        return any(first <= seq <= last for first, last in known.ranges)

    def may_come(self, meter: str, seq: int | None) -> bool:
        """Tell whether it is still to be seen if a reading arrived."""
        known = self._meters.get(meter)
        way = known.under_way if known else None
        return bool(way) and seq is not None and way is not None and way[0].seq <= seq <= way[-1].seq

    def settled(self, meter: str, seq: int | None) -> None:
        """Forget readings of a meter up to this one."""
        known = self._meters.get(meter)
        if known is None or seq is None:
            return
        ranges = known.ranges
        while ranges and ranges[0][1] <= seq:
            del ranges[0]
        if ranges and ranges[0][0] <= seq:
            ranges[0] = seq + 1, ranges[0][1]

    def _look(self, meter: _Meter) -> None:
        way, line = meter.under_way, self._line
        while way and line is not None:
            one = way[0]
            if line.proven >= one.number if one.mid is None else one.mid not in line.unacked:
                meter.add(one.seq)
            elif self._monotonic() - one.at < PATIENCE_S:
                return
            way.popleft()
