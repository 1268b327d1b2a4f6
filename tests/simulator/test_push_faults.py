"""Faults of pushes strike when asked, are what their name says on the wire, and are reported as they were."""

import asyncio
import io
from collections import Counter
from datetime import UTC, datetime

import pytest

from gateway.simulator.clock import Clock
from gateway.simulator.faults import PUSH_KINDS, Request, parse
from gateway.simulator.port import FilePort
from gateway.simulator.push_faults import PushFaults, kinds
from gateway.simulator.push_meter import FIRST_COUNTER, PushMeter
from gateway.simulator.pushes import PUSHES
from gateway.simulator.serve import Plan, serve, truth
from gateway.simulator.variants import VARIANTS

START = datetime(2026, 6, 20, 9, 17, 5, tzinfo=UTC)


def spoiled(variant, *texts, count=60):
    meter = PushMeter(3, variant, START)
    spoiler = PushFaults([parse(text) for text in texts], meter)
    originals = [meter.telegram_at(meter.time_of(number)) for number in range(count)]
    return meter, originals, [spoiler.apply(number, octets) for number, octets in enumerate(originals)]


def keys_of(meter):
    return meter.keys.encryption, meter.keys.authentication


def test_a_replay_is_an_earlier_push_that_arrived():
    _, originals, outcomes = spoiled("dk-kamstrup", "silence@0-4", "replay@2-4,8,20,21,50")
    assert [n for n, outcome in enumerate(outcomes) if outcome.fault == "replay"] == [8, 20, 21, 50]
    for number in (8, 20, 21, 50):
        assert outcomes[number].octets in originals[max(5, number - 21) : number]
        assert outcomes[number].arrives is False
    # before anything arrived there is nothing that could come again
    _, originals, outcomes = spoiled("dk-kamstrup", "replay@0")
    assert (outcomes[0].octets, outcomes[0].fault, outcomes[0].arrives) == (originals[0], None, True)


def test_a_rollback_is_the_present_under_a_counter_that_never_rises(wire):
    meter, originals, outcomes = spoiled("lg-e450", "rollback@5-9")
    struck = [wire.read(outcome.octets, keys_of(meter)) for outcome in outcomes[5:10]]
    counters = [pushed.counter for pushed in struck]
    assert counters == sorted(counters, reverse=True)
    assert max(counters) < FIRST_COUNTER
    assert [pushed.values for pushed in struck] == [
        wire.read(octets, keys_of(meter)).values for octets in originals[5:10]
    ]


@pytest.mark.parametrize(
    ("variant", "controls"), [("dk-kamstrup", {0x00, 0x20}), ("at-kaifa", {0x00}), ("at-kaifa-21", {0x01})]
)
def test_a_downgrade_protects_less(variant, controls, wire):
    meter, _, outcomes = spoiled(variant, "downgrade=1")
    found = set()
    for outcome in outcomes:
        size = outcome.octets.index(b"\xdb\x08") + 10
        first = outcome.octets[size]
        found.add(outcome.octets[size + 1 + (first & 0x7F if first & 0x80 else 0)])
        assert outcome.arrives is False
    assert found == controls
    assert meter.variant.envelope.control not in found


def test_a_wrong_tag_and_a_changed_title(wire):
    meter, originals, outcomes = spoiled("dk-kamstrup", "tag@3", "title@4")
    with pytest.raises(AssertionError):
        wire.read(outcomes[3].octets, keys_of(meter))
    # the frame checks of the link are right: only the tag is not
    assert wire.read(outcomes[3].octets, keys_of(meter), check_tag=False).counter == meter.counter_at(meter.time_of(3))
    title = originals[4].index(b"\xdb\x08KAM") + 2
    assert outcomes[4].octets[title : title + 7] == originals[4][title : title + 7]
    assert outcomes[4].octets[title + 7] == originals[4][title + 7] ^ 0xFF
    assert wire.read(outcomes[4].octets, keys_of(meter)).values == wire.read(originals[4], keys_of(meter)).values


@pytest.mark.parametrize("variant", ["at-kaifa", "lg-e450", "ch-lg-e570", "ch-am550"])
def test_frames_come_twice_or_not_or_in_another_order(variant):
    meter, _, outcomes = spoiled(variant, "doubled=0.3", "missing=0.3", "swapped=0.3", count=200)
    seen = Counter()
    for number, outcome in enumerate(outcomes):
        frames = meter.frames_at(meter.time_of(number))
        whole = b"".join(frames)
        seen[outcome.fault] += 1
        if outcome.fault == "doubled":
            places = [
                at for at, frame in enumerate(frames) if outcome.octets == b"".join([*frames[: at + 1], *frames[at:]])
            ]
            assert len(outcome.octets) > len(whole)
            assert outcome.arrives == (places[0] in (0, len(frames) - 1))
        elif outcome.fault == "missing":
            assert outcome.octets in [b"".join([*frames[:at], *frames[at + 1 :]]) for at in range(len(frames))]
        elif outcome.fault == "swapped":
            assert sorted(outcome.octets) == sorted(whole)
            assert outcome.octets != whole
    assert min(seen[kind] for kind in ("doubled", "missing", "swapped", None)) >= 15


def test_what_a_meter_cannot_have_is_refused():
    assert set(PUSH_KINDS) <= set(kinds(PUSHES["lg-e450"]))
    assert not set(PUSH_KINDS) & set(kinds(PUSHES["no-aidon"]))
    assert not set(PUSH_KINDS) & set(kinds(VARIANTS["dsmr5"]))
    assert "tag" not in kinds(PUSHES["at-kaifa"])
    assert "swapped" not in kinds(PUSHES["dk-kamstrup"])
    with pytest.raises(ValueError, match="cannot have the fault tag"):
        PushFaults([parse("tag")], PushMeter(1, "at-kaifa", START))


@pytest.mark.parametrize(
    ("variant", "kind"), [(name, kind) for name in ("lg-e450", "at-est5", "no-kaifa") for kind in kinds(PUSHES[name])]
)
def test_reported_faults_are_the_faults_in_the_octets(variant, kind):
    file, reports = io.BytesIO(), []
    meter = PushMeter(3, variant, START)
    plan = Plan(count=150, faults=(Request(kind, rate=0.1),))
    asyncio.run(
        asyncio.wait_for(serve(meter, FilePort(file, "file"), Clock(START, float("inf")), plan, reports.append), 60)
    )
    struck = [report for report in reports if report.outcome.fault]
    assert len(struck) >= 5
    assert {report.outcome.fault for report in struck} == {kind}
    assert file.getvalue() == b"".join(report.outcome.octets for report in reports)
    for report in reports:
        original = meter.telegram_at(report.t)
        assert (report.outcome.octets == original) == (report.outcome.fault is None)
        if report.outcome.arrives:
            assert original[:-1] in file.getvalue() or kind == "doubled"
        row = truth(meter, report)
        assert (row["fault"], row["arrives"]) == (report.outcome.fault, report.outcome.arrives)
        assert row["auth"] == meter.security_at(report.t)["auth"]
        assert row.get("counter") == meter.security_at(report.t).get("counter")
