"""Detection on every case of the corpora, on parts of them, on two meters in a row, and on what is made to hurt."""

import json
import random
import re
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.detect import MOST_OCTETS, detect
from decoders.links import bare, hdlc
from decoders.model import Fault, Reading
from gateway.setup.candidates import candidates, sizes

Case = dict[str, Any]
SHIPPED = Path(__file__).resolve().parent.parent / "corpus"
#: the links and the grammar of a family; text families hold cases of each other, so `auto` decides those
FAMILIES = {
    "apdu": ({"bare"}, {"axdr"}),
    "hdlc-push": ({"hdlc"}, {"axdr"}),
    "hdlc-push-encrypted": ({"hdlc"}, {"axdr", None}),
    "iec62056-21": ({"iec62056-21", "p1"}, {"iec62056-21", "p1"}),
    "llc-apdu": ({"bare"}, {"axdr"}),
    "mbus-link-push-encrypted": ({"mbus"}, {"axdr", None}),
    "mbus-wired": ({"mbus-records"}, {"mbus-records"}),
    "p1-ascii": ({"p1", "iec62056-21"}, {"p1", "iec62056-21"}),
    "p1-encrypted": ({"bare", "p1-sealed"}, {"p1", None}),
    "sml": ({"sml"}, {"sml"}),
    "teleinfo": ({"teleinfo"}, {"teleinfo"}),
    "wrapper-push-encrypted": ({"wrapper"}, {"axdr", None}),
}
#: cases of kinds that meterd does not read, by their names
UNSUPPORTED = re.compile("unsupported")
#: links of which some captures are published without what frames them, which nothing may stand beside
WITHOUT_FRAME = ("bare", "iec62056-21", "teleinfo")


@pytest.fixture(scope="module")
def everything():
    return candidates("auto")


@pytest.fixture(scope="module")
def detected(everything):
    return lambda octets: detect(octets, everything, ZoneInfo, sizes=sizes)


def cases(path: Path) -> list[Case]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [case for case in map(json.loads, lines) if not UNSUPPORTED.search(case["id"])]


def octets(case: Case) -> bytes:
    decoded = {"hex": bytes.fromhex, "base64": b64decode, "text": lambda text: text.encode("latin-1")}
    return decoded[case["encoding"]](case["data"])


def of_auto(case: Case, everything) -> tuple[set[str], set[str]]:
    """The profiles that `auto` takes with the keys of the case, and the links that it settles on."""
    known = {name: bytes.fromhex((case.get("keys") or {}).get(name) or "") for name in ("encryption", "authentication")}
    keys = Keys(known["encryption"], known["authentication"] or None) if known["encryption"] else None
    for empty_aad in (True, False) if keys and not keys.authenticates else (False,):
        decoder = Decoder(everything, ZoneInfo, security=Security(keys, None, "plain", not empty_aad, empty_aad))
        results = decoder.feed(octets(case)) + decoder.close()
        readings = [result for result in results if isinstance(result, Reading)]
        if readings:
            break
    return {reading.profile for reading in readings}, {track.name for track in decoder._tracks}


def said_in_clear(case: Case, everything) -> list[str]:
    """What `auto` says of the cipher where it has no key."""
    decoder = Decoder(everything, ZoneInfo)
    results = decoder.feed(octets(case)) + decoder.close()
    return [result.evidence for result in results if isinstance(result, Fault) and result.code == "key_missing"]


def readings(data: bytes, link: str, everything) -> int:
    decoder = Decoder(everything, ZoneInfo, link=link)
    return sum(isinstance(result, Reading) for result in decoder.feed(data) + decoder.close())


