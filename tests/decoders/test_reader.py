"""Telegram to item P: sums, units, signs and sub-meters, exact and never guessed."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.model import Fault, Reading, Result
from decoders.profile import Profile, load
from gateway import profiles
from tests.sizes import VALUES

Decode = Callable[..., list[Result]]
Write = Callable[..., bytes]
One = Callable[..., Reading]

TARIFFS = """a_import_tariffs = ["1-0:1.8.1", "1-0:1.8.2"]
a_export_tariffs = ["1-0:2.8.1", "1-0:2.8.2"]
power = "two registers\""""
PROFILE = f"""
name = "xx-test"
title = "A meter of the tests"
country = "XX"
operators = []
meters = ["none"]
interface = "p1"
link = "p1"
grammar = "p1"
checksum = "required"
interval_s = 10
min_auth = "plain"
sources = ["these tests"]
[line]
baud = 115200
framing = "8N1"
[match]
priority = 0
[clock]
object = "0-0:1.0.0"
zone = "Europe/Amsterdam"
[item_p]
p_import = "1-0:1.7.0"
p_export = "1-0:2.7.0"
a_import = "1-0:1.8.0"
a_export = "1-0:2.8.0"
{TARIFFS}
[[frame]]
file = "none"
provenance = "constructed"
source = "these tests"
licence = "MIT"
expect = {{}}
"""


def made(*changes: tuple[str, str]) -> list[Profile]:
    """The profile of these tests with some of its text replaced."""
    text = PROFILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return [load(text, "xx-test")]


@pytest.fixture
def results(decode: Decode, write: Write) -> Callable[..., Sequence[Result]]:
    """What a telegram of these lines gives, by the profile of these tests."""
    return lambda *lines, by, tz=None: decode(write(*lines), by=by, tz=tz)


@pytest.fixture
def one(results: Callable[..., Sequence[Result]]) -> One:
    def read(*lines: str, by: list[Profile] | None = None, tz: str | None = None) -> Reading:
        (result,) = results(*lines, by=by or made(), tz=tz)
        assert isinstance(result, Reading), result
        return result

    return read


@pytest.fixture
def fault(results: Callable[..., Sequence[Result]]) -> Callable[..., str]:
    def read(*lines: str, by: list[Profile] | None = None) -> str:
        (result,) = results(*lines, by=by or made())
        assert isinstance(result, Fault), result
        assert result.size > 0
        return f"{result.stage}/{result.code}"

    return read


@pytest.mark.parametrize(
    ("value", "watts"),
    [("00.100*kW", 100), ("0.1239*kW", 123), ("1.9999*W", 1), ("0.0009*kW", 0), ("2*MW", 2_000_000), ("0*kW", 0)],
)
def test_power_is_cut_to_whole_watts(value: str, watts: int, one: One) -> None:
    assert one(f"1-0:1.7.0({value})").p_import_w == watts


def test_absent_is_absent_and_zero_is_zero(one: One) -> None:
    reading = one("1-0:1.7.0(0.000*kW)")
    assert (reading.p_import_w, reading.p_export_w, reading.p_net_w) == (0, None, None)
    assert (reading.a_import_wh, reading.a_export_wh, reading.reg_t) == (None, None, None)


def test_both_directions_may_be_non_zero_at_once(one: One) -> None:
    reading = one("1-0:1.7.0(0.968*kW)", "1-0:2.7.0(0.060*kW)")
    assert (reading.p_import_w, reading.p_export_w, reading.p_net_w) == (968, 60, 908)


def test_a_total_counts_and_its_tariffs_do_not(one: One) -> None:
    tariffs = "1-0:1.8.1(1*kWh)", "1-0:1.8.2(2*kWh)"
    assert one("1-0:1.8.0(5*kWh)", *tariffs).a_import_wh == 5_000
    assert one(*tariffs).a_import_wh == 3_000


def test_tariffs_are_added_before_they_are_cut(one: One) -> None:
    assert one("1-0:1.8.1(0.0006*kWh)", "1-0:1.8.2(0.0006*kWh)").a_import_wh == 1


def test_further_tariffs_are_added(one: One) -> None:
    lines = [f"1-0:1.8.{tariff}({tariff}*kWh)" for tariff in (1, 2, 3, 4)]
    assert one(*lines).a_import_wh == 10_000


def test_incomplete_tariffs_are_no_total(one: One) -> None:
    assert one("1-0:1.7.0(1*kW)", "1-0:1.8.1(1*kWh)").a_import_wh is None
    assert one("1-0:1.7.0(1*kW)", "1-0:1.8.2(1*kWh)", "1-0:1.8.3(1*kWh)").a_import_wh is None


def test_a_tariff_that_is_no_number_makes_no_smaller_sum(one: One) -> None:
    assert one("1-0:1.7.0(1*kW)", "1-0:1.8.1(1*kWh)", "1-0:1.8.2(none)").a_import_wh is None


