"""A process that is killed after something happened, and before anybody was told: the next one tells, and once."""

import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.hub_model import Event, Inbound, Receipt
from gateway.hub_settings import NoticeSettings
from gateway.stores.files import StorageFault
from gateway.uploader import notices
from gateway.uploader.hub import Policy
from gateway.uploader.late import LATE, _hash
from gateway.uploader.notices import Notices
from tests.uploader.lying import hub_settings, midnight, noon
from tests.uploader.test_worker import FIRST, House, fill


class Kept:
    """Notes that outlive processes; `dies`: what is to be kept from now on is not any more."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.dies = False

    def note(self, key: str) -> bytes | None:
        return self.data.get(key)

    def remember(self, key: str, value: bytes) -> None:
        if self.dies:
            raise StorageFault("this process is dead")
        self.data[key] = value


class Home(House):
    """An uploader with people who are told by MQTT, as long as its process lives."""

    def __init__(self, folder: Path, **lies: Any) -> None:
        policy = Policy(max_parts=1, confirm_after_s=None, query_s=0)
        super().__init__(folder, hub_settings(since="2026-03-02"), policy, **lies)
        self.kept = Kept()
        self.told: list[Any] = []
        self._begun: list[Notices] = []

    def process(self, work: Callable[[], object] | None = None, *, killed: bool = False) -> None:
        """One life of the process; `killed`: nothing that it takes note of is kept, and nobody is told."""
        place, told = self.kept, list[Any]()
        if killed:
            place = Kept()
            place.data = dict(self.kept.data)
        settings = NoticeSettings(mqtt=True, digest_s=60)
        self.book = Notices(settings, lambda: place, lambda said: told.append(said) or True, lambda: self.now)
        self.book.start()
        self._begun.append(self.book)
        (work or self.run)()
        self.book.flush()
        self.now += 61
        until = time.monotonic() + 60
        while not killed and self.book.state()["mqtt"]["waiting"] + len(self.book._desk._book._state.digests):
            assert time.monotonic() < until
            with self.book._desk._change:
                self.book._desk._change.notify_all()
            time.sleep(0.02)
        self.book.stop(30)
        if not killed:
            self.told += [json.loads(one) for one in told]

    def _tell(self, event: Any) -> None:
        super()._tell(event)
        self.book.tell(event)

    def texts(self) -> str:
        return " ".join(one["text"] for one in self.told)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Home]:
    monkeypatch.setattr(notices, "_WRITE_S", 0.01)

    def make(**lies: Any) -> Home:
        one = Home(tmp_path, **lies)
        fill(one, 1)
        one.process()  # it was there before, and everything that it did is told
        one.now = noon(date(2026, 3, 3))
        return one

    return make


def counts(home: Home) -> dict[str, int]:
    found: dict[str, int] = {}
    for notice in home.told:
        for one in notice["events"]:
            name = f"{one['event']} {one['state']}"
            found[name] = found.get(name, 0) + one["count"]
    return found


def test_a_refusal_is_told_by_the_next_process(home: Any) -> None:
    one = home(script=iter(["reject"]))
    one.process(killed=True)
    with one.store() as store:
        assert store.counts("dk")["rejected"] == 1
    assert one.told == []
    one.process()
    assert counts(one) == {"rejected new": 1}
    assert "E10 metering point unknown" in one.texts()
    for _ in range(3):
        one.process()
    assert counts(one) == {"rejected new": 1}, "a restart tells nothing anew"


def test_what_is_over_meanwhile_is_not_told(home: Any) -> None:
    one = home(script=iter(["reject", "ok"]))

    def repaired() -> None:
        one.run()
        with one.store() as store:
            (number,) = store.parked("dk")
            store.retry(store.message("dk", number), "anna", int(one.now))
        one.run()

    one.process(repaired, killed=True)
    one.process()
    assert counts(one) == {}


def test_a_message_that_was_given_up_is_told(home: Any) -> None:
    one = home(script=iter(["busy"] * 50))

    def ended() -> None:
        one.run()
        one.hub = hub_settings(since="2026-03-02", points=())
        one.now += 1_000
        one.run()

    one.process(ended, killed=True)
    one.process()
    assert counts(one).get("given_up new") == 1


def test_what_a_hub_had_for_us_is_told(home: Any) -> None:
    one = home()
    one.policy = Policy(max_parts=1, confirm_after_s=None, query_s=0, inbox_s=60)
    facts = {"key": "form"}
    one.there.queue.append(Inbound("m1", "schema-drift", b"{}", "application/json", {}, "it changed", facts, "warning"))
    one.there.queue.append(
        Inbound("m2", "report", b"{}", "application/json", {"nobody": Receipt("confirmed")}, "a report", {}, None)
    )
    one.process(killed=True)
    assert not one.there.queue
    one.process()
    assert counts(one) == {"schema_drift new": 1, "unknown_answer new": 1}
    assert "it changed" in one.texts()


def test_the_end_of_a_late_day_is_told_by_the_next_process(home: Any) -> None:
    """The last one died between sending the day and its word on it."""
    one = home()
    one.process()
    with one.serving() as serving:
        plan = serving._planned(int(one.now))
        days = {midnight(FIRST): [_hash(target) for target in plan.targets]}
        serving._store.remember("dk", LATE, msgspec.json.encode(days))
    one.process()
    assert [(event.name, event.recovered) for event in one.events] == [("late_day", True)]
    one.process()
    assert len(one.events) == 1


def test_ends_of_certificates_are_told_before_it_is_noted_that_they_were(home: Any) -> None:
    """Whoever notes first, and dies, has told nobody."""
    one = home()
    order: list[str] = []
    with one.serving() as serving:
        one.session.expiries = lambda: [Event("secret_expires", "dk", "warning", "soon", int(one.now), "secret")]
        remember, flush = serving._store.remember, one.book.flush
        one.book.flush = lambda: (order.append("written"), flush())[1]
        serving._store.remember = lambda *given: (order.append(given[1]), remember(*given))[1]
        serving._due["expiry"] = 0.0
        serving.step()
    assert order.index("written") < order.index("uploader.told")
