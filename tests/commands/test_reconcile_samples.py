"""`meterd reconcile` on the samples of hubs: a ledger that says what one of them says, beside all of them."""

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway import cli
from gateway.commands.reconcile import READERS
from gateway.intervals.model import Bound, Interval
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import Batch, IntervalStore
from gateway.stores.ledger_file import LedgerFile

PRAGUE = ZoneInfo("Europe/Prague")
CONFIG = """
[[meter]]
name = "main"
port = "socket://localhost:1"
timezone = "Europe/Prague"
[journal]
path = "journal.db"
[ledger]
path = "ledger.db"
"""
#: format, sample, verdicts of the 96 quarter-hours of our day, ours - theirs in Wh of those that both have; the samples
#: of Green Button and VHD are of a day in Vilnius, an hour before, and one of 590 Wh is missing at the Danish hub
SAMPLES = [
    ("pnd", "cz-cez-pnd/samples-built/pnd-simplified.csv", {"equal": 96}, "0"),
    ("rsm012-xml", "dk-datahub3/samples-built/rsm012-pt15m-96points.xml", {"equal": 95, "only_ours": 1}, "0"),
    ("espi", "us-green-button-espi/samples-built/item-E-espi.xml", {"differs": 92, "only_ours": 4}, "-140"),
    ("vhd", "eu-eddie-cim/samples-built/vhd-v1.04-96points.xml", {"differs": 91, "only_ours": 5}, "280"),
]


@pytest.fixture
def hubs(corpus) -> Path:
    return Path(corpus).parent / "hubs"


@pytest.fixture
def config(tmp_path, hubs) -> Path:
    """A ledger of the PND sample's day."""
    with (hubs / SAMPLES[0][1]).open("rb") as source:
        (series,) = READERS["pnd"](source, PRAGUE)
    register, found = 1_000_000, []
    for row in series.rows:
        wh = (row.quantity or 0) // 1_000
        found.append(Interval(
            row.start, row.end, wh, "valid", "measured", "verified", "meter", 1_000,
            Bound(row.start, register, "measured"), Bound(row.end, register + wh, "measured"), "register", 1,
            author="vee",
        ))  # fmt: skip
        register += wh
    file = LedgerFile(tmp_path / "ledger.db")
    store = IntervalStore(file)
    row = SeriesRow("main", 0, "active", "import", "Wh", 0, "electricity")
    store.add_series(row)
    store.write(Batch(versions={(row.key, "PT15M"): found}))
    file.close()
    (tmp_path / "meterd.toml").write_text(CONFIG, "utf-8")
    return tmp_path / "meterd.toml"


@pytest.mark.corpus
@pytest.mark.parametrize(("form", "sample", "verdicts", "difference"), SAMPLES)
def test_a_sample_beside_a_ledger(form, sample, verdicts, difference, config, hubs, capsys):  # noqa: PLR0917  # fixtures
    arguments = ["--with", str(hubs / sample), "--format", form, "--direction", "import", "--json"]
    code = cli.main(["reconcile", *arguments, "-c", str(config)])
    everything = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = {name: n for name, n in everything.items() if isinstance(n, int)}
    assert found == verdicts
    assert everything["difference_wh"] == difference
    assert code == int(set(verdicts) != {"equal"})
