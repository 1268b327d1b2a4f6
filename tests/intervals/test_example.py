"""docs/intervals-example.md is what a simulated year comes to."""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_result(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    tool = import_module("interval_year")
    year = tool.make()
    assert tool.page(year) == tool.PAGE.read_text("utf-8"), "run tools/interval_year.py"
    assert tool.PICTURE.read_bytes().startswith(b"\x89PNG")
    # what the page shows is there: gaps, an exchange, an edit, and days of every length
    quarters = year.found["PT15M"].values()
    assert {one.status for one in quarters} == {"valid", "estimated", "edited", "suspect"}
    assert any("exchange" in (one.reason or "") for one in quarters)
    assert all(one.quantity is not None and one.quantity >= 0 for one in quarters)
    for one in quarters:
        if one.low.value is not None and one.high.value is not None:
            assert one.quantity == one.high.value - one.low.value + one.sum_break
