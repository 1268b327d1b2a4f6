"""What must outlive the file that it stands in: the salt, the numbers given out, the counters."""

import secrets
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path

import msgspec

from gateway.stores.cursors import Cursors
from gateway.stores.rows import Corrupt, Ref, seal, unseal
from gateway.stores.schema import COUNTERS, FAILURES, KEPT, SALT, connect_readonly


@dataclass(slots=True)
class Tally:
    """Readings of one meter: committed, never taken, and committed but evicted since."""

    stored: int = 0
    lost: int = 0
    evicted: int = 0
    #: kept apart, because they cannot be
    quarantined: int = 0
    #: found after the counters that knew them were lost: received, too
    recovered: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the tally by the names of telemetry.COUNTERS."""
        return {
            "stored": self.stored,
            "quarantined": self.quarantined,
            "journal_lost": self.lost,
            "journal_evicted": self.evicted,
        }


#: telemetry.COUNTERS that the journal counts itself
TALLIES = frozenset(Tally().as_dict())


@dataclass(slots=True)
class State:
    """In memory this is the truth; the file has a copy that every commit brings up to date."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    #: names this journal, also after a salvage
    store: bytes = field(default_factory=lambda: secrets.token_bytes(8))
    cursors: Cursors = field(default_factory=Cursors)
    #: highest sequence number of each meter that may have been given out
    reserved: dict[str, int] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    #: what each meter goes on from, by table of schema.KEPT and meter, as gateway.trust and gateway.sub_meters pack it
    kept: dict[tuple[str, str], bytes] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    layouts: dict[int, bytes] = field(default_factory=dict)
    next_layout: int = 1
    #: False where numbers may have been given out that this state does not know
    complete: bool = True

    def tally(self, meter: str) -> Tally:
        """Return the tally of a meter, a new one for a new meter."""
        return self.tallies.setdefault(meter, Tally())


class _Saved(msgspec.Struct, array_like=True, frozen=True):
    """The counters of one meter as the file holds them; the names change seldom, and are a layout."""

    meter: int
    names: Ref
    values: tuple[int, ...]
    tally: tuple[int, ...]


class Meter(msgspec.Struct, array_like=True, frozen=True):
    """A row of table `meter`."""

    name: str
    reserved: int


_encode = msgspec.msgpack.Encoder().encode
_decode_saved = msgspec.msgpack.Decoder(tuple[_Saved, ...]).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode
decode_meter = msgspec.msgpack.Decoder(Meter).decode
#: how many groups back the counters are looked for when those of the last are damaged
LOOK_BACK = 64
#: layouts that a new process knows from the start
WARM = 256


def encode_meter(number: int, meter: Meter) -> bytes:
    """Pack and seal a row of table `meter`."""
    return seal(_encode(meter), "meter", number)


def encode_counters(numbers: dict[str, int], saved: dict[str, tuple[Ref, tuple[int, ...]]], state: State) -> bytes:
    """Pack and seal the counters of all meters, the tallies of this very moment among them."""
    rows = []
    for name, (names, values) in saved.items():
        tally = state.tally(name)
        rows.append(_Saved(numbers[name], names, values, astuple(tally)))
    return seal(_encode(rows), COUNTERS)


def read_meters(db: sqlite3.Connection) -> dict[int, Meter]:
    """Meters by their number. Raises Corrupt."""
    return {number: _decoded_meter(unseal(data, "meter", number)) for number, data in db.execute("SELECT * FROM meter")}


def read_layout(db: sqlite3.Connection, number: int) -> bytes:
    """A layout by its number. Raises Corrupt."""
    found = db.execute("SELECT data FROM layout WHERE id = ?", (number,)).fetchone()
    return unseal(found[0] if found else None, "layout", number)


def read_state(db: sqlite3.Connection) -> State:
    """Everything that a restart goes on from. Raises Corrupt, FAILURES."""
    try:
        return _state(db)
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise Corrupt(f"its state is damaged: {error}") from error


def _state(db: sqlite3.Connection) -> State:
    found = db.execute("SELECT data FROM meta WHERE id = ?", (SALT,)).fetchone()
    meters = read_meters(db)
    state = State(reserved={meter.name: meter.reserved for meter in meters.values()})
    state.salt = state.salt if found is None else unseal(found[0], SALT)
    layouts = db.execute("SELECT id, data FROM layout ORDER BY id DESC LIMIT ?", (WARM,))
    state.layouts = {number: unseal(data, "layout", number) for number, data in layouts}
    state.next_layout = max(state.layouts, default=0) + 1
    state.kept = _kept(db, meters)
    for row in _last_counters(db):
        name = meters[row.meter].name
        names = row.names if isinstance(row.names, bytes) else read_layout(db, row.names)
        state.tallies[name] = Tally(*row.tally)
        state.counters[name] = dict(zip(_decode_names(names), row.values, strict=True)) | state.tallies[name].as_dict()
    return state


def _kept(db: sqlite3.Connection, meters: Mapping[int, Meter]) -> dict[tuple[str, str], bytes]:
    """What each meter goes on from; a file of an older version lacks tables. Raises Corrupt."""
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {
        (table, meters[number].name): unseal(data, table, number)
        for table in KEPT
        if table.encode() in there
        for number, data in db.execute(f"SELECT meter, data FROM {table}")  # noqa: S608 - a constant
    }


def salvage_state(path: Path) -> State:
    """As much of the state as a damaged file, or one on a failing medium, still gives; `complete` is False."""
    state = State()
    try:
        db = connect_readonly(path)
    except FAILURES:
        return _incomplete(state)
    try:
        state = read_state(db)
    except (*FAILURES, Corrupt):
        state = _fragments(db)
    finally:
        db.close()
    return _incomplete(state)


def after_damage(reserved: int) -> int:
    """A sequence number above all that were given out, when nobody knows them: the wall clock in ms is ahead of any."""
    return max(reserved, time.time_ns() // 1_000_000)


def _incomplete(state: State) -> State:
    state.complete = False
    # Numbers of layouts that cannot be known are passed over in one leap.
    state.next_layout = (1 << 24) + secrets.randbelow(1 << 30)
    state.layouts = {}
    return state


def _fragments(db: sqlite3.Connection) -> State:
    state = State()
    fresh = state.salt
    with suppress(*FAILURES, Corrupt, TypeError):
        state.salt = unseal(db.execute("SELECT data FROM meta WHERE id = ?", (SALT,)).fetchone()[0], SALT)
    with suppress(*FAILURES, Corrupt):
        meters = read_meters(db)
        state.reserved = {meter.name: meter.reserved for meter in meters.values()}
        # Pseudonyms of another salt name nobody: every sub-meter would look exchanged.
        kept = _kept(db, meters).items()
        state.kept = {key: data for key, data in kept if key[0] != "sub_meter" or state.salt != fresh}
    return state


def _last_counters(db: sqlite3.Connection) -> tuple[_Saved, ...]:
    rows = db.execute("SELECT data FROM record WHERE meter = ? ORDER BY id DESC LIMIT ?", (COUNTERS, LOOK_BACK))
    for (data,) in rows:
        try:
            return _decode_saved(unseal(data, COUNTERS))
        except (Corrupt, msgspec.DecodeError):
            continue
    return ()


def _decoded_meter(data: bytes) -> Meter:
    try:
        return decode_meter(data)
    except msgspec.DecodeError as error:
        raise Corrupt("a meter is damaged") from error


def encode_names(names: tuple[str, ...]) -> bytes:
    """Pack the names of counters, a layout."""
    return _encode(names)
