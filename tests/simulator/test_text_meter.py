"""Simulated data blocks and Linky: decoded as they are meant, read by independent parsers, with their faults."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading, Result, decimal
from gateway import profiles
from gateway.item_p import utc
from gateway.simulator.faults import Request
from gateway.simulator.push_meter import simulated
from gateway.simulator.text_meter import TEXTS, TextMeter

NOON = datetime(2026, 6, 21, 10, 0, tzinfo=UTC)
NIGHT = datetime(2026, 12, 21, 22, 0, tzinfo=UTC)
PROFILE = {
    "d0-block": "iec62056-21-generic",
    "fr-historique": "fr-linky-historique",
    "fr-standard": "fr-linky-standard",
}


def decode(data: bytes) -> list[Result]:
    decoder = Decoder(profiles.load_auto(None), ZoneInfo)
    return decoder.feed(data) + decoder.close()


def said(reading: Reading) -> dict[str, object]:
    names = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "t_meter")
    found: dict[str, object] = {name: value for name in names if (value := getattr(reading, name)) is not None}
    return found | ({"t": utc(reading.t)} if reading.t else {})


@pytest.mark.parametrize("variant", TEXTS)
@pytest.mark.parametrize("start", [NOON, NIGHT], ids=["noon", "night"])
def test_what_is_true_is_what_is_read(variant: str, start: datetime) -> None:
    meter = simulated(7, variant, start)
    times = [start + timedelta(seconds=37 * n) for n in range(30)]
    results = decode(b"".join(meter.telegram_at(t) for t in times))
    assert len(results) == len(times)
    for t, reading in zip(times, results, strict=True):
        assert isinstance(reading, Reading), reading
        assert said(reading) == meter.truth_at(t)
        assert (reading.profile, reading.auth) == (PROFILE[variant], "plain")


def test_a_linky_never_says_power_but_apparent_power() -> None:
    for variant, label in (("fr-historique", "PAPP"), ("fr-standard", "SINSTS")):
        meter = TextMeter(7, variant, NIGHT)
        (reading,) = decode(meter.telegram_at(NIGHT))
        assert isinstance(reading, Reading)
        assert (reading.p_import_w, reading.p_export_w, reading.p_net_w) == (None, None, None)
        (power,) = (decimal(value, exponent) for code, value, exponent, unit in reading.registers if code == label)
        assert int(power) // 10 * 10 >= meter.state_at(NIGHT).p_import // 10 * 10 > 0


def test_the_stored_value_of_a_block_is_no_present_one() -> None:
    (reading,) = decode(TextMeter(7, "d0-block", NOON).telegram_at(NOON))
    assert isinstance(reading, Reading)
    assert {"1-0:1.8.0", "1-0:1.8.0*1"} <= {register[0] for register in reading.registers}


@pytest.mark.parametrize("variant", TEXTS)
@pytest.mark.parametrize("kind", ["damaged", "truncated", "torn", "merged", "silence", "noise"])
def test_a_fault_takes_the_telegrams_that_the_truth_says_and_no_other(variant: str, kind: str) -> None:
    """One flipped bit gives no other value; what may pass by chance is left out where two telegrams are merged."""
    meter = TextMeter(11, variant, NOON)
    faults = meter.faults((Request(kind, rate=0.2),))  # type: ignore[arg-type]
    times = [NOON + timedelta(seconds=2 * n) for n in range(100)]
    outcomes = [faults.apply(n, meter.telegram_at(t)) for n, t in enumerate(times)]
    assert any(outcome.fault for outcome in outcomes)
    truths = [meter.truth_at(t) for t in times]
    found = [said(reading) for reading in decode(b"".join(o.octets for o in outcomes)) if isinstance(reading, Reading)]
    sure = [truth for truth, outcome in zip(truths, outcomes, strict=True) if outcome.arrives]
    possible = [truth for truth, outcome in zip(truths, outcomes, strict=True) if outcome.arrives is not False]
    assert [truth for truth in sure if truth not in found] == []
    for reading in found:
        assert any(reading.items() <= truth.items() for truth in possible), reading


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="fr-standard"):
        TextMeter(1, "fr-linky")
