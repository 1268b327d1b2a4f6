"""Grammar mbus-records: records of EN 13757-3 to registers, exactly, and nothing from what does not hold together."""

import random
import struct
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from functools import partial

import pytest

from decoders.dib import annotations
from decoders.errors import GrammarError
from decoders.grammars import mbus_values
from decoders.grammars.mbus_records import ERRORS, MbusRecordsGrammar
from decoders.model import Frame, MeterTime, Telegram, decimal

wall = partial(datetime, tzinfo=None)
LONG = bytes.fromhex("080172 78563412 B515 10 02 07 00 0000")


def telegram(*bodies: bytes) -> Telegram:
    payload = b"".join(bytes([len(body)]) + body for body in bodies)
    return MbusRecordsGrammar().parse(Frame(payload, "ok", len(payload) + 6))


def read(records: str) -> Telegram:
    return telegram(LONG + bytes.fromhex(records))


def shown(records: str) -> list[tuple[str, str, str]]:
    return [(code, decimal(integer, exponent), unit) for code, integer, exponent, unit in read(records).registers]


def refused(*bodies: bytes) -> str:
    with pytest.raises(GrammarError) as raised:
        telegram(*bodies)
    assert raised.value.size > 0
    return raised.value.code


@pytest.mark.parametrize(
    ("records", "value", "unit"),
    [
        ("0403 54050000", "1364", "Wh"),
        ("042B FEFFFFFF", "-2", "W"),
        ("032B BEFFFF", "-66", "W"),
        ("062B FFFFFFFFFFFF", "-1", "W"),
        ("072B 0100000000000000", "1", "W"),
        ("0C04 68281700", "1728680", "Wh"),
        ("0A5A 250F", "", ""),
        ("0A5A 25F1", "-12.5", "C"),
        ("0C13 27048502", "2850.427", "m3"),
        ("0EFB01 010000000000", "1000000", "Wh"),
        ("04FB8273 E8030000", "1000", "varh"),
        ("04FB14 0C000000", "12", "var"),
        ("02FDC8FF01 D108", "225.7", "V"),
        ("02FD59 BEFF", "-0.066", "A"),
        ("02FB2D 8813", "50.00", "Hz"),
        ("0223 0C02", "45273600", "s"),
        ("0B26 536508", "311590800", "s"),
        ("01FD17 FF", "255", ""),
        ("04933C 01000000", "0.001", "m3"),
        ("049322 01000000", "0.001", "m3/h"),
        ("042B 00000080", "", ""),
        ("0415 00000000", "0.0", "m3"),
        ("052E 25BF9141", "18218.3322906494140625", "W"),
        ("052B 0000C07F", "", ""),
        ("052B 000080FF", "", ""),
        ("052B 00000080", "0", "W"),
        ("02FC0348522574 2215", "54.10", "%RH"),
        ("0D13 C2 3412", "1.234", "m3"),
        ("0D13 D2 3412", "-1.234", "m3"),
        ("048318 01000000", "", ""),
        ("048315 01000000", "", ""),
        ("0003", "", ""),
        ("0803", "", ""),
        ("01FF93FF00 05", "5", ""),
    ],
)
def test_a_value_is_exact(records: str, value: str, unit: str) -> None:
    assert [(v, u) for _, v, u in shown(records)] == ([(value, unit)] if value else [])


def test_the_value_of_a_float_is_the_one_that_its_bits_say() -> None:
    rng = random.Random(5)
    for _ in range(5_000):
        bits = rng.randbytes(4)
        real, (value,) = mbus_values.real(bits), struct.unpack("<f", bits)
        if real is None:
            assert bits[3] & 0x7F == 0x7F
            assert bits[2] & 0x80
        else:
            assert real[0] * Fraction(10) ** real[1] == Fraction(value)


def test_a_bcd_digit_above_nine_is_no_value() -> None:
    for data in (b"\xbd\xeb\xdd", b"\x0a\x00", b"\x12\xa3", b"\x12\xe3", b"\x00\xef", b"\xff\xff"):
        assert mbus_values.bcd(data) is None
    assert (mbus_values.bcd(b"\x12\xf3"), mbus_values.bcd(b"\x00\x00")) == (-312, 0)


