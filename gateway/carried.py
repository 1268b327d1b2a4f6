"""Energy registers that arrive less often than power: those of the last reading that had them, with their own time.

Nordic meters send power every few seconds and energy once an hour. Between two hours the last energy goes with each
reading as `ItemP.carried`, unless something says that it may not be true any more: another meter, another profile,
other proofs, a clock that was set or is not believed, a pause in which the meter may have been exchanged, or two hours.
"""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from decoders.model import Reading
from gateway.item_p import Energy, ItemP

#: energy once an hour may be missed once
LIMIT = timedelta(seconds=7_200)
#: by how much a clock may run differently from the monotonic one before it is taken for set (s)
CLOCK_STEP_S = 30.0
#: OBIS groups C.D of active energy in both directions
_ENERGY = ("1.8.", "2.8.")


class _Said(NamedTuple):
    """Energy as a meter said it, when by each clock (None: by none that is believed), and who it was."""

    energy: tuple[int | None, int | None]
    #: clock -> time of the reading, and of its registers
    times: dict[str, tuple[datetime, datetime]]
    monotonic: float
    kind: tuple[str, str, str]
    identity: str | None
    title: str | None


class Carried:
    """The energy of one meter between two readings that have it."""

    def __init__(self) -> None:
        self._said: _Said | None = None
        #: the line was never silent since, so that a reading without identification is of the same meter
        self._unbroken = False
        self._latest = 0.0

    def take(self, item: ItemP, at: float) -> Energy | None:
        """What goes with a reading that arrived `at` (monotonic, s), if it has no energy itself."""
        reading, silent_s = item.reading, at - self._latest
        self._latest = at
        if item.valid_for_s is None or silent_s > item.valid_for_s:
            self._unbroken = False
        clock = _clock(item)
        if clock is None or _has_energy(reading):
            self._said = _said(item, at) if clock is not None else None
            self._unbroken = True
            return None
        if self._said is None or not self._is_same(self._said, item, at):
            self._said = None
            return None
        return self._energy(self._said, item, clock)

    def interrupt(self) -> None:
        """The line was interrupted: from now on the meter must identify itself."""
        self._unbroken = False

    def forget(self) -> None:
        """Begin anew."""
        self._said = None

    def _is_same(self, said: _Said, item: ItemP, at: float) -> bool:
        """Whether the reading is of the meter that said it, told by the same clock."""
        reading = item.reading
        pairs = ((said.identity, reading.identity), (said.title, _title(reading)))
        known = [(before, now) for before, now in pairs if before is not None and now is not None]
        if any(before != now for before, now in known) or said.kind != _kind(reading):
            return False
        self._unbroken = self._unbroken or bool(known)
        return self._unbroken and not _was_set(said, item, at)

    def _energy(self, said: _Said, item: ItemP, clock: Literal["meter", "gateway"]) -> Energy | None:
        times = said.times.get(clock)
        if times is None or item.t is None:
            return None
        age = item.t - times[1]
        if age > LIMIT:
            self._said = None
        return Energy(*said.energy, times[1], clock) if timedelta() <= age <= LIMIT else None


def _clock(item: ItemP) -> Literal["meter", "gateway"] | None:
    """Whose clock `t` is of; None where the meter has one that is not believed."""
    if item.t_source == "meter":
        return "meter"
    doubted = item.reading.t is not None or "clock_invalid" in item.reading.flags
    return None if doubted else "gateway"


def _has_energy(reading: Reading) -> bool:
    """Whether there is an energy register at all, also one of which item P makes nothing."""
    if reading.a_import_wh is not None or reading.a_export_wh is not None:
        return True
    return any(code.partition(":")[2].startswith(_ENERGY) for code, *_ in reading.registers)


def _said(item: ItemP, at: float) -> _Said | None:
    reading = item.reading
    if (reading.a_import_wh is None and reading.a_export_wh is None) or item.t_rx is None:
        return None
    lag = max(timedelta(), reading.t - reading.reg_t) if reading.t and reading.reg_t else timedelta()
    times = {"gateway": (item.t_rx, item.t_rx - lag)}
    if item.t_source == "meter" and item.t is not None:
        times["meter"] = (item.t, item.t - lag)
    return _Said(
        energy=(reading.a_import_wh, reading.a_export_wh),
        times=times,
        monotonic=at,
        kind=_kind(reading),
        identity=reading.identity,
        title=_title(reading),
    )


def _kind(reading: Reading) -> tuple[str, str, str]:
    """What two readings must have in common: nothing becomes more authentic or better by being carried."""
    return reading.profile, reading.auth, reading.quality


def _title(reading: Reading) -> str | None:
    """The system title under which a ciphered reading came."""
    identity = None if reading.seen is None else reading.seen.identity
    return None if identity is None else identity.system_title


def _was_set(said: _Said, item: ItemP, at: float) -> bool:
    """Whether one of the clocks leapt since, seen against the monotonic one."""
    now = {"meter": item.t if item.t_source == "meter" else None, "gateway": item.t_rx}
    passed = [t - then for clock, (then, _) in said.times.items() if (t := now[clock]) is not None]
    return any(abs(time.total_seconds() - (at - said.monotonic)) > CLOCK_STEP_S for time in passed)
