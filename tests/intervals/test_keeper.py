"""The keeper between a real journal and a real ledger: restarts, late data, a ledger that fails, days that are over."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from decoders.model import Reading, SubReading
from gateway.interval_folder import Told
from gateway.interval_keeper import IntervalKeeper
from gateway.intervals import calendar
from gateway.intervals.model import Interval, SeriesKey
from gateway.item_p import ItemP, stamp
from gateway.settings import JournalSettings, MeterSettings, PointSettings, Settings
from gateway.stores.files import StorageFault
from gateway.stores.intervals import IntervalReader
from gateway.stores.journal import Journal

ZONE = ZoneInfo("Europe/Amsterdam")
#: the night in which summer time begins
DAY = int(datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp())
IMPORT = SeriesKey("main", 0, "active", "import")
EXPORT = IMPORT._replace(direction="export")
GAS = SeriesKey("main", 1, "volume", "import")


def item(t: int, wh: int | None, *, offset_s: float = 0.4, **changes: object) -> ItemP:
    moment = datetime.fromtimestamp(t, UTC)
    fields: dict[str, object] = {
        "profile": "nl-dsmr5", "interface": "p1", "auth": "plain", "quality": "measured",
        "t": moment, "t_meter": "", "p_import_w": 400, "p_export_w": 0, "p_net_w": 400,
        "a_import_wh": wh, "a_export_wh": None if wh is None else 5, "reg_t": None if wh is None else moment,
        "registers": (), "register_times": (), "sub": (), "identity": "4530", "interval_s": 10, "flags": (),
        "size": 800,
    }  # fmt: skip
    reading = Reading(**(fields | changes))  # type: ignore[arg-type]
    received = moment + timedelta(seconds=offset_s)
    return stamp(reading, "main", seq=t - DAY + 10**6, t_rx=received, max_clock_offset_s=3_600)


class House:
    """A journal, a ledger and the keepers between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[Told] = []
        #: whether what is told is confirmed at once, as by a broker that is there
        self.confirms = True
        self.now = float(DAY + 40 * 3_600)
        self.point = PointSettings(meter="main")
        self.points = (self.point, PointSettings(meter="main", channel=1, gas_kwh_per_m3="10.55"))
        self.journal = self.open()

    def open(self) -> Journal:
        options = {"max_bytes": 64 << 20, "max_age_s": 400 * 86_400, "group_s": 10, "meters": ("main",)}
        journal = Journal(self.folder / "journal.db", **options)  # type: ignore[arg-type]
        journal.start()
        return journal

    def settings(self) -> Settings:
        meter = MeterSettings(name="main", port="/dev/null", timezone="Europe/Amsterdam")
        return Settings(
            meter=(meter,), point=self.points, journal=JournalSettings(path=str(self.folder / "journal.db"))
        )

    def keeper(self) -> IntervalKeeper:
        return IntervalKeeper(
            self.settings(), self.journal.outbox("intervals"), salt=b"s" * 16, tell=self.tell,
            zone_of=lambda _profile: None, clock=lambda: self.now, synchronised=lambda: True,
        )  # fmt: skip

    def tell(self, told: Told, done: Callable[[], None]) -> None:
        self.told.append(told)
        if self.confirms:
            done()

    def put(self, *items: ItemP) -> None:
        for one in items:
            self.journal.append(one)
        assert self.journal.flush(10)

    def work(self, until: Callable[[IntervalKeeper], bool] | None = None) -> IntervalKeeper:
        """Let a keeper run until it has folded everything and validated what is due."""
        keeper = self.keeper()

        async def run() -> None:
            task = asyncio.create_task(keeper.run())
            async with asyncio.timeout(30):
                while not (until or self._is_done)(keeper):
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait((task,))

        asyncio.run(run())
        wait(lambda: not any(thread.name.startswith("intervals") for thread in threading.enumerate()))
        return keeper

    @staticmethod
    def _is_done(keeper: IntervalKeeper) -> bool:
        is_told = not any(owed.wants for owed in keeper._owed.values())
        return keeper.status()["state"] == "up_to_date" and keeper._looked > 0 and is_told

    def read(self, key: SeriesKey = IMPORT, resolution: str = "PT15M") -> list[Interval]:
        reader = IntervalReader(self.folder / "ledger.db")
        found = list(reader.current(key, resolution, 0, 1 << 40))  # type: ignore[arg-type]
        reader.close()
        return found

    def history(self, start: int, key: SeriesKey = IMPORT) -> list[Interval]:
        return self.versions(key, "PT15M", start)

    def versions(self, key: SeriesKey, resolution: str, start: int) -> list[Interval]:
        reader = IntervalReader(self.folder / "ledger.db")
        found = reader.history(key, resolution, start)  # type: ignore[arg-type]
        reader.close()
        return found


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.journal.close()