@pytest.mark.parametrize(
    ("records", "time", "valid"),
    [
        ("046D 172ECC13", MeterTime(wall(2014, 3, 12, 14, 23), summer=False), True),
        ("046D 17AECC13", MeterTime(wall(2014, 3, 12, 14, 23), summer=True), True),
        ("046D 972ECC13", MeterTime(wall(2014, 3, 12, 14, 23), summer=False), False),
        ("046D 000D3409", MeterTime(wall(2001, 9, 20, 13, 0), summer=False), True),
        ("046D 00000000", None, False),
        ("046D FFFFFFFF", None, False),
        ("066D 5E240FAC3300", MeterTime(wall(2029, 3, 12, 15, 36, 30), summer=True), True),
        ("066D 1EA40FAC3300", MeterTime(wall(2029, 3, 12, 15, 36, 30), summer=False), False),
    ],
)
def test_the_clock_is_the_present_date_and_time(records: str, time: MeterTime | None, valid: bool) -> None:
    said = read(records)
    assert (said.time, said.clock_valid) == (time, valid)
    assert said.clock is not None


def test_dates_of_other_things_are_no_clock() -> None:
    said = read("446D172ECC13 04ED7E172ECC13 026CDF1C 036D 1E240F")
    assert (said.time, said.clock) == (None, None)
    assert said.texts["mbus:026c"] == "2014-12-31"
    assert said.texts["mbus:036d"] == "15:36:30"


def test_a_stored_value_has_the_time_that_was_stored_with_it() -> None:
    said = read("0403 01000000 4403 02000000 446D 172ECC13 142B 05000000 146D 182ECC13")
    times = {said.registers[place][0]: time.wall.minute for place, time in said.register_times.items()}
    assert times == {"mbus:4403": 23, "mbus:142b": 24}


def test_texts_come_last_letter_first() -> None:
    said = read("0DFD0A 03 434553 0D7C03 444920 05 3534333231 0D78 E2 AABB")
    assert said.texts == {"mbus:0dfd0a": "SEC", "mbus:0d7c": "12345", "mbus:0d78": "BBAA"}


def test_heads_say_storage_tariff_subunit_and_function() -> None:
    assert annotations("mbus:849010ff80843b") == {"tariff": 5}
    assert annotations("mbus:c4ef1503") == {"storage": 1 | 15 << 1 | 5 << 5, "tariff": 2 | 1 << 2, "subunit": 1}
    assert annotations("mbus:cc8140" + "03") == {"storage": 3, "subunit": 2}
    assert annotations("mbus:32fd17") == {"function": "error"}
    assert annotations("mbus:0403") == annotations("1-0:1.8.0") == annotations("mbus:counter1") == {}


def test_fillers_stand_anywhere_and_the_makers_data_end_the_records() -> None:
    said = read("2F2F 0403 01000000 2F 042B 02000000 0F 0403FF")
    assert [register[1] for register in said.registers] == [1, 2]
    assert said.texts == {"mbus:0f": "0403ff"}
    assert not said.partial
    assert read("0403 01000000 1F").partial


def test_behind_fillers_two_octets_are_passed_over() -> None:
    assert len(read("0403 01000000 2F2F 1234").registers) == 1
    assert refused(LONG + bytes.fromhex("0403 01000000 1234")) == "length"
    assert refused(LONG + bytes.fromhex("0403 01000000 2F2F 040301")) == "length"


def test_mode_2_sends_the_most_significant_octet_first() -> None:
    body = bytes.fromhex("080176 12345678 15B5 10 02 07 00 0000 0403 00000554 0C13 02850427 052B 3FC00000 026C 2312")
    said = telegram(body)
    assert [decimal(r[1], r[2]) for r in said.registers] == ["1364", "2850.427", "1.5"]
    assert (said.identification, said.device) == ("EMU 02 v16", "12345678" + "15b5" + "1002")
    assert said.texts == {"mbus:026c": "2016-03-18"}


def test_headers_are_long_short_or_absent() -> None:
    record = bytes.fromhex("0403 01000000")
    long = telegram(LONG + record)
    assert (long.identification, long.device, long.device_type, long.address) == (
        "EMU 02 v16",
        "1234567815b51002",
        2,
        1,
    )
    for body in (bytes.fromhex("08017A 07000000") + record, bytes.fromhex("080178") + record):
        said = telegram(body)
        assert (said.identification, said.device, said.device_type, len(said.registers)) == ("", None, None, 1)


