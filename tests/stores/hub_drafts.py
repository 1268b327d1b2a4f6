"""Messages to hubs for the tests of the stores."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from gateway.hub_model import Draft, PartRow, Slot
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_salvage import open_ledger

HUB = "dk"
POINT = "571313000000002000"
DAY = 86_400
NOW = 1_772_600_000


def slot(day: int = 0, point: str = POINT) -> Slot:
    return Slot(point, "import", "active", "PT15M", 1_772_496_000 + day * DAY)


def part(name: str, of: Slot, revision: int = 1, content: str = "") -> PartRow:
    digest = sha256((content or name).encode()).digest()
    return PartRow(of, of.start + DAY, revision, f"t-{name}", digest, "config")


def draft(name: str, *slots: Slot, revision: int = 1, body: bytes | None = None) -> Draft:
    parts = tuple(part(f"{name}-{n}", of, revision) for n, of in enumerate(slots))
    octets = f"body of {name}".encode() if body is None else body
    return Draft("readings", "send", f"doc-{name}", octets, "application/json", parts)


def request(name: str, body: bytes = b"{}") -> Draft:
    return Draft("request", "request-sums", f"doc-{name}", body, "application/json", about={"month": "2026-02"})


def store(path: Path, now: int = NOW) -> HubStore:
    return HubStore(open_ledger(path).file, lambda: now)


def documents(messages: Iterable[object]) -> list[str]:
    return [one.document for one in messages]  # type: ignore[attr-defined]


def everything(hubs: HubStore) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    tables = hubs._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    names = [name.decode() for (name,) in tables]
    return {name: hubs._db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names}
