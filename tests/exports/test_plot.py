"""Pictures that are really drawn: the right size, the same twice, and clear words where they cannot be."""

from dataclasses import replace
from datetime import date

import pytest
from lxml import etree

from gateway.exports import plot
from gateway.exports.about import ExportError
from gateway.intervals.model import Unit


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_picture_of_a_fortnight_over_the_change_of_time(suffix, tmp_path, make_series):
    taken = make_series(date(2026, 10, 18), days=14)
    given = replace(taken, direction="export")
    path = tmp_path / f"plot{suffix}"
    plot.draw([taken, given], path)
    octets = path.read_bytes()
    if suffix == ".png":
        assert octets.startswith(b"\x89PNG")
        assert len(octets) > 20_000
    else:
        assert etree.fromstring(octets).tag == "{http://www.w3.org/2000/svg}svg"


def test_a_series_without_any_value_and_one_of_water_can_be_drawn(tmp_path, make_series):
    nothing = make_series(date(2026, 6, 1), status="missing")
    plot.draw([nothing], tmp_path / "a.svg")
    plot.draw([replace(make_series(date(2026, 6, 1)), unit=Unit("m3", -3), kind="volume")], tmp_path / "b.svg")


def test_a_day_that_begins_in_the_middle_stands_at_its_hours(make_series):
    series = make_series(date(2026, 10, 25), days=2)
    late = replace(series, intervals=series.intervals[40:])
    first, second = plot._columns(late).values()
    assert (min(first), max(first)) == (40, 99)
    assert (min(second), max(second)) == (0, 95)


def test_what_cannot_be_drawn_says_why(tmp_path, make_series, monkeypatch):
    series = make_series(date(2026, 6, 1))
    with pytest.raises(ExportError, match=r"\.png or a \.svg"):
        plot.draw([series], tmp_path / "a.gif")
    with pytest.raises(ExportError, match="nothing to draw"):
        plot.draw([replace(series, intervals=[])], tmp_path / "a.png")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ExportError, match="pip install"):
        plot.draw([series], tmp_path / "a.png")
