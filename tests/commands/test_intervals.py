"""`meterd intervals`, `export` of intervals and `reconcile` on a real ledger, as a person calls them."""

import json
import random
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from lxml import etree

from gateway import cli
from gateway.intervals.model import Bound, Interval, SeriesKey, missing
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import Batch, IntervalStore
from gateway.stores.ledger_file import LedgerFile

ZONE = ZoneInfo("Europe/Copenhagen")
DAY = date(2026, 10, 25)
POINT, SENDER = "571313000000002000", "5799999933318"
CONFIG = """
[[meter]]
name = "main"
port = "socket://localhost:1"
timezone = "Europe/Copenhagen"
[[point]]
meter = "main"
id = "571313000000002000"
id_export = "571313000000002017"
[journal]
path = "journal.db"
[ledger]
path = "ledger.db"
"""


def intervals_of(first: date, days: int, seed: int) -> list[Interval]:
    """Quarter-hours of local days: mostly valid, one estimated, one suspect, one never stored."""
    chance, register, found = random.Random(seed), 1_000_000, []
    start, end = (
        int(datetime(d.year, d.month, d.day, tzinfo=ZONE).timestamp()) for d in (first, first + timedelta(days))
    )
    for n, t in enumerate(range(start, end, 900)):
        quantity = chance.randrange(0, 2_000)
        status = {5: "estimated", 6: "suspect"}.get(n, "valid")
        one = missing(t, t + 900)
        if n != 7:
            found.append(Interval(
                t, t + 900, quantity, status, "measured", "verified", "meter", 1_000,
                Bound(t, register, "measured", ((t, register),)), Bound(t + 900, register + quantity, "measured"),
                "register", 1, rules=("V08",) if status == "suspect" else (),
                inputs='{"V08":{"quantity":9,"third":1}}' if status == "suspect" else None, author="vee",
            ))  # fmt: skip
        register += quantity
        assert one.quantity is None
    return found


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "meterd.toml"
    path.write_text(CONFIG, "utf-8")
    file = LedgerFile(tmp_path / "ledger.db")
    store = IntervalStore(file)
    for seed, direction in enumerate(("import", "export")):
        key = SeriesKey("main", 0, "active", direction)
        store.add_series(SeriesRow(*key, "Wh", 0, "electricity"))
        store.write(Batch(versions={(key, "PT15M"): intervals_of(DAY, 3, seed)}))
    file.close()
    return path


def stored(direction: str = "import") -> list[Interval]:
    return intervals_of(DAY, 3, 0 if direction == "import" else 1)


def run(config: Path, *arguments: str) -> int:
    command, *rest = arguments
    return cli.main([command, *rest, "-c", str(config)])


def test_show_a_day_of_25_hours_with_its_sum(config, capsys):
    assert run(config, "intervals", "show", "--day", "2026-10-25", "--direction", "import") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "main/0 active import, PT15M, Europe/Copenhagen"
    assert lines[1].startswith("2026-10-25 00:00+0200")
    assert lines[8].split() == ["2026-10-25", "01:45+0200", "-", "missing", "none"]
    assert lines[7].endswith("suspect   register V08")
    total = sum(one.quantity for one in stored() if one.start < stored()[0].start + 90_000)
    assert lines[101].split() == ["sum", str(total), "Wh"]


def test_show_as_json_holds_every_interval_of_both_directions(config, capsys):
    assert run(config, "intervals", "show", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 2 * 292
    given = [one for one in found if one["direction"] == "export" and "quantity" in one]
    assert [int(one["quantity"]) for one in given] == [one.quantity for one in stored("export")]


def test_explain_an_interval_in_words_and_as_json(config, capsys):
    assert run(config, "intervals", "explain", "2026-10-25T01:40:00+02:00", "--direction", "import") == 0
    told = capsys.readouterr().out
    assert "suspect, by vee (register)" in told
    assert "read at that second" in told
    assert "V08       a spike: far above the third highest interval of the day (quantity 9, third 1)" in told
    assert run(config, "intervals", "explain", "2026-10-25T01:40:00+02:00", "--direction", "import", "--json") == 0
    (version,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert version["low"]["readings"][0]["t"] == "2026-10-24T23:30:00Z"
    assert version["inputs"] == {"V08": {"quantity": 9, "third": 1}}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "2026-10-25T01:40:00Z"], 2, "explain and edit need a moment"),
        (["explain"], 2, "explain and edit need a moment"),
        (["show", "--day", "2026-10-25", "--month", "2026-10"], 2, "choose the period"),
        (["show", "--from", "2026-10-25T00:00:00Z", "--to", "2026-10-24T00:00:00Z"], 2, "--from must be before"),
        (["show", "--meter", "garage"], 1, "no such series: it has main/0 active export, main/0 active import"),
        (["show", "--channel", "3"], 1, "no such series"),
        (["show", "--resolution", "P1D"], 1, "no interval of P1D"),
        (["explain", "2020-01-01T00:00:00Z"], 1, "no version"),
        (["show", "--ledger", "/nowhere/ledger.db"], 1, "there is no ledger"),
    ],
)
def test_what_cannot_be_shown_says_why(arguments, code, says, config, capsys):
    assert run(config, "intervals", *arguments) == code
    assert says in capsys.readouterr().err


