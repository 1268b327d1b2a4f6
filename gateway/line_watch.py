"""What a meter's line shows over time: counts over a sliding window, and ages; `line_state.judge` names it."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.line_state import WINDOW_S, Facts, Window
from gateway.sources.model import PortEvent

#: a line that is silent for three intervals is opened anew, at most this often (s)
REOPEN_S = 60.0
#: samples of the sums in a window
SAMPLES = 6
_ASCII = bytes(range(128))


class _Sums(NamedTuple):
    """Sums at an instant."""

    at: float
    octets: int
    inspected: int
    top_bit: int
    faults: Counter[str]


@dataclass(slots=True)
class LineWatch:
    """Watches one line. All times are of one monotonic clock (s)."""

    enabled: bool
    #: line parameters as a person says them
    line: str
    interval_s: int
    port: str = "closed"
    port_detail: str = "opening the port"
    #: the port was opened; the last octet, whole frame and reading; None: not since the port was opened
    opened: float = 0.0
    last_byte: float | None = None
    last_frame: float | None = None
    last_reading: float | None = None
    #: the sums at the first octet since the last frame
    _run: _Sums | None = None
    _reopened: float | None = None
    _anew: bool = False
    _octets: int = 0
    _inspected: int = 0
    _top_bit: int = 0
    _faults: Counter[str] = field(default_factory=Counter)
    #: what the latest fault of each kind said of itself
    _evidence: dict[str, str] = field(default_factory=dict)
    _samples: deque[_Sums] = field(default_factory=deque)

    @property
    def untried(self) -> bool:
        """Whether the port was never tried yet."""
        return self.port == "closed" and not self.opened

    @property
    def valid_for_s(self) -> int:
        """Seconds for which a reading holds: three intervals, 3 to 900."""
        return max(3, min(900, 3 * self.interval_s))

    def take_event(self, event: PortEvent) -> None:
        """Note what became of the port. A port that was opened anew because it was silent goes on with its silence."""
        self.port, self.port_detail = event.state, event.detail
        if event.state == "closed":
            return
        still_silent, self._anew = self._anew and self.last_byte is None, False
        if event.state == "open":
            self.opened = self.opened if still_silent else event.monotonic
            self.last_byte = self.last_frame = self._run = None
            self._samples.clear()

    def take_octets(self, data: bytes, at: float, frames: int) -> None:
        """Note octets that completed `frames` frames, good or not."""
        self._sample(at)
        if frames:
            self._run = None
        elif self._run is None:
            self._run = self._sums(at)
        self.last_byte = at
        self._octets += len(data)
        if not self.is_fresh(at):
            self._inspected += len(data)
            self._top_bit += len(data.translate(None, _ASCII))

    def take_whole_frame(self, at: float) -> None:
        """Note a frame that arrived whole, whether it gave a reading or not."""
        self.last_frame = at

    def take_fault(self, name: str, evidence: str = "") -> None:
        """Note a fault, as `stage.code`, and what it says of the telegram."""
        self._faults[name] += 1
        self._evidence[name] = evidence

    def forget_faults(self) -> None:
        """Judge by what comes from now on: a key was entered, and older faults say nothing of it."""
        self._samples.clear()
        self._evidence.clear()

    def take_reading(self, at: float, interval_s: int) -> None:
        """Note a reading, and the interval at which its meter sends."""
        self.last_reading, self.interval_s = at, interval_s

    def is_fresh(self, now: float) -> bool:
        """Tell whether the newest reading still holds."""
        return self.last_reading is not None and now < self.deadline(now)

    def deadline(self, now: float) -> float:
        """Say when the newest reading stops to hold; without one, `now`."""
        return now if self.last_reading is None else self.last_reading + self.valid_for_s * 0.95

    def wants_reopen(self, now: float) -> bool:
        """Tell, once in REOPEN_S, that the open port has been silent for three intervals."""
        quiet = now - max(self.opened, self.last_byte or 0.0)
        rested = self._reopened is None or now - self._reopened >= REOPEN_S
        if self.port != "open" or quiet < 3 * self.interval_s or not rested:
            return False
        self._reopened, self._anew = now, True
        return True

    def facts(self, now: float, flags: tuple[str, ...]) -> Facts:
        """Say everything that is known at `now`."""
        self._sample(now)
        return Facts(
            enabled=self.enabled,
            port=self.port,
            port_detail=self.port_detail,
            line=self.line,
            interval_s=self.interval_s,
            valid_for_s=self.valid_for_s,
            open_s=now - self.opened,
            byte_s=_age(self.last_byte, now),
            frame_s=_age(self.last_frame, now),
            reading_s=_age(self.last_reading, now),
            window=self._since(self._samples[0], now),
            run=None if self._run is None else self._since(max(self._run, self._samples[0], key=_at), now),
            run_s=0.0 if self._run is None or self.last_byte is None else self.last_byte - self._run.at,
            flags=flags,
            evidence=dict(self._evidence),
        )

    def _since(self, then: _Sums, now: float) -> Window:
        return Window(
            seconds=now - then.at,
            octets=self._octets - then.octets,
            inspected=self._inspected - then.inspected,
            top_bit=self._top_bit - then.top_bit,
            faults=self._faults - then.faults,
        )

    def _sums(self, now: float) -> _Sums:
        return _Sums(now, self._octets, self._inspected, self._top_bit, self._faults.copy())

    def _sample(self, now: float) -> None:
        """Keep the sums of now and then over the window, which is as long as three telegrams take."""
        span = max(WINDOW_S, 3.0 * self.interval_s)
        while len(self._samples) > 1 and now - self._samples[1].at >= span:
            self._samples.popleft()
        if not self._samples or now - self._samples[-1].at >= span / SAMPLES:
            self._samples.append(self._sums(now))


def _at(sums: _Sums) -> float:
    return sums.at


def _age(then: float | None, now: float) -> float | None:
    return None if then is None else now - then
