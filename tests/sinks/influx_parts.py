"""A journal with readings of a household, and an InfluxDB sink that delivers them in a thread."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from decoders.model import Reading, SubReading
from gateway.item_p import ItemP, stamp
from gateway.settings import InfluxSettings
from gateway.sinks.influx import InfluxSink
from gateway.stores.journal import Journal
from tests.influx_fake import TOKEN

START = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
START_MS = 1_795_299_605_000
SALT = b"0123456789abcdef"


def item(second: int, meter: str = "main", *, sub: SubReading | None = None, **fields: Any) -> ItemP:
    """The reading of a second; power and energy tell which."""
    t = START + timedelta(seconds=second)
    known: dict[str, Any] = {
        "profile": "nl-dsmr5",
        "interface": "p1",
        "auth": "verified",
        "quality": "measured",
        "t": t,
        "t_meter": None,
        "p_import_w": 1_000 + second,
        "p_export_w": 0,
        "p_net_w": 1_000 + second,
        "a_import_wh": 65_238_377 + second,
        "a_export_wh": 5,
        "reg_t": t,
        "registers": (("1-0:32.7.0", 2_300 + second % 10, -1, "V"), ("1-0:1.8.0", 65_238_377 + second, -3, "kWh")),
        "register_times": (),
        "sub": (sub,) if sub else (),
        "identity": None,
        "interval_s": 1,
        "flags": (),
        "size": 890,
    }
    return stamp(Reading(**(known | fields)), meter, seq=second + 1, t_rx=t, max_clock_offset_s=3_600)


def gas(hour: int, integer: int = 1_234_567) -> SubReading:
    """A reading of a gas meter at an hour before START."""
    t = START - timedelta(hours=hour)
    return SubReading(1, "gas", "G0012345", t, None, integer, -3, "m3", "measured")


class Store:
    """A journal in a folder, and its outbox."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.path, max_bytes=1 << 26, max_age_s=1 << 30, group_s=10, meters=["main", "garage"])
        self.journal.start()
        self.outbox = self.journal.outbox("influx")

    def add(self, *items: ItemP) -> None:
        for one in items:
            self.journal.append(one)
        assert self.journal.flush(30)

    def reopen(self) -> None:
        self.close()
        self.open()

    def close(self) -> None:
        self.outbox.close()
        assert self.journal.close(30)

    def counts(self) -> dict[str, int]:
        """Delivered, pending, evicted, dead letters; and that they add up."""
        found = self.outbox.status()
        counts = {name: found[name] for name in ("delivered", "pending", "evicted", "dead_letter")}
        assert sum(counts.values()) == sum(self.journal.stored(meter) for meter in ("main", "garage"))
        return counts


def settings(port: int, folder: Path, **keys: Any) -> InfluxSettings:
    """The table of a server on this machine; v2 with a token unless the keys say otherwise."""
    known: dict[str, Any] = {"url": f"http://127.0.0.1:{port}", "timeout_s": 20}
    if keys.get("version") == "v1":
        known |= {"database": "meterd"}
    else:
        token = folder / "token"
        if not token.exists():
            token.write_text(f"{TOKEN}\n")
        known |= {"org": "home", "bucket": "meterd", "token_file": str(token)}
    return InfluxSettings(**(known | keys))


@contextmanager
def delivering(config: InfluxSettings, store: Store | None, **options: Any) -> Iterator[InfluxSink]:
    """Run a sink in a loop of another thread, as the daemon does; pauses are short unless `backoff` says otherwise."""
    known: dict[str, Any] = {"backoff": lambda _attempt, _trouble: 0.05}
    sink = InfluxSink(config, store.outbox if store else None, meters=2, salt=SALT, **(known | options))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    task = asyncio.run_coroutine_threadsafe(sink.run(), loop)
    try:
        yield sink
        if task.done():
            task.result()
    finally:
        task.cancel()
        asyncio.run_coroutine_threadsafe(_settled(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _settled() -> None:
    """Wait until every other task has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=8)


def times(points: dict[int, Any]) -> list[int]:
    """The times of points, in s after START, where they are whole."""
    return sorted((ms - START_MS) // 1_000 for ms in points)
