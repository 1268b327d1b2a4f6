"""Events to stderr as logfmt or JSON: one line each, bounded in rate, control characters escaped, never a payload.

Every event is named once, in `telemetry.EVENTS`. A field holds names, numbers and sentences of this program; what a
meter sent is never a field.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from gateway.telemetry import EVENTS

BURST = 10
REFILL_S = 300.0
MAX_KEYS = 1_000
#: fields that tell one source of events from another
_OF = ("meter", "hub", "what")

_logger = logging.getLogger("meterd")
_plain = re.compile(r"[\w.:/@%+,-]+", re.ASCII)


def setup(form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the events of this process to `stream` (stderr) from `level` on; replaces what was set up before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines(_json if form == "json" else _logfmt))
    handler.addFilter(_Limiter())
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger().setLevel(logging.WARNING)
    for name in ("meterd", "gateway"):
        logging.getLogger(name).setLevel(level.upper())
    logging.raiseExceptions = False


def event(name: str, /, **fields: Any) -> None:
    """Log an event of EVENTS with its fields; None is left out."""
    _logger.log(EVENTS[name][0], name, extra={"fields": fields})


class _Lines(logging.Formatter):
    """Turn a record into one line."""

    def __init__(self, render: Callable[[Mapping[str, Any]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"t": stamp, "level": record.levelname.lower()}
        if fields is None:
            line |= {"event": record.name.rpartition(".")[2], "msg": record.getMessage()}
        else:
            # the time of the line is its own: a field of that name would say when something else happened
            line |= {"event": record.msg} | {("at" if name == "t" else name): value for name, value in fields.items()}
        if record.exc_info and record.exc_info[1]:
            line["error"] = type(record.exc_info[1]).__name__
        return self._render({key: value for key, value in line.items() if value is not None})


class _Limiter(logging.Filter):
    """Let an event of one meter, or of one sort and hub, pass BURST times, then once in REFILL_S.

    The next line says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        #: (logger or event, of what) -> tokens left, when, left out since the last line
        self._buckets: dict[tuple[str, str], tuple[float, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        fields = getattr(record, "fields", None)
        key = (
            (record.name, "")
            if fields is None
            else (str(record.msg), " ".join(str(fields[name]) for name in _OF if name in fields))
        )
        now = self._clock()
        tokens, then, left_out = self._buckets.get(key, (float(BURST), now, 0))
        tokens = min(float(BURST), tokens + (now - then) / REFILL_S)
        passes = tokens >= 1 or len(self._buckets) >= MAX_KEYS
        self._buckets[key] = (tokens - 1, now, 0) if passes else (tokens, now, left_out + 1)
        if passes and left_out and fields is not None:
            fields["left_out"] = left_out
        return passes


def _logfmt(line: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in line.items())


def _logfmt_value(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if _plain.fullmatch(text) else escape(text)


def escape(text: str) -> str:
    """Quote a text so that it stays one line and shows every control, bidi and undecodable character as an escape."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _json(line: Mapping[str, Any]) -> str:
    return json.dumps(line, default=str)
