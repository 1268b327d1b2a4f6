"""Data-notifications: pairs, triples, push object lists, bare values; and what is remembered changes nothing."""

import json
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.apdu import Plain
from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.errors import GrammarError
from decoders.grammars import cosem
from decoders.grammars.axdr_template import KEPT, LONGEST_WAIT
from decoders.grammars.cosem import AxdrGrammar
from decoders.model import Frame, MeterTime, Telegram
from gateway import profiles

CORPUS = Path(__file__).resolve().parents[2] / "corpus"
FAMILIES = ("hdlc-push", "hdlc-push-encrypted", "mbus-link-push-encrypted", "llc-apdu", "apdu")
HEAD = bytes.fromhex("0F 40000000")
NOON = bytes.fromhex("07E60C0F040C000000000000")


def parse(*parts: str, header: str = "00") -> Telegram:
    """The telegram of an APDU in hexadecimal digits."""
    return AxdrGrammar().parse(frame(HEAD + bytes.fromhex(header + "".join(parts))))


def frame(apdu: bytes) -> Frame:
    return Frame(apdu, "ok", len(apdu))


def notifications() -> dict[str, bytes]:
    """The plain notifications of the corpus."""
    found: dict[str, bytes] = {}
    candidates = profiles.load_auto(None)
    for family in FAMILIES:
        for line in (CORPUS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines():
            case, seen = json.loads(line), []
            if not case["valid"]:
                continue
            security = Security(keys(case["keys"]), unverified_by_person=True)
            decoder = Decoder(candidates, ZoneInfo, security=security, observe=seen.append)
            decoder.feed(bytes.fromhex(case["data"]))
            decoder.close()
            plain = [step.payload for step in seen if isinstance(step, Plain)]
            found |= {f"{case['id']}-{n}": payload for n, payload in enumerate(plain) if payload[:1] == b"\x0f"}
    return found


def keys(said: dict[str, str]) -> Keys | None:
    if "encryption" not in said:
        return None
    other = said.get("authentication")
    return Keys(bytes.fromhex(said["encryption"]), bytes.fromhex(other) if other else None)


NOTIFICATIONS = notifications()


@pytest.fixture(params=NOTIFICATIONS.values(), ids=NOTIFICATIONS)
def apdu(request: pytest.FixtureRequest) -> bytes:
    found: bytes = request.param
    return found


def test_the_notifications_of_the_corpus_are_many() -> None:
    assert len(NOTIFICATIONS) >= 20


class TestForms:
    """What a value means depends on what stands before it."""

    def test_pairs_of_code_and_value(self) -> None:
        telegram = parse("0204", "09060101010800FF", "0600000064", "09060101020800FF", "060000000A")
        assert telegram.registers == (("1-1:1.8.0", 100, 0, ""), ("1-1:2.8.0", 10, 0, ""))

    def test_a_null_after_a_code_is_absent(self) -> None:
        """Kamstrup with one phase: the codes of the others come with null."""
        telegram = parse("0206", "09060101330700FF", "00", "09060101470700FF", "00", "09060101010700FF", "0600000005")
        assert telegram.registers == (("1-1:1.7.0", 5, 0, ""),)
        assert telegram.texts == {}
        assert [tag for tag, _ in telegram.values] == [9, 0, 9, 0, 9, 6]

    def test_triples_with_scaler_and_unit(self) -> None:
        telegram = parse(
            "0102",
            "0203 09060100010700FF 0600000462 0202 0F00 161B".replace(" ", ""),
            "0203 09060100200700FF 1208FC 0202 0FFF 1623".replace(" ", ""),
        )
        assert telegram.registers == (("1-0:1.7.0", 1122, 0, "W"), ("1-0:32.7.0", 2300, -1, "V"))

    def test_scaler_and_unit_belong_to_the_register_just_before(self) -> None:
        scale = "02020F031 61E".replace(" ", "")
        text = parse("0203", "09060000600100FF", "0A0131", scale)
        assert text.registers == ()
        assert text.texts == {"0-0:96.1.0": "1"}
        once = parse("0204", "09060100010800FF", "0600000001", scale, "02020F051620")
        assert once.registers == (("1-0:1.8.0", 1, 3, "Wh"),)

    def test_an_unknown_unit_is_none(self) -> None:
        telegram = parse("0203", "09060100010700FF", "0600000001", "02020F0016FE")
        assert telegram.registers == (("1-0:1.7.0", 1, 0, ""),)

    @pytest.mark.parametrize("index", ["", "120000"])
    def test_a_push_object_list(self, index: str) -> None:
        """Class, code and attribute of every value come first, with a data index or without."""
        entry = "0204" if index else "0203"
        codes = ["0000280000FF", "0100010700FF", "0100020800FF", "0000010000FF"]
        described = "".join(f"{entry}1200030906{code}0F02{index}" for code in codes)
        telegram = parse("0204", "0104", described, "0600000007", "15000000000000000A", "090C" + NOON.hex())
        assert telegram.registers == (("1-0:1.7.0", 7, 0, ""), ("1-0:2.8.0", 10, 0, ""))
        assert telegram.time == MeterTime(datetime(2022, 12, 15, 12), deviation=0)  # noqa: DTZ001

    def test_descriptors_beside_their_values(self) -> None:
        entry = "0202 0203 120003 0906 0100010700FF 0F02 06000007A4".replace(" ", "")
        assert parse("0101", entry).registers == (("1-0:1.7.0", 1956, 0, ""),)

    def test_descriptors_without_tags(self) -> None:
        """Sagemcom XT211 of the Czech Republic."""
        entry = "0202 0003 0100010700FF 02 06000007A4".replace(" ", "")
        assert parse("0201", entry).registers == (("1-0:1.7.0", 1956, 0, ""),)

    def test_a_list_in_front_of_what_looks_like_a_descriptor(self) -> None:
        assert parse("0204", "0200", "120003", "09060100010700FF", "0F02").registers == (("1-0:1.7.0", 2, 0, ""),)

    def test_bare_values_are_kept_in_order(self) -> None:
        telegram = parse("0203", "09074B464D5F303031", "0600000462", "0600000000")
        assert telegram.registers == ()
        assert telegram.identification == "KFM_001"
        assert telegram.values == ((9, b"KFM_001"), (6, 1122), (6, 0))

    def test_enumerations_are_texts(self) -> None:
        assert parse("0202", "09060000600310FF", "1603").texts == {"0-0:96.3.16": "3"}

    @pytest.mark.parametrize(("group_f", "shown"), [("FF", "1-0:1.8.1"), ("02", "1-0:1.8.1*2"), ("00", "1-0:1.8.1*0")])
    def test_group_f_is_shown_unless_it_is_255(self, group_f: str, shown: str) -> None:
        entry = "0202 0203 120003 0906 0100010801" + group_f + "0F02 0600000001"
        assert parse("0101", entry.replace(" ", "")).registers == ((shown, 1, 0, ""),)


class TestTimes:
    """The header's time is that of the push; a clock object counts without it."""

    CLOCK = "0202" + "09060000010000FF" + "090C" + NOON.hex()
    LATER = NOON[:7] + b"\x05" + NOON[8:]

    def test_the_header_wins(self) -> None:
        telegram = parse(self.CLOCK, header="0C" + self.LATER.hex())
        assert telegram.time is not None
        assert telegram.time.wall.second == 5
        assert telegram.clock == self.LATER.hex()

    def test_a_header_with_a_tag(self) -> None:
        """Kaifa."""
        assert parse(self.CLOCK, header="090C" + self.LATER.hex()).clock == self.LATER.hex()

    def test_the_clock_object_without_header(self) -> None:
        assert parse(self.CLOCK).clock == NOON.hex()
        assert parse("0202", "09060001010000FF", "19" + NOON.hex()).clock == NOON.hex()

    def test_octets_without_code_that_are_a_time(self) -> None:
        assert parse("0201", "090C" + NOON.hex()).clock == NOON.hex()
        assert parse("0201", "090C" + "FF" * 12).clock is None

    def test_no_time_at_all(self) -> None:
        telegram = parse("0202", "09060100010700FF", "0600000001")
        assert (telegram.time, telegram.clock, telegram.clock_valid) == (None, None, True)

    def test_a_clock_that_is_no_time(self) -> None:
        telegram = parse("0202", "09060000010000FF", "090C" + "00" * 12)
        assert (telegram.time, telegram.clock_valid) == (None, False)


@pytest.mark.parametrize(
    ("apdu", "code"),
    [
        ("", "type"),
        ("10 40000000 00 0200", "type"),
        ("0F", "length"),
        ("0F 40000000", "length"),
        ("0F 40000000 0C 07E6", "length"),
        ("0F 40000000 00", "length"),
        ("0F 40000000 00 0200 00", "rest"),
        ("0F 40000000 00 FF", "type"),
        ("0F 40000000 00 0184FFFFFFFF", "elements"),
        ("0F 40000000 84FFFFFFFF", "length"),
    ],
)
def test_what_is_no_notification(apdu: str, code: str) -> None:
    wire = bytes.fromhex(apdu)
    with pytest.raises(GrammarError) as caught:
        AxdrGrammar().parse(frame(wire))
    assert (caught.value.code, caught.value.size) == (code, len(wire))


def test_every_truncation_is_refused(apdu: bytes) -> None:
    """A grammar that remembers the whole one, and one that remembers nothing."""
    warm = AxdrGrammar()
    for _ in range(4):
        warm.parse(frame(apdu))
    for end in range(len(apdu)):
        for grammar in (warm, AxdrGrammar()):
            with pytest.raises(GrammarError):
                grammar.parse(frame(apdu[:end]))


class TestMemory:
    """A grammar that has read before gives exactly what a new one gives, errors included."""

    def test_the_same_again(self, apdu: bytes) -> None:
        grammar, fresh = AxdrGrammar(), AxdrGrammar().parse(frame(apdu))
        for _ in range(5):
            assert grammar.parse(frame(apdu)) == fresh

    def test_every_octet_changed(self, apdu: bytes) -> None:
        grammar = warmed(apdu)
        for at in range(len(apdu)):
            for change in (1, 0x80, 0xFF):
                compare(grammar, apdu[:at] + bytes([apdu[at] ^ change]) + apdu[at + 1 :])

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def test_random_changes(self, seed: int) -> None:
        """Octets are changed, put in and taken out, and meters take turns."""
        chance = random.Random(seed)
        grammar = AxdrGrammar()
        pool = chance.sample(sorted(NOTIFICATIONS.values()), 3)
        for _ in range(60):
            at = chance.randrange(3)
            changed = damaged(pool[at], chance)
            compare(grammar, changed)
            if chance.random() < 0.5:
                pool[at] = changed if len(changed) > 20 else pool[at]

    @pytest.mark.parametrize("bit", [0, 7])
    def test_numbers_and_times_that_change_are_read_without_a_walk(
        self, bit: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        apdu = NOTIFICATIONS["amshan-aidon-se-list-0"]
        grammar, walks = warmed(apdu), []
        walk = grammar._walk
        monkeypatch.setattr(grammar, "_walk", lambda payload: walks.append(payload) or walk(payload))
        at = apdu.index(bytes.fromhex("0100010700FF")) + 7
        for n in range(4):
            changed = bytearray(apdu)
            changed[at + n] ^= 1 << bit
            compare(grammar, bytes(changed))
        assert walks == []
        compare(grammar, apdu[: at - 6] + b"\x77" + apdu[at - 5 :])
        assert len(walks) == 1

    def test_layouts_are_the_same_object_only_where_they_are_equal(self) -> None:
        grammar = AxdrGrammar()
        first, other = NOTIFICATIONS["amshan-aidon-se-list-0"], NOTIFICATIONS["amshan-aidon-no-list-3-0"]
        one = [grammar.parse(frame(first)).layout for _ in range(5)]
        two = [grammar.parse(frame(other)).layout for _ in range(5)]
        assert len({id(layout) for layout in one}) == 1
        assert len({id(layout) for layout in two}) == 1
        assert one[0] != two[0]

    def test_no_growth_and_no_learning_without_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A text that changes each time: fewer and fewer templates are made, and few lengths are kept."""
        from decoders.grammars import axdr_template

        made = []
        template = axdr_template.Template
        monkeypatch.setattr(axdr_template, "Template", lambda *args: made.append(1) or template(*args))
        grammar = AxdrGrammar()
        for n in range(3_000):
            grammar.parse(frame(HEAD + bytes.fromhex("00 0202 09060000600100FF 0A04") + b"%04d" % n))
        assert len(made) <= 3_000 // LONGEST_WAIT + LONGEST_WAIT.bit_length()
        for n in range(100):
            for _ in range(3):
                grammar.parse(frame(HEAD + b"\0\x02\x01\x0a" + bytes([n]) + b"x" * n))
        assert len(grammar._templates._slots) <= KEPT


def obis_object(code: bytes, value: bytes, scaler: int | None, unit: int) -> bytes:
    """A code and a value, and where there is a scaler, both."""
    if scaler is None:
        return b"\x02\x02\x09\x06" + code + value
    return b"\x02\x03\x09\x06" + code + value + b"\x02\x02\x0f" + bytes([scaler, 0x16, unit])


OBJECTS = st.builds(
    obis_object,
    st.sampled_from([bytes.fromhex(code) for code in ("0000010000FF", "0001010000FF", "0101000281FF", "0000600100FF")])
    | st.binary(min_size=4, max_size=4).map(lambda inner: b"\x01" + inner + b"\xff")
    | st.binary(min_size=6, max_size=6),
    st.sampled_from([bytes([tag]) + bytes.fromhex("F607E50102030405") for tag in (20, 21)])
    | st.builds(lambda tag, octets: bytes([tag]) + octets, st.sampled_from([5, 6]), st.binary(min_size=4, max_size=4))
    | st.builds(lambda tag, octets: bytes([tag]) + octets, st.sampled_from([16, 18]), st.binary(min_size=2, max_size=2))
    | st.builds(lambda tag, octet: bytes([tag, octet]), st.sampled_from([3, 15, 17, 22]), st.integers(0, 255))
    | st.builds(
        lambda tag, text: bytes([tag, len(text)]) + text,
        st.sampled_from([9, 10, 12]),
        st.binary(max_size=70) | st.just(NOON) | st.just(b"AIDON_V0001"),
    )
    | st.sampled_from([b"\x00", b"\x19" + NOON]),
    st.none() | st.integers(0, 255),
    st.integers(0, 255),
)


class TestObjectsCutAtOnce:
    """Lists of objects say the same however they are read; so does what damage makes of them."""

    @settings(max_examples=1_500, deadline=None)
    @given(objects=st.lists(OBJECTS, min_size=1, max_size=8), data=st.data())
    def test_as_value_by_value(self, objects: list[bytes], data: st.DataObject) -> None:
        tag, more = data.draw(st.sampled_from([(1, 0), (2, 0), (1, 1), (1, -1)]))
        apdu = bytearray(HEAD + b"\0" + bytes([tag, len(objects) + more]) + b"".join(objects))
        for _ in range(data.draw(st.integers(0, 2))):
            apdu[data.draw(st.integers(6, len(apdu) - 1))] = data.draw(st.integers(0, 255))
        assert outcome(AxdrGrammar(), bytes(apdu)) == value_by_value(bytes(apdu))

    def test_every_octet_of_a_notification_changed(self, apdu: bytes) -> None:
        for at in range(6, len(apdu)):
            for change in (1, 2, 0x80):
                changed = apdu[:at] + bytes([apdu[at] ^ change]) + apdu[at + 1 :]
                assert outcome(AxdrGrammar(), changed) == value_by_value(changed)

    @pytest.mark.parametrize("value", ["0A00", "0901FF", "0600000462", "12000A"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_an_octet_more(self, value: str, count: int) -> None:
        """It is too much, or in place of an object, where null alone is a value."""
        one = obis_object(bytes.fromhex("0100010700FF"), bytes.fromhex(value), None, 0)
        for octet in range(256):
            apdu = HEAD + bytes([0, 1, count]) + one + bytes([octet])
            assert outcome(AxdrGrammar(), apdu) == value_by_value(apdu)
            assert isinstance(outcome(AxdrGrammar(), apdu), Telegram) is (count == 2 and octet == 0)

    @pytest.mark.parametrize("count", [1, 126, 127, 128, 600, 700])
    def test_long_lists(self, count: int) -> None:
        """Above 127 the length has more octets, and far above that the elements are too many."""
        one = obis_object(bytes.fromhex("0100010700FF"), bytes.fromhex("0600000462"), 0, 27)
        length = bytes([count]) if count < 0x80 else b"\x82" + count.to_bytes(2, "big")
        apdu = HEAD + b"\0\x01" + length + one * count
        assert outcome(AxdrGrammar(), apdu) == value_by_value(apdu)
        assert isinstance(outcome(AxdrGrammar(), apdu), Telegram) is (count < 700)

    @pytest.mark.parametrize("case", ["amshan-aidon-se-list-0", "amshan-aidon-no-list-3-0"])
    def test_the_lists_of_aidon_are_cut(self, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cosem, "_whole", None)
        assert AxdrGrammar().parse(frame(NOTIFICATIONS[case])).registers


def value_by_value(apdu: bytes) -> object:
    """The outcome where nothing is cut at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosem, "cut", lambda *_: None)
        return outcome(AxdrGrammar(), apdu)


def warmed(apdu: bytes) -> AxdrGrammar:
    """A grammar that remembers a notification."""
    grammar = AxdrGrammar()
    for _ in range(6):
        grammar.parse(frame(apdu))
    return grammar


def outcome(grammar: AxdrGrammar, apdu: bytes) -> object:
    try:
        return grammar.parse(frame(apdu))
    except GrammarError as error:
        return error.code, error.size


def compare(grammar: AxdrGrammar, apdu: bytes) -> None:
    assert outcome(grammar, apdu) == outcome(AxdrGrammar(), apdu)


def damaged(apdu: bytes, chance: random.Random) -> bytes:
    """Mostly other numbers at the same places; seldom a changed, new or missing octet."""
    octets = bytearray(apdu)
    for at in numbers(apdu, chance):
        octets[at] = chance.randrange(256)
    if chance.random() < 0.3:
        octets[chance.randrange(len(octets))] = chance.randrange(256)
    if chance.random() < 0.05:
        del octets[chance.randrange(len(octets))]
    if chance.random() < 0.05:
        octets.insert(chance.randrange(len(octets)), chance.randrange(256))
    return bytes(octets)


def numbers(apdu: bytes, chance: random.Random) -> Iterator[int]:
    """Places behind what looks like the tag of a number or of a date-time."""
    for at in range(6, len(apdu) - 12):
        if apdu[at] == 6 and chance.random() < 0.3:
            yield at + 4
        elif apdu[at - 1 : at + 1] == b"\x09\x0c" and chance.random() < 0.3:
            yield at + chance.randint(1, 12)
