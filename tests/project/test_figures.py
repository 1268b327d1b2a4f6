"""The README's table of figures is that of docs/measured, and nobody typed it."""

import re

import pytest

import figures


def test_readme_is_up_to_date():
    text = figures.README.read_text("utf-8")
    shown = text[text.index(figures.BEGIN) + len(figures.BEGIN) : text.index(figures.END)].strip()
    assert shown == figures.table(), "run `make figures`"


def test_every_page_says_command_date_and_machine():
    for page in figures.MEASURED.glob("*.md"):
        text = page.read_text("utf-8")
        assert re.search(r"make [a-z-]+", text), page.name
        assert re.search(r"20\d\d-\d\d-\d\d", text), page.name
        assert "Linux" in text, page.name


def test_a_figure_that_no_page_has_is_an_error(monkeypatch):
    monkeypatch.setitem(figures.CHOSEN, "bench", ("a figure that nobody measured",))
    with pytest.raises(LookupError, match="nobody measured"):
        figures.table()
