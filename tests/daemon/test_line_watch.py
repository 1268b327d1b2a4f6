"""What a line shows over time: windows, ages, silence and the one reopening in a minute."""

import pytest

from gateway.line_state import judge
from gateway.line_watch import LineWatch
from gateway.sources import PortEvent

TELEGRAM = b"x" * 880


@pytest.fixture
def watch() -> LineWatch:
    watch = LineWatch(enabled=True, line="115200 8N1", interval_s=1)
    watch.take_event(PortEvent("open", "open", 1000.0))
    return watch


def telegram(watch: LineWatch, at: float) -> None:
    watch.take_octets(TELEGRAM, at, 1)
    watch.take_whole_frame(at)
    watch.take_reading(at, 1)


def state(watch: LineWatch, now: float) -> str:
    return judge(watch.facts(now, ())).state


def test_before_the_first_try_nothing_is_claimed():
    watch = LineWatch(enabled=True, line="115200 8N1", interval_s=10)
    assert watch.untried
    assert judge(watch.facts(5.0, ())).evidence == "opening the port"
    watch.take_event(PortEvent("no_port", "not there", 6.0))
    assert not watch.untried
    assert state(watch, 6.0) == "no_port"


def test_a_good_line_goes_stale_just_before_its_value_expires(watch):
    for second in range(10):
        telegram(watch, 1000.0 + second)
        assert state(watch, 1000.0 + second) == "ok"
    assert watch.deadline(1009.0) == pytest.approx(1009 + 2.85)
    assert state(watch, 1011.8) == "ok"
    assert state(watch, 1011.9) == "stale"


def test_silence_is_reopened_once_a_minute_and_then_named(watch):
    telegram(watch, 1001.0)
    assert not watch.wants_reopen(1003.9)
    assert watch.wants_reopen(1004.0)
    watch.take_event(PortEvent("closed", "closed to be opened again", 1004.0))
    assert state(watch, 1004.5) == "stale"
    watch.take_event(PortEvent("open", "open", 1005.0))
    assert state(watch, 1006.0) == "stale"
    assert state(watch, 1008.0) == "no_bytes"
    reopened = []
    for tenth in range(10_060, 13_000):
        now = tenth / 10
        if watch.wants_reopen(now):
            reopened.append(now)
            watch.take_event(PortEvent("closed", "", now))
            watch.take_event(PortEvent("open", "", now + 0.05))
        if now > 1010:
            assert state(watch, now) == "no_bytes", "reopening in vain must not hide the silence"
    assert reopened == [1064.0, 1124.0, 1184.0, 1244.0]
    assert "no byte for 295 s" in judge(watch.facts(1300.0, ())).evidence


def test_a_replugged_port_starts_afresh(watch):
    assert watch.wants_reopen(1010.0)
    watch.take_event(PortEvent("closed", "", 1010.0))
    watch.take_event(PortEvent("no_port", "gone", 1011.0))
    watch.take_event(PortEvent("open", "", 1500.0))
    assert state(watch, 1501.0) == "stale"


def test_a_closed_port_is_not_reopened(watch):
    watch.take_event(PortEvent("no_port", "gone", 1001.0))
    assert not watch.wants_reopen(2000.0)


def test_wrong_parity_is_named_with_its_share(watch):
    text = b"1-0:1.8.1(001234.567*kWh)\r\n"
    with_parity = bytes(c | (c.bit_count() % 2) << 7 for c in text)
    for tenth in range(100):
        watch.take_octets(with_parity, 1000.0 + tenth / 10, 0)
    judged = judge(watch.facts(1010.0, ()))
    assert judged.state == "no_frame"
    assert judged.evidence.startswith("2 700 bytes in 10 s, none of them begins a telegram; ")
    assert "try framing 7E1" in judged.evidence


def test_wrong_parity_after_good_times_is_named_within_30_s(watch):
    for second in range(60):
        telegram(watch, 1000.0 + second)
    named = None
    for tenth in range(10, 400):
        now = 1059.0 + tenth / 10
        watch.take_octets(b"\xaf\xc9\xd3\x0d", now, 0)
        if named is None and state(watch, now) == "no_frame":
            named = now - 1059.0
    assert named is not None
    assert named < 30
    evidence = judge(watch.facts(1099.0, ())).evidence
    assert "75 % have the top bit set" in evidence, "octets that were read as good do not count"


@pytest.mark.parametrize("interval_s", [1, 5, 10])
def test_wrong_line_parameters_are_named_within_30_s_of_opening(interval_s):
    watch = LineWatch(enabled=True, line="115200 8N1", interval_s=interval_s)
    watch.take_event(PortEvent("open", "", 0.0))
    named = None
    for half in range(1, 62):
        now = half / 2
        if now % interval_s == 0:
            watch.take_octets(b"\xff\x80\x00" * 300, now, 0)
        if named is None and state(watch, now) == "no_frame":
            named = now
    assert named is not None
    assert named <= 30


def test_windows_forget(watch):
    for second in range(20):
        watch.take_octets(TELEGRAM, 1000.0 + second, 1)
        watch.take_fault("link.checksum")
    facts = watch.facts(1019.0, ())
    assert facts.window.faults == {"link.checksum": 20}
    assert judge(facts).state == "bad_checksum"
    for second in range(20, 80):
        telegram(watch, 1000.0 + second)
    facts = watch.facts(1080.0, ())
    assert facts.window.faults == {}
    assert 30 <= facts.window.seconds <= 36
    assert facts.window.octets == pytest.approx(880 * facts.window.seconds, abs=1_800)


def test_memory_is_bounded(watch):
    for i in range(100_000):
        watch.take_octets(b"\x00", 1000.0 + i / 100, 0)
    assert len(watch._samples) <= 8


def test_validity_follows_the_interval_of_the_meter(watch):
    assert watch.valid_for_s == 3
    watch.take_reading(1001.0, 10)
    assert watch.valid_for_s == 30
    watch.take_reading(1002.0, 600)
    assert watch.valid_for_s == 900
