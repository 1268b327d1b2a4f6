"""Judges a journal file by its rows: what it says of readings must be what is there. Shares no code with the writer."""

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec


def opened(data: bytes, *context: int | str) -> bytes:
    assert crc32(data[:-4], crc32(repr(context).encode())) == int.from_bytes(data[-4:], "big"), context
    return data[:-4]


class Account:
    """What a file says, and what it holds."""

    def __init__(self, path: Path) -> None:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            meters = db.execute("SELECT id, data FROM meter").fetchall()
            self.names = {n: msgspec.msgpack.decode(opened(data, "meter", n))[0] for n, data in meters}
            self.rows = [(at, self.names[n]) for at, n in db.execute("SELECT id, meter FROM record WHERE meter > 0")]
            last = db.execute("SELECT id, data FROM record WHERE meter = 0 ORDER BY id DESC LIMIT 1").fetchone()
            self.last, sealed = last or (0, None)
            layouts = db.execute("SELECT id, data FROM layout").fetchall()
            self.layouts = {n: opened(data, "layout", n) for n, data in layouts}
            self.letters = db.execute("SELECT count(*) FROM dead_letter").fetchone()[0]
            self.apart = db.execute("SELECT count(*) FROM quarantine").fetchone()[0]
        finally:
            db.close()
        self.serial, counted, sinks, self.salvages = (
            msgspec.msgpack.decode(opened(sealed, 0)) if sealed else (0, (), (), {})
        )
        self.meters: dict[str, dict[str, int]] = {}
        for number, names, values, (stored, lost, evicted, quarantined, recovered) in counted:
            packed = names if isinstance(names, bytes) else self.layouts[names]
            counters = dict(zip(msgspec.msgpack.decode(packed), values, strict=True))
            self.meters[self.names[number]] = {
                "received": counters.get("received", 0),
                "rejected": counters.get("rejected", 0),
                "stored": stored,
                "lost": lost,
                "evicted": evicted,
                "quarantined": quarantined,
                "recovered": recovered,
            }
        self.sinks: dict[str, tuple[int, dict[str, tuple[int, int, int]]]] = {
            name: (position, {self.names[n]: (done, dead, gone) for n, done, dead, gone in settled})
            for name, position, settled in sinks
        }

    def check(self, *, received: bool = True) -> None:
        """Every equation, with what is counted row by row; without `received` where nobody counted that."""
        kept = Counter(meter for _, meter in self.rows)
        for name, terms in self.meters.items():
            there = terms["stored"] + terms["quarantined"] + terms["rejected"] + terms["lost"]
            assert not received or terms["received"] + terms["recovered"] == there, (name, terms)
            assert terms["stored"] == kept[name] + terms["evicted"], (name, kept[name], terms)
        assert all(at < self.last for at, _ in self.rows), "no row is behind the state"
        for sink, (position, settled) in self.sinks.items():
            pending = Counter(meter for at, meter in self.rows if at > position)
            for name, terms in self.meters.items():
                done, dead, gone = settled.get(name, (0, 0, 0))
                assert min(done, dead, gone) >= 0, (sink, name, settled)
                assert terms["stored"] == done + dead + gone + pending[name], (sink, name, terms, settled, pending)


def check(path: Path, *, received: bool = True) -> dict[str, Any]:
    """Judge a file; returns what it says by meter."""
    account = Account(path)
    account.check(received=received)
    return account.meters