def test_the_fixed_structure_has_two_counters() -> None:
    said = telegram(bytes.fromhex("080573 78563412 0A 00 E97E 01000000 35010000"))
    assert said.registers == (("mbus:counter1", 1, 0, "l"), ("mbus:counter2", 135, 0, "l"))
    assert (said.device, said.device_type) == ("12345678", 7)
    binary = telegram(bytes.fromhex("080573 78563412 0A 01 8505 01010000 0A000000"))
    assert binary.registers == (("mbus:counter1", 257, 3, "Wh"), ("mbus:counter2", 10, 3, "Wh"))
    assert binary.device_type == 2
    assert refused(bytes.fromhex("080573 78563412 0A 00 E97E 01000000 350100")) == "length"


@pytest.mark.parametrize(("number", "code"), [*ERRORS.items(), (7, "meter_error"), (200, "meter_error")])
def test_an_application_error_is_named(number: int, code: str) -> None:
    assert refused(bytes([0x08, 1, 0x70, number])) == code
    assert refused(bytes([0x08, 1, 0x70])) == "meter_error"


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ("0403 0100", "length"),
        ("04", "length"),
        ("84", "length"),
        ("0483", "length"),
        ("84" * 30, "length"),
        ("84 80808080808080808080 00 03 00000000", "length"),
        ("04 83" + "84" * 10 + "03 00000000", "length"),
        ("0D03 BF 00", "length"),
        ("0D03", "length"),
        ("0D03 F7", "length"),
        ("0D03 CA 00", "length"),
        ("027C F3 41", "length"),
        ("02FC 03 4852", "length"),
        ("02FC 03 485225 80", "length"),
        ("027C", "length"),
        ("7F03", "type"),
        ("3F03", "type"),
        ("8F0003 00", "type"),
    ],
)
def test_what_does_not_hold_together_is_refused(records: str, code: str) -> None:
    assert refused(LONG + bytes.fromhex(records)) == code


def test_ten_extensions_of_either_kind_are_read() -> None:
    assert len(read("84" + "80" * 9 + "00 03 01000000").registers) == 1
    assert len(read("04 83" + "80" * 9 + "00 01000000").registers) == 1


@pytest.mark.parametrize("ci", [0x00, 0x50, 0x51, 0x71, 0x74, 0x80, 0xFF])
def test_a_kind_that_carries_no_records_is_named(ci: int) -> None:
    assert refused(bytes([0x08, 1, ci]) + LONG[3:]) == "control_information"


@pytest.mark.parametrize("length", range(15))
def test_a_header_that_is_cut_is_refused(length: int) -> None:
    assert refused(LONG[:length]) == "length"


def test_any_octets_give_a_telegram_or_a_fault() -> None:
    """Nothing else is raised, with memory or without, and both say the same."""
    rng, grammar = random.Random(13), MbusRecordsGrammar()
    likely = b"\x04\x03\x0c\x2b\x84\x10\x40\xfd\xfb\xff\x01\x00\x2f\x0d\x7c\xfc\x6d\x05"
    for _ in range(20_000):
        records = bytes(
            rng.choice(likely) if rng.random() < 0.8 else rng.randrange(256) for _ in range(rng.randrange(40))
        )
        body = LONG + records
        frame = Frame(bytes([len(body)]) + body, "ok", len(body) + 6)
        assert outcome(grammar.parse, frame) == outcome(MbusRecordsGrammar().parse, frame)


def outcome(parse: Callable[[Frame], Telegram], frame: Frame) -> object:
    try:
        return parse(frame)
    except GrammarError as error:
        return error.code, error.size


def test_many_meters_do_not_fill_the_memory() -> None:
    grammar = MbusRecordsGrammar()
    for n in range(5_000):
        body = LONG[:3] + n.to_bytes(4, "little") + LONG[7:] + bytes([0x84, 0x80 | n & 0x7F, n >> 7, 0x03]) + bytes(4)
        grammar.parse(Frame(bytes([len(body)]) + body, "ok", len(body) + 6))
    assert len(grammar._heads._known) <= 1_024
    assert len(grammar._heads.following) <= 1_025
    assert len(grammar._headers) <= 256
