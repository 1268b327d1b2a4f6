"""Every SML file of every profile decodes to what the profile says, and no flipped bit gives a value."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.links.sml import SmlLink
from decoders.model import Frame, Reading, Result
from decoders.profile import FrameNote, Profile
from gateway import profiles
from gateway.item_p import utc

PROFILES = [profile for profile in map(profiles.load, profiles.names()) if profile.link == "sml"]
FRAMES = [(profile, note) for profile in PROFILES for note in profile.frame]
IDS = [note.file.removeprefix("frames/").removesuffix(".sml") for _, note in FRAMES]
TEXTS = sorted((Path(__file__).parent / "sml").glob("*.txt"))
SHIPPED = Path(__file__).resolve().parent.parent / "corpus" / "sml.jsonl"
LOCKED = {
    "frames/de-ebz-dd3-locked.sml",
    "frames/de-holley-dtz541-locked.sml",
    "frames/de-iskra-mt631-locked.sml",
    "frames/de-iskra-mt631-locked-tariffs.sml",
    "frames/sml-generic-locked.sml",
}

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


def readings(results: list[Result]) -> list[Reading]:
    return [result for result in results if isinstance(result, Reading)]


@every_frame
def test_frame_decodes_by_its_own_profile(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    assert said(only(decode([profile], frame_of(note.file)))) == note.expect


@every_frame
def test_auto_takes_a_frame_for_its_own_profile_and_finds_its_link(
    profile: Profile, note: FrameNote, everything: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    for candidates in (PROFILES, everything):
        reading = only(decode(candidates, frame_of(note.file)))
        assert (reading.profile, reading.auth) == (profile.name, "plain")
        assert said(reading) == note.expect


@every_frame
def test_each_frame_states_the_whole_of_item_p(profile: Profile, note: FrameNote) -> None:
    assert set(note.expect) == {"p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "t", "t_meter"}


@every_frame
def test_octet_by_octet_is_the_same(profile: Profile, note: FrameNote, frame_of: FrameOf) -> None:
    decoder = Decoder([profile], ZoneInfo)
    results = [result for octet in frame_of(note.file) for result in decoder.feed(bytes([octet]))] + decoder.close()
    assert said(only(results)) == note.expect


@every_frame
def test_no_flipped_bit_gives_another_value(profile: Profile, note: FrameNote, frame_of: FrameOf) -> None:
    """Two checksums stand in the way; what a flip in the fill or the start leaves whole says the same as before."""
    data = frame_of(note.file)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        decoder = Decoder([profile], ZoneInfo)
        assert not readings(decoder.feed(bytes(damaged)) + decoder.close()), bit


@every_frame
def test_a_cut_frame_gives_no_reading(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    data = frame_of(note.file)
    for end in range(1, len(data)):
        assert not readings(decode([profile], data[:end])), end
    for start in range(1, len(data)):
        assert not readings(decode([profile], data[start:])), start


@every_frame
def test_pin_locked_is_named_by_what_the_meter_leaves_out(
    profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode
) -> None:
    reading = only(decode([profile], frame_of(note.file)))
    assert reading.flags == (("pin_locked",) if note.file in LOCKED else ())
    if note.file in LOCKED:
        assert (reading.p_import_w, reading.p_export_w, reading.p_net_w) == (None, None, None)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_frame_is_made_of_its_text(text: Path, checkout: Path, frame_of: FrameOf) -> None:
    made = runpy.run_path(str(checkout / "tools" / "make_sml.py"))["files"](text.read_text(encoding="utf-8"))
    assert made == frame_of(f"frames/{text.stem}.sml")


def test_every_constructed_frame_has_its_text() -> None:
    constructed = {note.file for _, note in FRAMES if note.provenance == "constructed"}
    assert {f"frames/{text.stem}.sml" for text in TEXTS} == constructed


def test_every_frame_file_belongs_to_a_profile() -> None:
    noted = {note.file.removeprefix("frames/") for _, note in FRAMES}
    assert {e.name for e in profiles.shipped().joinpath("frames").iterdir() if e.name.endswith(".sml")} == noted


def test_no_two_profiles_ship_the_same_file(frame_of: FrameOf) -> None:
    assert len({frame_of(note.file) for _, note in FRAMES}) == len(FRAMES)


def test_a_meter_that_changes_its_structure_keeps_its_profile(frame_of: FrameOf, decode: Decode) -> None:
    """The PIN was entered: power comes, and the flag goes."""
    data = frame_of("frames/de-holley-dtz541-locked.sml") + frame_of("frames/de-holley-dtz541-pin.sml")
    locked, opened = readings(decode(PROFILES, data))
    assert (locked.profile, opened.profile) == ("de-holley-dtz541", "de-holley-dtz541")
    assert (locked.flags, opened.flags) == (("pin_locked",), ())
    assert (locked.identity, opened.identity) == (opened.identity, locked.identity)


def text_of(name: str) -> str:
    return (Path(__file__).parent / "sml" / f"{name}.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def files(checkout: Path) -> Callable[[str], bytes]:
    """The octets of a text, by the tool that made the frames."""
    made: Callable[[str], bytes] = runpy.run_path(str(checkout / "tools" / "make_sml.py"))["files"]
    return made


@pytest.mark.parametrize(
    ("serial", "watts"),
    [
        ("0280de7f", (0, 251)),  # 41999999
        ("0280de80", (404, 0)),  # 42000000
        ("02ebae3f", (404, 0)),  # 48999999
        ("02ebae40", (0, 251)),
        ("03473bbf", (0, 251)),  # 54999999
        ("03473bc0", (404, 0)),
        ("038444bf", (404, 0)),  # 58999999
        ("038444c0", (0, 251)),
    ],
)
def test_the_serial_number_tells_which_dzg_sends_too_few_octets(
    serial: str, watts: tuple[int, int], files: Callable[[str], bytes], decode: Decode
) -> None:
    text = text_of("de-dzg-dvs74-import").replace("0a01445a470002875732", f"0a01445a4700{serial}")
    reading = only(decode(PROFILES, files(text)))
    assert (reading.p_import_w, reading.p_export_w) == watts
    # the register stays what the meter sent
    assert reading.registers[-1] == ("1-0:16.7.0", -25124, -2, "W")


def test_without_a_status_word_a_magnitude_is_no_power(files: Callable[[str], bytes], decode: Decode) -> None:
    text = text_of("de-emh-ehz-h-import").replace("u16:386", "-")
    reading = only(decode(PROFILES, files(text)))
    assert reading.profile == "de-emh-ehz-h"
    assert (reading.p_import_w, reading.p_export_w, reading.a_import_wh, reading.flags) == (None, None, 11049362, ())


def test_energy_in_fine_steps_without_power_is_not_called_locked(files: Callable[[str], bytes], decode: Decode) -> None:
    text = text_of("sml-generic-locked").replace("i8:3", "i8:2")
    reading = only(decode(PROFILES, files(text)))
    assert (reading.flags, reading.a_import_wh) == ((), 193100)


def test_history_does_not_count_as_a_tariff(files: Callable[[str], bytes], decode: Decode) -> None:
    """Without 1.8.0, 1.8.1 alone is the sum, whatever 1.8.0*96 to *100 and 1.8.1*96 say."""
    text = (
        text_of("de-holley-dtz541-kermit").replace("o:1-0:1.8.0*255", "o:1-0:1.8.1*255").replace("1.8.0*97", "1.8.1*97")
    )
    assert only(decode(PROFILES, files(text))).a_import_wh == 8958936


def cases(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(case: Case, results: list[Result]) -> None:
    """Item P as asserted, every file that an independent decoder found usable, and every number in it."""
    found = readings(results)
    if not case["valid"]:
        assert not found
        return
    for key, value in case["item_p"].items():
        assert getattr(found[0], key) == value, key
    assert all(reading.t is None and reading.auth == "plain" for reading in found)
    frames = [frame for frame in case["expected"].get("frames", [case["expected"]]) if frame.get("usable", True)]
    assert len(found) == len(frames)
    for frame, reading in zip(frames, found, strict=True):
        check_registers(frame, reading)


def check_registers(frame: Case, reading: Reading) -> None:
    if "records" in frame:
        sent = [entry for entry in frame["records"] if entry.get("raw") is not None]
        assert list(reading.registers) == [
            (entry["obis"].removesuffix("*255"), entry["raw"], entry.get("scaler") or 0, entry.get("unit") or "")
            for entry in sent
        ]
    derived = frame.get("normalised_derived") or {}
    for name, key in {"P_plus_W": "p_import_w", "P_minus_W": "p_export_w", "A_plus_Wh": "a_import_wh"}.items():
        if derived.get(name) is not None:
            assert getattr(reading, key) == int(derived[name])


@pytest.mark.parametrize("case", cases(SHIPPED), ids=lambda case: case["id"])
def test_shipped_capture(case: Case, everything: list[Profile], decode: Decode) -> None:
    check(case, decode(everything, bytes.fromhex(case["data"])))


@pytest.mark.corpus
@pytest.mark.parametrize("part", ["open", "reference"])
def test_captures_of_the_shared_corpus(part: str, corpus: Path, everything: list[Profile], decode: Decode) -> None:
    found = cases(corpus / part / "sml.jsonl")
    assert found
    for case in found:
        check(case, decode(everything, bytes.fromhex(case["data"])))


@pytest.mark.corpus
def test_the_shipped_captures_are_those_of_the_shared_corpus(corpus: Path) -> None:
    shared = {case["id"]: case["data"] for case in cases(corpus / "open" / "sml.jsonl")}
    assert {case["id"]: case["data"] for case in cases(SHIPPED)} == shared


@pytest.mark.corpus
def test_constructed_frames_carry_no_meter_number_of_a_capture(corpus: Path, frame_of: FrameOf) -> None:
    numbers = {
        frame["server_id"]
        for part in ("open", "reference")
        for case in cases(corpus / part / "sml.jsonl")
        for frame in case["expected"].get("frames", [])
        if frame.get("server_id")
    }
    assert numbers
    for _, note in FRAMES:
        if note.provenance == "constructed":
            assert not [number for number in numbers if bytes.fromhex(number) in frame_of(note.file)], note.file


@pytest.mark.corpus
def test_constructed_frames_have_the_structure_of_a_capture(corpus: Path, frame_of: FrameOf) -> None:
    """The same objects in the same order as in some capture."""
    captured = set()
    for part in ("open", "reference"):
        for case in cases(corpus / part / "sml.jsonl"):
            link = SmlLink()
            results = link.feed(bytes.fromhex(case["data"])) + link.close()
            captured |= {codes(result.payload) for result in results if isinstance(result, Frame)}
    of_meters = [note.file for _, note in FRAMES if note.file.startswith("frames/de-")]
    assert not [file for file in of_meters if codes(SmlLink().feed(frame_of(file) + b"v")[0].payload) not in captured]


def codes(payload: bytes) -> tuple[bytes, ...]:
    """The heads of the entries: code, and what stands before their value."""
    return tuple(re.findall(rb"\x77\x07(.{6})", payload, re.DOTALL))


@pytest.mark.parametrize(
    ("name", "maker", "expected"),
    [
        ("sml-two-registers-both", "ISK", ("sml-two-registers", 968, 60)),
        ("sml-two-registers-both", "ITR", ("sml-two-registers", 968, 60)),
        ("sml-two-registers-both", "EMH", ("sml-two-registers", 968, 60)),
        ("sml-import-power-export", "EBZ", ("sml-import-power", 0, 9876)),
        ("sml-status-fnn-export", "HLY", ("sml-status-fnn", 0, 2750)),
        ("sml-status-edl-export", "ISK", ("sml-status-edl", 0, 116)),
        ("sml-generic-net", "ISK", ("de-iskra-mt631", 0, 1234)),
    ],
)
def test_a_maker_s_meter_with_another_power_is_read_by_that(
    name: str, maker: str, expected: tuple[str, int, int], files: Callable[[str], bytes], decode: Decode
) -> None:
    text, named = re.subn(r"(o:(?:129-129:199\.130\.3|1-0:96\.50\.1)\S* - - - - )\S+", rf"\1a:{maker}", text_of(name))
    reading = only(decode(PROFILES, files(text)))
    assert (named, reading.profile, reading.p_import_w, reading.p_export_w) == (1, *expected)


def test_an_old_emh_with_a_register_for_export_is_not_taken_for_one_with_the_balance(
    files: Callable[[str], bytes], decode: Decode
) -> None:
    """1.7.0 alone is the balance; beside 2.7.0 it is import only, and its 0 says nothing of export."""
    power = "    [7 o:1-0:1.7.0*255 - - u8:27 i8:-1 i32:126 -\n"
    text = text_of("de-emh-ehz-g-import")
    assert power in text
    both = power.replace("i32:126", "i32:0") + power.replace("1.7.0", "2.7.0")
    reading = only(decode(PROFILES, files(text.replace(power, both).replace("[6\n", "[7\n"))))
    assert (reading.p_import_w, reading.p_export_w) == (0, 12)
