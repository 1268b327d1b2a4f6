"""What the portal of measured data (PND) hands over: deliveries by SOAP, and its exports as CSV or table JSON.

Values are mean kW of quarter-hours, stamped with their end; a quarter-hour of 1 kW is 250 Wh. Deliveries come in our
sandbox schema: that of the portal is given to its customers only.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.imports import text
from gateway.imports.record import Imported, ImportFileError, Row, counted, energy
from gateway.intervals.calendar import bounds_of_day, day_of
from gateway.intervals.model import Direction
from gateway.uploader import answers
from gateway.uploader.hubs import cz_soap as soap
from gateway.uploader.schemas import SchemaError, folder, xsd

SANDBOX: Final = "urn:sandbox:meterd:pnd"
PRAGUE: Final = ZoneInfo("Europe/Prague")
CSV, JSON, XML = "text/csv; charset=windows-1250", "application/json", soap.CONTENT_TYPE
#: octets of a delivery, and of a file: 36 months of some profiles
MOST_DELIVERY: Final = 4 << 20
MOST_FILE: Final = 64 << 20
STEP_S: Final = 900
_SCHEMA: Final = "cz-sandbox/pnd-like.xsd"
#: Wh of a quarter-hour with a mean of 1 kW
_WH: Final = Decimal(250)
_DIRECTION: Final[dict[str, Direction]] = {"+A": "import", "-A": "export"}


class Delivered(NamedTuple):
    """A delivery: its id, when it was made (with an offset), quantities by point and direction."""

    id: str
    created: str
    accounts: tuple[Imported, ...]


def delivery(body: bytes) -> Delivered:
    """Read a delivery; raises ImportFileError for anything else."""
    try:
        root = soap.unwrap(answers.xml(body, most=MOST_DELIVERY))
        xsd(_SCHEMA).check(root)
    except (answers.AnswerError, SchemaError) as error:
        raise ImportFileError(str(error).replace("the answer", "the message", 1)) from None
    if soap.name_of(root) != (SANDBOX, "MeasuredData"):
        raise ImportFileError(f"the message holds {soap.name_of(root)[1]}, not MeasuredData")
    found = tuple(_profile(profile) for profile in root)
    twice = [key for key, count in Counter((one.point, one.direction) for one in found).items() if count > 1]
    if twice:
        raise ImportFileError(f"the message has two profiles of {twice[0][1]} of {twice[0][0]}")
    return Delivered(root.get("id"), root.get("created"), found)


def received(name: str, *, known: bool) -> bytes:
    """The answer to a delivery that is stored (now, or was before)."""
    result = "known" if known else "stored"
    return soap.wrap(f'<Received xmlns="{SANDBOX}" id="{name}" result="{result}"/>'.encode())


def described(what: str, address: str) -> bytes | None:
    """Our WSDL (`wsdl`) with the address of this service, or our XSD (`xsd`); None for anything else."""
    name = {"wsdl": "pnd-like.wsdl", "xsd": "pnd-like.xsd"}.get(what)
    if name is None:
        return None
    found = (folder() / "cz-sandbox" / name).read_bytes()
    return found.replace(b"https://localhost/pnd", address.encode()).replace(b'"pnd-like.xsd"', b'"?xsd"')


def export(data: bytes) -> tuple[str, Sequence[Imported]]:
    """Content type and quantities of a file of the portal; raises ImportFileError where it is none."""
    if len(data) > MOST_FILE:
        raise ImportFileError(f"the file has more than {MOST_FILE >> 20} MiB: export fewer months at once")
    if data.lstrip()[:1] == b"{":
        return JSON, _table(data)
    found = list(text.pnd(io.BytesIO(data), PRAGUE))
    return CSV, [Imported(one.point, one.direction, list(counted(one.rows))) for one in found]


def account(body: bytes, content_type: str) -> Sequence[Imported]:
    """Quantities of something that was kept; raises ImportFileError."""
    return delivery(body).accounts if content_type == XML else export(body)[1]


def whole_days(rows: Sequence[Row]) -> set[date]:
    """Days of Prague of which every quarter-hour has a value."""
    known = {row.start for row in rows if row.quantity is not None and row.end - row.start == STEP_S}
    days = {day_of(start, PRAGUE) for start in known}
    return {day for day in days if known.issuperset(bounds_of_day(day, "PT15M", PRAGUE)[:-1])}


def _profile(profile: Any) -> Imported:
    point, direction = profile.get("opm-id"), _DIRECTION[profile.get("quantity")]
    rows: list[Row] = []
    for value in profile:
        row = _value(value)
        if rows and row.start < rows[-1].end:
            raise ImportFileError(f"{point}: {value.get('end')} is not after the value before it")
        rows.append(row)
    return Imported(point, direction, rows)


def _value(value: Any) -> Row:
    where = value.get("end")
    try:
        at = datetime.fromisoformat(where)
        end = at.timestamp()
    except (ValueError, OverflowError):
        raise ImportFileError(f"{where[:40]} is no time") from None
    if at.tzinfo is None or end % STEP_S or end < STEP_S:
        raise ImportFileError(f"{where}: the end of a quarter-hour, with its offset, is wanted")
    said, kw = text.PND.get(value.get("status").strip(), "unknown"), value.get("kw")
    quantity = None if kw is None else energy(kw, _WH, where)
    return Row(int(end) - STEP_S, int(end), quantity, said if kw is not None else "missing")


def _table(data: bytes) -> Sequence[Imported]:
    """The portal's table as its pages get it: columns by id, rows of texts with a comma, statuses by number."""
    try:
        found = answers.mapping(answers.json_value(data, most=MOST_FILE, marks=16_000_000), "the file")
        columns = {one["id"]: (one["name"], one["unit"]) for one in found["columns"]}
        stamp = next(key for key, (name, _) in columns.items() if name == "Datum")
        power = {key: name for key, (name, unit) in columns.items() if unit == "kW" and name[:2] in _DIRECTION}
        statuses = {int(key): str(one["n"]) for key, one in found["statuses"].items()}
        lines = [_line(one, stamp, power, statuses) for one in found["values"]]
    except (answers.AnswerError, KeyError, TypeError, AttributeError, StopIteration, ValueError, IndexError) as error:
        raise ImportFileError(f"the file is no table of the portal: {type(error).__name__} {str(error)[:80]}") from None
    sheet = "".join(_sheet(power.values(), lines)).encode("cp1250", "replace")
    return list(text.pnd(io.BytesIO(sheet), PRAGUE))


def _line(one: Mapping[str, Any], stamp: str, power: Mapping[str, str], statuses: Mapping[int, str]) -> list[str]:
    cells = [str(one[stamp]["v"])]
    for key in power:
        cell = one.get(key) or {}
        cells += [str(cell.get("v") or ""), statuses.get(int(cell.get("s") or 0), "")]
    if any(mark in cell for cell in cells for mark in ';"\n\r'):
        raise ValueError("a cell holds more than a value")
    return cells


def _sheet(names: Iterable[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """The same as the portal's CSV, which is read in one place."""
    yield '"Datum";' + "".join(f'"{name} [kW]";"Status";' for name in names) + "\r\n"
    yield from (";".join(line) + ";\r\n" for line in lines)
