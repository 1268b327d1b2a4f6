"""Every M-Bus readout of every profile decodes to what the profile says, and no flipped bit gives a value."""

import json
import random
import runpy
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from referencing import Registry, Resource

from decoders.decoder import Decoder
from decoders.links.mbus_records import MbusRecordsLink
from decoders.model import Fault, Frame, Reading, Result, decimal
from decoders.profile import FrameNote, Profile
from gateway import cli, profiles
from gateway.item_p import ItemP, to_dict, utc

PROFILES = [profile for profile in map(profiles.load, profiles.names()) if profile.link == "mbus-records"]
FRAMES = [(profile, note) for profile in PROFILES for note in profile.frame]
IDS = [note.file.removeprefix("frames/").removesuffix(".mbus") for _, note in FRAMES]
TEXTS = sorted((Path(__file__).parent / "mbus").glob("*.txt"))
SHIPPED = Path(__file__).resolve().parent.parent / "corpus" / "mbus-wired.jsonl"
#: hexadecimal digits in BCD are no value, as the collector notes: libmbus and pyMeterBus make numbers of them
NO_VALUES = {"BDEBDD", "BDEBDDDD", "DDB4EB", "DDB4EBDD"}

Decode = Callable[..., list[Result]]
FrameOf = Callable[[str], bytes]
Case = dict[str, Any]
every_frame = pytest.mark.parametrize(("profile", "note"), FRAMES, ids=IDS)


def said(reading: Reading) -> dict[str, int | str]:
    """The keys of `[frame.expect]`; absent is an empty text."""
    values: dict[str, int | str | None] = {
        "p_import_w": reading.p_import_w,
        "p_export_w": reading.p_export_w,
        "a_import_wh": reading.a_import_wh,
        "a_export_wh": reading.a_export_wh,
        "t": utc(reading.t),
        "t_meter": reading.t_meter,
    }
    return {key: "" if value is None else value for key, value in values.items()}


def only(results: list[Result]) -> Reading:
    (result,) = results
    assert isinstance(result, Reading), result
    return result


def telegrams(data: bytes) -> list[bytes]:
    """The long frames of a file, one by one."""
    found, at = [], 0
    while at < len(data):
        end = at + 4 + data[at + 1] + 2
        found.append(data[at:end])
        at = end
    return found


