"""Master data of metering points, as /control/points sets it; it is compared only where it is given."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any


def facts(db: sqlite3.Connection, profile: str, point: str) -> dict[str, Any] | None:
    """Return what is registered of a point (type, resolution, unit, owner, state ...); None for an unknown one."""
    row = db.execute("SELECT facts FROM points WHERE profile = ? AND point = ?", (profile, point)).fetchone()
    found: dict[str, Any] | None = json.loads(row[0]) if row else None
    return found


def every(db: sqlite3.Connection, profile: str) -> dict[str, dict[str, Any]]:
    """Return the master data of every point of a profile."""
    rows = db.execute("SELECT point, facts FROM points WHERE profile = ? ORDER BY point", (profile,))
    return {point: json.loads(text) for point, text in rows}


def set_facts(db: sqlite3.Connection, profile: str, points: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Set what is registered of points; None removes one."""
    gone = [(profile, point) for point, known in points.items() if known is None]
    kept = [(profile, point, json.dumps(known)) for point, known in points.items() if known is not None]
    db.executemany("DELETE FROM points WHERE profile = ? AND point = ?", gone)
    db.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?)", kept)
