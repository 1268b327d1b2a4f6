"""Registers beyond item P: what adds up, what is cut and what is left out."""

import pytest

from gateway.sinks.electric import Exact, cut, electric, nearest, powers


@pytest.fixture
def read(make_item):
    def read(*registers, **fields):
        return make_item(registers=registers, **fields).reading

    return read


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [((1999, -3), 0, 1), ((-1999, -3), 0, -1), ((5, 3), 0, 5000), ((2314, -1), 1, 2314), ((0, -9), 3, 0)],
)
def test_cut_goes_toward_zero(value, decimals, expected):
    assert cut(Exact(*value), decimals) == expected


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [((149, -2), 0, 1), ((15, -1), 0, 2), ((-15, -1), 0, -2), ((23149, -2), 1, 2315), ((23144, -2), 1, 2314)],
)
def test_nearest_goes_half_away_from_zero(value, decimals, expected):
    assert nearest(Exact(*value), decimals) == expected


def test_tariffs_that_add_up_are_tariffs(read):
    reading = read(("1-0:1.8.1", 1_000, -3, "kWh"), ("1-0:1.8.2", 2_000, -3, "kWh"), a_import_wh=3_000)
    assert electric(reading).a_import == {1: 1_000, 2: 2_000}


def test_each_cut_tariff_may_lack_less_than_one(read):
    reading = read(("1-0:1.8.1", 10_009, -1, "Wh"), ("1-0:1.8.2", 20_009, -1, "Wh"), a_import_wh=3_001)
    assert electric(reading).a_import == {1: 1_000, 2: 2_000}


@pytest.mark.parametrize("total", [None, 2_999, 3_002, 100_000])
def test_tariffs_that_do_not_add_up_are_none(read, total):
    reading = read(("1-0:1.8.1", 1_000, -3, "kWh"), ("1-0:1.8.2", 2_000, -3, "kWh"), a_import_wh=total)
    assert electric(reading).a_import == {}


def test_a_register_that_stands_twice_is_none(read):
    reading = read(("1-0:32.7.0", 2_300, -1, "V"), ("1-0:32.7.0", 0, -1, "V"), ("0-0:96.14.0", 2, 0, ""))
    assert electric(reading).phases[0].voltage is None
    assert electric(reading).tariff == 2


@pytest.mark.parametrize("register", [(-1, 0, ""), (1, -1, ""), (1, 0, "s")])
def test_what_is_no_count_is_none(read, register):
    assert electric(read(("0-0:96.7.21", *register))).counts == {}


def test_a_signed_phase_has_both_directions(read):
    phase = electric(read(("1-0:21.7.0", -250, 0, "W"))).phases[0]
    assert (phase.p_import_w, phase.p_export_w, phase.net_w) == (0, 250, -250)


def test_a_phase_with_one_direction_has_no_net(read):
    assert electric(read(("1-0:21.7.0", 250, 0, "W"))).phases[0].net_w is None


def test_a_unit_of_another_quantity_is_none(read):
    assert electric(read(("1-0:32.7.0", 2_300, -1, "A"))).phases[0].voltage is None


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((500, 0, 500), (500, 0)),
        ((500, None, None), (500, None)),
        ((None, 500, None), (None, 500)),
        ((500, None, 500), (500, 0)),
        ((None, 500, -500), (0, 500)),
        ((None, None, None), (None, None)),
    ],
)
def test_the_other_direction_is_0_only_where_the_net_is_known(make_item, known, expected):
    fields = dict(zip(("p_import_w", "p_export_w", "p_net_w"), known, strict=True))
    assert powers(make_item(**fields).reading) == expected
