"""Summer time begins and ends: every quarter of an hour once, by its time in UTC, whatever a wall clock says."""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from gateway import profiles
from gateway.item_p import stamp
from gateway.simulator.keys import MeterKeys
from gateway.simulator.meter import Meter
from gateway.simulator.push_meter import PushMeter, simulated

#: simulated meters with a clock, by their profile
METERS = {
    "dsmr5": "nl-dsmr5",
    "dsmr42": "nl-dsmr4",
    "emucs": "be-fluvius-emucs",
    "se-efs2": "se-efs2",
    "at-kaifa": "at-netznoe",
    "lg-e450": "at-steiermark-e450",
    "dk-kamstrup": "dk-kamstrup",
    "no-kaifa": "no-kaifa",
    "lu-smarty": "lu-smarty-encrypted",
    "fr-standard": "fr-linky-standard",
}
#: meters whose wall clock says no offset: in the hour that comes twice the receipt stands in
UNSURE = {"at-kaifa", "lg-e450", "dk-kamstrup", "no-kaifa"}
QUARTER = timedelta(minutes=15)


def instants(day, zone):
    """Every quarter of a local day, in UTC."""
    begin = datetime.combine(day, datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
    return [begin + n * QUARTER for n in range(int((end - begin) / QUARTER))]


def read(variant, times):
    """Item P of the telegrams of a meter at these times, received half a second later."""
    rng = random.Random(variant)
    keys = MeterKeys(rng.randbytes(16), rng.randbytes(16))
    meter = simulated(3, variant, times[0] - QUARTER, keys=keys, interval_s=900)
    security = None
    if isinstance(meter, PushMeter) and meter.variant.encrypts:
        security = Security(Keys(meter.keys.encryption, meter.keys.authentication), min_auth="unverified")
    found = []
    for t in times:
        decoder = Decoder([profiles.load(METERS[variant])], ZoneInfo, tz=meter.variant.clock_zone, security=security)
        readings = [*decoder.feed(meter.telegram_at(t)), *decoder.close()]
        assert len(readings) == 1, (t, readings)
        received = t + timedelta(seconds=0.5)
        found.append(stamp(readings[0], "main", seq=len(found) + 1, t_rx=received, max_clock_offset_s=3_600))
    return found


@pytest.mark.parametrize(("day", "quarters"), [((2026, 10, 25), 100), ((2026, 3, 29), 92)], ids=["winter", "summer"])
@pytest.mark.parametrize("variant", METERS)
def test_each_quarter_of_the_day_has_a_time_of_its_own(variant, day, quarters):
    times = instants(date(*day), "Europe/Amsterdam")
    assert len(times) == quarters
    items = read(variant, times)
    assert len({item.t for item in items}) == quarters
    assert [item.t.replace(microsecond=0) for item in items] == times
    unsure = [item.t.hour for item in items if item.t_source == "gateway"]
    twice = {0, 1} if quarters == 100 and variant in UNSURE else set()
    assert set(unsure) <= twice, "elsewhere the meter is believed"


@pytest.mark.parametrize("zone", ["Europe/Lisbon", "Europe/Athens", "Atlantic/Azores", "Europe/Dublin"])
def test_zones_of_other_hours_have_the_same_number_of_quarters(zone):
    assert len(instants(date(2026, 10, 25), zone)) == 100
    assert len(instants(date(2026, 3, 29), zone)) == 92
    assert len(set(instants(date(2026, 10, 25), zone))) == 100


@pytest.mark.parametrize("clock", [b"261231235960W", b"261231240000W", b"270101000060W", b"261025023060S"])
def test_a_second_or_an_hour_too_many_is_no_error(clock):
    """A leap second, and the end of a day as its 24th hour: no time, and the rest of the telegram all the same."""
    from fastcrc.crc16 import arc

    telegram = Meter(3, "dsmr5", datetime(2026, 12, 31, 22, tzinfo=UTC)).telegram_at(
        datetime(2026, 12, 31, 23, tzinfo=UTC)
    )
    body = telegram[: telegram.rindex(b"!") + 1]
    at = body.index(b"0-0:1.0.0(") + 10
    body = body[:at] + clock + body[at + 13 :]
    (reading,) = Decoder([profiles.load("nl-dsmr5")], ZoneInfo).feed(body + f"{arc(body):04X}\r\n".encode())
    assert reading.t is None
    assert "clock_invalid" in reading.flags
    received = datetime(2026, 12, 31, 23, 0, 1, tzinfo=UTC)
    item = stamp(reading, "main", seq=1, t_rx=received, max_clock_offset_s=3_600)
    assert (item.t, item.t_source) == (received, "gateway")
    assert reading.p_import_w is not None
