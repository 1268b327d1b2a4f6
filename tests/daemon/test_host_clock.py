"""A host that does not know the time stamps nothing, and what waited gets its time when the clock is set."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.host_clock import ALONE_S, DRIFTED, MADE, Drift, HostClock, is_synchronised

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
BOOT = datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC)


class Host:
    """Two clocks that a test turns, and what the kernel says of them."""

    def __init__(self, shown=NOW, *, synchronised=False):
        self.mono, self.offset = 100.0, shown.timestamp() - 100.0
        self.synchronised = synchronised
        self.clock = HostClock(
            wall=lambda: self.mono + self.offset,
            monotonic=lambda: self.mono,
            synchronised=lambda: self.synchronised,
        )

    def set(self, shown):
        self.offset = shown.timestamp() - self.mono

    def run(self, seconds):
        self.mono += seconds
        return self.clock.look()


def test_a_clock_that_looks_right_is_believed():
    host = Host()
    assert host.clock.believed
    assert host.run(1) == 0.0
    assert host.clock.time_of(NOW, 3.0) == NOW


def test_a_host_that_boots_in_1970_waits_for_its_clock():
    host = Host(BOOT, synchronised=True)
    assert not host.clock.believed, "whatever the kernel says"
    assert host.clock.time_of(BOOT, host.mono) is None
    host.run(30)
    assert not host.clock.believed
    host.set(NOW)
    assert host.run(0) == pytest.approx((NOW - BOOT).total_seconds() - 30)
    assert host.clock.believed
    assert host.clock.time_of(BOOT, host.mono - 25) == NOW - timedelta(seconds=25), "what waited gets its time"
    host.run(5)
    assert host.clock.time_of(NOW + timedelta(seconds=5), host.mono) == NOW + timedelta(seconds=5)


def test_a_clock_earlier_than_what_is_stored_is_not_believed():
    """A clock that goes on from where it was saved (fake-hwclock): behind by as long as the host was off."""
    host = Host(NOW)
    host.clock.raise_floor(NOW + timedelta(seconds=20))
    assert not host.clock.believed
    host.run(60)
    assert not host.clock.believed, "it ran past by itself, and is as wrong as before"
    host.set(NOW + timedelta(hours=3))
    host.run(1)
    assert host.clock.believed


def test_the_kernel_outweighs_what_is_stored():
    """A reading that was stored while the clock was ahead does not stop the next ten years."""
    host = Host(NOW, synchronised=True)
    host.clock.raise_floor(datetime(2035, 1, 1, tzinfo=UTC))
    assert host.clock.believed
    host = Host(NOW)
    host.clock.raise_floor(datetime(2035, 1, 1, tzinfo=UTC))
    assert not host.clock.believed
    host.synchronised = True
    host.run(1)
    assert host.clock.believed


def test_a_clock_that_nobody_sets_is_believed_in_the_end():
    host = Host(NOW)
    host.clock.raise_floor(NOW + timedelta(seconds=20))
    host.run(ALONE_S)
    assert host.clock.believed


@pytest.mark.parametrize("step", [3_600, -3_600, 5, -5])
def test_a_step_is_told_once_and_changes_no_belief(step):
    host = Host()
    host.run(10)
    host.offset += step
    assert host.run(1) == pytest.approx(step)
    assert host.run(1) == 0.0
    assert host.clock.believed
    host.offset += 0.5
    assert host.run(1) == 0.0, "that is slewing"


def test_the_floor_is_before_every_version():
    assert MADE < NOW
    assert isinstance(is_synchronised(), bool)


def test_drift_is_told_when_it_changed_for_good():
    drift = Drift()
    assert [drift.take(offset) for offset in (0.4, 0.5, None, 12.0, 0.4, 11.0, 12.0)] == [None] * 7
    assert drift.take(13.0) == (None, 13.0)
    assert [drift.take(offset) for offset in (5.0, 20.0, 13.0)] == [None] * 3
    found = [drift.take(-170.0) for _ in range(DRIFTED)]
    assert found == [None] * (DRIFTED - 1) + [(13.0, -170.0)]
