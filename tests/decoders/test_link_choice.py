"""`auto` over all links: a checked frame decides at once, an unchecked one in company, and nothing waits for ever."""

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import CONVINCING, HELD, LINKS, Decoder, Step
from decoders.model import Fault, Frame, Reading, Telegram
from decoders.profile import Profile
from gateway import profiles

CORPUS = Path(__file__).resolve().parents[1] / "corpus"


def data(family: str, name: str) -> bytes:
    lines = (CORPUS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()
    (case,) = (found for found in map(json.loads, lines) if found["id"] == name)
    return bytes.fromhex(case["data"])


HDLC = data("hdlc-push", "nodedsmr-kamstrup-example-1")
BARE = data("apdu", "dlmsparser-raw-salzburg-netz")
WRAPPER = data("wrapper-push-encrypted", "dlmscosem-udp-wrapper-1")


@pytest.fixture(scope="module")
def everything() -> list[Profile]:
    return profiles.load_auto(None)


@pytest.fixture
def decoder(everything: list[Profile]) -> Decoder:
    return Decoder(everything, ZoneInfo)


def links(decoder: Decoder) -> set[str]:
    return {track.name for track in decoder._tracks}


def test_all_links_are_candidates(decoder: Decoder) -> None:
    assert links(decoder) == set(LINKS)


def test_one_checked_frame_decides(decoder: Decoder) -> None:
    (reading,) = decoder.feed(HDLC)
    assert isinstance(reading, Reading)
    assert links(decoder) == {"hdlc"}
    assert (decoder.frames, decoder.checksum_ok) == (1, 1)


def test_unchecked_frames_decide_when_they_are_three(decoder: Decoder) -> None:
    found = [len(decoder.feed(WRAPPER)) for _ in range(CONVINCING + 1)]
    assert found == [0] * (CONVINCING - 1) + [CONVINCING, 1]
    assert links(decoder) == {"wrapper"}


def test_at_the_end_one_unchecked_frame_is_enough(decoder: Decoder) -> None:
    decoder.feed(WRAPPER)
    (fault,) = decoder.close()
    assert isinstance(fault, Fault)
    assert (fault.stage, fault.code) == ("unwrap", "key_missing")


def test_a_damaged_checked_frame_is_never_taken_for_an_unchecked_one(decoder: Decoder) -> None:
    """The APDU inside stands whole; only the FCS tells that the octets were damaged."""
    damaged = bytearray(HDLC)
    damaged[HDLC.index(bytes.fromhex("0101010700FF")) + 9] ^= 1
    results = decoder.feed(bytes(damaged)) + decoder.close()
    assert {(result.stage, result.code) for result in results if isinstance(result, Fault)} == {("link", "checksum")}
    assert len(results) >= 1
    assert not any(isinstance(result, Reading) for result in results)


def test_failures_of_a_checked_link_are_told_before_any_good_frame(decoder: Decoder) -> None:
    damaged = HDLC[:40] + bytes([HDLC[40] ^ 1]) + HDLC[41:]
    results = [result for _ in range(CONVINCING + 2) for result in decoder.feed(damaged)]
    assert len(results) >= CONVINCING
    assert {result.code for result in results if isinstance(result, Fault)} == {"checksum"}
    (reading,) = decoder.feed(HDLC)
    assert isinstance(reading, Reading)


def test_what_waits_is_bounded(decoder: Decoder) -> None:
    for _ in range(3 * HELD):
        decoder.feed(b"\xdb\x08" + bytes(9) + b"\xff" * 40)
        assert all(len(track.held) <= HELD for track in decoder._tracks)


def test_silence_ends_what_is_open(decoder: Decoder) -> None:
    decoder.feed(HDLC)
    decoder.feed(HDLC[:100])
    assert decoder.pending == 100
    (fault,) = decoder.expire()
    assert isinstance(fault, Fault)
    assert (fault.code, decoder.pending) == ("truncated", 0)
    (reading,) = decoder.feed(HDLC)
    assert isinstance(reading, Reading)
    assert decoder.expire() == []


def test_every_step_is_shown_in_order(everything: list[Profile]) -> None:
    seen: list[Step] = []
    decoder = Decoder(everything, ZoneInfo, observe=seen.append)
    (reading,) = decoder.feed(HDLC)
    assert [type(step).__name__ for step in seen] == ["Frame", "Plain", "Telegram", "Profile", "Reading"]
    assert seen[-1] is reading
    assert isinstance(seen[0], Frame)
    assert isinstance(seen[2], Telegram)


def test_bare_notifications_at_the_end(decoder: Decoder) -> None:
    found = decoder.feed(BARE) + decoder.close()
    assert [type(result) for result in found] == [Reading]
