"""Log lines: one line each, nothing raw in them, and not many."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway import log
from gateway.telemetry import EVENTS


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])


def lines(form: str = "logfmt", level: str = "info") -> io.StringIO:
    out = io.StringIO()
    log.setup(form, level, out)
    return out


def test_logfmt_is_one_readable_line():
    out = lines()
    log.event("line_state", meter="main", state="ok", evidence="readings arrive", flags=None, n=3, good=True)
    stamp, rest = out.getvalue().split(" ", 1)
    assert rest == 'level=info event=line_state meter=main state=ok evidence="readings arrive" n=3 good=true\n'
    assert stamp.startswith("t=20")
    assert stamp.endswith("Z")


def test_json_is_one_object():
    out = lines("json")
    log.event("fault", meter="main", code="link.checksum", reason='a "quote"\nand more')
    row = json.loads(out.getvalue())
    assert row["event"] == "fault"
    assert row["level"] == "warning"
    assert row["reason"] == 'a "quote"\nand more'
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize(
    "text", ["a\nlevel=error event=forged", "\x1b[2J\x07", "\u202egnp.exe", "\x00", "\x9b31m", "\ud800"]
)
def test_hostile_text_stays_inside_its_field(form, text):
    out = lines(form)
    log.event("line_state", meter="main", evidence=text)
    line = out.getvalue()
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    line.encode()


def test_levels_are_kept():
    out = lines(level="warning")
    log.event("line_state", meter="main")
    log.event("line_trouble", meter="main", state="no_bytes")
    assert "event=line_trouble" in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_other_modules_log_through_the_same_lines():
    out = lines()
    logging.getLogger("gateway.sinks.mqtt").info("connected to %s", "broker")
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").info("chatter of a library")
    first, second = out.getvalue().splitlines()
    assert first.endswith('level=info event=mqtt msg="connected to broker"')
    assert second.endswith("level=warning event=asyncio msg=slow")


def test_an_exception_is_named_and_not_quoted():
    out = lines()
    try:
        int("0-0:96.1.1(4B384547303034303436333935353037)")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")
    assert "error=ValueError" in out.getvalue()
    assert "4B38" not in out.getvalue()


def test_a_storm_is_cut_and_counted(monkeypatch):
    out = lines()
    now = [1000.0]
    monkeypatch.setattr(logging.getLogger().handlers[0].filters[0], "_clock", lambda: now[0])
    for _ in range(500):
        log.event("line_trouble", meter="main", state="no_port")
        log.event("line_trouble", meter="other", state="no_port") if now[0] == 1000.0 else None
        now[0] += 0.1
    for n in range(3 * log.BURST):
        log.event("hub_trouble", hub=f"h{n % 2}", what="rejected", reason=f"day {n}")
    log.event("hub_trouble", hub="h0", what="hub_down", reason="no answer")
    assert out.getvalue().count("hub=h") == 2 * log.BURST + 1
    assert out.getvalue().count("meter=main") == log.BURST
    assert out.getvalue().count("meter=other") == 1
    now[0] += log.REFILL_S
    log.event("line_trouble", meter="main", state="no_port")
    assert out.getvalue().splitlines()[-1].endswith(f"left_out={500 - log.BURST}")


def test_an_event_without_a_name_in_the_table_is_a_mistake():
    with pytest.raises(KeyError):
        log.event("unheard_of")
    assert all(isinstance(level, int) and meaning for level, meaning in EVENTS.values())
