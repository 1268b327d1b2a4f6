"""Grammar p1: lines to registers, texts, the clock and sub-meters; and what is no line of a telegram."""

from collections.abc import Callable
from fractions import Fraction

import pytest

from decoders.errors import GrammarError
from decoders.grammars.p1 import MAX_LINES, P1Grammar
from decoders.model import Frame, SubTelegram, Telegram, decimal

FrameOf = Callable[[str], bytes]


def telegram(*lines: str, head: str = "TST5\\METER", checksum: bool = True) -> Telegram:
    payload = "\r\n".join(["/" + head, "", *lines, ""]).encode("latin-1")
    return P1Grammar().parse(Frame(payload, "ok" if checksum else "absent", len(payload) + 1))


def refused(*lines: str) -> str:
    """The code of the refusal of these lines without a checksum."""
    with pytest.raises(GrammarError) as caught:
        telegram(*lines, checksum=False)
    assert caught.value.size > 0
    return caught.value.code


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize(
    ("line", "register"),
    [
        ("1-0:1.8.1(001234.567*kWh)", ("1-0:1.8.1", 1234567, -3, "kWh")),
        ("1-0:1.8.0*255(001234.567*kWh)", ("1-0:1.8.0", 1234567, -3, "kWh")),
        ("1-0:1.8.0.255(12*kWh)", ("1-0:1.8.0", 12, 0, "kWh")),
        ("1-0:1.8.0*12(12*kWh)", ("1-0:1.8.0*12", 12, 0, "kWh")),
        ("1-0:1.7.0(-01.23*kW)", ("1-0:1.7.0", -123, -2, "kW")),
        ("1-0:1.7.0(0,5*kW)", ("1-0:1.7.0", 5, -1, "kW")),
        ("1-0:1.7.0(500 W)", ("1-0:1.7.0", 500, 0, "W")),
        ("1-0:1.7.0(500W)", ("1-0:1.7.0", 500, 0, "W")),
        ("1-0:1.7.0(500)", ("1-0:1.7.0", 500, 0, "")),
        ("1-0:3.7.0(0001.234*kVAr)", ("1-0:3.7.0", 1234, -3, "kvar")),
        ("1-0:32.7.0(231.4*V)", ("1-0:32.7.0", 2314, -1, "V")),
        ("0-0:96.14.0(0002)", ("0-0:96.14.0", 2, 0, "")),
        ("1-0:1.8.0(999999999999999999*Wh)", ("1-0:1.8.0", 10**18 - 1, 0, "Wh")),
    ],
)
def test_a_measured_value_is_an_exact_integer_with_its_power_of_ten(
    line: str, register: tuple[str, int, int, str], checksum: bool
) -> None:
    assert telegram(line, checksum=checksum).registers == (register,)


@pytest.mark.parametrize(
    "value",
    [
        "1" + "0" * 400 + "*kWh",
        "0" * 19 + "*kWh",
        "0." + "0" * 18 + "*kWh",
        "\xb2\xb3*kWh",  # superscripts are digits to Unicode
        "1e5*kWh",
        "1_000*kWh",
        "+5*kWh",
        "--5*kWh",
        "0x1F*kWh",
        "NaN*kWh",
        "inf*kWh",
        "1.2.3*kWh",
        ".5*kWh",
        "*kWh",
        "5*kXh",
        "5*kWh*kWh",
        "5 *kWh",
        " 5*kWh",
        "5\x00*kWh",
        "5*kWh\x7f",
    ],
)
def test_what_is_no_number_is_no_register(value: str) -> None:
    """Where a checksum proves that the meter says so it is a text; where none does, it may be damage."""
    read = telegram(f"1-0:1.8.0({value})")
    assert read.registers == ()
    assert read.texts == {"1-0:1.8.0": value}
    assert refused(f"1-0:1.8.0({value})") == "number"


def test_an_empty_value_is_a_blank_of_the_meter() -> None:
    assert telegram("1-0:1.8.0()", checksum=False).registers == ()