def check(case: Case, family: str, found, everything) -> str:
    """Compare the first candidate with what the case is; say what was compared."""
    links, grammars = FAMILIES[family]
    if not found.candidates:
        assert not case["valid"] or not case.get("item_p"), case["id"]
        return "nothing in it"
    first = found.candidates[0]
    assert first.link in links, case["id"]
    if not case["valid"] and first.checksum == "damaged":
        assert found.best is None
        return "damaged"
    assert first.grammar in (grammars if case["valid"] else grammars | {None}), case["id"]
    profiles, taken = of_auto(case, everything)
    names = [profile.name for profile in first.profiles]
    ciphered = said_in_clear(case, everything)
    assert bool(ciphered) == (first.ciphered is not None), case["id"]
    if ciphered:
        assert str(first.ciphered) == ciphered[-1], case["id"]
        assert profiles <= set(names), case["id"]
        return "encrypted"
    if profiles:
        assert taken == {first.link}, case["id"]
        assert profiles == {names[0]}, case["id"]
        assert found.best == first
        return "profile"
    assert found.best is None, case["id"]
    return "link and grammar"


def check_all(folders: list[Path], detected, everything) -> Counter[str]:
    compared: Counter[str] = Counter()
    for family in FAMILIES:
        for case in (case for folder in folders for case in cases(folder / f"{family}.jsonl")):
            compared[check(case, family, detected(octets(case)), everything)] += 1
    print(f"{sum(compared.values())} cases: {dict(compared)}")
    return compared


def test_the_right_answer_comes_first_in_the_shipped_corpus(detected, everything):
    compared = check_all([SHIPPED], detected, everything)
    assert compared["profile"] > 100
    assert compared["encrypted"] >= 5


@pytest.mark.corpus
def test_the_right_answer_comes_first_in_the_shared_corpus(corpus, detected, everything):
    compared = check_all([corpus / "open", corpus / "reference"], detected, everything)
    assert compared["profile"] > 180
    assert compared["encrypted"] >= 15


@pytest.mark.corpus
@pytest.mark.parametrize(("family", "name", "least"), [("modbus", "Modbus", 5), ("wmbus", "wireless M-Bus", 95)])
def test_what_is_not_read_is_no_meter_and_may_be_named(corpus, detected, family, name, least):
    found = [
        detected(octets(case)) for part in ("open", "reference") for case in cases(corpus / part / f"{family}.jsonl")
    ]
    assert [each.best for each in found] == [None] * len(found)
    assert sum(any(what.startswith(name) for what in each.looks.resembles) for each in found) >= least


