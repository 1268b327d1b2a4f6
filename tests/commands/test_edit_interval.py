"""`meterd intervals edit`: audited, judged by the daemon, carried by longer intervals, and taken back."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from decoders.model import Reading
from gateway import cli
from gateway.commands import edit_interval
from gateway.interval_folder import Told
from gateway.interval_keeper import IntervalKeeper
from gateway.intervals.model import Interval, SeriesKey, total
from gateway.item_p import ItemP, stamp
from gateway.settings import JournalSettings, MeterSettings, PointSettings, Settings
from gateway.sinks import topics
from gateway.stores.intervals import IntervalReader, IntervalStore
from gateway.stores.journal import Journal
from gateway.stores.ledger_file import LedgerFile
from gateway.stores.ledger_reader import LedgerReader

#: the night in which summer time begins
DAY = int(datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp())
END = DAY + 23 * 3_600
IMPORT = SeriesKey("main", 0, "active", "import")
AT = "2026-03-29T10:15:00+02:00"
START = DAY + 9 * 3_600 + 900
CONFIG = """
[[meter]]
name = "main"
port = "socket://localhost:1"
timezone = "Europe/Amsterdam"
[journal]
path = "journal.db"
"""
WHO = ["--direction", "import", "--person", "Jana N.", "--reason", "display read at both ends"]


#: the meter's own peak: in the last quarter-hour of the day, with the highest energy of all
PEAK = (("1-0:1.6.0", 496, -3, "kW"),)
WHEN = ((0, "2026-03-30T00:00:00+02:00"),)


def item(n: int) -> ItemP:
    """The reading of minute n of the day: 7 Wh a minute, and slowly more; at its end with a peak."""
    moment = datetime.fromtimestamp(DAY + 60 * n, UTC)
    wh = 1_000_000 + 7 * n + n * n // 3_000
    at_peak = n == 1_385
    reading = Reading(
        profile="nl-dsmr5", interface="p1", auth="plain", quality="measured", t=moment, t_meter="", p_import_w=400,
        p_export_w=None, p_net_w=None, a_import_wh=wh, a_export_wh=None, reg_t=moment,
        registers=PEAK if at_peak else (), register_times=WHEN if at_peak else (), sub=(), identity="4530",
        interval_s=60, flags=(), size=800,
    )  # fmt: skip
    return stamp(reading, "main", seq=10**6 + n, t_rx=moment, max_clock_offset_s=3_600)


class Place:
    """A journal, its ledger, and a daemon's keeper that works now and then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "meterd.toml"
        self.config.write_text(CONFIG, "utf-8")
        self.now = END + 2 * 3_600
        self.told: list[Told] = []
        self.journal = Journal(
            folder / "journal.db", max_bytes=64 << 20, max_age_s=400 * 86_400, group_s=10, meters=("main",)
        )
        self.journal.start()

    def put(self, *numbers: int) -> None:
        for n in numbers:
            self.journal.append(item(n))
        assert self.journal.flush(20)

    def tell(self, told: Told, done: Callable[[], None]) -> None:
        self.told.append(told)
        done()

    def work(self) -> None:
        """Let a keeper fold, and judge what is due."""
        settings = Settings(
            meter=(MeterSettings(name="main", port="/dev/null", timezone="Europe/Amsterdam"),),
            point=(PointSettings(meter="main"),),
            journal=JournalSettings(path=str(self.folder / "journal.db")),
        )
        keeper = IntervalKeeper(
            settings, self.journal.outbox("intervals"), salt=b"s" * 16, tell=self.tell,
            zone_of=lambda _profile: None, clock=lambda: self.now, synchronised=lambda: True,
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
        return cli.main(["intervals", *arguments, "-c", str(self.config)])

    def read(self, resolution: str = "PT15M") -> dict[int, Interval]:
        reader = IntervalReader(self.folder / "ledger.db")
        found = {one.start: one for one in reader.current(IMPORT, resolution, DAY - 40 * 86_400, END)}  # type: ignore[arg-type]
        reader.close()
        return found

    def history(self) -> list[Interval]:
        reader = IntervalReader(self.folder / "ledger.db")
        found = reader.history(IMPORT, "PT15M", START)
        reader.close()
        return found

    def events(self) -> list[tuple[str, dict[str, object]]]:
        reader = LedgerReader(self.folder / "ledger.db")
        found = [(one.written.event, one.written.facts) for one in reader if one.written]
        assert reader.breaks() == []
        reader.close()
        return [one for one in found if one[0].startswith("interval_")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = Place(tmp_path)
    made.put(*(n for n in range(-30, 25 * 60) if not 555 < n < 580))
    made.work()
    monkeypatch.setattr(edit_interval.time, "time", lambda: float(made.now))
    yield made
    made.journal.close()


def sums_agree(place: Place) -> int:
    """The sum of the day in quarter-hours, hours and as a day, which is one."""
    sums = {total(one for start, one in place.read(res).items() if start >= DAY) for res in ("PT15M", "PT1H", "P1D")}
    assert len(sums) == 1, sums
    return sums.pop()


def test_an_edit_is_audited_judged_and_carried_by_hour_and_day(place, capsys):
    before, was = sums_agree(place), place.read()[START]
    assert place.call("edit", AT, "--quantity", "500", *WHO) == 0
    assert "500 Wh, edited" in capsys.readouterr().out
    ((event, facts),) = place.events()
    assert (event, facts["person"], facts["reason"]) == ("interval_edited", "Jana N.", "display read at both ends")
    assert (facts["before"], facts["after"], facts["start"]) == (str(was.quantity), "500", "2026-03-29T08:15:00Z")
    place.told.clear()
    place.work()
    now = place.read()[START]
    assert (now.quantity, now.status, now.author, now.is_item_e) == (500, "edited", "person", True)
    assert now.sum_break == 500 - (now.high.value - now.low.value)
    assert sums_agree(place) == before + 500 - was.quantity
    hour, day = place.read("PT1H")[DAY + 9 * 3_600], place.read("P1D")[DAY]
    for longer in (hour, day):
        assert (longer.status, longer.reason, longer.sum_break) == ("edited", "edit_within", now.sum_break)
        assert longer.quantity == longer.high.value - longer.low.value + longer.sum_break
    others = [one for start, one in place.read().items() if DAY <= start != START]
    assert {one.status for one in others if one.method == "register"} == {"valid"}
    # those who listen hear of it
    assert (START, 500) in {(told.interval.start, told.interval.quantity) for told in place.told}
    assert place.call("explain", AT, "--direction", "import") == 0
    assert f"entered by Jana N. at {facts_time(place)}; before {was.quantity} Wh" in capsys.readouterr().out


def facts_time(place: Place) -> str:
    edited = next(one for one in place.history() if one.author == "person")
    return str(json.loads(edited.inputs)["edit"]["at"])


def test_an_edit_holds_when_late_data_comes_and_goes_when_it_is_taken_back(place, capsys):
    assert place.call("edit", AT, "--quantity", "500", *WHO) == 0
    place.put(*range(556, 580))
    place.work()
    now = place.read()[START]
    assert (now.quantity, now.status) == (500, "edited")
    raw = [one for one in place.history() if one.author == "fold"]
    assert len(raw) == 2
    assert raw[-1].high == now.high != raw[0].high
    assert now.sum_break == 500 - (now.high.value - now.low.value)
    edited = sums_agree(place)
    assert place.call("edit", AT, "--withdraw", *WHO) == 0
    assert place.read()[START].quantity == raw[-1].quantity
    place.work()
    now = place.read()[START]
    assert (now.quantity, now.status, now.sum_break) == (raw[-1].quantity, "valid", 0)
    assert sums_agree(place) == edited - 500 + raw[-1].quantity
    assert {one.status for one in place.read("P1D").values() if one.start == DAY} == {"valid"}
    assert [event for event, _ in place.events()] == ["interval_edited", "interval_edit_withdrawn"]
    capsys.readouterr()
    assert place.call("edit", AT, "--withdraw", *WHO) == 1
    assert "nothing to take back" in capsys.readouterr().err


def test_the_hour_that_was_edited_itself_holds_in_the_day(place):
    assert place.call("edit", AT, "--quantity", "500", *WHO) == 0
    assert place.call("edit", AT, "--quantity", "1000", "--resolution", "PT1H", *WHO) == 0
    place.work()
    assert place.read("PT1H")[DAY + 9 * 3_600].quantity == 1_000
    hours, day = place.read("PT1H"), place.read("P1D")[DAY]
    assert day.quantity == total(one for start, one in hours.items() if start >= DAY)


def test_what_was_judged_is_not_judged_again_and_again(place):
    assert place.call("edit", AT, "--quantity", "500", *WHO) == 0
    place.work()
    versions = {res: {t: one.version for t, one in place.read(res).items()} for res in ("PT15M", "PT1H", "P1D")}
    place.work()
    assert versions == {res: {t: one.version for t, one in place.read(res).items()} for res in ("PT15M", "PT1H", "P1D")}
    file = LedgerFile(place.folder / "ledger.db")
    waiting = {one.resolution for one in IntervalStore(file).asked()}
    file.close()
    # the month is not over
    assert waiting == {"PT15M"}


WRONG = [
    (["edit", AT, "--quantity", "5"], 2, "edit needs --direction, --reason, --person"),
    (["edit", AT, *WHO], 2, "edit needs --quantity, or --withdraw"),
    (["edit", AT, "--withdraw", "--quantity", "5", *WHO], 2, "edit needs --quantity, or --withdraw"),
    (["edit", "--quantity", "5", *WHO], 2, "need a moment"),
    (["show", "--quantity", "5"], 2, "--quantity is for an edit"),
    (["edit", AT, "--quantity=-5", *WHO], 1, "not negative"),
    (["edit", AT, "--quantity", "1.5", *WHO], 1, "finer than the register counts"),
    (["edit", AT, "--quantity", "much", *WHO], 1, "is no quantity"),
    (["edit", AT, "--quantity", "nan", *WHO], 1, "is no quantity"),
    (["edit", AT, "--quantity", "1e999999", *WHO], 1, "more than an interval has"),
    (["edit", AT, "--quantity", "5", *WHO[:-1], "  "], 1, "an edit needs a reason"),
    (["edit", AT, "--quantity", "5", *WHO[:-1], "x" * 201], 1, "at most 200"),
    (["edit", AT, "--quantity", "5", "--meter", "garage", *WHO], 1, "no such series"),
    (["edit", "2026-03-30T10:15:00Z", "--quantity", "5", *WHO], 1, "not over"),
]


def test_an_edit_that_cannot_be_says_why_and_changes_nothing(place, capsys):
    before = place.history()
    for arguments, code, says in WRONG:
        assert place.call(*arguments) == code, arguments
        assert says in capsys.readouterr().err
    assert place.events() == []
    assert place.history() == before


def test_no_version_without_its_entry_and_no_entry_without_its_version(place, monkeypatch, capsys):
    before = place.history()

    def fails(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    from gateway.stores import intervals

    monkeypatch.setattr(intervals, "append", fails)
    assert place.call("edit", AT, "--quantity", "500", *WHO) != 0
    assert "No space" in capsys.readouterr().err
    assert place.history() == before
    assert place.events() == []


def test_two_persons_at_once(place, monkeypatch, capsys):
    """The second one made the edit of a version that is not the current one any more."""
    first = IntervalStore.history

    def late(store, *which):
        found = first(store, *which)
        monkeypatch.setattr(IntervalStore, "history", first)
        assert place.call("edit", AT, "--quantity", "400", *WHO) == 0
        return found

    monkeypatch.setattr(IntervalStore, "history", late)
    assert place.call("edit", AT, "--quantity", "500", *WHO) == 1
    assert "another version just now" in capsys.readouterr().err
    assert place.read()[START].quantity == 400
    assert len(place.events()) == 1


def test_the_peak_of_the_meter_beside_ours(place, capsys):
    assert place.call("peaks", "--month", "2026-03", "--json") == 1
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = place.read()[END - 900]
    assert (found["meter_w"], found["start"], found["ours_w"]) == (496, "2026-03-29T21:45:00Z", 4 * last.quantity)
    assert found["difference_w"] == 4 * last.quantity - 496
    assert found["agrees"] is False
    # the daemon told the same once the day was validated
    told = [one for one in place.told if one.peak is not None][-1]
    assert (told.peak.theirs.watts, told.peak.ours, told.peak.agrees) == (496, found["ours_w"], False)
    message = topics.peak(topics.meter_topics("meterd", "main"), "import", told.peak)
    assert message.topic == "meterd/main/interval/peak"
    assert json.loads(message.payload)["difference_w"] == found["difference_w"]
    assert place.call("edit", "2026-03-29T23:50:00+02:00", "--quantity", "124", *WHO) == 0
    capsys.readouterr()
    highest = max(one.quantity for start, one in place.read().items() if start >= DAY)
    assert place.call("peaks") == int(4 * highest - 496 > found["allowed_w"])
    assert "ours is 496 W, +0 W" in capsys.readouterr().out
