"""Which link cuts the frames of a line, and what noise may not convince of."""

import random

import pytest

from decoders.decoder import UNCHECKED
from decoders.evidence import CAPTURE, Evidence, SevenBits
from gateway.setup.listen import Line
from gateway.simulator.pushes import PUSHES
from gateway.simulator.variants import VARIANTS

LINKS = {"hdlc": "hdlc", "mbus": "mbus", "bare": "bare"}


def evidence_of(meter, telegrams, evidence=None, piece=97):
    evidence = evidence or Evidence()
    stream = b"".join(meter.telegram(n) for n in range(telegrams))
    for at in range(0, len(stream), piece):
        evidence.feed(stream[at : at + piece])
    evidence.expire()
    return evidence


@pytest.mark.parametrize("variant", [*VARIANTS, *PUSHES])
def test_every_meter_is_found_on_its_link(household, variant):
    meter = household(variant)
    expected = "p1" if variant in VARIANTS else PUSHES[variant].envelope.link
    found = evidence_of(meter, 2)
    assert (found.link, found.damaged) == (expected, 0)
    assert found.frames
    assert found.count >= 2


@pytest.mark.parametrize("variant", ["at-kaifa", "dk-kamstrup", "dsmr5"])
def test_one_whole_frame_of_a_checked_link_is_enough(household, variant):
    assert evidence_of(household(variant), 1).link not in (None, *UNCHECKED)


def test_one_frame_without_checksum_convinces_nobody(household):
    assert evidence_of(household("lu-smarty"), 1).link is None


def test_noise_has_no_link():
    dice = random.Random(20)
    evidence = Evidence()
    for _ in range(200):
        evidence.feed(dice.randbytes(1_000))
    assert evidence.link is None
    assert 48 <= evidence.top_bit_percent <= 52
    assert not evidence.looks_like_seven_bits
    assert len(evidence.capture) == CAPTURE


def test_parity_bits_show_seven_bits(household, uart):
    meter = household("dsmr22")
    octets, errors = uart(meter.telegram(0), Line(9_600, "7E1"), Line(9_600, "8N1"))
    raw, seven = Evidence(), SevenBits()
    raw.feed(octets)
    seven.feed(octets)
    assert (errors, seven.link) == (0, "p1")
    assert raw.looks_like_seven_bits
    assert bytes(seven.capture) == meter.telegram(0)
    assert not evidence_of(household("dsmr5"), 1).looks_like_seven_bits


def test_frames_by_chance_in_much_noise_convince_nobody(household):
    """Two whole APDUs without a checksum in 100 times as much noise: such things are found in noise itself."""
    meter, dice = household("lu-smarty"), random.Random(21)
    evidence = Evidence()
    for n in range(2):
        evidence.feed(dice.randbytes(100_000) + meter.telegram(n))
    evidence.expire()
    assert (evidence.count, evidence.link) == (2, None)


def test_what_was_cut_at_the_beginning_does_not_count_against_them(household):
    meter = household("lu-smarty")
    evidence = Evidence()
    evidence.feed(meter.telegram(0)[20:])
    evidence.feed(meter.telegram(1))
    evidence.feed(meter.telegram(2))
    assert evidence.link == "bare"