@pytest.mark.parametrize("family", FAMILIES)
def test_a_meter_stays_itself_behind_garbage_and_before_a_torn_telegram(family, detected, everything):
    dice, compared = random.Random(family), 0
    for case in cases(SHIPPED / f"{family}.jsonl")[:6]:
        data = octets(case)
        alone = detected(data).best
        if alone is None:
            continue
        mixed = dice.randbytes(40) + data + data + data[: len(data) // 2]
        if alone.link in WITHOUT_FRAME and not (alone.ciphered or readings(mixed, alone.link, everything)):
            continue
        compared += 1
        best = detected(mixed).best
        assert best is not None, case["id"]
        assert (best.link, best.profiles) == (alone.link, alone.profiles), case["id"]
        if alone.ciphered:
            assert best.ciphered.system_title == alone.ciphered.system_title, case["id"]
    assert compared or family in ("apdu", "llc-apdu")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_octets_are_never_another_meter(family, detected):
    """A beginning may be too little; it is no other link than that of the whole."""
    for case in cases(SHIPPED / f"{family}.jsonl")[:3]:
        whole = detected(octets(case)).best
        if whole is None:
            continue
        for part in (1, 8, 20, 60, 100):
            best = detected(octets(case)[: len(octets(case)) * part // 100]).best
            assert best is None or best.link in FAMILIES[family][0], (case["id"], part)


def test_two_meters_in_a_row_are_two_candidates(household, detected):
    p1, mbus, other = household("dsmr5"), household("at-kaifa"), household("se-efs2")
    data = b"".join(each.telegram(n) for n in range(3) for each in (p1, mbus))
    found = [each for each in detected(data).candidates if not each.is_weak]
    assert {(each.link, each.telegrams) for each in found} == {("p1", 3), ("mbus", 3)}
    data = b"".join(each.telegram(n) for n in range(3) for each in (p1, other))
    found = [each for each in detected(data).candidates if not each.is_weak]
    assert [each.link for each in found] == ["p1", "p1"]
    assert {each.profiles[0].name for each in found} >= {"nl-dsmr5"}


def test_seven_bits_read_as_eight_are_told(household, uart, detected):
    from gateway.setup.listen import Line

    for variant, link in (("dsmr22", "p1"), ("fr-historique", "teleinfo"), ("d0-block", "iec62056-21")):
        meter = household(variant)
        read, _ = uart(meter.telegram(0), meter.line, Line(meter.line.baud, "8N1"))
        best = detected(read).best
        assert (best.link, best.seven_bits) == (link, True), variant
        assert any("7E1" in sentence for sentence in best.evidence)


def test_an_inverted_line_is_suspected(household, detected):
    """The figures of a P1 telegram that a UART reads upside down: nine octets in ten have their top bit set."""
    dice = random.Random(8)
    found = detected(bytes(dice.choice(b"\x9f\xa3\x9d\xe5\x95\xa5\xeb\x00\x57") for _ in range(800)))
    assert found.best is None
    assert any("inverted" in what for what in found.looks.resembles)


def test_noise_is_nothing_in_bounded_time_and_memory(detected, monkeypatch):
    """10 MiB: every link reads each octet of what is looked at once, and nothing is believed."""
    dice = random.Random(9)
    fed = Counter()
    feed = hdlc.HdlcLink.feed

    def counted(self, data):
        fed["octets"] += len(data)
        fed["most"] = max(fed["most"], len(data))
        return feed(self, data)

    monkeypatch.setattr(hdlc.HdlcLink, "feed", counted)
    found = detected(dice.randbytes(10 << 20))
    assert found.candidates == ()
    assert fed["octets"] <= 2 * MOST_OCTETS
    assert fed["most"] <= 64 * 1024
    assert found.looks.octets == MOST_OCTETS
    assert 49 <= found.looks.top_bit_percent <= 50


@pytest.mark.parametrize(
    "unit",
    [b"\0", b"\x02", b"\x1b", b"\x76", b"\x7e\xa0", b"\x0f\0\0\0\0\0\x01", b"\xdb\x08KFM00000", b"/ABC5\r\n", b"h"],
    ids=bytes.hex,
)
def test_beginnings_without_end_are_no_meter(detected, unit):
    found = detected(unit * (60_000 // len(unit)))
    assert found.best is None
    assert len(found.candidates) <= 16


def test_what_looks_like_a_cipher_by_chance_is_not_believed(detected):
    dice = random.Random(10)
    fake = b"\xdb\x08" + b"\x01\x02\x03\x04\x05\x06\x07\x08" + b"\x20\x30" + dice.randbytes(31)
    assert bare._BEGINNING.match(fake)
    data = dice.randbytes(5_000) + fake + dice.randbytes(5_000)
    assert detected(data).best is None


def test_evidence_says_what_was_counted(household, detected):
    meter = household("dk-kamstrup")
    best = detected(b"".join(meter.telegram(n) for n in range(4))).best
    assert best.evidence[0] == "4 whole telegrams (99 % of the octets), 4 with a checksum that fits"
    assert "of Kamstrup" in best.evidence[1]
    assert "authentication key" in best.evidence[2]
    assert best.profiles[0].name == "dk-kamstrup"


def test_nothing_at_all(detected):
    found = detected(b"")
    assert (found.candidates, found.best, found.looks.octets) == ((), None, 0)


def test_a_chance_inside_ciphertext_doubts_no_apdu_that_is_all_there_is(everything, detected):
    """`/` and three letters before a line end begin a data block: in one telegram of thirty they stand by chance."""
    body = b"\x30\x00\x00\x00\x07" + bytes(40) + b"\xf7/KFM\xf0\xf1\n\xf2\xf3" + bytes(range(0x40, 0x60)) + bytes(12)
    apdu = b"\xdb\x08SAGgB\x00\x00\x01" + bytes([len(body)]) + body
    decoder = Decoder(everything, ZoneInfo)
    results = decoder.feed(apdu) + decoder.close()
    assert [result.code for result in results] == ["key_missing"]
    best = detected(apdu).best
    assert (best.link, best.ciphered.counter) == ("bare", 7)
