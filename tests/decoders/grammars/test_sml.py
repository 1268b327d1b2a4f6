"""Grammar sml: every form that a message and an entry may have, and what is refused, in bounded time."""

import random
import runpy
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from decoders.errors import GrammarError
from decoders.grammars.sml import SmlGrammar
from decoders.links.sml import SmlLink
from decoders.model import Frame, MeterTime, Telegram
from gateway import profiles

ROOT = Path(__file__).resolve().parents[3]
make_sml = runpy.run_path(str(ROOT / "tools" / "make_sml.py"))
FRAMES = [entry for entry in profiles.shipped().joinpath("frames").iterdir() if entry.name.endswith(".sml")]

OPEN = "message x:01 u8:0 u8:0 [2 u16:0x0101 [6 - - x:02 x:0a01 - - end "
CLOSE = " message x:03 u8:0 u8:0 [2 u16:0x0201 [1 - end"
POWER = "[7 o:1-0:16.7.0 - - u8:27 i8:-1 i16:1234 -"

Parse = Callable[..., Telegram]


def get_list(*entries: str, time: str = "-", server: str = "x:0a01", count: int | None = None) -> str:
    size = len(entries) if count is None else count
    return f"message x:02 u8:0 u8:0 [2 u16:0x0701 [7 - {server} - {time} [{size} {' '.join(entries)} - - end"


def frame_of(messages: str, kind: str = "x25") -> Frame:
    (frame,) = SmlLink().feed(make_sml["files"](f"transport {kind} {messages}"))
    assert isinstance(frame, Frame)
    return frame


def parse(*entries: str, **fields: str) -> Telegram:
    return SmlGrammar().parse(frame_of(OPEN + get_list(*entries, **fields) + CLOSE))


def refused(messages: str) -> str:
    with pytest.raises(GrammarError) as caught:
        SmlGrammar().parse(frame_of(messages))
    assert caught.value.size > 0
    return caught.value.code


def test_an_entry_is_a_register_with_its_own_scaler_and_unit() -> None:
    telegram = parse("[7 o:1-0:1.8.0 u32:0x1c0104 - u8:30 i8:-1 u64:123456789 -", POWER)
    assert telegram.registers == (("1-0:1.8.0", 123456789, -1, "Wh"), ("1-0:16.7.0", 1234, -1, "W"))
    assert (telegram.status, telegram.widths, telegram.device) == ({"1-0:1.8.0": 0x1C0104}, (0, 2), "0a01")
    assert (telegram.time, telegram.clock, telegram.clock_valid, telegram.unread) == (None, None, True, 0)


@pytest.mark.parametrize("octets", range(1, 9))
@pytest.mark.parametrize("kind", ["i", "u"])
def test_numbers_of_one_to_eight_octets(octets: int, kind: str) -> None:
    value = -1 << (8 * octets - 1) if kind == "i" else (1 << 8 * octets) - 1
    telegram = parse(f"[7 o:1-0:16.7.0 - - u8:27 i8:0 {kind}{8 * octets}:{value} -")
    assert telegram.registers == (("1-0:16.7.0", value, 0, "W"),)
    assert telegram.widths == ((octets,) if kind == "i" else (0,))


def test_what_is_left_out_is_absent() -> None:
    telegram = parse("[7 o:1-0:96.50.2*4 - - - - u16:637 -")
    assert telegram.registers == (("1-0:96.50.2*4", 637, 0, ""),)
    assert not telegram.status


def test_an_entry_without_value_is_passed_over_and_the_rest_is_read() -> None:
    telegram = parse("[7 o:1-0:96.50.2*6 - [2 u8:1 u32:5 - - - -", POWER)
    assert telegram.registers == (("1-0:16.7.0", 1234, -1, "W"),)
    assert telegram.unread == 1


def test_an_entry_whose_code_is_no_code_is_passed_over() -> None:
    telegram = parse("[7 x:0102 - - u8:27 i8:0 u8:9 -", "[7 - - - u8:27 i8:0 u8:9 -", POWER)
    assert [code for code, *_ in telegram.registers] == ["1-0:16.7.0"]
    assert telegram.unread == 2


def test_texts_are_shown_where_they_are_printable() -> None:
    telegram = parse("[7 o:1-0:96.50.1*1 - - - - a:EMH -", "[7 o:1-0:96.1.0 - - - - x:0a01ff -")
    assert telegram.texts == {"1-0:96.50.1*1": "EMH", "1-0:96.1.0": "0a01ff"}
    assert telegram.identification == "EMH"