@pytest.mark.parametrize("line", ["0-2:25.6.0(ER23)", "1-0:0.2.0((ER11))", "0-0:96.13.0(A (b) c)", "1-0:0.2.8(v5)"])
def test_a_text_is_kept_as_sent_inner_brackets_included(line: str) -> None:
    code, _, text = line.partition("(")
    for checksum in (True, False):
        read = telegram(line, checksum=checksum)
        assert read.texts == {code: text[:-1]}
        assert (read.registers, read.unread) == ((), 0)


@pytest.mark.parametrize("line", ["1-0:96.1.0(12345678)", "0-0:96.1.1(12345678)", "0-5:96.1.0(12345678)"])
def test_an_identification_of_digits_is_no_measurement(line: str) -> None:
    read = telegram(line)
    assert read.registers == ()
    assert list(read.texts.values()) == ["12345678"]


@pytest.mark.parametrize(
    "line",
    [
        "no object",
        "1-0:1.8.1",
        "1-0:1.8.1(5*kWh",
        "1-0:1.8.1 5*kWh)",
        "1-0:1.8.1(5*kWh))",
        "1-0:1.8.1((5*kWh)",
        "1-0:1.8.1(5*kWh)x",
        "1-0:1.8.1(5)x(6)",
        "1-0:1.8.256(5*kWh)",
        "1-0:1.8(5*kWh)",
        "1.8.1(5*kWh)",
        "-0:1.8.1(5*kWh)",
        "1-0:1.8.1*256(5*kWh)",
        "1-0:1.8.1\x00(5*kWh)",
        "(00001.001)",
        "1" * 9_000 + "(5*kWh)",
        "(" * 4_000 + ")" * 4_000,
        "1-0:1.8.1" + "(" * 4_000 + ")" * 4_000,
    ],
)
def test_a_line_that_is_no_object_is_counted_or_refuses(line: str) -> None:
    read = telegram(line, "1-0:1.7.0(1*kW)")
    assert (read.unread, len(read.registers)) == (1, 1)
    assert refused("1-0:1.7.0(1*kW)", line) == "line"


def test_more_lines_than_any_meter_sends() -> None:
    line = "1-0:1.8.1(5*kWh)"
    assert len(telegram(*[line] * MAX_LINES).registers) == MAX_LINES
    for checksum in (True, False):
        with pytest.raises(GrammarError, match="elements"):
            telegram(*[line] * (MAX_LINES + 1), checksum=checksum)


def test_registers_stand_in_wire_order_and_duplicates_are_kept() -> None:
    read = telegram("1-0:2.7.0(1*kW)", "1-0:1.7.0(2*kW)", "1-0:2.7.0(3*kW)")
    assert [(code, integer) for code, integer, _, _ in read.registers] == [
        ("1-0:2.7.0", 1),
        ("1-0:1.7.0", 2),
        ("1-0:2.7.0", 3),
    ]


def test_a_value_with_a_time_of_its_own_keeps_it() -> None:
    read = telegram("1-0:31.7.0(1*A)", "1-0:1.6.0(211107121500W)(05.234*kW)")
    assert read.registers[1] == ("1-0:1.6.0", 5234, -3, "kW")
    time = read.register_times[1]
    assert (time.wall.isoformat(), time.summer) == ("2021-11-07T12:15:00", False)


def test_the_clock_is_kept_as_said_even_when_it_is_no_time() -> None:
    read = telegram("0-0:1.0.0(000000000000W)")
    assert (read.time, read.clock) == (None, "000000000000W")
    assert telegram("1-0:1.7.0(1*kW)").clock is None


@pytest.mark.parametrize(
    ("head", "identification"),
    [("ISK5\\2M550T-1012", "ISK5\\2M550T-1012"), ("ISK5\x02M550T-1012", "ISK5\\2M550T-1012"), ("ABC5\xe9", "ABC5\xe9")],
)
def test_a_control_octet_in_the_identification_is_its_escape(head: str, identification: str) -> None:
    assert telegram("1-0:1.7.0(1*kW)", head=head).identification == identification


