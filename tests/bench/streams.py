"""The input of the benchmarks: a simulated household's telegrams, whose values change as a real meter's do."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.simulator.meter import Meter

ROOT = Path(__file__).resolve().parents[2]
#: a captured DSMR 5 telegram, for runs that repeat one
CAPTURED = ROOT / "config" / "profiles" / "frames" / "nl-dsmr5-iskra-gas.p1"
_TELEGRAM = re.compile(rb"/[^!]+![0-9A-F]{4}\r\n")


def day(count: int, start: datetime | None = None) -> list[bytes]:
    """`count` telegrams of a DSMR 5 meter, one a second, from a sunny summer noon on (or from `start`)."""
    start = start or datetime(2026, 6, 21, 10, tzinfo=UTC)
    meter = Meter(seed=1, variant="dsmr5", start=start)
    return [meter.telegram_at(start + timedelta(seconds=n)) for n in range(count)]


def captured() -> bytes:
    """One captured telegram."""
    found = _TELEGRAM.search(CAPTURED.read_bytes())
    if found is None:
        raise ValueError(f"{CAPTURED.name} holds no telegram with a checksum")
    return found[0]
