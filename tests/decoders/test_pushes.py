"""Every push of the corpus through a decoder of all profiles: in any pieces, cut anywhere, joined late."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.model import Fault, Reading, Result
from decoders.profile import Profile
from gateway import profiles

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
FAMILIES = (
    "apdu",
    "hdlc-push",
    "hdlc-push-encrypted",
    "llc-apdu",
    "mbus-link-push-encrypted",
    "p1-encrypted",
    "wrapper-push-encrypted",
)
QUANTITIES = ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh")
#: random splits of each case
SPLITS = 500


class Push(NamedTuple):
    """Octets as on the wire, and what opens them."""

    name: str
    data: bytes
    security: Security


def push(case: dict[str, Any]) -> Push:
    said = {name: bytes.fromhex(key) for name, key in case["keys"].items()}
    keys = Keys(said["encryption"], said.get("authentication")) if "encryption" in said else None
    return Push(case["id"], bytes.fromhex(case["data"]), Security(keys, unverified_by_person=True))


CASES = [
    push(json.loads(line))
    for family in FAMILIES
    for line in (CORPUS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(params=CASES, ids=lambda one: one.name)
def case(request: pytest.FixtureRequest) -> Push:
    found: Push = request.param
    return found


@pytest.fixture(scope="module")
def all_profiles() -> list[Profile]:
    """As `profile = "auto"` takes them."""
    return profiles.load_auto(None)


def fed(candidates: list[Profile], case: Push, stream: bytes, cuts: Sequence[int] = ()) -> tuple[object, ...]:
    """Results and counters after all pieces."""
    decoder = Decoder(candidates, ZoneInfo, security=case.security)
    results: list[Result] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        results += decoder.feed(stream[start:end])
    results += decoder.close()
    return results, decoder.frames, decoder.checksum_ok, decoder.checksum_absent, decoder.pending


def readings(candidates: list[Profile], case: Push, stream: bytes) -> list[Reading]:
    results = fed(candidates, case, stream)[0]
    assert isinstance(results, list)
    assert all(isinstance(result, Reading | Fault) for result in results)
    return [replace(result, size=0) for result in results if isinstance(result, Reading)]


@pytest.mark.untraced
def test_pieces_of_any_size_give_the_same(case: Push, all_profiles: list[Profile]) -> None:
    chance = random.Random(case.name)
    whole = fed(all_profiles, case, case.data)
    assert fed(all_profiles, case, case.data, range(1, len(case.data))) == whole
    for _ in range(SPLITS):
        cuts = sorted(chance.sample(range(1, len(case.data)), chance.randint(1, 12)))
        assert fed(all_profiles, case, case.data, cuts) == whole


def test_a_push_cut_anywhere_gives_what_it_gives_whole_or_nothing(case: Push, all_profiles: list[Profile]) -> None:
    """Never another value; and where there is no reading, a failure says so."""
    whole = readings(all_profiles, case, case.data)
    for end in range(len(case.data)):
        results = fed(all_profiles, case, case.data[:end])[0]
        assert isinstance(results, list)
        assert results, end
        found = [replace(result, size=0) for result in results if isinstance(result, Reading)]
        assert found == whole[: len(found)], end
        assert values(readings(all_profiles, case, case.data[end:])) <= values(whole), end


def values(found: list[Reading]) -> set[tuple[str, object]]:
    """What they say of item P. Without its first flag, a frame is the APDU in it, of which less may be known."""
    said = {(name, getattr(one, name)) for one in found for name in (*QUANTITIES, "t_meter", "auth")}
    return {(name, value) for name, value in said if value is not None}


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_octet_never_gives_another_value(case: Push, all_profiles: list[Profile], seed: int) -> None:
    """Where a checksum or a tag guards the octets."""
    whole = readings(all_profiles, case, case.data)
    if case.data[:1] not in (b"\x7e", b"\x68") and not any(reading.auth == "verified" for reading in whole):
        return
    chance = random.Random(seed)
    for _ in range(60):
        damaged = bytearray(case.data)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        assert values(readings(all_profiles, case, bytes(damaged))) <= values(whole)


def test_a_message_whose_last_block_is_missing_at_the_end_is_told(all_profiles: list[Profile]) -> None:
    (blocks,) = (case for case in CASES if case.name == "dlmsparser-hdlc-lgz-e450-2")
    decoder = Decoder(all_profiles, ZoneInfo, security=blocks.security)
    assert decoder.feed(blocks.data[:281]) == []
    assert decoder.pending > 200
    assert [(result.stage, result.code) for result in decoder.close() if isinstance(result, Fault)] == [
        ("unwrap", "block_lost")
    ]
    assert (decoder.pending, decoder.close()) == (0, [])
    (reading,) = decoder.feed(blocks.data)
    assert isinstance(reading, Reading)
