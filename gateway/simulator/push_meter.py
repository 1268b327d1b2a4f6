"""A simulated push meter: the same household and registers, told in lists or in an encrypted P1 telegram.

Its invocation counter rises by one with every push and never goes back, across restarts too: it starts from the time,
at one for every second since the meter was installed, and no push meter is quicker than that.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from gateway.simulator import apdu, axdr, hdlc, lists, mbus, p1, sub_meters
from gateway.simulator.clock import wall
from gateway.simulator.faults import Faults, Request
from gateway.simulator.keys import MeterKeys, generate
from gateway.simulator.mbus_meter import MBUS, MbusMeter
from gateway.simulator.meter import Meter, utc
from gateway.simulator.pushes import PUSHES, PushVariant
from gateway.simulator.registers import INSTALLED
from gateway.simulator.sml_meter import SML, SmlMeter
from gateway.simulator.text_meter import TEXTS, TextMeter

#: counters below were used before the meter was installed; a counter that goes back goes there
FIRST_COUNTER = 1_000_000
#: no meter has a number with these octets in its system title
_TEST_TITLE = bytes.fromhex("face")
_TITLE = 8


class Change(NamedTuple):
    """What a fault changes before a push is ciphered; None leaves it."""

    counter: int | None = None
    title: bytes | None = None
    control: int | None = None
    spoil_tag: bool = False


_AS_IT_IS = Change()


class PushMeter(Meter):
    """A meter whose pushes are numbered from 0 at `start`, one each interval."""

    variant: PushVariant

    def __init__(
        self,
        seed: int = 1,
        variant: str = "at-kaifa",
        start: datetime | None = None,
        *,
        keys: MeterKeys | None = None,
        interval_s: float | None = None,
    ) -> None:
        """Without `keys` it has random ones that nobody knows. Raises ValueError as `Meter` does."""
        if variant not in PUSHES:
            raise ValueError(f"no simulated push meter is called {variant!r}: choose one of {', '.join(PUSHES)}")
        super().__init__(seed, PUSHES[variant], start)
        self.keys = keys or generate(self.variant.envelope.public_authentication)
        self._begin = datetime.fromtimestamp(self.start, UTC) if start is None else start
        self._interval = timedelta(seconds=interval_s or self.variant.interval_s)

    @property
    def system_title(self) -> bytes:
        """Manufacturer, and a number that no meter has: eight octets."""
        title = self.variant.envelope.manufacturer + _TEST_TITLE
        return title + (self.seed % (1 << 24)).to_bytes(_TITLE - len(title), "big")

    @property
    def interval_ms(self) -> int:
        """From one push to the next."""
        return self._interval // timedelta(milliseconds=1)

    def faults(self, requests: tuple[Request, ...]) -> Faults:
        """What spoils its pushes."""
        from gateway.simulator.push_faults import PushFaults

        return PushFaults(requests, self)

    def number_at(self, t: datetime) -> int:
        """How many pushes there were before the one at `t`."""
        return (t - self._begin) // self._interval

    def time_of(self, number: int) -> datetime:
        """When a push is due."""
        return self._begin + number * self._interval

    def counter_at(self, t: datetime) -> int:
        """The invocation counter of the push at `t`."""
        return FIRST_COUNTER + max(0, self.start - INSTALLED) + self.number_at(t)

    def telegram_at(self, t: datetime) -> bytes:
        """The push at `t` as on the wire, all its frames."""
        return b"".join(self.frames_at(t))

    def frames_at(self, t: datetime, change: Change = _AS_IT_IS) -> list[bytes]:
        """The frames of the push at `t`."""
        envelope = self.variant.envelope
        message = self._message(t, change)
        if envelope.link == "bare":
            return [message]
        if envelope.link == "mbus":
            return mbus.segments(message, envelope.size)
        address = hdlc.Address.parse(envelope.address)
        if not envelope.in_blocks:
            return hdlc.segments(address, message, envelope.size or len(hdlc.LLC) + len(message))
        pieces = apdu.blocks(message, envelope.size, envelope.first_size - len(hdlc.LLC))
        pieces[0] = hdlc.LLC + pieces[0]
        return [hdlc.frame(address, piece) for piece in pieces]

    def truth_at(self, t: datetime) -> dict[str, Any]:
        """What a reader must find in the push at `t`: what its list has of item P, and the time if it has one."""
        if not self.variant.lists:
            return super().truth_at(t)
        list_ = self._list_at(t)
        return lists.item_p(list_, self.state_at(t)) | self._time_truth(list_, self.state_at(t).t)

    def security_at(self, t: datetime) -> dict[str, Any]:
        """What a truth line says beside item P: how sure it can be, and whose counter stands where."""
        control = self.variant.envelope.control
        if control is None:
            return {"auth": "plain"}
        auth = "verified" if self.variant.authenticates else "unverified"
        return {"auth": auth, "counter": self.counter_at(t), "system_title": self.system_title.hex().upper()}

    def _message(self, t: datetime, change: Change) -> bytes:
        """The APDU of the push, ciphered where the meter does that."""
        plain, control = self._plain(t), self.variant.envelope.control
        if control is None:
            return plain
        seal = apdu.Seal(
            change.title or self.system_title,
            control if change.control is None else change.control,
            self.counter_at(t) if change.counter is None else change.counter,
        )
        return apdu.cipher(plain, seal, self.keys, spoil_tag=change.spoil_tag)

    def _plain(self, t: datetime) -> bytes:
        state, envelope = self.state_at(t), self.variant.envelope
        if not self.variant.lists:
            return p1.telegram(state, self.variant)
        list_ = self._list_at(t)
        clock = axdr.date_time(wall(state.t, self._clock), self.variant.time)
        invoke_id = envelope.invoke_id | (self.counter_at(t) & 0xFFFFFF if envelope.invoke_counts else 0)
        header = {"plain": axdr.length(len(clock)) + clock, "tagged": axdr.string("octets", clock), "none": bytes(1)}
        return apdu.notification(invoke_id, header[list_.header], lists.body(list_, state, clock))

    def _list_at(self, t: datetime) -> lists.PushList:
        """The rarest list that is due."""
        now = int(t.timestamp() * 1000)
        return next(list_ for list_ in self.variant.lists if list_.is_due(now, self.interval_ms))

    def _time_truth(self, list_: lists.PushList, second: int) -> dict[str, Any]:
        """The time as item P shows it; a clock without deviation says nothing certain in the hour that comes twice."""
        if list_.header == "none" and not any(row.kind == "clock" for row in lists.parse(list_.rows)):
            return {}
        local = wall(second, self._clock)
        if self.variant.time.deviation != "said" and _comes_twice(local):
            return {"t_meter": local.replace(tzinfo=None).isoformat()}
        return {"t": utc(second), "t_meter": local.isoformat()}


def simulated(  # noqa: PLR0913 - options by name
    seed: int,
    variant: str,
    start: datetime | None,
    *,
    keys: MeterKeys | None = None,
    interval_s: float | None = None,
    sub_changes: Sequence[sub_meters.Change] = (),
) -> Meter:
    """The simulated meter of that name, whatever kind it is; raises ValueError."""
    if sub_changes and variant in {*PUSHES, *MBUS, *SML, *TEXTS}:
        raise ValueError(f"{variant} has no sub-meter: leave out its changes")
    if variant in PUSHES:
        return PushMeter(seed, variant, start, keys=keys, interval_s=interval_s)
    if variant in MBUS:
        return MbusMeter(seed, variant, start)
    if variant in SML:
        return SmlMeter(seed, variant, start)
    if variant in TEXTS:
        return TextMeter(seed, variant, start)
    return Meter(seed, variant, start, sub_changes=sub_changes, interval_s=interval_s)


def _comes_twice(local: datetime) -> bool:
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
