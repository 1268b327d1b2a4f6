"""The virtual telegram, read by dsmr-parser, smeterd and meterd's own decoder: they agree with the meter's truth."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser
from smeterd.meter import P1Packet, P1PacketError

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.model import Reading, SubReading
from gateway import profiles
from gateway.item_p import Energy, LiveSub, stamp
from gateway.simulator.keys import MeterKeys
from gateway.simulator.meter import Meter
from gateway.simulator.push_meter import PushMeter
from gateway.simulator.pushes import PUSHES
from gateway.simulator.variants import VARIANTS
from gateway.sinks import SinkError
from gateway.sinks.dsmr import equipment_id, telegram

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
EQUIPMENT = equipment_id(b"0123456789abcdef", "main")
#: shortly before an hour, when the rare lists come
START = datetime(2026, 6, 20, 9, 58, 5, tzinfo=UTC)
KEYS = MeterKeys(bytes(range(16)), bytes(range(16, 32)))
P1_PROFILES = {
    "dsmr5": "nl-dsmr5",
    "emucs": "be-fluvius-emucs",
    "se-efs2": "se-efs2",
    "dsmr42": "nl-dsmr4",
    "dsmr22": "nl-dsmr2",
}
PUSH_PROFILES = {
    "at-kaifa": "at-netznoe",
    "at-kaifa-21": "at-ksmwest-kaifa",
    "at-sagemcom": "at-netznoe",
    "lg-e450": "at-steiermark-e450",
    "ch-lg-e570": "ch-lg-cii",
    "dk-kamstrup": "dk-kamstrup",
    "ch-am550": "ch-iskra-am550",
    "no-aidon": "no-aidon",
    "no-kaifa": "no-kaifa",
    "si-iskra": "si-iskra-am550-dlms",
    "lu-smarty": "lu-smarty-encrypted",
    "at-est5": "at-steiermark-est5-encrypted",
}


def readings(variant):
    """(truth, reading) of half a minute and of the hour's list, by meterd's decoder."""
    if variant in PUSHES:
        keys = MeterKeys(KEYS.encryption, PUSHES[variant].envelope.public_authentication or KEYS.authentication)
        meter = PushMeter(3, variant, START, keys=keys)
        security = Security(Keys(keys.encryption, keys.authentication), min_auth=meter.security_at(START)["auth"])
        zone = meter.variant.clock_zone
        decoder = Decoder([profiles.load(PUSH_PROFILES[variant])], ZoneInfo, tz=zone, security=security)
    else:
        meter, decoder = Meter(3, variant, START), Decoder([profiles.load(P1_PROFILES[variant])], ZoneInfo)
    for second in (*range(0, 30, 10), *range(110, 130, 10)):
        t = START + timedelta(seconds=second)
        for result in decoder.feed(meter.telegram_at(t)):
            assert isinstance(result, Reading), result
            yield meter.truth_at(t), t, result


def item_of(reading, t):
    item = stamp(reading, "main", seq=1, t_rx=t, max_clock_offset_s=3600)
    return replace(item, subs=tuple(LiveSub(sub, "0123456789abcdef", "plain", 1) for sub in reading.sub))


def read_back(octets, tz="Europe/Amsterdam"):
    results = Decoder([profiles.load("p1-generic")], ZoneInfo, tz=tz).feed(octets)
    assert len(results) == 1
    assert isinstance(results[0], Reading), results
    return results[0]


def watts(value):
    return None if value is None else int(Decimal(str(value.value)) * 1000)


def total(telegram_, name):
    found = [getattr(telegram_, f"{name}_TARIFF_{n}", None) for n in (1, 2)]
    return sum(int(value.value * 1000) for value in found if value is not None) if any(found) else None


@pytest.mark.parametrize("variant", [*VARIANTS, *PUSHES])
def test_every_simulated_meter_is_read_by_three_readers(variant):
    seen = 0
    for truth, t, reading in readings(variant):
        octets = telegram(item_of(reading, t), AMSTERDAM, EQUIPMENT)
        by_dsmr_parser = TelegramParser(telegram_specifications.V5).parse(octets.decode(), throw_ex=True)
        by_smeterd = P1Packet(octets)
        ours = read_back(octets)
        for name, of_dsmr_parser, of_smeterd in (
            ("p_import_w", "CURRENT_ELECTRICITY_USAGE", "current_consumed"),
            ("p_export_w", "CURRENT_ELECTRICITY_DELIVERY", "current_produced"),
        ):
            assert getattr(ours, name) == truth.get(name)
            assert watts(getattr(by_dsmr_parser, of_dsmr_parser, None)) == truth.get(name)
            shown = by_smeterd["kwh"][of_smeterd]
            assert (None if shown is None else round(shown * 1000)) == truth.get(name)
        assert ours.p_net_w == truth.get("p_net_w")
        for name, of_dsmr_parser, of_smeterd in (
            ("a_import_wh", "ELECTRICITY_USED", "consumed"),
            ("a_export_wh", "ELECTRICITY_DELIVERED", "produced"),
        ):
            assert getattr(ours, name) == truth.get(name)
            assert total(by_dsmr_parser, of_dsmr_parser) == truth.get(name)
            rates = [by_smeterd["kwh"][rate][of_smeterd] for rate in ("low", "high")]
            found = sum(round(rate * 1000) for rate in rates if rate is not None)
            assert (found if any(rate is not None for rate in rates) else None) == truth.get(name)
        expected_t = t if "t" not in truth else datetime.fromisoformat(truth["t"])
        assert ours.t == by_dsmr_parser.P1_MESSAGE_TIMESTAMP.value == expected_t
        for told, sub in zip(truth.get("sub", ()), ours.sub, strict=True):
            gas = by_dsmr_parser.MBUS_DEVICES[0].MBUS_METER_READING
            assert (told["t"], Decimal(told["quantity"])) == (
                gas.datetime.isoformat().replace("+00:00", "Z"),
                gas.value,
            )
            assert (gas.datetime, Decimal(sub.integer).scaleb(sub.exponent)) == (sub.t, gas.value)
            assert by_smeterd["gas"]["total"] == float(gas.value)
        seen += 1
    assert seen >= 3


def test_the_whole_of_a_dsmr_5_telegram_comes_back():
    [(_, t, reading), *_] = readings("dsmr5")
    ours = read_back(telegram(item_of(reading, t), AMSTERDAM, EQUIPMENT))
    assert ours.registers == reading.registers


def test_damage_is_seen_by_each_reader(make_item):
    octets = telegram(make_item(), AMSTERDAM, EQUIPMENT).replace(b"(00.132*kW)", b"(00.133*kW)")
    with pytest.raises(P1PacketError):
        P1Packet(octets)
    assert not any(isinstance(r, Reading) for r in Decoder([profiles.load("p1-generic")], ZoneInfo).feed(octets))


def test_any_numbers_come_back_exactly(make_item):
    dice = Random(20)
    for _ in range(300):
        fields = {
            "p_import_w": dice.choice([None, 0, dice.randrange(10 ** dice.randrange(1, 8))]),
            "p_export_w": dice.choice([0, dice.randrange(10 ** dice.randrange(1, 8))]),
            "p_net_w": None,
            "a_import_wh": dice.choice([None, dice.randrange(10 ** dice.randrange(1, 14))]),
            "a_export_wh": dice.choice([None, dice.randrange(10 ** dice.randrange(1, 14))]),
        }
        if fields["p_import_w"] is not None:
            fields["p_net_w"] = fields["p_import_w"] - fields["p_export_w"]
        ours = read_back(telegram(make_item(registers=(), sub=(), **fields), AMSTERDAM, EQUIPMENT))
        assert {name: getattr(ours, name) for name in fields} == fields


def lines(item, zone=AMSTERDAM):
    return telegram(item, zone, EQUIPMENT).decode("ascii").split("\r\n")


def test_the_form_of_the_standard(make_item):
    found = lines(make_item())
    assert found[:5] == [
        r"/MTD5\2METERD",
        "",
        "1-3:0.2.8(50)",
        "0-0:1.0.0(261121232005W)",
        f"0-0:96.1.1({EQUIPMENT.encode().hex().upper()})",
    ]
    assert len(found[0]) <= 5 + 16
    assert found[-1] == ""
    assert found[-2][0] == "!"
    assert len(found[-2]) == 5


def test_the_meters_own_number_is_not_told(make_item):
    item = make_item(identity="E0012345678901234")
    assert b"E0012345678901234" not in telegram(item, AMSTERDAM, EQUIPMENT)
    assert b"E0012345678901234".hex().upper().encode() not in telegram(item, AMSTERDAM, EQUIPMENT)


def test_the_identifier_is_stable_and_of_one_installation():
    assert equipment_id(b"x" * 16, "main") == equipment_id(b"x" * 16, "main")
    assert len({equipment_id(salt, name) for salt in (b"x" * 16, b"y" * 16) for name in ("main", "garage")}) == 4


def test_energy_that_is_absent_or_carried_has_no_line(make_item):
    item = make_item(a_import_wh=None, a_export_wh=None, reg_t=None)
    item = replace(item, carried=Energy(1, 2, START, "meter"))
    assert not [line for line in lines(item) if ".8." in line]


def test_a_meter_without_tariffs_has_its_total_in_tariff_1(make_item):
    found = [line for line in lines(make_item(registers=())) if line.startswith("1-0:1.8.")]
    assert found == ["1-0:1.8.0(065238.377*kWh)", "1-0:1.8.1(065238.377*kWh)"]


@pytest.mark.parametrize("quality", ["estimated", "substituted", "suspect"])
def test_what_the_format_cannot_mark_is_not_said(make_item, quality):
    with pytest.raises(SinkError, match=quality):
        lines(make_item(quality=quality))


def test_a_telegram_without_values_is_none(make_item):
    nothing = dict.fromkeys(("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "reg_t"))
    with pytest.raises(SinkError, match="neither power nor energy"):
        lines(make_item(**nothing))


def test_an_exporting_meter_with_one_register_says_both_directions(make_item):
    found = lines(make_item(p_import_w=None, p_export_w=900, p_net_w=-900))
    assert "1-0:1.7.0(00.000*kW)" in found
    assert "1-0:2.7.0(00.900*kW)" in found


def test_a_direction_that_nobody_knows_has_no_line(make_item):
    found = lines(make_item(p_import_w=900, p_export_w=None, p_net_w=None))
    assert not [line for line in found if line.startswith("1-0:2.7.0")]


def test_power_beyond_two_digits_is_whole(make_item):
    assert "1-0:1.7.0(123.456*kW)" in lines(make_item(p_import_w=123_456, p_net_w=123_456))


def test_finer_registers_are_rounded_to_the_form(make_item):
    registers = (("1-0:32.7.0", 231_44, -2, "V"), ("1-0:31.7.0", 4_500, 0, "mA"), ("1-0:21.7.0", 1_999, 0, "mW"))
    found = lines(make_item(registers=registers))
    assert {"1-0:32.7.0(231.4*V)", "1-0:31.7.0(005*A)"} <= set(found)
    assert not [line for line in found if line.startswith("1-0:21.7.0")]


def test_without_a_clock_of_the_meter_it_is_the_time_of_receipt(make_item):
    item = make_item(t=None, t_meter=None, reg_t=None)
    assert item.t_source == "gateway"
    assert "0-0:1.0.0(261121232005W)" in lines(item)


def sub(**fields):
    known = {
        "channel": 2,
        "medium": "water",
        "device": "W1",
        "t": START,
        "t_meter": None,
        "integer": 12_345,
        "exponent": -3,
        "unit": "m3",
        "quality": "measured",
    }
    return SubReading(**(known | fields))


def test_a_sub_meter_has_its_own_time(make_item):
    item = replace(make_item(), subs=(LiveSub(sub(), "00112233445566ff", "plain", 1),))
    assert [line for line in lines(item) if line.startswith("0-2")] == [
        "0-2:24.1.0(007)",
        f"0-2:96.1.0({b'00112233445566ff'.hex().upper()})",
        "0-2:24.2.1(260620115805S)(00012.345*m3)",
    ]


@pytest.mark.parametrize(
    "fields",
    [{"t": None}, {"quality": "suspect"}, {"medium": "oil"}, {"unit": "m3)\r\n1-0:1.7.0(9"}, {"channel": 5},
     {"channel": 0}],
)  # fmt: skip
def test_a_sub_meter_that_the_format_cannot_say_has_no_line(make_item, fields):
    item = replace(make_item(), subs=(LiveSub(sub(**fields), "00112233445566ff", "plain", 1),))
    assert not [line for line in lines(item) if line.startswith(f"0-{item.subs[0].reading.channel}:24")]


@pytest.mark.parametrize(
    ("integer", "exponent", "expected"),
    [(12_345, -3, "00012.345"), (12_345, -4, "00001.2345"), (7, 0, "00007.000"), (1_234_567_890, -3, "1234567.890")],
)
def test_sub_meter_values_are_exact(make_item, integer, exponent, expected):
    item = replace(make_item(), subs=(LiveSub(sub(integer=integer, exponent=exponent), None, "plain", 1),))
    assert f"0-2:24.2.1(260620115805S)({expected}*m3)" in lines(item)
