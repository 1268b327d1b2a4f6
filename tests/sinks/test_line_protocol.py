"""Line protocol: one line in is one point, whatever a meter sent; read back by a parser that shares no code with it."""

import urllib.parse
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoders.model import decimal
from gateway.sinks import line_protocol
from tests.influx_fake import Line, LineError, parse
from tests.sizes import INJECTIONS, INJECTIONS_EACH

T = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
MS = 1_795_299_605_000


def only(lines, measurement):
    return [line for line in map(parse, lines) if line.measurement == measurement]


def test_item_p_and_its_registers(make_item):
    found = line_protocol.reading(make_item(seq=7), MS)
    assert found.left_out == 0
    code = line_protocol.profile_code("nl-dsmr5")
    assert found.lines == [
        (
            "item_p,meter=main p_import_w=132i,p_export_w=0i,p_net_w=132i,a_import_wh=65238377i,a_export_wh=5i,"
            f"quality=0i,auth=0i,profile={code}i,t_source=0i,clock_offset_ms=0i,valid_for_s=30i,seq=7i {MS}"
        ),
        f"register,meter=main,register=1-0:32.7.0 value=231.4,unit=35i {MS}",
        f"register,meter=main,register=1-0:21.7.0 value=0.132,unit=1027i {MS}",
    ]


def test_absent_is_no_field_and_zero_is_one(make_item):
    item = make_item(p_import_w=None, p_net_w=None, a_import_wh=None, a_export_wh=None, reg_t=None, p_export_w=0)
    [line] = only(line_protocol.reading(item, MS).lines, "item_p")
    assert not {"p_import_w", "p_net_w", "a_import_wh", "a_export_wh", "reg_t"} & line.fields.keys()
    assert line.fields["p_export_w"] == 0


def test_energy_of_another_time_says_so(make_item):
    [line] = only(line_protocol.reading(make_item(reg_t=T - timedelta(minutes=5)), MS).lines, "item_p")
    assert line.fields["reg_t"] == MS - 300_000


def test_what_may_be_corrected_is_no_tag(make_item):
    changed = make_item(quality="suspect", auth="verified", profile="other")
    for one, other in zip(
        line_protocol.reading(make_item(), MS).lines, line_protocol.reading(changed, MS).lines, strict=True
    ):
        assert parse(one)[:2] == parse(other)[:2]
    [line] = only(line_protocol.reading(changed, MS).lines, "item_p")
    assert (line.fields["quality"], line.fields["auth"]) == (3, 2)


@pytest.mark.parametrize(("wanted", "count"), [("all", 2), ("none", 0), (("1-0:32.7.0",), 1), (("no-such",), 0)])
def test_registers_that_are_wanted(make_item, wanted, count):
    assert len(line_protocol.reading(make_item(), MS, registers=wanted).lines) == 1 + count


def test_a_prefix_stands_before_every_measurement(make_item):
    lines = line_protocol.reading(make_item(), MS, prefix="home_").lines
    assert {parse(line).measurement for line in lines} == {"home_item_p", "home_register"}


def test_a_code_that_repeats_loses_no_value(make_item):
    item = make_item(registers=(("a", 1, 0, ""), ("a", 2, 0, ""), ("a#2", 3, 0, "")))
    found = only(line_protocol.reading(item, MS).lines, "register")
    assert [(dict(line.tags)["register"], line.fields["value"]) for line in found] == [
        ("a", 1),
        ("a#2", 2),
        ("a%232", 3),
    ]


def test_a_register_keeps_its_own_time(make_item):
    registers = (("1-0:1.6.0", 4589, -3, "kW"), ("1-0:2.6.0", 1, 0, "kW"))
    times = ((0, "2025-09-09T13:45:00+02:00"), (1, "2025-05-11T09:30:00"))
    found = only(line_protocol.reading(make_item(registers=registers, register_times=times), MS).lines, "register")
    assert found[0].fields["t"] == 1_757_418_300_000
    assert "t" not in found[1].fields, "a time without a zone is none"


def test_numbers_that_name_the_meter_stay_here(make_item):
    item = make_item(registers=(("mbus:0c78", 12345678, 0, ""), ("mbus:0403", 5, 0, "Wh")))
    assert [dict(line.tags)["register"] for line in only(line_protocol.reading(item, MS).lines, "register")] == [
        "mbus:0403"
    ]


