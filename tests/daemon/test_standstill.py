"""Octets are no news after a standstill, until the line paused."""

import pytest

from gateway.standstill import DRAINED_S, DRAINING_S, STOOD_STILL_S, Standstill


@pytest.fixture
def late():
    """At 100 s the process had not looked for longer than it may."""
    one = Standstill("main")
    one.look(100 - STOOD_STILL_S - 0.1)
    one.look(100.0)
    assert one.late == 100.0
    return one


@pytest.mark.parametrize(("stood_s", "doubted"), [(1.0, False), (STOOD_STILL_S, False), (STOOD_STILL_S + 0.01, True)])
def test_only_a_long_standstill_is_doubted(stood_s, doubted):
    one = Standstill("main")
    one.look(100.0)
    one.octets(100.0 + stood_s, None)
    assert (one.late is not None) == doubted


def test_octets_are_news_before_the_first_look():
    one = Standstill("main")
    one.octets(100.0, None)
    assert one.late is None


@pytest.mark.parametrize(("paused_s", "doubted"), [(DRAINED_S - 0.01, True), (DRAINED_S + 0.01, False)])
def test_a_pause_ends_the_doubt(late, paused_s, doubted):
    late.octets(101.0 + paused_s, 101.0)
    assert (late.late is not None) == doubted


def test_a_pause_before_the_standstill_says_nothing(late):
    late.octets(100.1, 50.0)
    assert late.late is not None


def test_a_line_without_a_pause_is_believed_again_in_the_end(late):
    for tenths in range(1, 10 * int(DRAINING_S)):
        late.look(100 + tenths / 10)
        late.octets(100 + tenths / 10, None)
        assert late.late is not None
        assert late.deaf(100 + tenths / 10)
    late.octets(100 + DRAINING_S, None)
    assert late.late is None
    assert not late.deaf(100 + DRAINING_S)