def register(n: int) -> int:
    """The register in minute n of the day: 7 Wh a minute, and slowly more, because no house is so even."""
    return 1_000_000 + 7 * n + n * n // 3_000


def minutes(first: int, last: int) -> list[ItemP]:
    """A reading each minute of the day."""
    return [item(DAY + 60 * n, register(n)) for n in range(first, last)]


def is_exact(quarter: Interval) -> bool:
    first = (quarter.start - DAY) // 60
    return quarter.quantity == register(first + 15) - register(first)


def test_a_day_of_23_hours(house):
    house.put(*minutes(-30, 25 * 60))
    house.work()
    quarters = [one for one in house.read() if DAY <= one.start < DAY + 23 * 3_600]
    assert len(quarters) == 92
    assert all(map(is_exact, quarters))
    assert {(one.status, one.author, one.version) for one in quarters} == {("valid", "vee", 2)}
    (day,) = [one for one in house.read(resolution="P1D") if one.start == DAY]
    assert (day.end - day.start, day.quantity) == (23 * 3_600, sum(one.quantity for one in quarters))
    assert len([one for one in house.read(resolution="PT1H") if DAY <= one.start < DAY + 23 * 3_600]) == 23
    assert {one.quantity for one in house.read(EXPORT) if one.start >= DAY} == {0}
    # the day after is not over, and not judged
    assert {one.status for one in house.read() if one.start >= DAY + 23 * 3_600} == {"raw"}
    told = [one for one in house.told if one.resolution == "PT15M" and one.series.direction == "import"]
    assert [one.interval.version for one in told if one.interval.start == DAY] == [1, 2]


def test_restarts_at_any_place_change_nothing(house, tmp_path):
    every = minutes(-30, 3 * 60)
    for first in range(0, len(every), 37):
        house.put(*every[first : first + 37])
        house.work(lambda keeper: keeper.status()["state"] == "up_to_date")
        house.journal.close()
        house.journal = house.open()
    house.work()
    pieces = house.read()
    other = House(tmp_path / "other") if (tmp_path / "other").mkdir() is None else None
    assert other is not None
    other.put(*every)
    other.work()
    whole = other.read()
    other.journal.close()
    assert [replace(one, made=None) for one in pieces] == [replace(one, made=None) for one in whole]
    assert house.keeper()._outbox.status()["pending"] == 0


def test_a_late_reading_raises_both_neighbours(house):
    house.put(
        *[one for one in minutes(-30, 60) if one.t is None or one.t.minute != 15], item(DAY + 3_600, register(60))
    )
    house.work()
    before = {one.start: one for one in house.read()}
    assert before[DAY].high.method == "interpolated"
    house.put(item(DAY + 900, register(15) - 3))
    house.work()
    after = {one.start: one for one in house.read()}
    changed = [start for start, one in after.items() if one.version > before[start].version]
    assert changed == [DAY, DAY + 900]
    assert {one.made for start in changed for one in house.history(start)[-1:]} == {int(house.now)}
    assert after[DAY].high == after[DAY + 900].low
    assert after[DAY].high.method == "measured"
    assert [one.version for one in house.history(DAY)] == [1, 2]
    assert after[DAY].quantity + after[DAY + 900].quantity == register(30) - register(0)


def test_late_data_after_validation_is_validated_again(house):
    house.put(*[one for one in minutes(-30, 25 * 60) if not DAY + 3_000 < one.t.timestamp() < DAY + 6_600])
    house.work()
    assert {one.status for one in house.read() if DAY + 2_700 <= one.start < DAY + 6_300} == {"estimated"}
    house.put(*[one for one in minutes(-30, 25 * 60) if DAY + 3_000 < one.t.timestamp() < DAY + 6_600])
    house.work()
    assert {one.status for one in house.read() if DAY <= one.start < DAY + 23 * 3_600} == {"valid"}
    statuses = [one.status for one in house.history(DAY + 3_600)]
    assert statuses[0] == "estimated"
    assert statuses[-2:] == ["raw", "valid"]


def test_quarters_in_which_nothing_came_are_told_as_an_outage(house):
    house.put(*[one for one in minutes(-30, 25 * 60) if not DAY + 3_540 < one.t.timestamp() < DAY + 6_300])
    house.work()
    told = {one.start for one in house.read() if "V15" in one.rules}
    assert told == {DAY + 3_600, DAY + 4_500, DAY + 5_400}
    assert all(one.status == "estimated" for one in house.read() if one.start in told)


