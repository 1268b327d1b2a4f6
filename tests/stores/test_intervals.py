"""Intervals in the ledger: every version is kept, all of a batch or none, in few octets."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.intervals.billed import Peak
from gateway.intervals.demand import Demand
from gateway.intervals.evidence import Cell
from gateway.intervals.model import QUALITIES, Bound, Interval, SeriesKey, missing, revised
from gateway.stores import interval_rows as rows
from gateway.stores.intervals import EVIDENCE_S, KEPT_S, Batch, IntervalReader, IntervalStore, StaleError
from gateway.stores.ledger_place import LedgerError, alone
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.rows import Corrupt

KEY = SeriesKey("main", 0, "active", "import")
ROW = rows.SeriesRow("main", 0, "active", "import", "Wh", 0, "electricity")
START = 1_790_000_100
NOW = START + 10_000


def interval(number: int = 0, **changes: object) -> Interval:
    start = START + 900 * number
    low, high = 1_000 * number + 65_000_000, 1_000 * number + 65_000_987
    usual = Interval(
        start=start,
        end=start + 900,
        quantity=987,
        status="raw",
        quality="measured",
        auth="verified",
        clock="meter",
        coverage=1_000,
        low=Bound(start, low, "interpolated", ((start - 3, low - 1), (start + 7, low + 2))),
        high=Bound(start + 900, high, "measured", ((start + 900, high),)),
        method="register",
        resolution_wh=1,
    )
    return replace(usual, **changes)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def store(path):
    file = open_ledger(path).file
    made = IntervalStore(file, lambda: NOW)
    made.add_series(ROW)
    yield made
    file.close()


def put(store: IntervalStore, *found: Interval) -> list[Interval]:
    return store.write(Batch(versions={(KEY, "PT15M"): list(found)}))[KEY, "PT15M"]


def test_rows_come_back_as_they_were():
    dice = random.Random(7)
    for number in range(2_000):
        made = interval(
            dice.randrange(10_000),
            quantity=dice.choice((None, 0, 987, 1, dice.randrange(10**12))),
            status=dice.choice(("raw", "valid", "suspect", "estimated", "edited", "missing")),
            quality=dice.choice(QUALITIES),
            auth=dice.choice(("verified", "unverified", "plain")),
            clock=dice.choice(("meter", "gateway")),
            coverage=dice.choice((0, 1_000, 66)),
            method=dice.choice(("register", "power", "none", "E03", "edit", "own way")),
            resolution_wh=dice.choice((1, 10, 1_000)),
            sum_break=dice.choice((0, 0, -5, 10**9)),
            version=dice.randrange(1, rows.MAX_VERSION),
            author=dice.choice(("fold", "vee", "person")),
            rules=dice.choice(((), ("V07",), ("V08", "V12"))),
            reason=dice.choice((None, "exchange")),
            inputs=dice.choice((None, '{"V07":{"limit":5}}')),
            made=NOW + number,
        )
        if number % 7 == 0:
            made = replace(
                made, low=Bound(made.start, None, "none"), high=Bound(made.end, None, "none", ((1, 2), (3, 4)))
            )
        assert rows.unpack(*rows.pack(12, made)) == made


def test_a_damaged_row_is_none():
    row, data = rows.pack(1, replace(interval(), made=NOW))
    for place in range(len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 1
        with pytest.raises(Corrupt):
            rows.unpack(row, bytes(wrong))
    with pytest.raises(Corrupt):
        rows.unpack(row + 1, data)


def test_nothing_is_overwritten(store, path):
    first = put(store, interval(0), interval(1))
    assert [one.version for one in first] == [1, 1]
    assert {one.made for one in first} == {NOW}
    assert put(store, interval(0), interval(1)) == []
    # a late reading moved the bound that both share
    moved = Bound(START + 900, 65_000_980, "interpolated", ((START + 890, 65_000_970), (START + 905, 65_000_985)))
    late = put(store, interval(0, quantity=980, high=moved), interval(1, quantity=1_007, low=moved))
    assert [one.version for one in late] == [2, 2]
    reader = IntervalReader(path)
    assert [one.version for one in reader.current(KEY, "PT15M", START, START + 1_800)] == [2, 2]
    assert [one.quantity for one in reader.history(KEY, "PT15M", START)] == [987, 980]
    assert list(reader.current(KEY, "PT1H", START, START + 1_800)) == []
    reader.close()


def test_a_verdict_stands_above_the_fold(store):
    (raw,) = put(store, interval())
    (valid,) = store.add(KEY, "PT15M", [revised(raw, status="valid", author="vee")])
    assert valid.version == 2
    # folding the same again says nothing new
    assert put(store, interval()) == []
    changes = {"quantity": 900, "sum_break": -87, "status": "edited", "author": "person", "method": "edit"}
    (edited,) = store.add(KEY, "PT15M", [revised(valid, **changes)])
    assert [one.author for one in store.folded(KEY, "PT15M", START, START + 900)] == ["person"]
    assert edited.quantity == edited.high.value - edited.low.value + edited.sum_break
    # late data is kept, and the edit stands above it: its quantity stays, and what it breaks is stated anew
    (late,) = put(store, interval(quantity=988, high=Bound(START + 900, 65_000_988, "measured")))
    assert (late.version, late.status, late.quantity, late.sum_break) == (5, "edited", 900, -88)
    assert [one.author for one in store.history(KEY, "PT15M", START)] == ["fold", "vee", "person", "fold", "person"]
    ((_, below),) = store.edits(KEY, "PT15M", START, START + 900)
    assert (below.quantity, below.author) == (988, "fold")
    assert list(store.folded(KEY, "PT15M", START, START + 900)) == [late]


def test_a_version_of_what_is_not_current_any_more(store):
    (raw,) = put(store, interval())
    store.add(KEY, "PT15M", [revised(raw, status="valid", author="vee")])
    with pytest.raises(StaleError):
        store.add(KEY, "PT15M", [revised(raw, status="suspect", author="vee")])
    assert store.history(KEY, "PT15M", START)[-1].status == "valid"


def test_all_or_none(store, monkeypatch):
    """The second neighbour cannot be written: neither is, nor the evidence, nor the position."""
    put(store, interval(0), interval(1))
    real = rows.pack

    def pack(chain, found):
        if found.start == START + 900:
            raise sqlite3.OperationalError("disk I/O error")
        return real(chain, found)

    monkeypatch.setattr(rows, "pack", pack)
    batch = Batch(
        versions={(KEY, "PT15M"): [interval(0, coverage=1), interval(1, coverage=1)]},
        cells={KEY: {START - START % 900: Cell(minutes=3)}},
        position=("ab", 77),
    )
    with pytest.raises(Exception, match="disk I/O error"):
        store.write(batch)
    monkeypatch.undo()
    assert [one.version for one in store.current(KEY, "PT15M", START, START + 1_800)] == [1, 1]
    assert store.archive(KEY).cell(START - START % 900) is None
    assert store.position("ab") == 0
    assert [one.version for one in store.write(batch)[KEY, "PT15M"]] == [2, 2]
    assert store.position("ab") == 77
    assert store.archive(KEY).cell(START - START % 900).minutes == 3


def test_periods(store):
    put(store, *(interval(number) for number in range(1_200)))
    whole = list(store.current(KEY, "PT15M", 0, 1 << 40))
    assert [one.start for one in whole] == [START + 900 * number for number in range(1_200)]
    assert store.extent(KEY, "PT15M") == (START, START + 900 * 1_200)
    assert store.extent(KEY, "P1M") is None
    assert list(store.current(KEY, "PT15M", START + 900, START + 900)) == []
    assert list(store.current(KEY, "PT15M", START + 900, START)) == []
    assert [one.start for one in store.current(KEY, "PT15M", START + 1, START + 901)] == [START + 900]
    other = KEY._replace(direction="export")
    assert list(store.current(other, "PT15M", 0, 1 << 40)) == []


def test_cells_by_their_place(store):
    first = START - START % 900
    cells = {first + 900 * n: Cell(minutes=n) for n in range(4)}
    cells[first + 900] = Cell(first=(first + 901, 5, 0), last=(first + 901, 5, 0))
    store.write(Batch(cells={KEY: cells}))
    archive = store.archive(KEY)
    assert [start for start, _ in archive.span(first + 900, first + 2_700)] == [first + 900, first + 1_800]
    assert archive.before(first + 2_700).last == (first + 901, 5, 0)
    assert archive.before(first + 900) is None
    assert archive.after(first).first == (first + 901, 5, 0)
    assert archive.after(first + 1_800) is None


def test_a_series_keeps_its_unit(store):
    store.add_series(ROW)
    with pytest.raises(ValueError, match="counts in"):
        store.add_series(rows.SeriesRow("main", 0, "active", "import", "Wh", 3, "electricity"))
    assert list(store.series()) == [KEY]


@pytest.mark.parametrize("revisions", [1, 6], ids=["a page", "more than a page"])
def test_a_day_is_read_as_it_was_at_one_moment(store, path, revisions, monkeypatch):
    """Another process commits a revision of the whole day behind each statement of the reader."""
    day = put(store, *map(interval, range(96)))

    def revise():
        day[:] = store.add(KEY, "PT15M", [revised(one, quantity=one.quantity + 1) for one in day])

    for _ in range(revisions - 1):
        revise()
    reader, query = IntervalReader(path), IntervalReader._query

    def interrupted(self, statement, parameters=()):
        found = query(self, statement, parameters)
        if "FROM interval " in statement:
            revise()
        return found

    monkeypatch.setattr(IntervalReader, "_query", interrupted)
    found = list(reader.current(KEY, "PT15M", START, START + 86_400))
    reader.close()
    assert [one.version for one in found] == [revisions] * 96
    assert day[0].version == revisions + 1


def test_what_is_too_old_goes(store):
    old = interval(0, start=START - KEPT_S - 90_000, end=START - KEPT_S - 89_100)
    young = interval(0)
    put(store, old, young)
    stale, fresh = NOW - EVIDENCE_S - 90_000, NOW - 3_600
    store.write(Batch(cells={KEY: {stale - stale % 900: Cell(), fresh - fresh % 900: Cell()}}))
    assert store.prune() == 2
    assert store.prune() == 0
    assert [one.start for one in store.current(KEY, "PT15M", 0, 1 << 40)] == [START]


def test_kept_for_36_months():
    assert KEPT_S >= 36 * 31 * 86_400 * 0.98  # 1096 days are three years with a leap day
    assert KEPT_S // 86_400 >= 1_096


def test_a_ledger_that_knew_no_intervals(tmp_path):
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE meta (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    db.commit()
    db.close()
    reader = IntervalReader(path)
    assert reader.series() == {}
    assert list(reader.current(KEY, "PT15M", 0, 1 << 40)) == []
    reader.close()
    with pytest.raises(LedgerError, match="no ledger"):
        IntervalReader(tmp_path / "none.db")


def test_a_damaged_row_is_left_out_and_counted(store, path):
    put(store, interval(0), interval(1))
    number = rows.version_id(rows.chain(1, "PT15M"), START, 1)
    db = sqlite3.connect(path)
    db.execute("UPDATE interval SET data = zeroblob(30) WHERE id = ?", (number,))
    db.commit()
    db.close()
    reader = IntervalReader(path)
    assert [one.start for one in reader.current(KEY, "PT15M", 0, 1 << 40)] == [START + 900]
    assert reader.damaged == 1
    reader.close()


def test_salvage_carries_intervals_over(store, path):
    put(store, *(interval(number) for number in range(500)))
    put(store, interval(3, coverage=5))
    store.write(Batch(cells={KEY: {START - START % 900: Cell(minutes=3)}}, position=("ab", 9)))
    suspect = path.stat()
    with pytest.raises(LedgerError), alone(path.parent / "none" / "x.db"):
        pass
    file, notice = open_ledger(path, (suspect.st_dev, suspect.st_ino), "a test says so")
    assert "damaged" in notice
    again = IntervalStore(file)
    assert [one.version for one in again.current(KEY, "PT15M", START, START + 4_500)] == [1, 1, 1, 2, 1]
    assert len(list(again.current(KEY, "PT15M", 0, 1 << 40))) == 500
    assert again.archive(KEY).cell(START - START % 900).minutes == 3
    # whatever was lost with the rest, the journal is folded again
    assert again.position("ab") == 0
    file.close()


def test_octets_of_a_year(store, path, capsys):
    """70,080 quarter-hours of import and export of one point, with their evidence."""
    export = KEY._replace(direction="export")
    store.add_series(rows.SeriesRow("main", 0, "active", "export", "Wh", 0, "electricity"))
    first = START - START % 900
    for part in range(0, 35_040, 5_840):
        found = [interval(number) for number in range(part, part + 5_840)]
        store.write(Batch(versions={(KEY, "PT15M"): found, (export, "PT15M"): found}))
    days = range(EVIDENCE_S // 900)
    cells = {
        first + 900 * n: Cell((first, 65_000_000, 0), (first + 899, 65_000_987, 0), 32_767, 90_000, 90, 1) for n in days
    }
    store.write(Batch(cells={KEY: cells, export: cells}))
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    octets = path.stat().st_size
    with capsys.disabled():
        print(f"\n70,080 quarter-hours and 100 days of evidence: {octets / 1e6:.1f} MB")
    assert octets < 9_000_000


WRITER = """
    import sys
    from pathlib import Path
    from tests.stores import test_intervals as t
    from gateway.stores.intervals import Batch, IntervalStore
    from gateway.stores.ledger_salvage import open_ledger
    store = IntervalStore(open_ledger(Path(sys.argv[1])).file, lambda: t.NOW)
    store.add_series(t.ROW)
    for n in range(100_000):
        pair = [t.interval(n, coverage=n % 1000), t.interval(n + 1, coverage=n % 1000)]
        store.write(Batch(versions={(t.KEY, "PT15M"): pair}, position=("ab", n + 1)))
        print(n + 1, flush=True)
