"""The TOML form: what a profile must say, and what is refused."""

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from decoders.profile import ProfileSyntaxError, load
from gateway import profiles

NAMES = profiles.names()


def text_of(name: str) -> str:
    return profiles.shipped().joinpath(f"{name}.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_profile_loads(name: str) -> None:
    profile = profiles.load(name)
    assert profile.name == name
    assert profile.sources
    assert profile.frame


@pytest.mark.parametrize("name", NAMES)
def test_zones_are_known_and_units_are_units(name: str) -> None:
    profile = profiles.load(name)
    if profile.clock.zone:
        assert ZoneInfo(profile.clock.zone)
    assert set(profile.units.values()) <= {"W", "kW", "Wh", "kWh", "var", "kvar", "varh", "kvarh"}


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_without_frame_is_refused(name: str) -> None:
    without = text_of(name).split("[[frame]]")[0]
    with pytest.raises(ProfileSyntaxError, match="frame"):
        load(without, name)


@pytest.mark.parametrize("key", ["provenance", "source", "licence", "file"])
def test_a_frame_must_say_where_it_is_from(key: str) -> None:
    with pytest.raises(ProfileSyntaxError, match=key):
        load(re.sub(rf'(?m)^{key} = ".*"\n', "", text_of("nl-dsmr5")), "nl-dsmr5")


def test_a_profile_must_name_its_sources() -> None:
    with pytest.raises(ProfileSyntaxError, match="sources"):
        load(re.sub(r"(?ms)^sources = \[.*?\]\n", "", text_of("nl-dsmr5")), "nl-dsmr5")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("[line]", 'parity = "none"'),
        ("[match]", 'regex = "Ene5.*"'),
        ("[clock]", 'offset = "+01:00"'),
        ("[item_p]", 'p_total = "1-0:16.7.0"'),
        ("[frame.expect]", None),
    ],
)
def test_unknown_keys_are_refused(table: str, line: str | None) -> None:
    changed = text_of("nl-dsmr5")
    changed = changed.replace(table, f"{table}\n{line}", 1) if line else f'scale = "10"\n{changed}'
    with pytest.raises(ProfileSyntaxError, match="unknown field"):
        load(changed, "nl-dsmr5")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('provenance = "captured"', 'provenance = "found"'),
        ('checksum = "required"', 'checksum = "yes"'),
        ('power = "two registers"', 'power = "balance"'),
        ('p_import = "1-0:1.7.0"', 'p_import = "1.7.0"'),
        ("priority = 20", "priority = 2000"),
        ("baud = 115200", "baud = 0"),
        ('framing = "8N1"', 'framing = "9N1"'),
        ('country = "NL"', 'country = "Netherlands"'),
        ("interval_s = 1\n", "interval_s = 0\n"),
    ],
)
def test_values_out_of_their_range_are_refused(old: str, new: str) -> None:
    text = text_of("nl-dsmr5")
    assert old in text
    with pytest.raises(ProfileSyntaxError, match="nl-dsmr5"):
        load(text.replace(old, new), "nl-dsmr5")


def test_the_name_is_the_stem_of_the_file() -> None:
    with pytest.raises(ProfileSyntaxError, match=re.escape("nl-other.toml")):
        load(text_of("nl-dsmr5"), "nl-other")


def test_priorities_follow_the_convention() -> None:
    """90 exact meter, 50 family by identification, 20 by structure, 10 and 0 for the last resorts."""
    for profile in map(profiles.load, NAMES):
        match = profile.match
        if match.identification:
            assert match.priority in {50, 90}, profile.name
        else:
            assert match.priority in {0, 10, 20}, profile.name
            assert match.priority == 0 or match.has or match.texts or match.values, profile.name


def test_last_resorts_do_not_guess_a_zone() -> None:
    assert profiles.load("p1-generic").clock.zone is None
    assert profiles.load("p1-generic").checksum == "required"


def test_constructed_frames_are_ours_and_captured_ones_name_a_licence_that_permits_it() -> None:
    for profile in map(profiles.load, NAMES):
        for note in profile.frame:
            assert note.licence in {"MIT", "ISC", "Apache-2.0", "BSD-3-Clause"}, note.file
            assert (note.provenance == "constructed") == note.source.startswith("written for meterd"), note.file


def test_docs_explain_every_key(checkout: Path) -> None:
    """docs/profiles.md has a row for each key that the loader knows."""
    from decoders import profile as form

    text = (checkout / "docs" / "profiles.md").read_text(encoding="utf-8")
    meter = (form.Profile, form.Line, form.Match, form.Clock, form.ItemPMap)
    push = (form.FrameNote, form.Cipher, form.Direction, form.PositionalList)
    keys = {field for table in meter + push for field in table.__struct_fields__}
    assert [key for key in sorted(keys) if f"`{key}`" not in text and f"[{key}]" not in text] == []