def test_hourly_registers_are_measured_hours_and_estimated_quarters(house):
    every = []
    for n in range(-60, 24 * 60):
        power = 4_000 if n % 60 < 15 else 0
        every.append(item(DAY + 60 * n, 1_000_000 + n // 60 * 1_000 if n % 60 == 0 else None, p_import_w=power))
    house.put(*every, item(DAY + 24 * 3_600, 1_024_000))
    house.work()
    hours = [one for one in house.read(resolution="PT1H") if one.start >= DAY]
    assert {(one.quantity, one.low.method, one.method) for one in hours} == {(1_000, "measured", "register")}
    quarters = [one for one in house.read() if DAY <= one.start < DAY + 3_600]
    assert [one.quantity for one in quarters] == [1_000, 0, 0, 0]
    assert {one.status for one in quarters} == {"estimated"}


def test_gas_in_its_own_step_and_as_energy(house):
    every = []
    for n in range(-2, 26):
        when = datetime.fromtimestamp(DAY + 3_600 * n, UTC)
        sub = SubReading(1, "gas", "47303033", when, "", 500_000 + 123 * n, -3, "m3", "measured")
        every += [replace_sub(item(DAY + 3_600 * n + 10 * k, 1_000_000 + n), sub) for k in range(3)]
    house.put(*every)
    house.work()
    hours = [one for one in house.read(GAS, "PT1H") if DAY <= one.start < DAY + 23 * 3_600]
    assert {one.quantity for one in hours} == {123}
    energy = [one for one in house.read(GAS._replace(kind="gas"), "PT1H") if DAY <= one.start < DAY + 23 * 3_600]
    assert sum(one.quantity for one in energy) == (502_829 * 1_055 // 100) - (500_000 * 1_055 // 100)
    assert {one.quantity for one in energy} == {1_297, 1_298}


def replace_sub(one: ItemP, sub: SubReading) -> ItemP:
    return replace(one, reading=replace(one.reading, sub=(sub,)))


def test_a_clock_of_the_gateway_counts_when_it_is_synchronised(house, tmp_path):
    def untimed(n: int) -> ItemP:
        one = item(DAY + 60 * n, 1_000_000 + n)
        return replace(one, reading=replace(one.reading, t=None, reg_t=None), t_source="gateway", clock_offset_s=None)

    house.put(*[untimed(n) for n in range(-30, 60)])
    house.work()
    found = [one for one in house.read() if one.quantity is not None]
    assert {one.clock for one in found} == {"gateway"}
    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other")
    other.put(*[untimed(n) for n in range(-30, 60)])
    keeper = other.keeper()
    keeper._synchronised = lambda: False
    other.keeper = lambda: keeper  # type: ignore[method-assign]
    other.work()
    assert other.read() == []
    other.journal.close()


def test_a_ledger_that_cannot_be_written_loses_nothing(house):
    house.put(*minutes(-30, 60))
    house.work()
    lock = sqlite3.connect(house.folder / "ledger.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    house.put(*minutes(60, 120))
    keeper = house.work(lambda keeper: keeper.status()["state"] == "fault")
    assert "locked" in keeper.status()["trouble"]
    lock.execute("ROLLBACK")
    lock.close()
    house.work()
    found = [one for one in house.read() if DAY <= one.start < DAY + 6_300]
    assert len(found) == 7
    assert all(map(is_exact, found))


def test_a_ledger_that_was_lost_is_folded_anew(house):
    house.put(*minutes(-30, 120))
    house.work()
    before = house.read()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (house.folder / name).unlink(missing_ok=True)
    house.work()
    assert [replace(one, made=None) for one in house.read()] == [replace(one, made=None) for one in before]


def test_a_damaged_ledger_is_replaced_and_folded_anew(house):
    house.put(*minutes(-30, 120))
    house.work()
    ledger = house.folder / "ledger.db"
    data = bytearray(ledger.read_bytes())
    for place in range(4_096, len(data), 1_024):
        data[place : place + 200] = b"\xff" * 200
    ledger.write_bytes(bytes(data))
    house.put(*minutes(120, 180))
    house.work()
    found = [one for one in house.read() if DAY <= one.start < DAY + 9_900]
    assert len(found) == 11
    assert all(map(is_exact, found))


def test_an_exchange_at_midnight(house):
    start = DAY + 23 * 3_600
    old = [item(DAY + 60 * n + 30, 1_000_000 + 7 * n) for n in range(-30, 23 * 60)]
    new = [item(start + 60 * n + 10, 50 + 9 * n, identity="4531") for n in range(26 * 60)]
    house.now = start + 40 * 3_600
    house.put(*old, *new)
    house.work()
    quarters = {one.start: one for one in house.read()}
    last, first = quarters[start - 900], quarters[start]
    assert last.quantity == 105 - 3  # what flowed between the two meters nobody measured
    assert first.quantity == 9 * 15 - 2
    assert first.reason == "exchange"
    assert first.low == last.high
    for one in (last, first):
        assert one.quantity == one.high.value - one.low.value + one.sum_break
    days = {one.start: one for one in house.read(resolution="P1D")}
    assert days[DAY].quantity == sum(one.quantity for t, one in quarters.items() if DAY <= t < start)
    after = calendar.end_of(start, "P1D", ZONE)
    assert days[start].quantity == sum(one.quantity for t, one in quarters.items() if start <= t < after)


def test_without_a_zone_no_days(house):
    house.settings = lambda: Settings(  # type: ignore[method-assign]
        meter=(MeterSettings(name="main", port="/dev/null"),),
        journal=JournalSettings(path=str(house.folder / "journal.db")),
    )
    house.put(*minutes(-30, 26 * 60))
    house.work()
    assert house.read()
    assert house.read(resolution="P1D") == []


def test_conservation_of_the_cursor(house):
    house.put(*minutes(-30, 200))
    keeper = house.work()
    status = keeper._outbox.status()
    assert (status["delivered"], status["pending"], status["dead_letter"]) == (230, 0, 0)


def told_of(house: House) -> list[tuple[str, str, int, int]]:
    return [(one.series.direction, one.resolution, one.interval.start, one.interval.version) for one in house.told]


def versions_of(house: House) -> set[tuple[str, str, int, int]]:
    """Every version of active energy that the ledger has."""
    return {
        (key.direction, resolution, one.start, one.version)
        for key in (IMPORT, EXPORT)
        for resolution in ("PT15M", "PT1H", "P1D", "P1M")
        for current in house.read(key, resolution)
        for one in house.versions(key, resolution, current.start)
    }


@pytest.fixture
def quick(monkeypatch) -> Callable[[int], None]:
    """Rounds without a pause, and so many versions told at once."""

    def set_most(most: int) -> None:
        monkeypatch.setattr("gateway.interval_keeper.TICK_S", 0.01)
        for module in ("gateway.intervals.owed", "gateway.stores.intervals"):
            monkeypatch.setattr(f"{module}.MOST", most)

    return set_most


def test_what_is_not_confirmed_is_told_again_after_a_restart(house, quick):
    quick(5_000)
    house.confirms = False
    house.put(*minutes(-30, 26 * 60))
    house.work()
    everything = versions_of(house)
    for _ in range(2):
        house.told.clear()
        house.work()
        assert sorted(told_of(house)) == sorted(everything)
        made = [(one.interval.made, one.interval.end) for one in house.told]
        assert made == sorted(made)
        quarter = [one for one in told_of(house) if one[:3] == ("import", "PT15M", DAY)]
        assert [version for *_, version in quarter] == [1, 2], "folded, then validated"
    house.told.clear()
    house.confirms = True
    house.work()
    assert sorted(told_of(house)) == sorted(everything)
    house.told.clear()
    house.put(*minutes(26 * 60, 27 * 60))
    house.work()
    assert house.told
    assert not {*told_of(house)} & everything, "what was confirmed is not told again"


def test_more_than_fits_is_told_bit_by_bit(house, quick):
    quick(40)
    house.confirms = False
    house.put(*minutes(-30, 26 * 60))
    house.work()
    assert len(house.told) == 40
    house.told.clear()
    house.confirms = True
    house.work()
    assert {*told_of(house)} == versions_of(house)
    assert len(house.told) < len(versions_of(house)) + 40


def test_a_clock_that_was_set_back_between_two_versions_hides_none(house, quick):
    quick(5_000)
    house.put(*minutes(-30, 120))
    house.work()
    before = versions_of(house)
    house.told.clear()
    house.confirms = False
    house.now -= 3 * 86_400
    house.put(*minutes(120, 180))
    house.work()
    fresh = versions_of(house) - before
    assert fresh
    house.now += 3 * 86_400
    house.told.clear()
    house.work()
    assert {*told_of(house)} >= fresh


def test_what_a_fault_hid_is_told_when_it_is_over(house):
    """A commit whose outcome nobody knows: it is looked up."""
    house.put(*minutes(-30, 120))
    keeper = house.keeper()
    commit, faults = keeper._commit, []

    def fail(folder):
        told = commit(folder)
        if not faults and told:
            faults.append(told)
            raise StorageFault("the medium")
        return told

    keeper._commit = fail
    house.keeper = lambda: keeper  # type: ignore[method-assign]
    house.work(lambda one: bool(faults) and House._is_done(one) and bool(house.told))
    assert {*told_of(house)} >= {
        (one.series.direction, one.resolution, one.interval.start, one.interval.version) for one in faults[0]
    }
