"""Every DLMS push and encrypted telegram of every profile decodes to what the profile says, and `auto` takes it."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from decoders.decoder import Decoder
from decoders.grammars.cosem import AxdrGrammar
from decoders.links.hdlc import HdlcLink
from decoders.lists import named, scaled
from decoders.model import Frame, Reading, Result, Telegram
from decoders.profile import FrameNote, Profile, agrees, fits, load
from gateway import profiles
from gateway.item_p import utc

LINKS = {"bare", "hdlc", "mbus", "p1-sealed", "wrapper"}
PROFILES = [profile for profile in map(profiles.load, profiles.names()) if profile.link in LINKS]
FRAMES = [(profile, note) for profile in PROFILES for note in profile.frame]
IDS = [note.file.removeprefix("frames/").removesuffix(".bin") for _, note in FRAMES]
CHECKED = [(profile, note) for profile, note in FRAMES if profile.link in {"hdlc", "mbus", "p1-sealed"}]
TEXTS = sorted((Path(__file__).parent / "pushes").glob("*.txt"))
#: pushes that nothing tells from those of another profile: choose the profile by name
NAMED_ONLY = {"frames/ch-kamstrup-push1.bin": "dk-kamstrup", "frames/ch-lg-e360.bin": "ch-lg-cii"}
#: profiles of one push on several links, the first of which `auto` takes when it does not know the link
SAME_PUSH = {
    "at-steiermark-est5-encrypted": "at-steiermark-est5",
    "dlms-wrapper": "dlms-hdlc",
    "kamstrup-apdu": "dk-kamstrup",
    "lu-smarty-encrypted": "lu-smarty",
}

Decode = Callable[..., list[Result]]
FrameOf = Callable[[str], bytes]
every_frame = pytest.mark.parametrize(("profile", "note"), FRAMES, ids=IDS)


def of_link(profile: Profile) -> list[Profile]:
    return [candidate for candidate in PROFILES if candidate.link == profile.link]


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


@every_frame
def test_frame_decodes_by_its_own_profile(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    assert said(only(decode([profile], frame_of(note.file), note.keys))) == note.expect


@every_frame
def test_auto_takes_a_frame_for_its_own_profile(
    profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode
) -> None:
    reading = only(decode(of_link(profile), frame_of(note.file), note.keys))
    assert reading.profile == NAMED_ONLY.get(note.file, profile.name)


@every_frame
def test_auto_needs_not_know_the_link(
    profile: Profile, note: FrameNote, everything: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    reading = only(decode(everything, frame_of(note.file), note.keys))
    own = NAMED_ONLY.get(note.file, profile.name)
    assert reading.profile in {own, SAME_PUSH.get(own, own)}


@every_frame
def test_each_frame_states_the_whole_of_item_p(profile: Profile, note: FrameNote) -> None:
    assert set(note.expect) == {"p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "t", "t_meter"}


@every_frame
def test_octet_by_octet_is_the_same(profile: Profile, note: FrameNote, frame_of: FrameOf) -> None:
    """Without keys, an encrypted one asks for them."""
    decoder = Decoder([profile], ZoneInfo)
    data = frame_of(note.file)
    results = [result for octet in data for result in decoder.feed(bytes([octet]))] + decoder.close()
    if note.keys:
        assert [getattr(result, "code", None) for result in results] == ["key_missing"]
    else:
        assert said(only(results)) == note.expect


@pytest.mark.parametrize(("profile", "note"), CHECKED, ids=[note.file for _, note in CHECKED])
def test_a_damaged_octet_gives_no_reading(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    """A flag of HDLC between two frames may be damaged: the other one does for both."""
    data = frame_of(note.file)
    for place in (place for place in range(1, len(data) - 1, 7) if data[place] != 0x7E):
        damaged = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        assert not [result for result in decode([profile], damaged, note.keys) if isinstance(result, Reading)], place


@pytest.mark.parametrize(("profile", "note"), [(p, n) for p, n in FRAMES if n.keys], ids=lambda value: str(value)[:1])
def test_another_key_opens_nothing(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    keys = note.keys | {"encryption": "FF" * 16}
    assert not [result for result in decode([profile], frame_of(note.file), keys) if isinstance(result, Reading)]


def test_authentic_frames_are_verified_where_their_keys_are_published(frame_of: FrameOf, decode: Decode) -> None:
    published = {n.file: only(decode([p], frame_of(n.file), n.keys)).auth for p, n in FRAMES if n.keys}
    assert published == {
        "frames/at-netznoe-leaflet.bin": "unverified",
        "frames/at-steiermark-est5-encrypted.bin": "verified",
        "frames/dk-kamstrup-encrypted.bin": "verified",
        "frames/lu-smarty-encrypted.bin": "verified",
        "frames/pl-stoen-gama-encrypted.bin": "verified",
        "frames/pl-stoen-kaifa-encrypted.bin": "verified",
    }


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_constructed_frame_is_what_its_text_says(text: Path, checkout: Path, frame_of: FrameOf) -> None:
    push = runpy.run_path(str(checkout / "tools" / "make_push.py"))["push"]
    assert push(text.read_text(encoding="utf-8").splitlines()) == frame_of(f"frames/{text.stem}.bin")


@pytest.mark.parametrize(("sealed", "plain"), [("gama-encrypted", "gama-g15"), ("kaifa-encrypted", "kaifa-ma309m")])
def test_a_sealed_frame_is_the_telegram_of_the_plain_profile(
    sealed: str, plain: str, checkout: Path, frame_of: FrameOf
) -> None:
    seal = runpy.run_path(str(checkout / "tools" / "make_frame.py"))["seal"]
    frame, profile = frame_of(f"frames/pl-stoen-{sealed}.bin"), profiles.load(f"pl-stoen-{sealed}")
    keys = [bytes.fromhex(profile.frame[0].keys[role]) for role in ("encryption", "authentication")]
    head = frame.index(b"\x00\x82")
    counter = int.from_bytes(frame[head + 5 : head + 9], "big")
    assert seal(frame_of(f"frames/pl-stoen-{plain}.p1"), *keys, counter) == frame


def test_every_constructed_push_has_its_text() -> None:
    constructed = {Path(note.file).stem for _, note in FRAMES if note.provenance == "constructed" and not note.keys}
    assert {text.stem for text in TEXTS} == constructed


def test_every_frame_file_belongs_to_a_profile() -> None:
    noted = {note.file.removeprefix("frames/") for _, note in FRAMES}
    assert {e.name for e in profiles.shipped().joinpath("frames").iterdir() if e.name.endswith(".bin")} == noted


def test_no_two_profiles_ship_the_same_push(frame_of: FrameOf) -> None:
    pushes = [frame_of(note.file) for _, note in FRAMES]
    assert len(set(pushes)) == len(pushes)


def test_operators_that_issue_an_authentication_key_ask_for_the_tag() -> None:
    verified = {profile.name for profile in PROFILES if profile.min_auth == "verified"}
    assert verified == {
        "at-burgenland-e450",
        "at-steiermark-e450",
        "at-steiermark-est5-encrypted",
        "dk-kamstrup",
        "lu-smarty-encrypted",
        "pl-stoen-gama-encrypted",
        "pl-stoen-kaifa-encrypted",
    }
    assert all(profile.cipher and profile.cipher.key_source for profile in PROFILES if profile.min_auth != "plain")


def test_a_clock_without_true_offset_is_not_given_one(frame_of: FrameOf, decode: Decode) -> None:
    """Aidon of Norway says deviation 0, UTC, and sends local time."""
    reading = only(decode([profiles.load("no-aidon")], frame_of("frames/no-aidon-list3.bin")))
    assert (reading.t, reading.flags) == (None, ("zone_unknown",))


@pytest.mark.parametrize("name", ["ch-kamstrup", "kamstrup-apdu", "no-kamstrup-ct", "se-kamstrup"])
def test_energy_of_unknown_scale_is_left_out(name: str) -> None:
    profile = profiles.load(name)
    assert (profile.item_p.a_import, profile.item_p.a_export) == (None, None)
    assert not [code for code in profile.scales if ".8." in code]
    assert any("Energy is left out" in note for note in profile.notes)


def telegram(*leaves: tuple[int, Any]) -> Telegram:
    empty = Telegram(
        identification="", time=None, clock=None, registers=(), register_times={}, texts={}, sub=(), values=leaves
    )
    first = leaves[0][1]
    return replace(empty, identification=first.decode()) if isinstance(first, bytes) else empty


U32, U16, TEXT = 6, 18, 9


def test_lists_of_one_length_are_told_apart_by_the_types_of_their_values() -> None:
    """Ten values of Iskraemeco: power with U and I in 16 bits, or eight energies in 32."""
    profile = profiles.load("si-iskra-am550-dlms")
    head = ((TEXT, b"ISK1"), (TEXT, b"ISK2"))
    power = telegram(*head, *[(U32, 5)] * 4, (U16, 2300), (U16, 70), (U32, 5), (U32, 0))
    energy = telegram(*head, *[(U32, 5)] * 8)
    assert named(profile, power).registers[0] == ("1-0:1.7.0", 5, 0, "W")
    assert named(profile, energy).registers[0] == ("1-0:1.8.1", 5, 0, "Wh")


def test_a_list_whose_types_no_profile_knows_is_nobodys() -> None:
    strange = telegram((TEXT, b"ISK1"), (TEXT, b"ISK2"), *[(U16, 5)] * 8)
    assert not [profile.name for profile in PROFILES if profile.link == "hdlc" and fits(profile, strange)]


def test_a_phase_that_is_absent_is_null_and_gives_no_register() -> None:
    profile = profiles.load("no-kaifa")
    head = ((TEXT, b"KFM_001"), (TEXT, b"1"), (TEXT, b"MA"))
    values = telegram(*head, *[(U32, 5)] * 5, (0, None), *[(U32, 5)] * 4)
    assert fits(profile, values)
    assert "1-0:51.7.0" not in {register[0] for register in named(profile, values).registers}


def test_what_the_meter_says_wins_over_a_scale() -> None:
    profile = profiles.load("dk-kamstrup")
    sent = (("1-1:1.8.0", 7, 0, "Wh"), ("1-1:2.8.0", 7, 0, ""))
    assert scaled(profile.scales, sent) == (("1-1:1.8.0", 7, 0, "Wh"), ("1-1:2.8.0", 7, 1, "Wh"))


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ('["1-0:1.8.0", "Wh", 0, "u32"]', '["1-0:1.8.0", "Wh", 0, "float"]', "hr-hep-ie5"),
        ('["1-0:1.8.0", "Wh", 0, "u32"]', '["1-0:1.8.0"]', "hr-hep-ie5"),
        ("values = [33]", "values = [0]", "hr-hep-ie5"),
        ('deviation = "ignore"', 'deviation = "never"', "no-aidon"),
        ("[[match.other]]", "[[match.never]]", "no-aidon"),
        ("[cipher]", '[cipher]\naad = "none"', "at-netznoe"),
        ('"1-1:1.8.0" = ["Wh", 1]', '"1-1:1.8.0" = ["Wh", 10]', "dk-kamstrup"),
        ("[frame.keys]", '[frame.keys]\nsigning = "00"', "dk-kamstrup"),
    ],
)
def test_values_out_of_their_range_are_refused(old: str, new: str, name: str) -> None:
    text = profiles.shipped().joinpath(f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(profiles.ProfileSyntaxError, match=name):
        load(text.replace(old, new, 1), name)


@pytest.mark.parametrize("profile", [p for p in PROFILES if p.list], ids=lambda profile: profile.name)
def test_no_two_lists_of_a_profile_agree_with_the_same_values(profile: Profile, frame_of: FrameOf) -> None:
    for note in profile.frame:
        for frame in HdlcLink().feed(frame_of(note.file)):
            assert isinstance(frame, Frame)
            values = AxdrGrammar().parse(frame).values
            assert len([list_ for list_ in profile.list if agrees(list_, values)]) == 1, note.file