def test_registers_of_the_past_are_no_tariffs(one: One) -> None:
    assert one("1-0:1.8.1(1*kWh)", "1-0:1.8.2(2*kWh)", "1-0:98.1.0(1)(230101000000W)(9*kWh)").a_import_wh == 3_000


REGISTER = st.tuples(st.integers(0, 10**12), st.integers(0, 6), st.sampled_from(["Wh", "kWh", "MWh"]))
SCALE = {"Wh": 1, "kWh": 1_000, "MWh": 1_000_000}


@settings(max_examples=VALUES, deadline=None)
@given(registers=st.lists(REGISTER, min_size=2, max_size=6))
def test_sums_against_exact_fractions(registers: list[tuple[int, int, str]]) -> None:
    from decoders.grammars.p1 import P1Grammar
    from decoders.model import Frame
    from decoders.reader import Reader

    shown = [(f"{n:07d}", places, unit) for n, places, unit in registers]
    lines = [
        f"1-0:1.8.{i}({digits[:-places] if places else digits}.{digits[-places:] if places else ''}*{unit})"
        for i, (digits, places, unit) in enumerate(shown, 1)
    ]
    payload = "\r\n".join(["/TST5", "", *lines, ""]).encode()
    telegram = P1Grammar().parse(Frame(payload, "ok", len(payload)))
    exact = sum(Fraction(n, 10**places) * SCALE[unit] for n, places, unit in registers)
    reading = Reader(made()[0], None).read(telegram, auth="plain", size=1)
    assert reading.a_import_wh == math.trunc(exact)
    assert type(reading.a_import_wh) is int


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["1-0:1.7.0(1*kWh)"], "unit"),
        (["1-0:1.7.0(1*V)"], "unit"),
        (["1-0:1.7.0(1)"], "unit"),
        (["1-0:1.8.0(1*kW)"], "unit"),
        (["1-0:1.8.1(1*kWh)", "1-0:1.8.2(1*kvarh)"], "unit"),
        (["1-0:1.7.0(-1*kW)"], "negative"),
        (["1-0:1.8.0(-0.001*kWh)"], "negative"),
        (["1-0:1.8.1(5*kWh)", "1-0:1.8.2(-1*kWh)"], "negative"),
        (["1-0:1.7.0(1*kW)", "1-0:1.7.0(2*kW)"], "duplicate"),
        (["1-0:1.8.1(1*kWh)", "1-0:1.8.2(1*kWh)", "1-0:1.8.2(2*kWh)"], "duplicate"),
        (["0-0:1.0.0(231026204015S)"], "no_values"),
        ([], "no_values"),
    ],
)
def test_what_cannot_be_trusted_is_refused_whole(lines: list[str], code: str, fault: Callable[..., str]) -> None:
    good = ["1-0:2.7.0(1*kW)"] if code != "no_values" else []
    assert fault(*lines, *good) == f"profile/{code}"


def test_a_refused_telegram_leaves_no_trace(decode: Decode, write: Write) -> None:
    good, bad = write("1-0:1.7.0(1*kW)"), write("1-0:1.7.0(1*kWh)")
    found = decode(good, bad, good, by=made())
    assert [isinstance(result, Reading) for result in found] == [True, False, True]
    assert found[0] == found[2]


def test_a_register_that_is_no_item_p_may_occur_twice_or_be_negative(one: One) -> None:
    reading = one("1-0:1.7.0(1*kW)", "1-0:31.7.0(-1*A)", "1-0:31.7.0(2*A)")
    assert [integer for code, integer, _, _ in reading.registers if code == "1-0:31.7.0"] == [-1, 2]


def test_a_missing_unit_is_the_profiles_where_it_has_one(one: One, fault: Callable[..., str]) -> None:
    by = made(("[[frame]]", '[units]\n"1-0:1.7.0" = "kW"\n"1-0:1.8.1" = "kWh"\n[[frame]]'))
    assert one("1-0:1.7.0(0.5)", by=by).p_import_w == 500
    assert one("1-0:1.7.0(0.5*W)", by=by).p_import_w == 0  # what the meter says wins
    assert fault("1-0:1.8.1(1)", "1-0:1.8.2(1)", by=by) == "profile/unit"


def test_signed_power_goes_to_the_direction_of_its_sign(one: One) -> None:
    by = made((TARIFFS, 'power = "signed"'), ('p_export = "1-0:2.7.0"\n', ""))
    out = one("1-0:1.7.0(-00123.94*W)", by=by)
    assert (out.p_import_w, out.p_export_w, out.p_net_w) == (None, 123, -123)
    back = one("1-0:1.7.0(00123.94*W)", by=by)
    assert (back.p_import_w, back.p_export_w, back.p_net_w) == (123, None, 123)
    small = one("1-0:1.7.0(-0.94*W)", by=by)
    assert (small.p_import_w, small.p_export_w, small.p_net_w) == (0, None, 0)


def test_import_only_power_is_the_net_power(one: One) -> None:
    by = made((TARIFFS, 'power = "import only"'), ('p_export = "1-0:2.7.0"\n', ""))
    reading = one("1-0:1.7.0(123*W)", by=by)
    assert (reading.p_import_w, reading.p_export_w, reading.p_net_w) == (123, None, 123)


