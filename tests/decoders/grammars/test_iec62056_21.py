"""Data sets: codes in every form, values with odd units or none, times, and what refuses a block."""

from collections.abc import Sequence
from datetime import datetime

import pytest

from decoders.errors import GrammarError
from decoders.grammars.iec62056_21 import MAX_SETS, Iec62056Grammar
from decoders.model import Checksum, Frame, MeterTime, Register, Telegram


def parse(*lines: str, checksum: Checksum = "absent", head: str = "/XYZ5METER") -> Telegram:
    payload = "\r\n".join([head, *lines, ""]).encode("latin-1")
    return Iec62056Grammar().parse(Frame(payload, checksum, len(payload)))


@pytest.mark.parametrize(
    ("line", "register"),
    [
        ("1.8.0(000285.4*kWh)", ("1-0:1.8.0", 2854, -1, "kWh")),
        ("1-0:1.8.0*255(000001.2963)", ("1-0:1.8.0", 12963, -4, "")),
        ("1-1:1.7.0(0.076*kW)", ("1-1:1.7.0", 76, -3, "kW")),
        ("1-0:1.8.0*01(5*kWh)", ("1-0:1.8.0*1", 5, 0, "kWh")),
        ("1.8.1&12(5*kWh)", ("1-0:1.8.1*12", 5, 0, "kWh")),
        ("1.8.1.3(5*kWh)", ("1-0:1.8.1*3", 5, 0, "kWh")),
        ("1.8.0*255(5*kWh)", ("1-0:1.8.0", 5, 0, "kWh")),
        ("C.8.1(024616.21*h)", ("0-0:96.8.1", 2461621, -2, "h")),
        ("1-0:41.7.0*255(+00026*W)", ("1-0:41.7.0", 26, 0, "W")),
        ("1-0:1.7.255*255(-000142.30*W)", ("1-0:1.7.255", -14230, -2, "W")),
        ("1.7.0( 12.5 *kW)", ("1-0:1.7.0", 125, -1, "kW")),
        ("1.7.0(12,5*kW)", ("1-0:1.7.0", 125, -1, "kW")),
        ("1.7.0(12.5 kW)", ("1-0:1.7.0", 125, -1, "kW")),
        ("1.7.0(12.5kW)", ("1-0:1.7.0", 125, -1, "kW")),
        ("5.8.0(1*kVArh)", ("1-0:5.8.0", 1, 0, "kvarh")),
        ("1.8.0(1.5*MWh)", ("1-0:1.8.0", 15, -1, "MWh")),
        ("81.7.0(082*Deg)", ("1-0:81.7.0", 82, 0, "Deg")),
        ("6.8(0029.055*MWh)", ("6.8", 29055, -3, "MWh")),
        ("6.8*01(0028.086*MWh)", ("6.8*01", 28086, -3, "MWh")),
        ("6.33(001.476*m3ph)", ("6.33", 1476, -3, "m3ph")),
    ],
)
def test_a_measured_value_is_a_register(line: str, register: Register) -> None:
    assert parse(line).registers == (register,)


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("F.F(00000000)", "0-0:97.97.0", "00000000"),
        ("C.1(1234567890123456)", "0-0:96.1.0", "1234567890123456"),
        ("0.0.0(1240007670003202)", "1-0:0.0.0", "1240007670003202"),
        ("0.2.0(V01.69#EEA3546C)", "1-0:0.2.0", "V01.69#EEA3546C"),
        ("C.5.0(L1-L2-L3)", "0-0:96.5.0", "L1-L2-L3"),
        ("1-0:96.5.5*255(82)", "1-0:96.5.5", "82"),
        ("1-0:96.50.0*6(003D38)", "1-0:96.50.0*6", "003D38"),
        ("F(0)", "F", "0"),
        ("9.21(00010213)", "9.21", "00010213"),
        ("9.6(000&00010213&0)", "9.6", "000&00010213&0"),
        ("1.8.3()", "1-0:1.8.3", ""),
        ("1.7.0(--.--*kW)", "1-0:1.7.0", "--.--*kW"),
        ("P.01(12)(34)", "0-0:99.1.0", "12)(34"),
    ],
)
def test_anything_else_is_a_text(line: str, code: str, text: str) -> None:
    telegram = parse(line)
    assert telegram.registers == ()
    assert telegram.texts == {code: text}


def test_an_electricity_meter_may_leave_out_e() -> None:
    """Landis+Gyr ZMF: `32.7` beside `1.8.0` is a voltage, and no other medium."""
    telegram = parse("0.0(  12345678)", "1.8.0(000012.345*kWh)", "32.7(241.1*V)", "31.7(0.45*A)")
    assert [register[0] for register in telegram.registers] == ["1-0:1.8.0", "1-0:32.7.0", "1-0:31.7.0"]
    assert telegram.texts == {"1-0:0.0.0": "  12345678"}


def test_tariffs_of_heat_are_no_electricity() -> None:
    telegram = parse("6.8(0029.055*MWh)6.26(01589.28*m3)6.8.1(0001.000*MWh)6.8.1*01(0002.000*MWh)")
    assert [register[0] for register in telegram.registers] == ["6.8", "6.26", "6.8.1", "6.8.1*01"]


