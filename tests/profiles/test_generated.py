"""The table of meters and the pages of profiles are what the profiles say; their tools."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from decoders.model import Reading, Result
from decoders.profile import Profile
from gateway import profiles

#: a time that never was, and the longest power failure that a log can hold
NO_SERIALS = {"", "632525252525", "2147483647"}
#: a profile may know its meters by a range of numbers: the bounds are nobody's
RANGES = re.compile(r" from `[0-9a-f]+` to `[0-9a-f]+`")
SERIALS = re.compile(r"[0-9A-F]{16,}|\d{10,}")


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=checkout, capture_output=True, text=True, timeout=120, check=False
    )


def test_table_and_pages_are_up_to_date(checkout: Path) -> None:
    done = run(checkout, "tools/meters_table.py", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pages_of_countries_are_up_to_date(checkout: Path) -> None:
    done = run(checkout, "tools/country_pages.py", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_national_profile_is_on_the_page_of_its_country(checkout: Path) -> None:
    """Found by the generator through interfaces.toml, or as one of the further meters."""
    for profile in map(profiles.load, profiles.names()):
        if profile.country != "EU":
            page = checkout / "docs" / "countries" / f"{profile.country.lower()}.md"
            assert f"../meters/{profile.name}.md" in page.read_text(encoding="utf-8"), profile.name


def test_an_interface_without_cable_or_profile_is_refused(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(checkout / "docs" / "countries", tmp_path / "docs" / "countries")
    (tmp_path / "config" / "profiles").mkdir(parents=True)
    done = run(tmp_path, "tools/country_pages.py", "--check")
    assert (done.returncode, "no such profile" in done.stderr) == (1, True)


def test_every_profile_has_a_page_and_a_line_in_the_readme(checkout: Path) -> None:
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    for name in profiles.names():
        assert (checkout / "docs" / "meters" / f"{name}.md").is_file()
        assert f"docs/meters/{name}.md" in readme


def test_pages_show_no_serial_number(checkout: Path) -> None:
    """Captured telegrams hold real numbers of meters; the pages show the form of a value only."""
    for page in (checkout / "docs" / "meters").glob("*.md"):
        shown = SERIALS.findall(RANGES.sub("", page.read_text(encoding="utf-8")))
        assert [text for text in shown if text.strip("0") not in NO_SERIALS] == [], page.name


def test_every_object_of_every_frame_is_on_the_page_of_its_profile(checkout: Path) -> None:
    """Item O of Regulation (EU) 2023/1162: every part of the packet is listed and mapped."""
    for profile in map(profiles.load, profiles.names()):
        page = (checkout / "docs" / "meters" / f"{profile.name}.md").read_text(encoding="utf-8")
        for note in profile.frame if profile.link == "p1" else ():
            text = profiles.shipped().joinpath(note.file).read_bytes().decode("latin-1")
            for code in re.findall(r"^(\d-\d:\d+\.\d+\.\d+)[(*]", text, re.MULTILINE):
                channel = re.sub(r"^0-[1-4]:", "0-n:", code)
                assert f"| `{code}` |" in page or f"| `{channel}` |" in page, (profile.name, code)


def test_every_register_of_every_push_is_on_the_page_of_its_profile(
    checkout: Path, everything: list[Profile], frame_of: Callable[[str], bytes], decode: Callable[..., list[Result]]
) -> None:
    for profile in (profile for profile in everything if profile.link != "p1"):
        page = (checkout / "docs" / "meters" / f"{profile.name}.md").read_text(encoding="utf-8")
        for note in profile.frame:
            (reading,) = decode([profile], frame_of(note.file), note.keys)
            assert isinstance(reading, Reading)
            for code in {register[0] for register in reading.registers}:
                named = {code, re.sub(r"^0-[1-9]:", "0-n:", code), re.sub(r"\*\d+$", "*n", code)}
                assert any(f"`{name}` |" in page for name in named), (profile.name, code)


def test_the_page_of_a_push_describes_its_packet_by_groups_of_octets(checkout: Path) -> None:
    parts = {
        "at-wienernetze": [
            "frame format",
            "HCS",
            "LLC header",
            "FCS",
            "security control",
            "invocation counter",
            "`0F`",
        ],
        "at-netznoe": ["CI", "STSAP, DTSAP", "checksum, stop", "system title", "long-invoke-id-and-priority"],
        "cz-egd": ["no link", "`0F`: data-notification"],
        "dlms-wrapper": ["version", "length"],
        "pl-stoen-gama-encrypted": ["identification", "eight zero octets", "tag of authentication", "data lines"],
        "lu-smarty-encrypted": ["no link", "`DB`", "tag of authentication", "a P1 telegram"],
    }
    for name, wanted in parts.items():
        page = (checkout / "docs" / "meters" / f"{name}.md").read_text(encoding="utf-8")
        assert [part for part in wanted if part not in page] == [], name


def test_make_push_writes_a_frame(checkout: Path, tmp_path: Path, frame_of: Callable[[str], bytes]) -> None:
    text = "tests/profiles/pushes/at-wels-im350.txt"
    assert run(checkout, "tools/make_push.py", text, str(tmp_path / "made.bin")).returncode == 0
    assert (tmp_path / "made.bin").read_bytes() == frame_of("frames/at-wels-im350.bin")


def test_make_frame_writes_the_line_ends_and_the_checksum_of_a_published_telegram(
    checkout: Path, tmp_path: Path
) -> None:
    frame = profiles.shipped().joinpath("frames/se-efs2-sagemcom.p1").read_bytes()
    source = tmp_path / "telegram.txt"
    source.write_bytes(frame.replace(b"\r\n", b"\n").replace(b"!80FF", b"!"))
    assert run(checkout, "tools/make_frame.py", str(source), str(tmp_path / "made.p1")).returncode == 0
    assert (tmp_path / "made.p1").read_bytes() == frame


def test_make_frame_leaves_the_checksum_out_when_told(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "telegram.txt").write_text("/ABC5TEST\n\n1-0:1.7.0(00.100*kW)\n!\n")
    arguments = (str(tmp_path / "telegram.txt"), str(tmp_path / "made.p1"), "--no-checksum")
    assert run(checkout, "tools/make_frame.py", *arguments).returncode == 0
    assert (tmp_path / "made.p1").read_bytes() == b"/ABC5TEST\r\n\r\n1-0:1.7.0(00.100*kW)\r\n!\r\n"