@pytest.mark.parametrize("other", [[], ["[7 o:1-0:96.5.5 - - - - b:1 -"]], ids=["by columns", "one by one"])
def test_the_first_status_word_and_the_first_text_of_a_code_count(other: list[str]) -> None:
    entries = [
        *other,
        "[7 o:1-0:16.7.0 - - u8:27 i8:0 i8:1 -",
        "[7 o:1-0:1.8.0 u16:260 - u8:30 i8:0 u8:2 -",
        "[7 o:1-0:16.7.0 u8:7 - u8:27 i8:0 i8:3 -",
        "[7 o:1-0:16.7.0 u32:9 - u8:27 i8:0 i8:4 -",
        *(f"[7 o:1-0:96.1.0 - - - - a:{text} -" for text in ("FIRST", "SECOND")),
    ]
    telegram = parse(*entries)
    assert telegram.status == {"1-0:16.7.0": 7, "1-0:1.8.0": 260}
    assert telegram.texts == {"1-0:96.1.0": "FIRST"}


def test_a_list_as_value_is_passed_over_whole() -> None:
    telegram = parse("[7 o:129-0:96.8.0*1 - - - - [2 u8:1 [2 u8:1 u32:1982288 -", POWER)
    assert [code for code, *_ in telegram.registers] == ["1-0:16.7.0"]


def test_a_signature_is_passed_over() -> None:
    assert len(parse("[7 o:1-0:16.7.0 - - u8:27 i8:-1 i16:1234 x:" + "ab" * 60, POWER).registers) == 2


@pytest.mark.parametrize(
    "time", ["-", "[2 u8:1 u32:99043543", "[2 u8:1 u8:0", "u32:1347075", "[2 u8:4 u32:5", "[2 u8:3 u32:5"]
)
def test_a_counter_of_seconds_is_no_time(time: str) -> None:
    telegram = parse(POWER, time=time)
    assert (telegram.time, telegram.clock, telegram.clock_valid) == (None, None, True)
    telegram = parse(f"[7 o:1-0:1.8.0 - {time} u8:30 i8:-1 u32:5 -")
    assert telegram.register_times == {}


def test_a_timestamp_is_utc() -> None:
    telegram = parse(POWER, time="[2 u8:2 u32:1729848099")
    assert telegram.time == MeterTime(datetime(2024, 10, 25, 9, 21, 39), deviation=0)  # noqa: DTZ001
    assert telegram.clock_valid


def test_a_local_timestamp_has_its_offset_from_utc() -> None:
    """Its seconds are UTC; zone and summer are added for the wall clock."""
    telegram = parse(POWER, time="[2 u8:3 [3 u32:1729848099 i16:60 i16:60")
    assert telegram.time == MeterTime(datetime(2024, 10, 25, 11, 21, 39), deviation=-120)  # noqa: DTZ001


def test_a_value_has_a_time_of_its_own() -> None:
    telegram = parse(POWER, "[7 o:1-0:1.17.0 - [2 u8:3 [3 u32:1729848099 i16:60 i16:60 u8:30 i8:-1 i40:40508 -")
    assert telegram.register_times == {1: MeterTime(datetime(2024, 10, 25, 11, 21, 39), deviation=-120)}  # noqa: DTZ001
    assert telegram.time is None


def test_the_clock_object_counts_where_the_list_has_no_time() -> None:
    assert parse("[7 o:0-0:1.0.0 - - - - [2 u8:2 u32:1729848099 -", POWER).clock is not None


@pytest.mark.parametrize(
    "seconds", ["u32:0", "u32:86400", "u32:946684799", "u32:4102444800", "u64:18446744073709551615"]
)
def test_a_clock_that_was_never_set_is_not_valid(seconds: str) -> None:
    telegram = parse(POWER, time=f"[2 u8:2 {seconds}")
    assert telegram.clock is not None
    assert telegram.time is None or not telegram.clock_valid


def test_an_impossible_offset_is_not_believed() -> None:
    telegram = parse(POWER, time="[2 u8:3 [3 u32:1729848099 i16:6000 i16:60")
    assert (telegram.time, telegram.clock_valid) == (None, False)


def test_other_messages_are_passed_over_and_their_checksum_counts() -> None:
    other = "message x:09 u8:0 u8:0 [2 u32:0x0000ff01 [3 x:0a01 x:8181c7c7fe03 [2 - [1 u8:7 end "
    assert len(SmlGrammar().parse(frame_of(OPEN + other + get_list(POWER) + CLOSE)).registers) == 1
    assert len(SmlGrammar().parse(frame_of(get_list(POWER))).registers) == 1
    assert SmlGrammar().parse(frame_of(OPEN + other + CLOSE)).registers == ()