SUB_METERS = {
    "time and value": ["0-1:24.1.0(003)", "0-1:96.1.0(4730)", "0-1:24.2.1(231026204004S)(00004.381*m3)"],
    "uncorrected gas": ["0-1:24.1.0(003)", "0-1:96.1.1(4730)", "0-1:24.2.3(231026204004S)(00004.381*m3)"],
    "value on a line of its own": [
        "0-1:24.1.0(03)",
        "0-1:96.1.0(4730)",
        "0-1:24.3.0(231026204004S)(00)(60)(1)(0-1:24.2.1)(m3)",
        "(00004.381)",
        "0-1:24.4.0(1)",
    ],
    "identification last": ["0-1:24.2.1(231026204004S)(00004.381*m3)", "0-1:24.1.0(3)", "0-1:96.1.2(4730)"],
}


@pytest.mark.parametrize("lines", SUB_METERS.values(), ids=SUB_METERS)
@pytest.mark.parametrize("checksum", [True, False])
def test_a_gas_meter_in_each_form(lines: list[str], checksum: bool) -> None:
    (sub,) = telegram(*lines, checksum=checksum).sub
    assert (sub.channel, sub.device_type, sub.device) == (1, 3, "4730")
    assert sub.value is not None
    assert (decimal(*sub.value[1:3]), sub.value[3]) == ("4.381", "m3")
    assert sub.time is not None
    assert sub.time.wall.isoformat() == "2023-10-26T20:40:04"


def test_four_channels_and_no_more() -> None:
    read = telegram(*(f"0-{n}:24.2.1(231026204004S)(0000{n}.000*m3)" for n in (4, 2, 1, 3)))
    assert [(sub.channel, sub.value and sub.value[1]) for sub in read.sub] == [
        (1, 1000),
        (2, 2000),
        (3, 3000),
        (4, 4000),
    ]
    assert telegram("0-5:24.2.1(231026204004S)(00005.000*m3)").sub == ()


def test_an_invalid_time_of_a_sub_meter_is_no_time() -> None:
    (sub,) = telegram("0-1:24.1.0(003)", "0-1:24.2.3(632525252525W)(00012.345*m3)").sub
    assert sub == SubTelegram(1, 3, None, ("0-1:24.2.3", 12345, -3, "m3"), None)


def test_the_first_value_of_a_channel_counts() -> None:
    lines = "0-1:24.2.1(231026204004S)(1.000*m3)", "0-1:24.2.3(231026204004S)(2.000*m3)"
    (sub,) = telegram(*lines).sub
    assert sub.value == ("0-1:24.2.1", 1000, -3, "m3")


def test_a_second_line_of_value_belongs_to_nothing() -> None:
    """A lost line end or a merged telegram: the value that was read first stays, and a checksum is asked for."""
    lines = SUB_METERS["value on a line of its own"]
    (sub,) = telegram(*lines, "(99999.999)").sub
    assert sub.value == ("0-1:24.3.0", 4381, -3, "m3")
    assert refused(*lines, "(99999.999)") == "line"
    assert refused("0-1:24.1.0(03)", "(99999.999)") == "line"


@pytest.mark.parametrize("type_", ["", "x", "9999", "\xb2"])
def test_a_device_type_that_is_no_number(type_: str) -> None:
    (sub,) = telegram(f"0-1:24.1.0({type_})").sub
    assert sub.device_type is None


def test_every_number_of_every_capture_against_fractions(capture: tuple[str, bytes]) -> None:
    """An independent reading of every plain `code(value*unit)` line, as exact fractions."""
    from decoders.links.p1 import P1Link

    for frame in P1Link().feed(capture[1]):
        if isinstance(frame, Exception):
            continue
        try:
            read = P1Grammar().parse(frame)
        except GrammarError:
            continue
        values: dict[str, list[Fraction]] = {}
        for code, integer, exponent, _ in read.registers:
            assert Fraction(decimal(integer, exponent)) == integer * Fraction(10) ** exponent
            values.setdefault(code, []).append(Fraction(decimal(integer, exponent)))
        for line in frame.payload.decode("latin-1").splitlines():
            code, _, rest = line.partition("(")
            said = rest.removesuffix(")").partition("*")[0]
            code = code.removesuffix("*255")
            if code in values and said.replace(".", "", 1).isdigit():
                assert Fraction(said) in values[code]
