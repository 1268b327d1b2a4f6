"""Readings and journals for the tests of the stores."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from decoders.model import Reading, SubReading
from gateway.item_p import ItemP, stamp
from gateway.stores.journal import Journal
from tests.stores import memory

START = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
REGISTERS = (
    ("1-0:1.8.1", 65_238_377, -3, "kWh"),
    ("1-0:2.8.1", 1_201, -3, "kWh"),
    ("1-0:1.7.0", 132, -3, "kW"),
    ("1-0:32.7.0", 2_314, -1, "V"),
    ("0-0:96.7.21", 9, 0, ""),
)
SUB = SubReading(
    channel=1,
    medium="gas",
    device="4730303339303031363532303530323136",
    t=START - timedelta(minutes=20),
    t_meter="2026-11-21T23:00:05+01:00",
    integer=12_785_123,
    exponent=-3,
    unit="m3",
    quality="measured",
)


def reading(second: int) -> Reading:
    t = START + timedelta(seconds=second)
    return Reading(
        profile="nl-dsmr5",
        interface="p1",
        auth="plain",
        quality="measured",
        t=t,
        t_meter=(t + timedelta(hours=1)).isoformat()[:19] + "+01:00",
        p_import_w=132 + second % 100,
        p_export_w=0,
        p_net_w=132 + second % 100,
        a_import_wh=65_238_377 + second,
        a_export_wh=1_201,
        reg_t=t,
        registers=REGISTERS,
        register_times=(),
        sub=(SUB,),
        identity="4530303434303037313331363530363137",
        interval_s=1,
        flags=(),
        size=848,
    )


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory: what reaches a medium when the power goes is for tests/powercut."""
    home = memory.folder()
    inner = home / "tests" / "one"  # whose parents belong to the test, too
    inner.mkdir(parents=True)
    yield inner
    shutil.rmtree(home)


@pytest.fixture
def item() -> Callable[..., ItemP]:
    """`item(n)`: the reading of second n of meter `main`; `item(n, "other", seq=7)`; more fields of ItemP by name."""

    def make(second: int, meter: str = "main", seq: int | None = None, **changes: Any) -> ItemP:
        made = reading(second)
        t_rx = START + timedelta(seconds=second, milliseconds=412)
        stamped = stamp(made, meter, seq=seq or second + 1, t_rx=t_rx, max_clock_offset_s=3_600)
        return replace(stamped, **changes)

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """`journal()` makes and starts one on `tmp_path/journal.db`; all are closed with the test."""
    made: list[Journal] = []

    def make(path: Path | None = None, **changes: Any) -> Journal:
        options: dict[str, Any] = {
            "max_bytes": 64 << 20,
            "max_age_s": 400 * 86_400,
            "group_s": 10,
            "meters": ("main",),
        }
        made.append(Journal(path or tmp_path / "journal.db", **(options | changes)))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close(60)
