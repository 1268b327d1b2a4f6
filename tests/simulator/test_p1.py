"""Telegrams against oracles that share nothing with them: dsmr-parser reads each, fastcrc agrees on the CRC."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import fastcrc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator import p1
from gateway.simulator.meter import Meter
from gateway.simulator.registers import Peak
from gateway.simulator.variants import VARIANTS

START = datetime(2026, 6, 20, 9, 17, 5, tzinfo=UTC)
every_variant = pytest.mark.parametrize("variant", list(VARIANTS))
with_checksum = pytest.mark.parametrize("variant", [v.name for v in VARIANTS.values() if v.checksum])


def value(telegram, code):
    return re.search(rf"^{re.escape(code)}\((.*)\)\r$", telegram.decode(), re.MULTILINE)[1]


@every_variant
def test_dsmr_parser_reads_item_p_and_gas_as_they_are(variant, oracle):
    meter = Meter(3, variant, START)
    for hours in range(0, 24 * 20, 5):
        t = START + timedelta(hours=hours, seconds=hours)
        truth, telegram = meter.truth_at(t), meter.telegram_at(t)
        assert oracle.item_p(telegram, variant).items() <= truth.items()
        gas = oracle.gas(oracle.parse(telegram, variant), variant)
        assert (gas is None) == ("sub" not in truth)
        if gas:
            assert gas[0] == datetime.fromisoformat(truth["sub"][0]["t"])
            assert gas[1] == Decimal(truth["sub"][0]["quantity"])


@pytest.mark.parametrize("variant", ["dsmr5", "emucs", "dsmr42"])
def test_dsmr_parser_reads_the_time_on_both_sides_of_both_changes(variant, oracle):
    for change in (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)):
        meter = Meter(3, variant, change - timedelta(hours=2))
        for minutes in range(-120, 121, 7):
            t = change + timedelta(minutes=minutes)
            assert oracle.parse(meter.telegram_at(t), variant).P1_MESSAGE_TIMESTAMP.value == t


def test_two_o_clock_comes_twice_in_october_and_never_in_march():
    meter = Meter(1, "dsmr5", datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC))

    def time_at(*utc):
        return value(meter.telegram_at(datetime(2026, *utc, tzinfo=UTC)), "0-0:1.0.0")

    assert time_at(3, 29, 0, 59, 59) == "260329015959W"
    assert time_at(3, 29, 1, 0, 0) == "260329030000S"
    assert time_at(10, 25, 0, 0, 0) == "261025020000S"
    assert time_at(10, 25, 0, 59, 59) == "261025025959S"
    assert time_at(10, 25, 1, 0, 0) == "261025020000W"
    assert time_at(10, 25, 1, 59, 59) == "261025025959W"
    assert time_at(10, 25, 2, 0, 0) == "261025030000W"


def test_a_swedish_meter_stays_on_standard_time():
    telegram = Meter(1, "se-efs2", START).telegram_at(START)
    assert value(telegram, "0-0:1.0.0") == "260620101705W"


@with_checksum
def test_the_checksum_is_crc_16_arc(variant, oracle):
    meter = Meter(9, variant, START)
    for second in range(0, 400, 7):
        telegram = meter.telegram_at(START + timedelta(seconds=second))
        body, digits = telegram[: telegram.rindex(b"!") + 1], telegram[telegram.rindex(b"!") + 1 :]
        assert digits == b"%04X\r\n" % fastcrc.crc16.arc(body) == b"%04X\r\n" % oracle.crc16(body.decode())


@given(octets=st.binary(max_size=300))
def test_the_crc_of_any_octets(octets):
    assert p1.crc16(octets) == fastcrc.crc16.arc(octets)


def test_the_crc_of_the_catalogue():
    assert p1.crc16(b"123456789") == 0xBB3D


@every_variant
def test_lines_end_as_on_the_wire_and_are_ascii(variant):
    telegram = Meter(1, variant, START).telegram_at(START)
    assert telegram.startswith(b"/")
    assert telegram.endswith(b"\r\n")
    assert telegram.count(b"\r\n") == telegram.count(b"\n") == telegram.count(b"\r")
    assert telegram.isascii()
    assert telegram.count(b"/") == telegram.count(b"!") == 1
    assert b"{" not in telegram


@pytest.mark.parametrize(
    ("variant", "code"), [("dsmr5", "0-0:96.1.1"), ("emucs", "0-1:96.1.1"), ("dsmr22", "0-1:96.1.0")]
)
def test_serial_numbers_are_plainly_simulated(variant, code):
    text = bytes.fromhex(value(Meter(42, variant, START).telegram_at(START), code)).decode()
    assert text.startswith("SIM")
    assert text.endswith("42")
    assert len(text) == 17


def test_tariffs_are_numbered_the_dutch_and_the_belgian_way():
    noon, night = START, START.replace(hour=22)  # a Saturday: low all day
    weekday = START + timedelta(days=2)
    for t, dutch in ((noon, "0001"), (night, "0001"), (weekday, "0002")):
        netherlands, belgium = (Meter(1, variant, START).telegram_at(t) for variant in ("dsmr5", "emucs"))
        assert value(netherlands, "0-0:96.14.0") == dutch
        assert value(belgium, "0-0:96.14.0") == {"0001": "0002", "0002": "0001"}[dutch]
        assert value(netherlands, "1-0:1.8.1") == value(belgium, "1-0:1.8.2")
        assert value(netherlands, "1-0:2.8.2") == value(belgium, "1-0:2.8.1")


@pytest.mark.parametrize("variant", ["dsmr5", "emucs", "se-efs2"])
def test_each_phase_is_on_its_own_line(variant, oracle):
    meter = Meter(3, variant, START)
    for minutes in range(0, 1440, 97):
        t = START + timedelta(minutes=minutes)
        state, parsed = meter.state_at(t), oracle.parse(meter.telegram_at(t), variant)
        for phase in ("l1", "l2", "l3"):
            read = lambda name: int(getattr(parsed, f"INSTANTANEOUS_{name}").value * 1000)  # noqa: B023, E731
            assert read(f"ACTIVE_POWER_{phase.upper()}_POSITIVE") == getattr(state.p_import_by, phase)
            assert read(f"ACTIVE_POWER_{phase.upper()}_NEGATIVE") == getattr(state.p_export_by, phase)
            assert read(f"VOLTAGE_{phase.upper()}") == getattr(state.voltage, phase)
            ampere = getattr(state.current, phase)
            assert ampere - 1000 < read(f"CURRENT_{phase.upper()}") <= ampere


def test_phases_voltages_and_currents_fit_the_power():
    meter = Meter(3, "emucs", START)
    for minutes in range(0, 2880, 11):
        telegram = meter.telegram_at(START + timedelta(minutes=minutes))
        read = lambda code: Decimal(value(telegram, code).split("*")[0])  # noqa: B023, E731
        nets = [read(f"1-0:{p}1.7.0") - read(f"1-0:{p}2.7.0") for p in (2, 4, 6)]
        assert sum(nets) == read("1-0:1.7.0") - read("1-0:2.7.0")
        assert 0 in (read("1-0:1.7.0"), read("1-0:2.7.0"))
        for phase, net in zip((3, 5, 7), nets, strict=True):
            volts, amps = read(f"1-0:{phase}2.7.0"), read(f"1-0:{phase}1.7.0")
            assert 210 < volts < 250
            apparent = volts * amps
            assert apparent + 3 >= abs(net) * 1000
            assert apparent <= abs(net) * 1000 + 700  # with the reactive share of the load behind a roof


def test_demand_and_peaks_are_read_by_dsmr_parser(oracle):
    meter = Meter(3, "emucs", START)
    t = START + timedelta(days=100)
    state, parsed = meter.state_at(t), oracle.parse(meter.telegram_at(t), "emucs")
    assert int(parsed.BELGIUM_CURRENT_AVERAGE_DEMAND.value * 1000) == state.demand
    assert int(parsed.BELGIUM_MAXIMUM_DEMAND_MONTH.value * 1000) == state.peak.watts
    assert parsed.BELGIUM_MAXIMUM_DEMAND_MONTH.datetime.timestamp() == state.peak.t
    history = [
        Peak(int(row.datetime.timestamp()), int(row.occurred.timestamp()), int(row.value * 1000))
        for row in parsed.BELGIUM_MAXIMUM_DEMAND_13_MONTHS
    ]
    assert tuple(history) == state.peaks


def test_reactive_registers_are_read_by_dsmr_parser(oracle):
    meter = Meter(3, "se-efs2", START)
    state, parsed = meter.state_at(START), oracle.parse(meter.telegram_at(START), "se-efs2")
    assert int(parsed.ELECTRICITY_REACTIVE_IMPORTED_TOTAL.value * 1000) == state.r_import
    assert int(parsed.ELECTRICITY_REACTIVE_EXPORTED_TOTAL.value * 1000) == state.r_export
    net = parsed.INSTANTANEOUS_REACTIVE_POWER_L1_POSITIVE.value - parsed.INSTANTANEOUS_REACTIVE_POWER_L1_NEGATIVE.value
    assert int(net * 1000) == state.q_import_by.l1 - state.q_export_by.l1


@pytest.mark.parametrize(
    ("spec", "number", "text"),
    [
        ("6.3", 42_592_329, "042592.329"),
        ("6.3", 10**9 + 5, "000000.005"),
        ("4.2", 1999, "0001.99"),
        ("3.0", 2999, "002"),
        ("3.1", 230_499, "230.4"),
        ("5.3", 0, "00000.000"),
    ],
)
def test_numbers_are_cut_and_registers_begin_again(spec, number, text):
    assert p1._digits(spec)(number) == text
