"""Simulated SML meters: decoded as they are meant, by meterd and by smllib, with their faults and their escapes."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from smllib import SmlStreamReader

from decoders.decoder import Decoder
from decoders.model import Reading, Result
from gateway import profiles
from gateway.simulator import sml
from gateway.simulator.faults import Request
from gateway.simulator.push_meter import simulated
from gateway.simulator.sml_meter import SML, SmlMeter

NOON = datetime(2026, 6, 21, 10, 0, tzinfo=UTC)
NIGHT = datetime(2026, 12, 21, 22, 0, tzinfo=UTC)
ESCAPE = bytes.fromhex("1b1b1b1b")
PROFILE = {"de-sml": "sml-generic", "de-sml-locked": "sml-generic", "de-ehz": "sml-status-edl"}


def decode(data: bytes) -> list[Result]:
    decoder = Decoder(profiles.load_auto(None), ZoneInfo)
    return decoder.feed(data) + decoder.close()


def item_p(reading: Reading) -> dict[str, int]:
    names = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")
    return {name: value for name in names if (value := getattr(reading, name)) is not None}


@pytest.mark.parametrize("variant", SML)
@pytest.mark.parametrize("start", [NOON, NIGHT], ids=["noon", "night"])
def test_what_is_true_is_what_is_read(variant: str, start: datetime) -> None:
    meter = simulated(7, variant, start)
    times = [start + timedelta(seconds=37 * n) for n in range(30)]
    results = decode(b"".join(meter.telegram_at(t) for t in times))
    assert len(results) == len(times)
    for t, reading in zip(times, results, strict=True):
        assert isinstance(reading, Reading), reading
        assert item_p(reading) == meter.truth_at(t)
        assert (reading.profile, reading.t, reading.auth) == (PROFILE[variant], None, "plain")
        assert reading.flags == (("pin_locked",) if variant == "de-sml-locked" else ())


def test_both_directions_occur() -> None:
    """At noon in June the roof exports, at night in December the house draws: else the test above shows half."""
    truths = [SmlMeter(7, "de-ehz", start).truth_at(start) for start in (NOON, NIGHT)]
    assert truths[0]["p_export_w"] > 0 < truths[1]["p_import_w"]


def test_a_locked_meter_says_whole_kwh_and_no_power() -> None:
    truth, locked = (SmlMeter(3, name, NOON).truth_at(NOON) for name in ("de-sml", "de-sml-locked"))
    assert locked == {key: wh // 1000 * 1000 for key, wh in truth.items() if key.startswith("a_")}


@pytest.mark.parametrize("variant", SML)
def test_smllib_reads_the_same_values(variant: str) -> None:
    meter = SmlMeter(5, variant, NOON)
    data = meter.telegram_at(NOON)
    reader = SmlStreamReader()
    reader.add(data)
    frame = reader.get_frame()
    assert frame is not None
    entries = {entry.obis.obis_code: entry.get_value() for entry in frame.parse_frame()[1].message_body.val_list}
    truth = meter.truth_at(NOON)
    assert (entries["1-0:1.8.0*255"], entries["1-0:2.8.0*255"]) == (truth["a_import_wh"], truth["a_export_wh"])
    if variant == "de-sml":
        assert entries["1-0:16.7.0*255"] == truth["p_net_w"]
    elif variant == "de-ehz":
        assert entries["1-0:15.7.0*255"] == abs(truth["p_net_w"])


def test_escapes_occur_in_the_data_of_an_ehz() -> None:
    """The key holds an escape sequence, which is sent twice."""
    data = SmlMeter(1, "de-ehz", NOON).telegram_at(NOON)
    assert data.count(ESCAPE * 2) == 1
    assert len(re.findall(ESCAPE, data)) == 4


@pytest.mark.parametrize("variant", SML)
@pytest.mark.parametrize("kind", ["damaged", "truncated", "torn", "merged", "silence", "noise"])
def test_a_fault_takes_the_files_that_the_truth_says_and_no_other(variant: str, kind: str) -> None:
    meter = SmlMeter(11, variant, NOON)
    faults = meter.faults((Request(kind, rate=0.2),))  # type: ignore[arg-type]
    times = [NOON + timedelta(seconds=n) for n in range(120)]
    outcomes = [faults.apply(n, meter.telegram_at(t)) for n, t in enumerate(times)]
    found = [item_p(r) for r in decode(b"".join(o.octets for o in outcomes)) if isinstance(r, Reading)]
    assert found == [meter.truth_at(t) for t, o in zip(times, outcomes, strict=True) if o.arrives]
    assert any(outcome.fault for outcome in outcomes)


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="de-sml"):
        SmlMeter(1, "dsmr5")


@pytest.mark.parametrize("size", [1, 13, 14, 15, 253, 254, 255, 4_000])
def test_lengths_count_their_own_octets(size: int) -> None:
    """One octet says up to 15, two up to 255, three more: checked by the reader's own type-length fields."""
    from decoders.sml_message import field, skip

    made = sml.octets(bytes(size))
    assert field(made, 0)[1] == size
    assert skip(made, 0) == len(made)
    listed = sml.sequence(*[sml.ABSENT] * size)
    assert skip(listed, 0) == len(listed)
