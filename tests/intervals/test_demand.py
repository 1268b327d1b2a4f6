"""The meter's own mean of each quarter-hour: real telegrams, days of a simulated meter with a restart and a gap."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import cli, profiles
from gateway.interval_folder import Told
from gateway.interval_keeper import IntervalKeeper
from gateway.intervals.demand import ComparedDemand, Demand, compare_day, demands_of
from gateway.intervals.model import Bound, Interval, SeriesKey, missing, revised
from gateway.item_p import ItemP, stamp
from gateway.settings import JournalSettings, MeterSettings, PointSettings, Settings
from gateway.simulator.meter import Meter
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import Batch, IntervalReader, IntervalStore
from gateway.stores.journal import Journal
from gateway.stores.ledger_file import LedgerFile

FRAMES = Path(__file__).parents[2] / "config" / "profiles" / "frames"
#: a Belgian day, and a moment near the end of its 49th quarter-hour
DAY = int(datetime(2026, 6, 20, 22, tzinfo=UTC).timestamp())
NOON = DAY + 48 * 900
IMPORT = SeriesKey("main", 0, "active", "import")
CONFIG = """
[[meter]]
name = "main"
port = "socket://localhost:1"
timezone = "Europe/Brussels"
[journal]
path = "journal.db"
"""


def at(reading: Reading, t: int) -> Reading:
    moment = datetime.fromtimestamp(t, UTC)
    return replace(reading, t=moment, reg_t=moment)


def decoded(profile: str, octets: bytes) -> Reading:
    decoder = Decoder([profiles.load(profile)], ZoneInfo)
    (reading,) = [one for one in [*decoder.feed(octets), *decoder.close()] if isinstance(one, Reading)]
    return reading


def quarter(n: int, wh: int | None, **changes: object) -> Interval:
    """Quarter-hour n of the day between two measured bounds, from the register 1000."""
    start = DAY + 900 * n
    if wh is None:
        return missing(start, start + 900)
    fields: dict[str, object] = {
        "quantity": wh, "status": "valid", "quality": "measured", "method": "register",
        "low": Bound(start, 1_000, "measured", ((start, 1_000),)),
        "high": Bound(start + 900, 1_000 + wh, "measured", ((start + 900, 1_000 + wh),)),
    }  # fmt: skip
    return revised(missing(start, start + 900), **(fields | changes))


def told(n: int, watts: int, register: int, before: int = 1) -> Demand:
    return Demand(DAY + 900 * (n + 1) - before, watts, 1, register)


@pytest.mark.parametrize(
    ("frame", "profile", "watts"),
    [
        ("be-fluvius-emucs-3ph.p1", "be-fluvius-emucs", 2_351),
        ("be-fluvius-emucs-bare.p1", "be-fluvius-emucs", 78),
        ("be-emucs-3ph.p1", "be-emucs", 351),
        ("ch-groupe-e-xt211-3ph.p1", "ch-groupe-e-xt211", 288),
    ],
)
def test_real_telegrams_tell_their_demand_near_the_end_of_a_quarter_hour(frame, profile, watts):
    reading = decoded(profile, (FRAMES / frame).read_bytes())
    assert reading.a_import_wh is not None
    expected = [("import", Demand(NOON - 3, watts, 1, reading.a_import_wh))]
    assert demands_of(at(reading, NOON - 3)) == expected
    # as it was sent, in the midst of a quarter-hour
    assert demands_of(reading) == []


def test_only_the_last_ten_seconds_say_what_the_quarter_hour_was():
    reading = decoded("be-emucs", (FRAMES / "be-emucs-3ph.p1").read_bytes())
    assert {late for late in range(-900, 900) if demands_of(at(reading, NOON + late))} == {
        *range(-10, 0),
        *range(890, 900),
    }
    assert demands_of(replace(reading, t=None, reg_t=None)) == []
    assert demands_of(replace(at(reading, NOON - 1), reg_t=None)) == []


@pytest.mark.parametrize(
    ("register", "found"),
    [
        (("1-0:2.4.0", 412, 0, "W"), [("export", Demand(NOON - 1, 412, 1, 7))]),
        (("1-0:2.4.0", 41, -2, "kW"), [("export", Demand(NOON - 1, 410, 10, 7))]),
        (("1-0:1.4.0", 412, 0, "W"), []),
        (("1-0:2.4.0", -1, 0, "W"), []),
        (("1-0:2.4.0", 5, 0, "kWh"), []),
        (("1-0:32.4.0", 5, 0, "W"), []),
        (("1-0:2.4.0*1", 5, 0, "W"), []),
        (("1-0:2.4.0", 1, 10**9, "kW"), []),
        (("1-0:2.4.0", 10**9, 3, "kW"), []),
    ],
)
def test_a_register_with_its_energy_is_a_demand_and_nothing_else(register, found):
    reading = decoded("be-emucs", (FRAMES / "be-emucs-3ph.p1").read_bytes())
    assert demands_of(replace(at(reading, NOON - 1), registers=(register,), a_import_wh=None, a_export_wh=7)) == found


def test_steps_and_the_last_seconds_are_allowed_for():
    # 590 Wh are 2360 W; 3 Wh of them came after the meter said 2351 W
    day = compare_day((DAY, DAY + 86_400), [told(0, 2_351, 1_587, before=9)], [quarter(0, 590)])
    assert day is not None
    assert (day.compared, day.exceeded) == (1, 0)
    assert (day.worst.ours, day.worst.difference, day.worst.allowed, day.worst.excess) == (2_360, 9, 21, -12)
    # without these seconds the same difference is too much
    day = compare_day((DAY, DAY + 86_400), [told(0, 2_350, 1_590)], [quarter(0, 590)])
    assert day is not None
    assert (day.exceeded, day.worst.difference, day.worst.allowed) == (1, 10, 9)
    # and a bound between two readings is as unsure as these are apart
    high = Bound(DAY + 900, 1_590, "interpolated", ((DAY + 890, 1_589), (DAY + 905, 1_591)))
    day = compare_day((DAY, DAY + 86_400), [told(0, 2_350, 1_590)], [quarter(0, 590, high=high)])
    assert day is not None
    assert (day.exceeded, day.worst.allowed) == (0, 17)


def test_the_worst_of_a_day_is_the_one_furthest_beyond_what_it_may():
    demands = [told(0, 400, 1_100), told(1, 440, 1_100), told(2, 400, 1_080, before=10), told(5, 1, 1_000)]
    day = compare_day((DAY, DAY + 86_400), demands, [quarter(n, 100) for n in range(3)] + [quarter(4, 100)])
    assert day is not None
    assert (day.compared, day.exceeded) == (3, 1)
    assert day.worst == ComparedDemand(demands[1], 400, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "power"},
        {"method": "E01", "status": "estimated"},
        {"author": "person"},
        {"sum_break": 5},
        {"clock": "gateway"},
        {"quality": "substituted"},
        {"high": Bound(DAY + 900, None, "none")},
        {"high": Bound(DAY + 900, 1_050, "measured")},
        {"low": Bound(DAY, 1_101, "measured")},
    ],
)
def test_what_is_no_plain_difference_of_registers_is_not_compared(changes):
    demands = [told(0, 400, 1_100)]
    assert compare_day((DAY, DAY + 86_400), demands, [quarter(0, 100)]) is not None
    assert compare_day((DAY, DAY + 86_400), demands, [quarter(0, 100, **changes)]) is None
    assert compare_day((DAY, DAY + 86_400), demands, [quarter(0, None)]) is None
    assert compare_day((DAY, DAY + 86_400), [], [quarter(0, 100)]) is None


def test_the_last_word_of_a_quarter_hour_is_kept_whatever_comes_late(tmp_path):
    file = LedgerFile(tmp_path / "ledger.db")
    store = IntervalStore(file)
    early, last = told(0, 390, 1_098, before=9), told(0, 400, 1_100)
    store.add_series(SeriesRow("main", 0, "active", "import", "Wh", 0, "electricity"))
    for one in (early, last, early):
        store.write(Batch(demands={IMPORT: {one.start: one}}))
    store.write(Batch(demands={IMPORT: {DAY + 900: told(1, 5, 1_101)}}))
    assert list(store.demands(IMPORT, DAY, DAY + 900)) == [last]
    file.db.execute("UPDATE interval_demand SET data = x'00' WHERE id = (SELECT min(id) FROM interval_demand)")
    assert list(store.demands(IMPORT, DAY, DAY + 86_400)) == [told(1, 5, 1_101)]
    # a ledger that an earlier meterd wrote has no such table
    file.db.execute("DROP TABLE interval_demand")
    assert list(store.demands(IMPORT, DAY, DAY + 86_400)) == []
    file.close()


class House:
    """A simulated Belgian meter, and a daemon's keeper that works now and then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "meterd.toml").write_text(CONFIG, "utf-8")
        self.told: list[Told] = []
        self.meter = Meter(5, "emucs", datetime.fromtimestamp(DAY - 3_600, UTC))
        self.decoder = Decoder([profiles.load("be-fluvius-emucs")], ZoneInfo)
        self.journal = Journal(
            folder / "journal.db", max_bytes=64 << 20, max_age_s=4_000 * 86_400, group_s=10, meters=("main",)
        )
        self.journal.start()

    def item(self, t: int) -> ItemP:
        moment = datetime.fromtimestamp(t, UTC)
        (reading,) = self.decoder.feed(self.meter.telegram_at(moment))
        assert isinstance(reading, Reading)
        received = moment + timedelta(milliseconds=400)
        return stamp(reading, "main", seq=t, t_rx=received, max_clock_offset_s=3_600)

    def put(self, since: int, until: int, *, wrong: int | None = None) -> None:
        """Telegrams each 300 s, and in the last seconds of quarter-hours; in that of `wrong` the meter errs by 40 W."""
        for t in range(since, until):
            if t % 300 and t % 900 not in (893, 899):
                continue
            item = self.item(t)
            if wrong is not None and wrong <= t < wrong + 900:
                registers = tuple(
                    (code, integer + 40 * code.endswith(":1.4.0"), *rest)
                    for code, integer, *rest in item.reading.registers
                )
                item = replace(item, reading=replace(item.reading, registers=registers))
            self.journal.append(item)
        assert self.journal.flush(20)

    def tell(self, told: Told, done: Callable[[], None]) -> None:
        self.told.append(told)
        done()

    def work(self, now: int) -> None:
        """Let a new keeper fold, and judge what is due."""
        settings = Settings(
            meter=(MeterSettings(name="main", port="/dev/null", timezone="Europe/Brussels"),),
            point=(PointSettings(meter="main"),),
            journal=JournalSettings(path=str(self.folder / "journal.db")),
        )
        keeper = IntervalKeeper(
            settings, self.journal.outbox("intervals"), salt=b"s" * 16, tell=self.tell,
            zone_of=lambda _profile: None, clock=lambda: float(now), synchronised=lambda: True,
        )  # fmt: skip

        async def run() -> None:
            task = asyncio.create_task(keeper.run())
            async with asyncio.timeout(60):
                while keeper.status()["state"] != "up_to_date" or keeper._looked == 0:
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait((task,))

        asyncio.run(run())
        deadline = time.monotonic() + 60
        while any(thread.name.startswith("intervals") for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def call(self, *arguments: str) -> int:
        return cli.main(["intervals", "peaks", *arguments, "-c", str(self.folder / "meterd.toml")])

    def demands(self) -> list[Demand]:
        reader = IntervalReader(self.folder / "ledger.db")
        found = list(reader.demands(IMPORT, 0, 1 << 40))
        reader.close()
        return found


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.journal.close()


def test_a_day_with_a_restart_and_a_quarter_hour_without_telegrams(house, capsys):
    # the keeper ends after what the meter says last in a quarter-hour and before its end
    house.put(DAY - 1_800, NOON - 5)
    house.work(NOON)
    house.put(NOON, DAY + 60 * 900)
    # nobody heard the end of one quarter-hour, nor the next one
    house.put(DAY + 60 * 900, DAY + 60 * 900 + 600)
    house.put(DAY + 62 * 900, DAY + 97 * 900 + 1)
    house.work(DAY + 98 * 900)
    assert {one.start for one in house.demands()} >= {DAY + 900 * n for n in range(96) if n not in (60, 61)}
    assert NOON - 7 in {one.t for one in house.demands()}
    (day,) = [one.demands for one in house.told if one.demands is not None and one.demands.start == DAY]
    assert (day.end - day.start, day.compared, day.exceeded) == (86_400, 94, 0)
    assert house.call("--day", "2026-06-21", "--json") == 0
    (found,) = [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if "day" in one]
    assert (found["day"], found["compared"], found["exceeded"], found["agrees"]) == ("2026-06-21", 94, 0, True)
    assert found["difference_w"] == found["ours_w"] - found["meter_w"] == day.worst.difference
    assert abs(found["difference_w"]) <= found["allowed_w"]


def test_a_meter_that_counts_otherwise_is_shown(house, capsys):
    house.put(DAY - 1_800, DAY + 97 * 900 + 1, wrong=NOON)
    house.work(DAY + 98 * 900)
    (day,) = [one.demands for one in house.told if one.demands is not None and one.demands.start == DAY]
    assert (day.compared, day.exceeded, day.worst.theirs.start) == (96, 1, NOON)
    assert day.worst.difference < -20
    assert house.call("--day", "2026-06-21") == 1
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "compared" in one]
    assert line.startswith("main import 2026-06-21: 96 quarter-hours compared, 1 differ; at most -")
    assert "from 12:00+0200" in line
