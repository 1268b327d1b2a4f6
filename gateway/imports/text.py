"""CSV back into rows: meterd's own `intervals-csv`, and the style of CEZ Distribuce's PND."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import BinaryIO, Final, TextIO
from zoneinfo import ZoneInfo

from gateway.imports.record import MOST_ROWS, Imported, ImportFileError, Row, Said, energy
from gateway.intervals.model import Direction

#: statuses of meterd's own exports
OWN: Final[dict[str, Said]] = {
    "valid": "measured", "estimated": "estimated", "edited": "edited",
    "missing": "missing", "suspect": "suspect", "raw": "raw",
}  # fmt: skip
#: Wh of the units that a table may have
UNITS: Final = {"Wh": Decimal(1), "kWh": Decimal(1000), "MWh": Decimal(1_000_000)}
PND: Final[dict[str, Said]] = {
    "naměřená data OK": "measured", "naměřená data, výpadek napětí": "measured", "neplatná data": "suspect",
    "nedefinovaný status": "unknown", "neznámá hodnota": "unknown", "nedostupná data": "missing",
}  # fmt: skip
#: characters of a line; lines of a PND export, which is held in memory: ten years of quarter-hours
MOST_LINE: Final = 4_096
MOST_PND: Final = 360_000
_COLUMN: Final = re.compile(r"([+-]A)/?(\S*) \[kW\]\Z")
_STAMP: Final = re.compile(r"(\d\d)\.(\d\d)\.(\d{4}) (\d\d):(\d\d)(?::(\d\d))?\Z", re.ASCII)
_NEEDED: Final = ("point", "direction", "start", "end", "quantity", "unit", "status")
_DIRECTIONS: Final[dict[str, Direction]] = {"import": "import", "export": "export"}


def table(source: BinaryIO) -> Iterator[Imported]:
    """Rows of `intervals-csv`, UTF-8, a run of each point and direction; raises ImportFileError."""
    wrapper = io.TextIOWrapper(source, "utf-8-sig", newline="")
    try:
        yield from _table(wrapper)
    finally:
        wrapper.detach()  # the file is the caller's


def _table(source: TextIO) -> Iterator[Imported]:
    reader = csv.DictReader(_lines(source, MOST_ROWS + 1), strict=True)
    try:
        names = reader.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFileError(f"the file is no CSV in UTF-8: {error}") from None
    absent = [name for name in _NEEDED if name not in names]
    if absent:
        raise ImportFileError(f"line 1: the columns {', '.join(absent)} are missing: is it a file of intervals-csv?")
    found: dict[tuple[str, Direction], list[Row]] = {}
    try:
        for line in reader:
            where = f"line {reader.line_num}"
            direction = _DIRECTIONS.get(line["direction"] or "")
            if direction is None:
                raise ImportFileError(f"{where}: direction is neither import nor export")
            found.setdefault((line["point"] or "", direction), []).append(_row(line, where))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFileError(f"after line {reader.line_num}: {error}") from None
    for (point, direction), rows in found.items():
        yield Imported(point.removeprefix("'") or None, direction, rows)


def pnd(source: BinaryIO, zone: ZoneInfo) -> Iterator[Imported]:
    """Rows of a PND export, one series for each column of power; raises ImportFileError.

    Local ends of intervals without an offset: of the hour that comes twice, the first 4 stamps are summer time.
    """
    wrapper = io.TextIOWrapper(source, "cp1250", newline=None)
    try:
        lines = list(csv.reader(_lines(wrapper, MOST_PND), delimiter=";", strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFileError(f"the file is no PND export in cp1250: {error}") from None
    finally:
        wrapper.detach()  # the file is the caller's
    columns = _columns(lines[0] if lines else [])
    _whole(lines, max(columns) + 2)
    ends = _ends([line[0] for line in lines[1:] if line], zone)
    step = min((after - before for before, after in pairwise(ends)), default=900)
    if step not in (900, 3_600):
        raise ImportFileError(f"the stamps are {step} s apart: PND has quarter-hours or hours")
    for column, (direction, point) in columns.items():
        body = zip(ends, (line for line in lines[1:] if line), strict=True)
        yield Imported(point, direction, [_mean(line, column, end, step) for end, line in body])


def _lines(source: TextIO, most: int) -> Iterator[str]:
    """The lines of a file; raises ImportFileError where there are too many, or one is too long for any table."""
    for number, line in enumerate(iter(lambda: source.readline(MOST_LINE), ""), 1):
        if len(line) == MOST_LINE and not line.endswith("\n"):
            raise ImportFileError(f"line {number} is longer than {MOST_LINE} characters: is it a table?")
        if number > most:
            raise ImportFileError(f"the file has more than {most} lines: split it")
        yield line


def _row(line: dict[str, str | None], where: str) -> Row:
    start, end = _instant(line["start"], where), _instant(line["end"], where)
    wh = UNITS.get(line["unit"] or "")
    said = OWN.get(line["status"] or "")
    if wh is None or said is None:
        what = f"unit {line['unit']!r}" if wh is None else f"status {line['status']!r}"
        raise ImportFileError(f"{where}: {what} is not known here")
    quantity = line["quantity"]
    return Row(start, end, energy(quantity, wh, where) if quantity else None, said)


def _instant(text: str | None, where: str) -> int:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        raise ImportFileError(f"{where}: {text!r} is no time") from None
    if found.tzinfo is None:
        raise ImportFileError(f"{where}: {text} has no zone")
    return int(found.timestamp())


def _columns(head: list[str]) -> dict[int, tuple[Direction, str | None]]:
    found: dict[int, tuple[Direction, str | None]] = {}
    for index, name in enumerate(head):
        match = _COLUMN.match(name.strip())
        if match:
            found[index] = ("import" if match[1] == "+A" else "export", match[2] or None)
    if not found or head[:1] != ["Datum"]:
        raise ImportFileError('line 1 is not `"Datum";"+A/... [kW]";"Status"`: is it an export of PND?')
    return found


def _whole(lines: list[list[str]], least: int) -> None:
    """A line that ends before its last status may end within a number: 1,234 kW would be 1,2."""
    least = min(least, len(lines[0]))
    for number, line in enumerate(lines[1:], 2):
        if line and len(line) < least:
            raise ImportFileError(f"line {number} ends before its last status: the file is cut off, export it again")


def _ends(stamps: list[str], zone: ZoneInfo) -> list[int]:
    """Local stamps as UTC seconds: what would go back, or stand still, is the second pass of the repeated hour."""
    ends: list[int] = []
    for number, stamp in enumerate(stamps, 2):
        local = _local(stamp, number)
        end = int(local.replace(tzinfo=zone).timestamp())
        if ends and end <= ends[-1]:
            end = int(local.replace(tzinfo=zone, fold=1).timestamp())
        if ends and end <= ends[-1]:
            raise ImportFileError(f"line {number}: {stamp} is not after the line before it")
        ends.append(end)
    return ends


def _local(stamp: str, number: int) -> datetime:
    match = _STAMP.match(stamp.strip())
    wrong = ImportFileError(f"line {number}: {stamp[:40]!r} is no stamp dd.mm.yyyy HH:MM:SS")
    if match is None:
        raise wrong
    day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
    late = hour == 24 and not minute and not second
    try:
        # naive on purpose: the stamp is local, and `_ends` decides which of two passes it means
        found = datetime(year, month, day, 0 if late else hour, minute, second)  # noqa: DTZ001
    except ValueError:
        raise wrong from None
    return found + timedelta(days=late)


def _mean(line: list[str], column: int, end: int, step: int) -> Row:
    where = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%MZ}"
    cells = [*line, "", ""]
    text, said = cells[column].strip().replace(",", "."), PND.get(cells[column + 1].strip(), "unknown")
    quantity = energy(text, Decimal(step * 1_000) / 3_600, where) if text else None
    return Row(end - step, end, quantity, said if text else "missing")