GAS = ["0-1:24.1.0(003)", "0-1:96.1.0(4730)", "0-1:24.2.1(231026204004S)(00004.381*m3)"]


def test_a_gas_meter(one: One) -> None:
    (sub,) = one("1-0:1.7.0(1*kW)", *GAS).sub
    assert (sub.channel, sub.medium, sub.device, sub.quality) == (1, "gas", "4730", "measured")
    assert (sub.integer, sub.exponent, sub.unit) == (4381, -3, "m3")
    assert sub.t is not None
    assert sub.t.isoformat() == "2023-10-26T18:40:04+00:00"
    assert sub.t_meter == "2023-10-26T20:40:04+02:00"


def test_an_invalid_time_makes_a_sub_reading_suspect_and_sinks_nothing(one: One) -> None:
    reading = one("1-0:1.7.0(1*kW)", *GAS[:2], "0-1:24.2.3(632525252525W)(00012.345*m3)")
    assert reading.p_import_w == 1_000
    (sub,) = reading.sub
    assert (sub.quality, sub.t, sub.t_meter, sub.integer) == ("suspect", None, None, 12_345)


@pytest.mark.parametrize(
    "lines",
    [
        [GAS[0], "0-1:24.2.3(632525252525W)(00012.345*m3)"],  # neither a time nor a device
        [*GAS[:2], "0-1:24.2.3(632525252525W)(00000.000)"],  # no unit
        [*GAS[:2], "0-1:24.2.3(632525252525W)()"],
        [*GAS[:2], "0-1:24.2.1(231026204004S)(none*m3)"],
        GAS[:2],
        [GAS[1], GAS[2]],  # no device type
        ["0-1:24.1.0(255)", *GAS[1:]],
        ["0-1:24.1.0(000)", *GAS[1:]],
    ],
)
def test_a_channel_that_does_not_say_what_it_measures_has_no_reading(lines: list[str], one: One) -> None:
    reading = one("1-0:1.7.0(1*kW)", *lines)
    assert (reading.p_import_w, reading.sub) == (1_000, ())


def test_two_gas_meters_and_an_exchange(decode: Decode, write: Write) -> None:
    other = [line.replace("0-1:", "0-2:").replace("4730", "4731").replace("00004.381", "09999.000") for line in GAS]
    new = [line.replace("4730", "4799").replace("00004.381", "00000.001") for line in GAS]
    found = decode(*(write("1-0:1.7.0(1*kW)", *lines) for lines in (GAS + other, new + other, GAS)), by=made())
    subs = [[(sub.channel, sub.device, sub.integer) for sub in reading.sub] for reading in found]  # type: ignore[union-attr]
    assert subs == [
        [(1, "4730", 4381), (2, "4731", 9_999_000)],
        [(1, "4799", 1), (2, "4731", 9_999_000)],
        [(1, "4730", 4381)],
    ]


def test_a_negative_sub_meter_is_suspect(one: One) -> None:
    (sub,) = one("1-0:1.7.0(1*kW)", *GAS[:2], "0-1:24.2.1(231026204004S)(-00004.381*m3)").sub
    assert (sub.integer, sub.quality) == (-4381, "suspect")


def test_sub_meters_alone_are_a_reading(one: One) -> None:
    reading = one(*GAS)
    assert (len(reading.sub), reading.p_import_w, reading.reg_t) == (1, None, None)


@pytest.mark.parametrize(
    ("lines", "identity"),
    [
        (["0-0:96.1.1(4530)", "0-0:96.1.0(9)"], "4530"),
        (["0-0:96.1.0(9)"], "9"),
        (["0-0:96.1.1()"], None),
        (["0-1:96.1.0(4730)"], None),
        ([], None),
    ],
)
def test_identity_is_the_meters_own(lines: list[str], identity: str | None, one: One) -> None:
    assert one("1-0:1.7.0(1*kW)", *lines).identity == identity


def test_the_register_with_a_time_of_its_own(one: One) -> None:
    reading = one("1-0:1.7.0(1*kW)", "1-0:1.6.0(211107121500W)(05.234*kW)")
    assert reading.register_times == ((1, "2021-11-07T12:15:00+01:00"),)


def test_every_shipped_profile_takes_only_what_it_names() -> None:
    """No profile takes power from an energy object or energy from a power object (IEC 62056-6-1: D = 7 and 8)."""
    for profile in map(profiles.load, profiles.names()):
        if profile.link == "teleinfo":  # its labels are no OBIS codes
            assert (profile.item_p.p_import, profile.item_p.p_export) == (None, None)
            continue
        map_ = profile.item_p
        assert all(code.split(".")[1] == "7" for code in (map_.p_import, map_.p_export) if code), profile.name
        energy = (map_.a_import, map_.a_export, *map_.a_import_tariffs, *map_.a_export_tariffs)
        assert all(code.split(".")[1] == "8" for code in energy if code), profile.name
