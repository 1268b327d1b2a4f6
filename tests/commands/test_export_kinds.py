"""Exports of what is no quarter-hour of electricity: days and months, gas, heat and reactive energy, from a ledger."""

import csv
import io
import json
import random
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from lxml import etree

from gateway import cli
from gateway.commands.reconcile import READERS
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.model import Bound, Interval
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import Batch, IntervalStore
from gateway.stores.ledger_file import LedgerFile

ZONE = ZoneInfo("Europe/Copenhagen")
SINCE, UNTIL = date(2026, 3, 1), date(2026, 5, 1)
SENDER = "5799999933318"
CONFIG = """
[[meter]]
name = "main"
port = "socket://localhost:1"
timezone = "Europe/Copenhagen"
[[point]]
meter = "main"
id = "571313000000002000"
[[point]]
meter = "main"
channel = 1
id = "571313000000002017"
gas_day = true
gas_kwh_per_m3 = "10.55"
[[point]]
meter = "main"
channel = 2
id = "571313000000002024"
[journal]
path = "journal.db"
[ledger]
path = "ledger.db"
"""
ROWS = {
    "active": SeriesRow("main", 0, "active", "import", "Wh", 0, "electricity"),
    "reactive": SeriesRow("main", 0, "reactive", "import", "varh", 0, "electricity"),
    "volume": SeriesRow("main", 1, "volume", "import", "m3", -3, "gas"),
    "gas": SeriesRow("main", 1, "gas", "import", "Wh", 0, "gas"),
    "heat": SeriesRow("main", 2, "heat", "import", "GJ", -3, "heat"),
}
LENGTHS = ("PT1H", "P1D", "P1M")


def intervals_of(kind: str, resolution: str) -> list[Interval]:
    """Two months of valid intervals; the second one is missing, and was never stored."""
    chance, register, found = random.Random(f"{kind} {resolution}"), 10**6, []
    begin = GAS_DAY if ROWS[kind].channel == 1 else MIDNIGHT
    since, until = (calendar.day_start(day, ZONE, begin) for day in (SINCE, UNTIL))
    for start, end in calendar.spans(since, until, resolution, ZONE, begin):  # type: ignore[arg-type]
        quantity = chance.randrange(1, 9_000)
        found.append(Interval(
            start, end, quantity, "valid", "measured", "verified", "meter", 1_000, Bound(start, register, "measured"),
            Bound(end, register + quantity, "measured"), "register", 1, author="vee",
        ))  # fmt: skip
        register += quantity
    return [one for n, one in enumerate(found) if n != 1 or resolution == "P1M"]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    path = folder / "meterd.toml"
    path.write_text(CONFIG, "utf-8")
    file = LedgerFile(folder / "ledger.db")
    store = IntervalStore(file)
    for kind, row in ROWS.items():
        store.add_series(row)
        for resolution in LENGTHS:
            store.write(Batch(versions={(row.key, resolution): intervals_of(kind, resolution)}))  # type: ignore[dict-item]
    file.close()
    return path


def export(config: Path, out: Path, kind: str, resolution: str, form: str, *more: str) -> int:
    which = ["--channel", str(ROWS[kind].channel), "--product", kind, "--resolution", resolution]
    return cli.main(["export", "--format", form, *which, "-o", str(out), *more, "-c", str(config)])


def spelled(kind: str, quantity: int) -> Decimal:
    return Decimal(quantity).scaleb(ROWS[kind].exponent)


@pytest.mark.parametrize("resolution", LENGTHS)
@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_and_length_as_item_e_and_as_csv(kind, resolution, config, tmp_path):
    want = {one.start: one for one in intervals_of(kind, resolution)}
    assert export(config, tmp_path / "a.json", kind, resolution, "item-e") == 0
    (series,) = json.loads((tmp_path / "a.json").read_bytes())["series"]
    assert (series["unit"], series["product"], series["resolution"]) == (ROWS[kind].unit, kind, resolution)
    known = [one for one in series["intervals"] if "quantity" in one]
    assert [Decimal(one["quantity"]) for one in known] == [spelled(kind, one.quantity) for one in want.values()]
    assert len(series["intervals"]) == len(known) + (resolution != "P1M")
    assert [one["start_local"][11:16] for one in known if resolution != "PT1H"] == (
        ["06:00" if ROWS[kind].channel == 1 else "00:00"] * len(known) if resolution != "PT1H" else []
    )
    assert export(config, tmp_path / "a.csv", kind, resolution, "intervals-csv") == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"))))
    assert [(row["start"], row["end"]) for row in rows] == [(one["start"], one["end"]) for one in series["intervals"]]
    assert [Decimal(row["quantity"]) for row in rows if row["quantity"]] == [
        spelled(kind, one.quantity) for one in want.values()
    ]


def test_days_of_every_length_are_there(config, tmp_path):
    assert export(config, tmp_path / "a.json", "gas", "P1D", "item-e") == 0
    (series,) = json.loads((tmp_path / "a.json").read_bytes())["series"]
    found = {one["start_local"]: (one["start"], one["end"]) for one in series["intervals"]}
    # the gas day in which summer time begins has 23 hours, and begins on the day before
    assert found["2026-03-28T06:00:00+01:00"] == ("2026-03-28T05:00:00Z", "2026-03-29T04:00:00Z")
    assert len(found) == 61


#: what each format carries beside quarter-hours and hours of active energy
CARRIED = {
    "pnd": set(),
    "rsm012-json": set(),
    "rsm012-xml": set(),
    "espi": {("active", "P1D"), ("active", "P1M")},
    "vhd": {(kind, length) for kind in ("active", "volume", "gas") for length in LENGTHS} - {("active", "PT1H")},
}
OTHERS = [(kind, length) for kind in ROWS for length in LENGTHS if (kind, length) != ("active", "PT1H")]


@pytest.mark.parametrize("form", CARRIED)
@pytest.mark.parametrize(("kind", "resolution"), OTHERS)
def test_a_format_carries_it_whole_or_says_why_not(form, kind, resolution, config, tmp_path, capsys):  # noqa: PLR0917  # fixtures
    out = tmp_path / "out"
    parties = ["--sender", SENDER, "--receiver", "5790001330552"] if form.startswith(("vhd", "rsm")) else []
    code = export(config, out, kind, resolution, form, *parties)
    said = capsys.readouterr().err
    if (kind, resolution) in CARRIED[form]:
        assert code == 0
        etree.fromstring(out.read_bytes())
        if kind != "volume":
            with out.open("rb") as source:
                rows = [row for one in READERS[form](source, ZONE) for row in one.rows if row.quantity is not None]
            want = intervals_of(kind, resolution)
            assert [(row.start, row.end, row.quantity) for row in rows] == [
                (one.start, one.end, one.quantity * 1_000) for one in want
            ]
        return
    assert code == 1
    assert said.startswith("meterd export: ")
    assert said.count("\n") == 1
    assert not out.exists() or not out.read_bytes()
