"""Faults strike when asked, do what their name says, and tell the truth about it, with dsmr-parser as the reader."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from gateway.simulator import faults
from gateway.simulator.faults import KINDS, Faults, Request, parse
from gateway.simulator.meter import Meter
from gateway.simulator.variants import VARIANTS

START = datetime(2026, 6, 20, 9, 17, 5, tzinfo=UTC)


def telegrams(count, variant="dsmr5"):
    meter = Meter(3, variant, START)
    return [meter.telegram_at(START + timedelta(seconds=10 * n)) for n in range(count)]


def run(requests, count=400, variant="dsmr5", seed=1):
    spoiler = Faults(requests, seed=seed, checksum=VARIANTS[variant].checksum)
    originals = telegrams(count, variant)
    return originals, [spoiler.apply(n, telegram) for n, telegram in enumerate(originals)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_is_a_rate_and_repeats_itself(kind):
    originals, outcomes = run([Request(kind, rate=0.1)])
    struck = [n for n, outcome in enumerate(outcomes) if outcome.fault]
    assert 20 <= len(struck) <= 110
    assert outcomes == run([Request(kind, rate=0.1)])[1]
    assert outcomes != run([Request(kind, rate=0.1)], seed=2)[1]
    for original, outcome in zip(originals, outcomes, strict=True):
        assert (outcome.octets == original) == (outcome.fault is None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "merged"])
def test_numbers_are_struck_and_no_others(kind):
    _, outcomes = run([parse(f"{kind}@0,3,5-7")], count=12)
    assert {n: o.since for n, o in enumerate(outcomes) if o.fault} == {0: 0, 3: 3, 5: 5, 6: 6, 7: 7}


def test_merging_takes_two_telegrams():
    originals, outcomes = run([parse("merged@3")], count=7)
    assert [outcome.arrives for outcome in outcomes] == [True, True, True, False, False, True, True]
    assert [outcome.since for outcome in outcomes] == [None, None, None, 3, 3, None, None]
    assert originals[3].startswith(outcomes[3].octets)
    assert originals[4].endswith(outcomes[4].octets)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_arrive_cannot_be_read_and_what_arrives_can(kind, variant, oracle, caplog):
    caplog.set_level(logging.CRITICAL)
    originals, outcomes = run([Request(kind, rate=0.3)], count=120, variant=variant)
    for original, outcome in zip(originals, outcomes, strict=True):
        if outcome.arrives:
            assert outcome.octets.endswith(original)
        elif VARIANTS[variant].checksum:
            assert outcome.arrives is False
            assert not readable(outcome.octets, variant, oracle)
        elif outcome.arrives is False:
            assert not (outcome.octets.startswith(b"/") and b"!" in outcome.octets)


def readable(octets, variant, oracle):
    if not (octets.startswith(b"/") and octets.rstrip()[-5:-4] == b"!"):
        return False
    body, digits = octets.rstrip()[:-4], octets.rstrip()[-4:]
    return b"%04X" % oracle.crc16(body.decode("latin-1")) == digits


def test_damage_is_one_bit_and_covered_by_the_checksum():
    originals, outcomes = run([Request("damaged", rate=1)], count=200)
    for original, outcome in zip(originals, outcomes, strict=True):
        wrong = [(i, a ^ b) for i, (a, b) in enumerate(zip(original, outcome.octets, strict=True)) if a != b]
        assert len(wrong) == 1
        assert wrong[0][0] <= original.rindex(b"!")
        assert wrong[0][1].bit_count() == 1


def test_without_a_checksum_nobody_can_know_about_damage():
    assert {outcome.arrives for outcome in run([Request("damaged", rate=1)], 5, "dsmr22")[1]} == {None}


def test_noise_is_bounded_and_the_first_fault_asked_for_wins():
    originals, outcomes = run([Request("noise", rate=1), Request("silence", rate=1)], count=100)
    sizes = [len(outcome.octets) - len(original) for original, outcome in zip(originals, outcomes, strict=True)]
    assert 1 <= min(sizes) <= max(sizes) <= faults.NOISE_MAX
    assert {outcome.fault for outcome in outcomes} == {"noise"}


def test_one_fault_does_not_move_another():
    alone = [n for n, outcome in enumerate(run([Request("silence", rate=0.1)])[1]) if outcome.fault == "silence"]
    beside = run([Request("silence", rate=0.1), Request("noise", rate=0.2)])[1]
    assert [n for n, outcome in enumerate(beside) if outcome.fault == "silence"] == alone


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("noise", Request("noise", rate=faults.DEFAULT_RATE)),
        ("torn=0", Request("torn", rate=0.0)),
        ("torn=1", Request("torn", rate=1.0)),
        ("unplug@4", Request("unplug", numbers=frozenset({4}))),
        ("merged@1,8-10", Request("merged", numbers=frozenset({1, 8, 9, 10}))),
    ],
)
def test_faults_are_parsed(text, request_):
    assert parse(text) == request_


@pytest.mark.parametrize(
    "text", ["", "fire", "noise=", "noise=2", "noise=-1", "noise=nan", "noise@", "noise@x", "noise@0-99999999"]
)
def test_what_is_no_fault_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse(text)
