"""Files of intervals read back: what was written, and every damaged or hostile file refused in a sentence."""

import io
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.exports.about import About
from gateway.exports.formats import FORMATS
from gateway.imports import documents, text
from gateway.imports.record import Imported, ImportFileError, Row, bounded, counted, energy
from gateway.intervals.model import ITEM_E, WH, Series, missing, revised

PRAGUE = ZoneInfo("Europe/Prague")
STATUSES = ("valid", "estimated", "edited", "missing")
READERS: dict[str, Callable[[bytes], list[Imported]]] = {
    "item-e": lambda octets: list(documents.item_e(io.BytesIO(octets))),
    "intervals-csv": lambda octets: list(text.table(io.BytesIO(octets))),
    "pnd": lambda octets: list(text.pnd(io.BytesIO(octets), PRAGUE)),
    "vhd": lambda octets: list(documents.vhd(io.BytesIO(octets))),
    "rsm012-xml": lambda octets: list(documents.rsm012(io.BytesIO(octets))),
    "espi": lambda octets: list(documents.espi(io.BytesIO(octets))),
}


def a_day(first: date, direction: str = "import", seed: int = 1) -> Series:
    chance = random.Random(seed)
    start, end = (
        int(datetime(d.year, d.month, d.day, tzinfo=PRAGUE).timestamp()) for d in (first, first + timedelta(1))
    )
    intervals = []
    for n, t in enumerate(range(start, end, 900)):
        status = STATUSES[n % 4]
        quantity = None if status == "missing" else chance.randrange(0, 6_000)
        intervals.append(revised(missing(t, t + 900), quantity=quantity, status=status, method="register"))
    point = "571313000000002000"
    return Series("main", point, 0, "active", direction, "PT15M", WH, "Europe/Prague", intervals, 0)


def octets_of(name: str, series: Series) -> bytes:
    start, end = series.intervals[0].start, series.intervals[-1].end
    about = About(start, end, 1_772_600_000, sender="5799999933318", receiver="5790001330552")
    return b"".join(FORMATS[name].write(iter([series]), about))


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 6, 1), date(2026, 10, 25)], ids=str)
@pytest.mark.parametrize("direction", ["import", "export"])
@pytest.mark.parametrize("name", READERS)
def test_what_was_written_comes_back(name, direction, day):
    series = a_day(day, direction)
    found = READERS[name](octets_of(name, series))
    assert {(one.point, one.direction) for one in found} == {(series.point, direction)}
    rows = [row for one in found for row in one.rows if row.quantity is not None]
    wanted = [(i.start, i.end, i.quantity * 1_000) for i in series.intervals if i.status in ITEM_E]
    assert [row[:3] for row in rows] == wanted


@pytest.mark.parametrize("name", READERS)
def test_a_file_cut_anywhere_is_refused_or_shorter_and_never_wrong(name):
    """Every prefix: an error in one sentence, or values that were written."""
    series = a_day(date(2026, 6, 1))
    octets = octets_of(name, series)
    wanted = {(i.start, i.end, None if i.quantity is None else i.quantity * 1_000) for i in series.intervals}
    absent = {(start, end, None) for start, end, _ in wanted}
    chance = random.Random(name)
    for length in [0, 1, *(chance.randrange(2, len(octets)) for _ in range(150))]:
        try:
            rows = [row[:3] for one in READERS[name](octets[:length]) for row in one.rows]
        except ImportFileError:
            continue
        if name in ("intervals-csv", "pnd"):
            rows = rows[:-1]  # a line that is cut may end in fewer digits: such a file ends without a line end
        assert set(rows) <= wanted | absent


@pytest.mark.parametrize("name", READERS)
def test_flipped_octets_raise_nothing_else(name):
    octets, chance = bytearray(octets_of(name, a_day(date(2026, 6, 1)))), random.Random(7)
    for _ in range(200):
        damaged = bytearray(octets)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        with suppress(ImportFileError):
            for one in READERS[name](bytes(damaged)):
                list(one.rows)


BOMB = (
    b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>"""
)
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"""


@pytest.mark.parametrize("octets", [BOMB, OUTSIDE, b"<!DOCTYPE a><a/>", b"\xff\xfe<", b"<a" * 100_000])
@pytest.mark.parametrize("name", ["vhd", "rsm012-xml", "espi"])
def test_hostile_xml_is_refused(name, octets):
    with pytest.raises(ImportFileError):
        READERS[name](octets)


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"", "line 1"),
        (b"Datum;X\r\n", "line 1"),
        ('"Datum";"+A/1 [kW]";"Status";\r\n31.02.2026 00:15:00;1;naměřená data OK;'.encode("cp1250"), "line 2"),
        ('"Datum";"+A/1 [kW]";"Status";\r\n01.02.2026 00:15:00;x;naměřená data OK;'.encode("cp1250"), "no number"),
        (b'"Datum";"+A/1 [kW]";"Status";\r\n01.02.2026 00:15:00;1;ok;\r\n01.02.2026 00:15:00;1;ok;\r\n', "line 3"),
        (b'"Datum";"+A/1 [kW]";"Status";\r\n01.02.2026 00:15:00;1;ok;\r\n01.02.2026 00:22:00;1;ok;\r\n', "420 s apart"),
        (b'"Datum";"+A/1 [kW]";"Status";\r\n01.02.2026 00:15:00;\x81;ok;\r\n', "cp1250"),
    ],
)
def test_a_wrong_pnd_file_says_where(octets, says):
    with pytest.raises(ImportFileError, match=says):
        READERS["pnd"](octets)