def test_lists_of_one_meter_belong_together_and_another_meter_s_does_not() -> None:
    more = get_list("[7 o:1-0:1.8.0 - - u8:30 i8:-1 u32:5 -")
    telegram = SmlGrammar().parse(frame_of(OPEN + get_list(POWER) + " " + more + CLOSE))
    assert [code for code, *_ in telegram.registers] == ["1-0:16.7.0", "1-0:1.8.0"]
    more = get_list("[7 o:1-0:1.8.0 - - u8:30 i8:-1 u32:5 -", server="x:0a02")
    telegram = SmlGrammar().parse(frame_of(OPEN + get_list(POWER) + " " + more + CLOSE))
    assert [code for code, *_ in telegram.registers] == ["1-0:16.7.0"]
    assert (telegram.device, telegram.unread) == ("0a01", 1)


def test_lists_longer_than_fifteen() -> None:
    entries = [f"[7 o:1-0:1.8.{n} - - u8:30 i8:0 u8:{n} -" for n in range(200)]
    assert len(parse(*entries).registers) == 200


def test_a_layout_is_the_same_object_while_nothing_but_values_changes() -> None:
    grammar = SmlGrammar()
    files = [
        get_list(f"[7 o:1-0:16.7.0 - - u8:27 i8:{s} i{b}:{v} -") for s, b, v in ((-1, 16, 5), (0, 8, -7), (-2, 32, 9))
    ]
    layouts = [grammar.parse(frame_of(OPEN + file + CLOSE)).layout for file in files]
    assert layouts[0] is layouts[1] is layouts[2]
    other = grammar.parse(frame_of(OPEN + get_list("[7 o:1-0:16.7.0 - - u8:28 i8:0 i8:5 -") + CLOSE)).layout
    assert other is not layouts[0]
    another = grammar.parse(frame_of(OPEN + get_list(POWER, server="x:0a09") + CLOSE)).layout
    assert another is not other


#: with and without status, unit and value, numbers and texts of several sizes, one code twice
ENTRIES = [
    *(f"[7 o:1-0:{c}.7.0 {s} - {u} i8:-1 {v} -" for c in (1, 16) for s in ("-", "u16:4", "u8:3") for u in ("u8:27", "-")
      for v in ("i8:-5", "i16:500", "i32:-70000", "u64:9", "x:8301", "-")),
    "[7 o:1-0:1.8.0 u32:256 u32:5 u8:30 i8:1 i64:77 -", "[7 o:1-0:1.8.0 u8:3 [2 u8:1 u32:9 u8:30 i8:0 u24:78 -",
    "[7 o:129-129:199.130.3 - - - - x:454d48 -", "[7 o:129-129:199.130.3 - - - - x:49534b -",
    f"[7 o:129-129:199.130.5 - - - - x:{'01' * 48} -", "[7 o:1-0:96.1.0 - - - - x:01020304 -",
    "[7 x:0100 - - u8:27 i8:0 i8:1 -", "[7 o:1-0:2.8.0 - - u8:30 i8:0 b:1 -",
]  # fmt: skip


def test_a_grammar_with_memory_reads_as_a_new_one() -> None:
    """Files that change little or much: only what is the same may be taken from the one before."""
    rng, grammar = random.Random(5), SmlGrammar()
    entries: list[str] = []
    layouts: dict[int, list[object]] = {}
    kept: list[Telegram] = []
    for _ in range(600):
        entries = entries[:4] if len(entries) > 8 else entries
        entries.insert(rng.randint(0, len(entries)), rng.choice(ENTRIES))
        entries[rng.randrange(len(entries))] = rng.choice(ENTRIES)
        lists = (get_list(*entries), get_list(*entries[:2], server=rng.choice(("x:0a01", "x:0a02"))))
        frame = frame_of(OPEN + " ".join(lists[: rng.randint(1, 2)]) + CLOSE)
        read, new = grammar.parse(frame), SmlGrammar().parse(frame)
        assert replace(read, layout=None) == replace(new, layout=None)
        assert list(read.texts) == list(new.texts)
        assert layouts.setdefault(id(read.layout), shape(read)) == shape(read)
        kept.append(read)
    assert len(layouts) < len(kept)


def shape(telegram: Telegram) -> list[object]:
    """What the same layout promises: the same objects in the same places, in the same units."""
    return [[(code, unit) for code, _, _, unit in telegram.registers], [*telegram.texts], telegram.device]


# -- refused -----------------------------------------------------------------------------------------------------------


