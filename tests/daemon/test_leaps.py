"""A register that falls or leaps is believed when three readings say so, and not before."""

import pytest

from decoders.model import Reading
from gateway.leaps import Leaps


@pytest.fixture
def reading():
    def make(a_import, a_export=None):
        return Reading(
            profile="nl-dsmr5", interface="p1", auth="plain", quality="measured", t=None, t_meter=None, p_import_w=1,
            p_export_w=None, p_net_w=None, a_import_wh=a_import, a_export_wh=a_export, reg_t=None, registers=(),
            register_times=(), sub=(), identity=None, interval_s=10, flags=(), size=80,
        )  # fmt: skip

    return make


def play(reading, *values, every_s=10.0):
    leaps = Leaps()
    said = []
    for n, value in enumerate(values):
        pair = value if isinstance(value, tuple) else (value, None)
        said.append(leaps.take(reading(*pair), 1_000 + every_s * n))
    return said, leaps


def test_what_rises_is_believed(reading):
    assert play(reading, 100, 100, 101, 350, (350, 0), (360, 5))[0] == ["believed"] * 6


@pytest.mark.parametrize("wrong", [0, 64_000_000, 99_999_999], ids=["zero", "lower", "higher"])
def test_one_wrong_register_is_held_and_the_next_right_one_believed(reading, wrong):
    said, leaps = play(reading, 65_000_000, wrong, 65_000_010)
    assert said == ["believed", "first_held", "believed"]
    assert leaps.doubts
    leaps.take(reading(65_000_010), 1_080)
    assert not leaps.doubts, "a minute later"


def test_a_register_that_wavers_is_told_once(reading):
    """A doubt that was told shows on, so that neither log nor state say it with each reading."""
    said, leaps = play(reading, 100, *(99, 101) * 20)
    assert said == ["believed", "first_held", "believed", *("held", "believed") * 19]
    assert leaps.doubts


def test_an_exchange_is_proven_by_three(reading):
    said, leaps = play(reading, (65_000_000, 700), (12, 0), (13, 0), (14, 0), (15, 0))
    assert said == ["believed", "first_held", "held", "proven", "believed"]
    assert not leaps.doubts


def test_an_exchange_is_proven_by_two_that_lie_apart(reading):
    """Hourly registers of Nordic meters: the second one is proof, and of damage that differs none is."""
    said, leaps = play(reading, 65_000_000, 12, 700, 1_500, every_s=3_600.0)
    assert said == ["believed", "first_held", "proven", "believed"]
    assert not leaps.doubts
    assert play(reading, 65_000_000, 12, 11, 65_000_500, every_s=3_600.0)[0][1:] == ["first_held", "held", "believed"]


def test_wrong_registers_that_differ_prove_nothing(reading):
    said, leaps = play(reading, 65_000_000, 30_000_000, 20_000_000, 10_000_000, 5_000_000)
    assert said == ["believed", "first_held", "held", "held", "held"]
    assert leaps.doubts


def test_one_register_that_falls_holds_both(reading):
    assert play(reading, (5_000, 9_000), (5_001, 1))[0] == ["believed", "first_held"]


def test_readings_without_energy_neither_prove_nor_doubt(reading):
    said, leaps = play(reading, 5_000, (None, None), 1, (None, None), 1, (None, None), 2)
    assert said == ["believed", "believed", "first_held", "believed", "held", "believed", "proven"]
    assert not leaps.doubts


def test_registers_that_come_in_turns_are_compared_with_their_own(reading):
    assert play(reading, (5_000, None), (None, 80), (5_001, None), (None, 79))[0][-1] == "first_held"


def test_a_rise_is_measured_by_the_time_that_passed(reading):
    assert play(reading, 0, 10_000_000, every_s=3_600.0)[0] == ["believed", "believed"]
    assert play(reading, 0, 10_000_000, every_s=1.0)[0] == ["believed", "first_held"]