def test_without_a_zone_nothing_is_guessed(config, capsys):
    config.write_text(CONFIG.replace('timezone = "Europe/Copenhagen"\n', ""), "utf-8")
    assert run(config, "intervals", "show") == 1
    assert "add --tz" in capsys.readouterr().err
    assert run(config, "intervals", "show", "--tz", "Europe/Copenhagen") == 0


@pytest.mark.parametrize("name", ["item-e", "intervals-csv", "vhd", "rsm012-json", "rsm012-xml", "espi"])
def test_export_a_day_in_every_format(name, config, tmp_path, capsys):
    out = tmp_path / "out"
    parties = (
        ["--sender", SENDER, "--receiver", "5790001330552"] if name in ("vhd", "rsm012-json", "rsm012-xml") else []
    )
    assert run(config, "export", "--format", name, "--day", "2026-10-25", *parties, "-o", str(out)) == 0
    octets = out.read_bytes()
    if name == "rsm012-json":
        found = json.loads(octets)["NotifyValidatedMeasureData_MarketDocument"]["Series"]
        assert [len(one["Period"]["Point"]) for one in found] == [100, 100]
        ids = {one["marketEvaluationPoint.mRID"]["value"] for one in found}
        assert ids == {POINT, "571313000000002017"}
    elif name in ("vhd", "rsm012-xml", "espi"):
        etree.fromstring(octets)
    assert b"suspect" not in octets.replace(b'"quality": "suspect"', b"").replace(b"missing,suspect", b"")
    assert run(config, "export", "--format", name, "--day", "2026-10-25", *parties, "-o", str(out)) == 2
    assert "exists" in capsys.readouterr().err


def test_export_in_the_style_of_pnd_and_compare_it(config, tmp_path, capsys):
    out = tmp_path / "pnd.csv"
    which = ["--direction", "import", "--day", "2026-10-25"]
    assert run(config, "export", "--format", "pnd", *which, "-o", str(out)) == 0
    assert run(config, "reconcile", "--with", str(out), "--format", "pnd", *which, "--all") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1].split()[:2] == ["all", said[-1].split()[2]]
    assert "98 equal" in said[-1]
    assert "1 only ours" in said[-1]  # suspect: not exported, and known here


def test_reconcile_names_the_interval_that_differs(config, tmp_path, capsys):
    out = tmp_path / "item-e.json"
    which = ["--direction", "import", "--day", "2026-10-26"]
    assert run(config, "export", "--format", "item-e", *which, "-o", str(out)) == 0
    assert run(config, "reconcile", "--with", str(out), "--format", "item-e", *which) == 0
    document = json.loads(out.read_bytes())
    document["series"][0]["intervals"][17]["quantity"] += 3
    out.write_text(json.dumps(document), "utf-8")
    capsys.readouterr()
    assert run(config, "reconcile", "--with", str(out), "--format", "item-e", *which, "--by", "interval") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("2026-10-26 04:15+0100")
    assert "-3  both are measured" in lines[1]
    assert run(config, "reconcile", "--with", str(out), "--format", "item-e", *which, "--by", "interval", "--json") == 1
    one, everything = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (one["verdict"], everything["difference_wh"], everything["differs"]) == ("differs", "-3", 1)


def test_reconcile_says_what_is_wrong_with_a_file(config, tmp_path, capsys):
    wrong = tmp_path / "wrong.xml"
    wrong.write_text("<!DOCTYPE a><a/>", "utf-8")
    assert run(config, "reconcile", "--with", str(wrong), "--format", "vhd") == 1
    assert "wrong.xml" in capsys.readouterr().err
    assert run(config, "reconcile", "--with", str(tmp_path / "none"), "--format", "vhd") == 1
    assert "No such file" in capsys.readouterr().err


def test_pictures_of_a_period_and_of_a_comparison(config, tmp_path):
    out, one, two = (tmp_path / name for name in ("out.csv", "one.svg", "two.png"))
    which = ["--direction", "import"]
    assert run(config, "export", "--format", "intervals-csv", *which, "-o", str(out), "--plot", str(one)) == 0
    assert b"<svg" in one.read_bytes()
    command = ["reconcile", "--with", str(out), "--format", "intervals-csv", *which, "--plot", str(two)]
    assert run(config, *command) in (0, 1)
    assert two.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "vhd", "--registers"], "holds intervals"),
        (["--format", "csv", "--include-raw"], "holds readings"),
        (["--format", "csv", "--day", "2026-10-25"], "holds readings"),
    ],
)
def test_options_of_readings_and_of_intervals_do_not_mix(arguments, says, config, capsys):
    assert run(config, "export", *arguments) == 2
    assert says in capsys.readouterr().err


def test_raw_data_is_refused_where_the_format_means_validated_data(config, capsys):
    arguments = ["--format", "vhd", "--sender", SENDER, "--receiver", SENDER, "--include-raw"]
    assert run(config, "export", *arguments) == 1
    assert "validated data only" in capsys.readouterr().err
