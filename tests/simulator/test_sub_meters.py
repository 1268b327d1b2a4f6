"""What happens to a simulated gas meter, as a reader of the telegrams finds it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from gateway import profiles
from gateway.item_p import utc
from gateway.simulator.meter import Meter
from gateway.simulator.push_meter import simulated
from gateway.simulator.sub_meters import KINDS, Change, parse

START = datetime(2026, 1, 15, 6, 58, tzinfo=UTC)
PROFILES = {"dsmr5": "nl-dsmr5", "dsmr42": "nl-dsmr4", "dsmr22": "nl-dsmr2", "emucs": "be-fluvius-emucs"}


def read(variant: str, *changes: Change, seconds: tuple[int, ...]):
    """(channel, device, quantity in litres, time) of each sub-meter at some seconds, and what is true."""
    meter = Meter(7, variant, START, sub_changes=changes)
    profile = profiles.load(PROFILES[variant])
    decoder = Decoder([profile], ZoneInfo, tz="Europe/Amsterdam")
    found, truths = [], []
    for second in seconds:
        t = START + timedelta(seconds=second)
        results = [*decoder.feed(meter.telegram_at(t)), *decoder.close()]
        (reading,) = results
        found.append([(sub.channel, sub.device, sub.integer, utc(sub.t)) for sub in reading.sub])
        truths.append(meter.truth_at(t)["sub"])
        assert [(s["channel"], int(s["quantity"].replace(".", "")), s.get("t")) for s in truths[-1]] == [
            (channel, litres, time) for channel, _, litres, time in found[-1]
        ], "the truth says what the telegram says"
    return found


@pytest.mark.parametrize("variant", PROFILES)
def test_an_exchange_begins_at_zero_under_another_number(variant: str) -> None:
    step = 1 if variant in {"dsmr5", "emucs"} else 10
    before, at, later = read(variant, Change("exchange", 60), seconds=(59 * step, 60 * step, 4_000 * step))
    assert [row[0][0] for row in (before, at, later)] == [1, 1, 1]
    assert before[0][1] != at[0][1] == later[0][1]
    assert before[0][2] > 1_000_000
    assert at[0][2] == 0 <= later[0][2] < 20_000


def test_a_meter_beside_the_old_one_that_stands_still() -> None:
    before, at, later = read("dsmr5", Change("beside", 60), seconds=(59, 60, 7_200))
    assert len(before) == 1
    assert at[0] == later[0] == before[0]
    assert [row[1][0] for row in (at, later)] == [2, 2]
    assert at[1][1] == later[1][1] != at[0][1]
    assert later[1][3] > at[1][3]


def test_a_move_keeps_the_number() -> None:
    before, at = read("emucs", Change("move", 60), seconds=(59, 60))
    assert (before[0][0], at[0][0]) == (1, 2)
    assert before[0][1:] == at[0][1:]


def test_a_reading_that_stands_still() -> None:
    before, later = read("dsmr5", Change("stale", 60), seconds=(60, 20_000))
    assert before == later


def test_a_time_that_is_none() -> None:
    before, after = read("dsmr5", Change("invalid", 60), seconds=(59, 60))
    assert before[0][3] is not None
    assert after[0][3] is None


def test_without_a_change_nothing_is_other_than_before() -> None:
    plain, later = Meter(7, "dsmr5", START), Meter(7, "dsmr5", START, sub_changes=[Change("move", 10**6)])
    t = START + timedelta(seconds=5)
    assert plain.telegram_at(t) == later.telegram_at(t)


@pytest.mark.parametrize("kind", KINDS)
def test_parse(kind: str) -> None:
    assert parse(f"{kind}@30") == Change(kind, 30)


@pytest.mark.parametrize("text", ["", "exchange", "exchange@", "exchange@x", "exchange@-1", "fire@3"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="no change of a sub-meter"):
        parse(text)


@pytest.mark.parametrize("variant", ["se-efs2", "at-kaifa"])
def test_a_meter_without_a_sub_meter_refuses(variant: str) -> None:
    with pytest.raises(ValueError, match="has no sub-meter"):
        simulated(1, variant, START, sub_changes=[Change("move", 1)])
