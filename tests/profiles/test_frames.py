"""Every plain P1 telegram of every profile decodes to what the profile says, by name and by `auto`."""

from collections.abc import Callable

import pytest
from fastcrc.crc16 import arc

from decoders.model import Reading, Result
from decoders.profile import FrameNote, Profile
from gateway import profiles
from gateway.item_p import utc

PROFILES = [profiles.load(name) for name in profiles.names()]
FRAMES = [(profile, note) for profile in PROFILES if profile.link == "p1" for note in profile.frame]
CHECKED = [(profile, note) for profile, note in FRAMES if profile.checksum == "required"]
IDS = [note.file.removeprefix("frames/").removesuffix(".p1") for _, note in FRAMES]

Decode = Callable[[list[Profile], bytes], list[Result]]
FrameOf = Callable[[str], bytes]


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


@pytest.mark.parametrize(("profile", "note"), FRAMES, ids=IDS)
def test_frame_decodes_by_its_own_profile(profile: Profile, note: FrameNote, frame_of: FrameOf, decode: Decode) -> None:
    (result,) = decode([profile], frame_of(note.file))
    assert isinstance(result, Reading)
    assert said(result) == note.expect


@pytest.mark.parametrize(("profile", "note"), FRAMES, ids=IDS)
def test_auto_takes_a_frame_for_its_own_profile(
    profile: Profile, note: FrameNote, auto: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    (result,) = decode(auto, frame_of(note.file))
    assert isinstance(result, Reading)
    assert result.profile == profile.name
    assert said(result) == note.expect


@pytest.mark.parametrize(("profile", "note"), FRAMES, ids=IDS)
def test_each_frame_states_the_whole_of_item_p(profile: Profile, note: FrameNote) -> None:
    assert set(note.expect) == {"p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "t", "t_meter"}


@pytest.mark.parametrize(("profile", "note"), CHECKED, ids=[note.file for _, note in CHECKED])
def test_a_changed_digit_gives_no_reading(
    profile: Profile, note: FrameNote, auto: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    data = frame_of(note.file)
    code = profile.item_p.p_import or profile.item_p.a_import or "0-1:24.2.1"
    place = data.find(b".", data.find(f"\n{code}(".encode()) + len(code) + 1) + 1
    damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    assert not [result for result in decode(auto, damaged) if isinstance(result, Reading)]


@pytest.mark.parametrize(("profile", "note"), CHECKED, ids=[note.file for _, note in CHECKED])
def test_a_telegram_without_its_checksum_gives_no_reading(
    profile: Profile, note: FrameNote, auto: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    data = frame_of(note.file)
    for candidates in ([profile], auto):
        (result,) = decode(candidates, data[: data.rindex(b"!") + 1] + b"\r\n")
        assert not isinstance(result, Reading)


FAMILIES = [(profile, note) for profile, note in CHECKED if not profile.match.identification]


@pytest.mark.parametrize(("profile", "note"), FAMILIES, ids=[note.file for _, note in FAMILIES])
def test_a_family_is_known_by_its_structure_whoever_made_the_meter(
    profile: Profile, note: FrameNote, auto: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    data = frame_of(note.file)
    body = b"/QQQ5\\ANOTHER-1" + data[data.index(b"\r\n") : data.rindex(b"!") + 1]
    (result,) = decode(auto, body + f"{arc(body):04X}\r\n".encode())
    assert isinstance(result, Reading)
    assert result.profile == profile.name
    assert said(result) == note.expect


def test_no_two_profiles_ship_the_same_telegram(frame_of: FrameOf) -> None:
    telegrams = [frame_of(note.file) for _, note in FRAMES]
    assert len(set(telegrams)) == len(telegrams)


def test_every_frame_file_belongs_to_a_profile() -> None:
    noted = {note.file.removeprefix("frames/") for _, note in FRAMES}
    shipped = {entry.name for entry in profiles.shipped().joinpath("frames").iterdir() if entry.name.endswith(".p1")}
    assert shipped == noted


def test_a_summer_flag_decides_even_in_february(auto: list[Profile], frame_of: FrameOf, decode: Decode) -> None:
    (result,) = decode(auto, frame_of("frames/be-iskra-ie5-3ph.p1"))
    assert isinstance(result, Reading)
    assert result.t_meter == "2024-02-14T13:27:47+02:00"


def test_standard_time_all_year_stays_standard_time(auto: list[Profile], frame_of: FrameOf, decode: Decode) -> None:
    (result,) = decode(auto, frame_of("frames/se-efs2-kamstrup.p1"))
    assert isinstance(result, Reading)
    assert result.t_meter == "2025-07-08T14:30:10+01:00"


@pytest.mark.parametrize(
    "file",
    [
        "frames/dk-nes-83335.p1",
        "frames/fi-aidon-74xx-7442.p1",
        "frames/p1-generic-unknown.p1",
        "frames/si-iskra-am550-m551t.p1",
    ],
)
def test_a_clock_without_a_known_zone_is_not_guessed(
    file: str, auto: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    (result,) = decode(auto, frame_of(file))
    assert isinstance(result, Reading)
    assert (result.t, result.flags) == (None, ("zone_unknown",))


def test_a_meter_with_current_transformers_and_secondary_values_is_refused(
    auto: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    """Aidon 6560: the ratio `1-0:0.4.2` says that every value is too small by it."""
    telegram = frame_of("frames/se-efs2-aidon.p1")
    body = telegram[: telegram.rindex(b"!")] + b"1-0:0.4.2(995)\r\n1-0:0.4.3(000.01)\r\n"
    (result,) = decode(auto, body + b"!\r\n")
    assert not isinstance(result, Reading)
    assert result.code == "unknown_layout"


def test_a_heat_meter_alone_has_no_item_p_and_its_value(auto: list[Profile], frame_of: FrameOf, decode: Decode) -> None:
    (result,) = decode(auto, frame_of("frames/nl-warmtelink-nwa.p1"))
    assert isinstance(result, Reading)
    assert [(sub.medium, sub.integer, sub.exponent, sub.unit) for sub in result.sub] == [("heat", 240860, -3, "GJ")]


def test_a_sub_meter_that_was_never_read_gives_nothing(auto: list[Profile], frame_of: FrameOf, decode: Decode) -> None:
    (result,) = decode(auto, frame_of("frames/be-fluvius-emucs-1ph.p1"))
    assert isinstance(result, Reading)
    assert result.sub == ()