def test_two_columns_of_a_pnd_file_and_its_statuses():
    lines = [
        '"Datum";"+A/784703 [kW]";"Status";"-A/784703 [kW]";"Status"',
        "03.03.2026 23:45:00;0,5;naměřená data OK;0;neplatná data",
        "03.03.2026 24:00:00;0,001;naměřená data, výpadek napětí;;nedostupná data",
    ]
    taken, given = READERS["pnd"]("\r\n".join(lines).encode("cp1250"))
    assert (taken.point, taken.direction, given.direction) == ("784703", "import", "export")
    assert [row[2:] for row in taken.rows] == [(125_000, "measured"), (250, "measured")]
    assert [row[2:] for row in given.rows] == [(0, "suspect"), (None, "missing")]
    assert [row.end for row in taken.rows][-1] == int(datetime(2026, 3, 4, tzinfo=PRAGUE).timestamp())


@pytest.mark.parametrize("header", ["", "meter,start", "point,direction,start,end,quantity,unit"])
def test_a_table_without_its_columns_is_refused(header):
    with pytest.raises(ImportFileError, match="line 1"):
        READERS["intervals-csv"](header.encode())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("p,sideways,2026-01-01T00:00:00Z,2026-01-01T00:15:00Z,1,Wh,valid", "line 2: direction"),
        ("p,import,2026-01-01T00:00:00,2026-01-01T00:15:00Z,1,Wh,valid", "has no zone"),
        ("p,import,never,2026-01-01T00:15:00Z,1,Wh,valid", "is no time"),
        ("p,import,2026-01-01T00:00:00Z,2026-01-01T00:15:00Z,1,BTU,valid", "unit 'BTU'"),
        ("p,import,2026-01-01T00:00:00Z,2026-01-01T00:15:00Z,1,Wh,great", "status 'great'"),
        ("p,import,2026-01-01T00:00:00Z,2026-01-01T00:15:00Z,NaN,Wh,valid", "no energy"),
        ("p,import,2026-01-01T00:00:00Z,2026-01-01T00:15:00Z,1e400,Wh,valid", "no energy"),
    ],
)
def test_a_wrong_line_of_a_table_says_where(line, says):
    with pytest.raises(ImportFileError, match=says):
        READERS["intervals-csv"](f"point,direction,start,end,quantity,unit,status\r\n{line}\r\n".encode())


def test_energy_is_exact_or_refused():
    assert energy("0.001", Decimal(250), "x") == 250
    assert energy("1.000000", Decimal(1000), "x") == 1_000_000
    with pytest.raises(ImportFileError, match="finer"):
        energy("0.0000001", Decimal(1000), "x")


def test_rows_that_end_before_they_begin_and_endless_files_are_refused(monkeypatch):
    with pytest.raises(ImportFileError, match="ends before"):
        list(counted([Row(900, 0, 1, "measured")]))
    monkeypatch.setattr("gateway.imports.record.MOST_ROWS", 3)
    with pytest.raises(ImportFileError, match="more than 3"):
        list(counted(Row(n, n + 1, 1, "measured") for n in range(9)))
    monkeypatch.setattr("gateway.imports.record.MOST_OCTETS", 10)
    with pytest.raises(ImportFileError, match="larger"):
        list(bounded(io.BytesIO(b"x" * 11)))


SAMPLES = Path(__file__).parents[3] / "shared" / "hubs"


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "sample", "wh"),
    [
        ("pnd", "cz-cez-pnd/samples-built/pnd-simplified.csv", 18_850),
        ("vhd", "eu-eddie-cim/samples-built/vhd-v1.04-96points.xml", 18_260),
        ("espi", "us-green-button-espi/samples-built/item-E-espi.xml", 18_850),
        ("rsm012-xml", "dk-datahub3/samples-built/rsm012-pt15m-96points.xml", 18_260),
    ],
)
def test_samples_of_the_hubs(name, sample, wh):
    if not SAMPLES.is_dir():
        pytest.skip("no shared corpus beside the checkout")
    found = READERS[name]((SAMPLES / sample).read_bytes())
    rows = [row for one in found for row in one.rows]
    assert len(rows) == 96
    assert sum(row.quantity or 0 for row in rows) == wh * 1_000


def test_a_file_that_is_no_table_is_refused_before_it_fills_the_memory():
    """Bounded by line and by number of lines, whatever is in them."""
    for read in (lambda source: text.pnd(source, ZoneInfo("Europe/Prague")), text.table):
        with pytest.raises(ImportFileError, match="longer than 4096"):
            list(read(io.BytesIO(b";" * 10_000_000)))
    many = b'"Datum";"+A/1 [kW]";"Status"\n' + b";\n" * (text.MOST_PND + 1)
    with pytest.raises(ImportFileError, match="more than 360000 lines"):
        list(text.pnd(io.BytesIO(many), ZoneInfo("Europe/Prague")))
