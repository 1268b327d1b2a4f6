"""An uploader that dies, or whose disk is full, before and behind any commit: nothing is lost, nothing doubled.

Two points are corrected while others are on their way, in slices of one part, so that a death comes between all of
reading, storing, sending and settling.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import PointSettings
from gateway.stores.files import StorageFault
from gateway.stores.ledger_file import LedgerFile
from gateway.uploader import staging
from gateway.uploader.hub import Policy
from tests.uploader.lying import POINT, Killed, days, hub_settings, midnight, noon
from tests.uploader.test_worker import FIRST, House

POINTS = {"main": POINT, "other": "571313000000002017"}
DAYS = 3


@contextmanager
def faults(rng: random.Random, chance: float) -> Iterator[None]:
    """Before or behind a commit, now and then the process dies or the disk is full."""
    whole = LedgerFile.writing

    @contextmanager
    def writing(self: LedgerFile) -> Iterator[None]:
        when = rng.choice(("before", "behind")) if rng.random() < chance else ""
        if when == "before":
            raise rng.choice([Killed(), StorageFault("the disk is full")])
        with whole(self):
            yield
        if when == "behind":
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LedgerFile, "writing", writing)
        yield


def live(house: House, until: float, step_s: float) -> None:
    """Go on to a moment, whatever happens to the ledger meanwhile."""
    while True:
        try:
            return house.run(until, step_s=step_s)
        except StorageFault:
            house.now += 1


@pytest.mark.parametrize("seed", range(4))
def test_what_is_newest_arrives_once_whatever_commit_fails(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MOST_DRAFTS", 1)
    rng = random.Random(seed)
    one = House(tmp_path, hub_settings(points=tuple(POINTS.values()), since=f"{FIRST}"), Policy(confirm_after_s=60))
    one.points = tuple(PointSettings(meter=meter, id=name) for meter, name in POINTS.items())
    slots = [(meter, day) for meter in POINTS for day in days(FIRST, DAYS)]
    with one.home() as home:
        keys = {meter: home.series(meter) for meter in POINTS}
        for meter, day in slots:
            home.fill(keys[meter], day, wh=1_100)
    versions = dict.fromkeys(slots, 1)
    one.now = noon(FIRST + timedelta(DAYS))
    for _ in range(5):
        with faults(rng, 0.15):
            live(one, one.now + 120, 30)
        live(one, one.now + 240, 60)
        for (meter, day), version in versions.items():
            revision, values = one.there.values[POINTS[meter], "import", midnight(day)]
            assert values[0] == 100 + 1_000 * version, f"{meter} {day}: revision {revision} is not version {version}"
        _correct(one, keys, versions, rng.sample(slots, 5))
    assert set(one.there.effects.values()) == {1}
    assert not one.there.forged


def _correct(house: House, keys: dict[str, Any], versions: dict[tuple[str, date], int], some: list[Any]) -> None:
    with house.home() as home:
        for meter, day in some:
            versions[meter, day] += 1
            home.fill(keys[meter], day, version=versions[meter, day], wh=100 + 1_000 * versions[meter, day])