def test_integers_that_no_field_holds_are_left_out_and_counted(make_item):
    item = make_item(a_import_wh=1 << 63, p_import_w=-(1 << 63), registers=(("a", 10**60, 0, ""), ("b", 1, 99, "")))
    found = line_protocol.reading(item, MS)
    [line] = map(parse, found.lines)
    assert found.left_out == 3
    assert "a_import_wh" not in line.fields
    assert line.fields["p_import_w"] == -(1 << 63)


@pytest.mark.parametrize(
    ("t", "ms"),
    [
        (T.replace(microsecond=999_999), MS + 999),
        (datetime(1969, 12, 31, tzinfo=UTC), None),
        (datetime(2300, 1, 1, tzinfo=UTC), None),
        (None, None),
    ],
)
def test_times(t, ms):
    assert line_protocol.milliseconds(t) == ms


def test_a_sub_meter(make_item):
    item = make_item(seq=3)
    sub = item.reading.sub[0]
    line = parse(line_protocol.sub_reading(item, sub, MS, device="00112233445566ff"))
    assert line == Line(
        "sub",
        (("channel", "1"), ("meter", "main")),
        {
            "value": 1234.567,
            "quality": 0,
            "auth": 0,
            "unit": 13,
            "medium": 3,
            "device": 0x0011223344556,
            "seq": 3,
        },
        MS,
    )
    assert line_protocol.sub_reading(item, replace(sub, integer=10**90), MS, device=None) is None


# -- whatever a meter sends ------------------------------------------------------------------------------------------

#: characters that want out of their place, and plain ones
SIGNS = ' ,="\\\n\r\t#%\x00\x7f\u2028\ud800é:.azAZ019-_'
TEXTS = ["a value=1 1\nitem_p,meter=x p_import_w=9i 1", "a\\", "\\ ", ",register=b", "%0A", "", "#x=1", "x" * 300]
#: octets that one register is made of
ROW = 16
integers = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.sampled_from([0, 2**63 - 1, 2**63, -(2**63) - 1]))


def text(octets):
    """Hostile text of some octets: mostly single signs, sometimes a whole attack."""
    if octets[0] >= 240:
        return TEXTS[octets[1] % len(TEXTS)]
    return "".join(SIGNS[octet % len(SIGNS)] for octet in octets[1 : 1 + octets[0] % 10])


def register(octets):
    """A register of some octets: integers of up to 56 and of 200 bits, exponents of any size."""
    integer = int.from_bytes(octets[10:14], "big", signed=True) << octets[14] % (200 if octets[14] > 230 else 24)
    return text(octets[:10]), integer, octets[15] - 128 if octets[15] % 8 == 0 else octets[15] % 12 - 9, "kW"


@settings(max_examples=INJECTIONS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=ROW * INJECTIONS_EACH, max_size=ROW * INJECTIONS_EACH), integers, st.text(max_size=8))
def test_one_line_is_one_point_whatever_a_meter_sends(make_item, octets, quantity, profile):
    rows = [register(octets[at : at + ROW]) for at in range(0, len(octets), ROW)]
    item = make_item(registers=tuple(rows), profile=profile.encode("utf-8", "replace").decode(), p_import_w=quantity)
    found = line_protocol.reading(item, MS)
    wanted = [row for row in rows if line_protocol.number(row[1], row[2]) and 0 < len(row[0]) < 100]
    lines = "".join(f"{line}\n" for line in found.lines).encode().decode().split("\n")[:-1]
    points = [parse(line) for line in lines]
    assert len(points) == 1 + len(wanted)
    assert {point.ms for point in points} == {MS}
    assert [(point.measurement, [key for key, _ in point.tags]) for point in points[1:]] == [
        ("register", ["meter", "register"])
    ] * len(wanted)
    assert len({point.tags for point in points}) == len(points), "two registers became one"
    for point, (code, integer, exponent, _) in zip(points[1:], wanted, strict=True):
        written = dict(point.tags)["register"].rpartition("#")[0] or dict(point.tags)["register"]
        assert urllib.parse.unquote_to_bytes(written).decode("utf-8", "surrogatepass") == code
        assert point.fields["value"] == float(decimal(integer, exponent))


def test_the_parser_of_the_tests_is_strict():
    good = "register,meter=a,register=b value=1,unit=3i 5"
    assert parse(good).fields == {"value": 1.0, "unit": 3}
    bads = ["", "a b", "a,b c=1 1", "a c=1", "a c=1 x", "a,b= c=1 1", "a c=1i,c=2i 1", "a\nb c=1 1", "a,b=c,b=d e=1 1"]
    for bad in [*bads, "a c=99999999999999999999i 1", "a,b=c d e=1 1"]:
        with pytest.raises((LineError, ValueError)):
            parse(bad)