def test_several_sets_stand_on_a_line_and_several_values_in_a_bracket() -> None:
    telegram = parse("6.8(0029.055*MWh)6.26(01589.28*m3)9.4(088*C&082*C)")
    assert telegram.registers == (
        ("6.8", 29055, -3, "MWh"), ("6.26", 158928, -2, "m3"), ("9.4", 88, 0, "C"), ("9.4", 82, 0, "C"),
    )  # fmt: skip


def test_a_maximum_has_its_time() -> None:
    telegram = parse("1.7.0(1*kW)", "1.6.0(02.468*kW)(1703100930)", "1.6.1(3*kW)(1250718083000)")
    assert [register[0] for register in telegram.registers] == ["1-0:1.7.0", "1-0:1.6.0", "1-0:1.6.1"]
    assert telegram.register_times == {
        1: MeterTime(datetime(2017, 3, 10, 9, 30)),  # noqa: DTZ001
        2: MeterTime(datetime(2025, 7, 18, 8, 30), summer=True),  # noqa: DTZ001
    }


@pytest.mark.parametrize(
    ("lines", "time"),
    [
        (("0.9.1(201455)", "0.9.2(170318)"), MeterTime(datetime(2017, 3, 18, 20, 14, 55))),  # noqa: DTZ001
        (("0.9.1(20:14:55)", "0.9.2(17-03-18)"), MeterTime(datetime(2017, 3, 18, 20, 14, 55))),  # noqa: DTZ001
        (("0.9.1(2014)", "0.9.2(170318)"), MeterTime(datetime(2017, 3, 18, 20, 14))),  # noqa: DTZ001
        (("0.9.1(201455)", "0.9.2(0170318)"), MeterTime(datetime(2017, 3, 18, 20, 14, 55), summer=False)),  # noqa: DTZ001
        (("0.9.1(201455)", "0.9.2(1170318)"), MeterTime(datetime(2017, 3, 18, 20, 14, 55), summer=True)),  # noqa: DTZ001
        (("0.9.1(201455)", "0.9.2(2170318)"), MeterTime(datetime(2017, 3, 18, 20, 14, 55), deviation=0)),  # noqa: DTZ001
        (("0-0:1.0.0(170318201455W)",), MeterTime(datetime(2017, 3, 18, 20, 14, 55), summer=False)),  # noqa: DTZ001
        (("0.9.1(000000)", "0.9.2(000000)"), None),
        (("0.9.1(201455)", "0.9.2(18.03.2017)"), None),
        (("0.9.1(201455)",), None),
    ],
)
def test_date_and_time_are_objects_of_their_own(lines: Sequence[str], time: MeterTime | None) -> None:
    telegram = parse("1.7.0(1*kW)", *lines)
    assert telegram.time == time
    assert (telegram.clock is None) == (len(lines) == 1 and time is None)


@pytest.mark.parametrize(
    "line", ["no data set", "1.7.0(1*kW", "1.7.0(1*kW)x", "x1.7.0(1*kW)", "1.7.0 1*kW", "300.1.1(1*kW)"]
)
def test_what_is_no_data_set_refuses_a_block_without_bcc(line: str) -> None:
    with pytest.raises(GrammarError, match="line"):
        parse("1.8.0(1*kWh)", line)
    telegram = parse("1.8.0(1*kWh)", line, checksum="ok")
    assert telegram.unread == 1
    assert telegram.registers[0] == ("1-0:1.8.0", 1, 0, "kWh")


@pytest.mark.parametrize("value", ["1x*kW", "1.2.3*kW", "0x12", "1*", "1 2*kW", "+*kW", "1" * 19 + "*kW", "1F", "abc"])
def test_a_measured_value_that_is_no_number_refuses_a_block_without_bcc(value: str) -> None:
    with pytest.raises(GrammarError, match="number"):
        parse(f"1.7.0({value})")
    assert parse("1.8.0(1*kWh)", f"1.7.0({value})", checksum="ok").registers == (("1-0:1.8.0", 1, 0, "kWh"),)


def test_a_block_without_identification_has_none() -> None:
    payload = b"1-1:1.7.0(1*kW)\r\n"
    telegram = Iec62056Grammar().parse(Frame(payload, "absent", len(payload)))
    assert (telegram.identification, telegram.registers) == ("", (("1-1:1.7.0", 1, 0, "kW"),))


def test_more_data_sets_than_any_meter_has_are_refused() -> None:
    assert len(parse("1.8.0(1*kWh)" * MAX_SETS).registers) == MAX_SETS
    with pytest.raises(GrammarError, match="elements"):
        parse("1.8.0(1*kWh)" * (MAX_SETS + 1))


def test_the_layout_is_another_when_registers_units_or_texts_are() -> None:
    grammar = Iec62056Grammar()

    def layout(*lines: str) -> object:
        payload = "\r\n".join(["/XYZ5METER", *lines, ""]).encode()
        return grammar.parse(Frame(payload, "absent", len(payload))).layout

    first = layout("1.8.0(1*kWh)", "0.9.1(201455)", "0.9.2(170318)")
    assert layout("1.8.0(2*kWh)", "0.9.1(201456)", "0.9.2(170318)") is first
    assert layout("1.8.0(2*MWh)") is not first
    assert layout("1.8.0(2*kWh)", "0.0.0(1)") is not first