@every_frame
def test_frame_decodes_by_its_own_profile(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    assert said(only(decode([profile], frame_of(note.file), note.keys))) == note.expect


@every_frame
def test_auto_takes_a_frame_for_its_own_profile_and_finds_its_link(
    profile: Profile, note: FrameNote, everything: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    for candidates in (PROFILES, everything):
        reading = only(decode(candidates, frame_of(note.file), note.keys))
        assert (reading.profile, reading.auth) == (profile.name, profile.min_auth)
        assert said(reading) == note.expect


@every_frame
def test_each_frame_states_the_whole_of_item_p(profile: Profile, note: FrameNote) -> None:
    assert set(note.expect) == {"p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "t", "t_meter"}


@every_frame
def test_however_a_frame_is_cut_into_pieces_it_says_the_same(
    profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode
) -> None:
    data, rng = frame_of(note.file), random.Random(note.file)
    whole = decode([profile], data)
    for sizes in ([1], [2, 3], [rng.randint(1, 40) for _ in range(50)]):
        decoder, results, at, turn = Decoder([profile], ZoneInfo), list[Result](), 0, 0
        while at < len(data):
            results += decoder.feed(data[at : at + sizes[turn % len(sizes)]])
            at, turn = at + sizes[turn % len(sizes)], turn + 1
        assert results + decoder.close() == whole


@every_frame
def test_no_flipped_bit_passes_the_sum(profile: Profile, note: FrameNote, frame_of: FrameOf) -> None:
    """A sum changes with every single bit, so no reading can come of it."""
    for telegram in telegrams(frame_of(note.file)):
        for bit in range(8 * len(telegram)):
            damaged = bytearray(telegram)
            damaged[bit // 8] ^= 1 << bit % 8
            link = MbusRecordsLink()
            assert not [o for o in link.feed(bytes(damaged)) + link.close() if isinstance(o, Frame)], bit


@every_frame
def test_a_cut_telegram_gives_no_reading(profile: Profile, note: FrameNote, frame_of: FrameOf) -> None:
    for telegram in telegrams(frame_of(note.file)):
        for cut in range(1, len(telegram)):
            for piece in (telegram[:cut], telegram[cut:]):
                link = MbusRecordsLink()
                assert not [o for o in link.feed(piece) + link.close() if isinstance(o, Frame)], cut


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_constructed_frame_is_what_its_text_says(text: Path, checkout: Path, frame_of: FrameOf) -> None:
    make = runpy.run_path(str(checkout / "tools" / "make_mbus.py"))["make"]
    assert make(text.read_text(encoding="utf-8")) == frame_of(f"frames/{text.stem}.mbus")


def test_every_constructed_frame_has_its_text() -> None:
    constructed = {Path(note.file).stem for _, note in FRAMES if note.provenance == "constructed"}
    assert {text.stem for text in TEXTS} == constructed


def test_every_frame_file_belongs_to_a_profile() -> None:
    noted = {note.file.removeprefix("frames/") for _, note in FRAMES}
    assert {e.name for e in profiles.shipped().joinpath("frames").iterdir() if e.name.endswith(".mbus")} == noted


def test_a_readout_of_several_telegrams_is_one_reading(frame_of: FrameOf, decode: Decode) -> None:
    """Each telegram alone says its part, and nothing is made up for the rest."""
    profile, data = profiles.load("mbus-schneider-iem3000"), frame_of("frames/mbus-schneider-iem3000.mbus")
    parts = [said(only(decode([profile], telegram))) for telegram in telegrams(data)]
    assert [(part["p_import_w"], part["a_import_wh"], part["a_export_wh"]) for part in parts] == [
        (5123, 41234567, ""),
        ("", "", 31),
        ("", 41234566, 31),
    ]


def test_a_key_that_is_wrong_opens_nothing_and_is_blamed_after_three(frame_of: FrameOf, decode: Decode) -> None:
    profile, data = profiles.load("at-netzooe-amis"), frame_of("frames/at-netzooe-amis.mbus")
    faults = decode([profile], data * 3, {"encryption": "F0" * 15 + "0F"})
    assert [fault.code for fault in faults if isinstance(fault, Fault)] == ["garbled", "garbled", "key_rejected"]
    assert [fault.code for fault in decode([profile], data) if isinstance(fault, Fault)] == ["key_missing"]


def cases(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> list[dict[str, Any]]:
    assert cli.main(["decode", "--cases", str(path)]) == 0
    out, err = capfdbinary.readouterr()
    assert err == b""
    return [json.loads(line) for line in out.splitlines()]


def judged(path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> tuple[int, int, int]:
    """Asserted item P, invalid cases and registers of a file that were found right."""
    right = invalid = registers = 0
    for case, answer in zip(cases(path), answers(path, capfdbinary), strict=True):
        assert case["id"] == answer["id"]
        if not case["valid"]:
            assert (answer["readings"], bool(answer["faults"])) == ([], True), case["id"]
            invalid += 1
            continue
        for key, value in case["item_p"].items():
            (reading,) = answer["readings"]
            assert reading.get(key) == value, (case["id"], key)
            right += 1
        records = case["expected"].get("records")
        registers += found(case["id"], records, answer["readings"]) if isinstance(records, list) else 0
    return right, invalid, registers


def found(name: str, records: list[Case], readings: list[Case]) -> int:
    """How many numeric records are among the registers; a date that the collector kept as a number is none."""
    values = [Decimal(register["value"]) for reading in readings for register in reading["registers"]]
    count = 0
    for record in records:
        value = record.get("value") if record.get("unit") != "seconds" else None
        if not isinstance(value, int | float) or record.get("data_hex", "").upper() in NO_VALUES or "dif" not in record:
            continue
        near = Decimal(str(value))
        assert any(abs(near - other) <= max(abs(near) / 10**5, Decimal("1e-9")) for other in values), (name, record)
        count += 1
    return count


def test_every_shipped_case(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    right, invalid, registers = judged(SHIPPED, capfdbinary)
    assert (right, invalid) == (21, 14)
    assert registers >= 500


@pytest.mark.corpus
@pytest.mark.parametrize("part", ["open", "reference"])
def test_every_case_of_the_shared_corpus(part: str, corpus: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    right, invalid, registers = judged(corpus / part / "mbus-wired.jsonl", capfdbinary)
    least = {"open": (21, 14, 500), "reference": (17, 0, 150)}[part]
    assert all(n >= bound for n, bound in zip((right, invalid, registers), least, strict=True))


def test_registers_say_what_their_heads_say(capfdbinary: pytest.CaptureFixture[bytes], frame_of: FrameOf) -> None:
    """Storage, tariff, subunit and function of a record stand beside its value, where they are not the usual ones."""
    path = profiles.shipped().joinpath("frames/mbus-emu-professional.mbus")
    assert cli.main(["decode", str(path)]) == 0
    registers = json.loads(capfdbinary.readouterr().out)["registers"]
    assert {"code": "mbus:84904003", "value": "7854", "unit": "Wh", "tariff": 1, "subunit": 2} in registers
    assert {"code": "mbus:22fdc8ff01", "value": "187.4", "unit": "V", "function": "minimum"} in registers


def test_a_meter_for_something_else_is_a_sub_meter(frame_of: FrameOf, decode: Decode) -> None:
    reading = only(decode(PROFILES, frame_of("frames/mbus-generic-water.mbus")))
    (sub,) = reading.sub
    assert (sub.channel, sub.medium, decimal(sub.integer, sub.exponent), sub.unit) == (7, "water", "123.456", "m3")
    assert (sub.device, sub.quality) == ("87654321" + "633a" + "0107", "measured")


def test_meters_for_something_else_are_none_of_the_profiles_of_their_makers(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    for case, answer in zip(cases(SHIPPED), answers(SHIPPED, capfdbinary), strict=True):
        if case["valid"] and case["medium"] != "electricity":
            for reading in answer["readings"]:
                assert reading["src"]["profile"] == "mbus-generic", case["id"]
                assert not {"p_import_w", "p_export_w", "a_import_wh", "a_export_wh"} & set(reading), case["id"]


@every_frame
def test_every_reading_is_valid_by_the_schema(
    profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode, checkout: Path
) -> None:
    folder = checkout / "docs" / "schemas"
    schema, sub = (
        json.loads((folder / f"{name}.schema.json").read_text(encoding="utf-8")) for name in ("item-p", "sub")
    )
    reading = only(decode([profile], frame_of(note.file), note.keys))
    shown = to_dict(ItemP("main", reading, reading.t, "meter" if reading.t else "gateway"), registers=True)
    registry = Registry().with_resource("urn:meterd:sub:1", Resource.from_contents(sub))
    jsonschema.Draft202012Validator(schema, registry=registry).validate(shown)