"""


def test_kill_at_any_moment(path, checkout):
    """What was reported is there; a pair is there as a whole; the position is that of the versions."""
    dice = random.Random(17)
    for _ in range(5):
        path.unlink(missing_ok=True)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
            cwd=checkout, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(checkout)},
        )  # fmt: skip
        assert writer.stdout is not None
        reported = 0
        for _ in range(dice.randrange(1, 60)):
            reported = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        reported = max([reported, *map(int, writer.stdout.read().split())])
        writer.wait()
        writer.stdout.close()
        file = open_ledger(path).file
        store = IntervalStore(file)
        position = store.position("ab")
        assert position >= reported
        found = list(store.current(KEY, "PT15M", 0, 1 << 40))
        assert len(found) == position + 1
        assert [one.version for one in found] == [1, *[2] * (position - 1), 1]
        file.close()


def test_missing_is_stored_as_such(store):
    (stored,) = put(store, missing(START, START + 900, reason="no_reading"))
    assert (stored.quantity, stored.status, stored.version) == (None, "missing", 1)


def test_a_meter_that_is_forgotten_leaves_no_interval(store, path):
    other = rows.SeriesRow("barn", 0, "active", "import", "Wh", 0, "electricity")
    store.add_series(other)
    first = START - START % 900
    found = [interval(number) for number in range(5)]
    store.write(
        Batch(
            versions={(KEY, "PT15M"): found, (KEY, "P1M"): found, (other.key, "PT15M"): found},
            cells={KEY: {first: Cell(minutes=1)}, other.key: {first: Cell(minutes=2)}},
            peaks={key: {first: Peak(first + 900, 400, 1)} for key in (KEY, other.key)},
            demands={key: {first: Demand(first + 899, 400, 1, 100)} for key in (KEY, other.key)},
        )
    )
    store._file.forget("main")
    db = sqlite3.connect(path)
    counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in rows.ranges(1)}
    db.close()
    assert counts == {
        "interval": 5, "interval_asked": 0, "interval_cell": 1, "interval_peak": 1, "interval_demand": 1,
        "interval_state": 0, "interval_series": 1,
    }  # fmt: skip
    reader = IntervalReader(path)
    assert list(reader.series()) == [other.key]
    assert len(list(reader.current(other.key, "PT15M", 0, 1 << 40))) == 5
    reader.close()