def test_each_message_must_have_the_checksum_of_its_transport() -> None:
    """Right in itself, and of the other kind."""
    x25, kermit = frame_of(OPEN + get_list(POWER) + CLOSE), frame_of(OPEN + get_list(POWER) + CLOSE, "kermit")
    assert SmlGrammar().parse(x25).registers == SmlGrammar().parse(kermit).registers
    for payload, variant in ((x25.payload, kermit.variant), (kermit.payload, x25.variant)):
        with pytest.raises(GrammarError, match="checksum"):
            SmlGrammar().parse(Frame(payload, "ok", len(payload), variant=variant))
    mixed = frame_of(OPEN).payload + frame_of(get_list(POWER), "kermit").payload
    with pytest.raises(GrammarError, match="checksum"):
        SmlGrammar().parse(Frame(mixed, "ok", len(mixed), variant=3))


@pytest.mark.parametrize("entry", FRAMES, ids=lambda entry: entry.name)
def test_any_changed_octet_of_a_message_is_refused_although_the_transport_is_right(entry: Path) -> None:
    """A gateway that edits values and repairs the transport's checksum only."""
    link, rng = SmlLink(), random.Random(3)
    (frame,) = link.feed(entry.read_bytes()) + link.close()
    assert isinstance(frame, Frame)
    for at in range(len(frame.payload)):
        payload = bytearray(frame.payload)
        payload[at] ^= rng.randrange(1, 256)
        with pytest.raises(GrammarError):
            SmlGrammar().parse(frame._replace(payload=bytes(payload)))


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("[6 o:1-0:16.7.0 - - u8:27 i8:-1 i16:1", "type"),
        ("u8:5", "type"),
        ("[7 o:1-0:16.7.0 x:01 - u8:27 i8:-1 i16:1 -", "type"),
        ("[7 o:1-0:16.7.0 - - a:W i8:-1 i16:1 -", "type"),
        ("[7 o:1-0:16.7.0 - - u8:27 i8:100 i16:1 -", "number"),
        ("[7 o:1-0:16.7.0 - - u8:27 i8:-128 i16:1 -", "number"),
    ],
)
def test_an_entry_of_another_form_refuses_the_file(entry: str, code: str) -> None:
    assert refused(OPEN + get_list(entry) + CLOSE) == code


@pytest.mark.parametrize("count", [0, 2, 14, 15, 300, 65_535])
def test_a_count_that_is_not_that_of_the_entries_is_refused(count: int) -> None:
    assert refused(OPEN + get_list(POWER, count=count) + CLOSE) in {"type", "length"}


def payload_refused(payload: bytes) -> str:
    with pytest.raises(GrammarError) as caught:
        SmlGrammar().parse(Frame(payload, "ok", len(payload), variant=1))
    return caught.value.code


def test_every_cut_of_a_file_is_refused_or_ends_between_messages() -> None:
    payload = frame_of(OPEN + get_list(POWER) + CLOSE).payload
    whole = SmlGrammar().parse(frame_of(OPEN + get_list(POWER) + CLOSE)).registers
    for end in range(1, len(payload)):
        try:
            registers = SmlGrammar().parse(Frame(payload[:end], "ok", end, variant=1)).registers
        except GrammarError:
            continue
        assert registers in ((), whole)


def test_octets_behind_the_last_message_are_refused() -> None:
    assert payload_refused(frame_of(OPEN).payload + b"\x00\x01") == "rest"
    assert payload_refused(b"\x00" + frame_of(OPEN).payload) == "rest"
    assert payload_refused(frame_of(OPEN).payload + b"\x01") == "type"


HEAD = bytes.fromhex("7601620062007263070177010101")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x7f" * 16_000,
        HEAD + b"\x71" * 16_000,
        HEAD + b"\xff\x8f\x8f\x0f" * 4_000,
        HEAD + b"\x8f" * 16_000,
        HEAD + b"\x80" * 16_000,
        HEAD + b"\x01" + b"\xff\x8f\x8f\x0f" + b"\x01" * 16_000,
        b"\x76\x8f\x8f\x8f\x0f" + bytes(100),
        bytes.fromhex("76010000"),
        bytes.fromhex("8f8f8f8f8f8f8f0f00000000"),
        bytes.fromhex("7605018e"),
    ],
)
def test_bombs_are_refused(payload: bytes) -> None:
    assert payload_refused(payload) in {"type", "length"}


def test_random_octets_are_refused_and_never_raise_anything_else() -> None:
    rng = random.Random(9)
    good = bytearray(frame_of(OPEN + get_list(POWER) + CLOSE).payload)
    for _ in range(3_000):
        payload = bytearray(good) if rng.random() < 0.7 else bytearray(rng.randbytes(rng.randrange(1, 200)))
        for _ in range(rng.randrange(1, 5)):
            payload[rng.randrange(len(payload))] = rng.choice([0, 1, 0x70, 0x77, 0xFF, 0x8F, rng.randrange(256)])
        if payload != good:
            payload_refused(bytes(payload))
