"""Pictures of the terminal show what the commands print today, and nothing of the machine that drew them."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import pictures


@pytest.mark.parametrize("name", pictures.STEADY)
def test_a_steady_picture_is_what_the_command_prints(name: str) -> None:
    drawn = (pictures.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert drawn == pictures.picture(name), f"run tools/pictures.py {name}"


@pytest.mark.parametrize("name", pictures.SCENES)
def test_every_scene_is_drawn_and_shows_no_path_of_a_machine(name: str) -> None:
    text = (pictures.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    lines = ["".join(row.itertext()) for row in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert sum(line.startswith("$ ") for line in lines) >= 1
    assert not re.search(r"/(home|root|work|usr|opt)/|site-packages", text)


def test_pictures_that_a_page_shows_exist(checkout: Path) -> None:
    pages = [checkout / "README.md", *(checkout / "docs").rglob("*.md")]
    shown = [
        (page.parent / link).resolve()
        for page in pages
        for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert shown
    assert [path.name for path in shown if not path.is_file()] == []


def test_a_drawing_keeps_what_was_printed() -> None:
    drawn = pictures.draw("a & b", "$ meterd <x>\n" + "y" * 300)
    texts = ["".join(row.itertext()) for row in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:2] == ["a & b", "$ meterd <x>"]
    assert sum(line.count("y") for line in texts) == 300
