"""The simulated M-Bus meter: decoded as it is meant, by meterd and by pyMeterBus, with its faults."""

import warnings
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading, Result
from gateway import profiles
from gateway.simulator.faults import Request
from gateway.simulator.mbus_meter import MbusMeter
from gateway.simulator.push_meter import simulated

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import meterbus

NOON = datetime(2026, 6, 21, 10, 0, tzinfo=UTC)
NIGHT = datetime(2026, 12, 21, 22, 0, tzinfo=UTC)


def decode(data: bytes) -> list[Result]:
    decoder = Decoder(profiles.load_auto(None), ZoneInfo)
    return decoder.feed(data) + decoder.close()


def item_p(reading: Reading) -> dict[str, int]:
    names = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")
    return {name: value for name in names if (value := getattr(reading, name)) is not None}


@pytest.mark.parametrize("start", [NOON, NIGHT], ids=["noon", "night"])
def test_what_is_true_is_what_is_read(start: datetime) -> None:
    meter = simulated(7, "mbus", start)
    times = [start + timedelta(seconds=37 * n) for n in range(30)]
    results = decode(b"".join(meter.telegram_at(t) for t in times))
    assert len(results) == len(times)
    for t, reading in zip(times, results, strict=True):
        assert isinstance(reading, Reading), reading
        assert item_p(reading) == meter.truth_at(t)
        assert (reading.profile, reading.t, reading.auth, reading.flags) == ("mbus-generic", None, "plain", ())


def test_both_directions_occur() -> None:
    truths = [MbusMeter(7, "mbus", start).truth_at(start) for start in (NOON, NIGHT)]
    assert truths[0]["p_export_w"] > 0 < truths[1]["p_import_w"]


def test_pymeterbus_reads_the_same_values() -> None:
    meter = MbusMeter(5, "mbus", NOON)
    request, answer = meter.telegram_at(NOON)[:5], meter.telegram_at(NOON)[5:]
    values = [int(record.value) for record in meterbus.load(answer).records[:6]]
    truth = meter.truth_at(NOON)
    assert values[:2] == [truth["a_import_wh"], truth["a_export_wh"]]
    assert sum(values[2:5]) == values[5] == truth["p_net_w"]
    assert isinstance(meterbus.load(request), meterbus.TelegramShort)


@pytest.mark.parametrize("kind", ["damaged", "truncated", "torn", "merged", "silence", "noise"])
def test_a_fault_takes_the_answers_that_the_truth_says_and_no_other(kind: str) -> None:
    meter = MbusMeter(11, "mbus", NOON)
    faults = meter.faults((Request(kind, rate=0.2),))  # type: ignore[arg-type]
    times = [NOON + timedelta(seconds=10 * n) for n in range(120)]
    outcomes = [faults.apply(n, meter.telegram_at(t)) for n, t in enumerate(times)]
    found = [item_p(r) for r in decode(b"".join(o.octets for o in outcomes)) if isinstance(r, Reading)]
    assert found == [meter.truth_at(t) for t, o in zip(times, outcomes, strict=True) if o.arrives]
    assert any(outcome.fault for outcome in outcomes)


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="mbus"):
        MbusMeter(1, "dsmr5")
