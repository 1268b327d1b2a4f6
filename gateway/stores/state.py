"""What must outlive the file that it stands in: the salt, the numbers given out, counters, tallies and cursors.

At the end of each transaction the file gets one row with counters, tallies and cursors as they are with exactly the
rows before it (`record.meter` = COUNTERS). Whoever opens the file needs the last of these rows only.
"""

import secrets
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

import msgspec

from gateway.stores.cursors import Cursor, Settled
from gateway.stores.files import chunks
from gateway.stores.memory import TALLIES, Draft, Saved, State, Tally
from gateway.stores.rows import Corrupt, Ref, seal, unseal
from gateway.stores.schema import COUNTERS, FAILURES, FLOOR, IDS, KEPT, SALT, STORE, connect_readonly

__all__ = ["TALLIES", "Draft", "Saved", "State", "Tally", "read_state", "salvage_state"]


class _Counted(msgspec.Struct, array_like=True, frozen=True):
    """The counters of one meter as the file holds them; the names change seldom, and are a layout."""

    meter: int
    names: Ref
    values: tuple[int, ...]
    tally: tuple[int, ...]


class _Sink(msgspec.Struct, array_like=True, frozen=True):
    """A cursor."""

    name: str
    position: int
    #: meter, delivered, dead, evicted
    meters: tuple[tuple[int, int, int, int], ...]


class _Snapshot(msgspec.Struct, array_like=True, frozen=True):
    """The row at the end of a transaction."""

    serial: int
    meters: tuple[_Counted, ...]
    sinks: tuple[_Sink, ...]
    #: files set aside, and how far each is copied
    salvages: dict[str, int]


class Meter(msgspec.Struct, array_like=True, frozen=True):
    """A row of table `meter`."""

    name: str
    reserved: int


_encode = msgspec.msgpack.Encoder().encode
_decode_snapshot = msgspec.msgpack.Decoder(_Snapshot).decode
#: the row of schemas 1 to 3, which knew no sinks
_decode_counted = msgspec.msgpack.Decoder(tuple[_Counted, ...]).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode
decode_meter = msgspec.msgpack.Decoder(Meter).decode
#: how many groups back the counters are looked for when those of the last are damaged
LOOK_BACK = 64
#: octets of the smallest row
LEAST_ROW = 16
#: no clock that is set shows less (2025-01-01, ms since 1970): there was no meterd yet
NO_CLOCK_MS = 1_735_689_600_000
#: ms that no clock shows; twice as many are a whole number for every reader of JSON (RFC 8259, clause 6)
BEYOND_CLOCKS = 1 << 51
#: layouts that a new process knows from the start
WARM = 256


def encode_meter(number: int, meter: Meter) -> bytes:
    """Pack and seal a row of table `meter`."""
    return seal(_encode(meter), "meter", number)


def encode_snapshot(numbers: Mapping[str, int], now: Draft) -> bytes:
    """Pack and seal the counters of all meters, and the tallies and cursors of this very moment."""
    counted = tuple(
        _Counted(number, *now.saved.get(name, NO_COUNTERS), astuple(now.tally(name)))
        for name, number in numbers.items()
    )
    sinks = tuple(_Sink(sink, cursor.position, _settled(cursor, numbers)) for sink, cursor in now.cursors.items())
    return seal(_encode(_Snapshot(now.serial, counted, sinks, now.salvages)), COUNTERS)


def _settled(cursor: Cursor, numbers: Mapping[str, int]) -> tuple[tuple[int, int, int, int], ...]:
    return tuple(
        (numbers[name], settled.delivered, settled.dead, settled.evicted)
        for name, settled in cursor.meters.items()
        if name in numbers
    )


def read_meters(db: sqlite3.Connection) -> dict[int, Meter]:
    """Meters by their number. Raises Corrupt."""
    return {number: _decoded_meter(unseal(data, "meter", number)) for number, data in db.execute("SELECT * FROM meter")}


def read_layout(db: sqlite3.Connection, number: int) -> bytes:
    """A layout by its number. Raises Corrupt."""
    found = db.execute("SELECT data FROM layout WHERE id = ?", (number,)).fetchone()
    return unseal(found[0] if found else None, "layout", number)


def read_ids_end(db: sqlite3.Connection) -> int:
    """The id ahead of which all rows are; 0 in a file of before. Raises Corrupt, FAILURES."""
    found = db.execute("SELECT data FROM meta WHERE id = ?", (IDS,)).fetchone()
    return 0 if found is None else int(unseal(found[0], IDS))


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
    found = db.execute("SELECT data FROM meta WHERE id = ?", (STORE,)).fetchone()
    state.store = state.store if found is None else unseal(found[0], STORE)
    found = db.execute("SELECT data FROM meta WHERE id = ?", (FLOOR,)).fetchone()
    state.floor = 0 if found is None else int(unseal(found[0], FLOOR))
    state.ids_end = read_ids_end(db)
    layouts = db.execute("SELECT id, data FROM layout ORDER BY id DESC LIMIT ?", (WARM,))
    state.layouts = {number: unseal(data, "layout", number) for number, data in layouts}
    state.next_layout = max(state.layouts, default=0) + 1
    state.kept = _kept(db, meters)
    _take_up(db, state, {number: meter.name for number, meter in meters.items()})
    return state


def _take_up(db: sqlite3.Connection, state: State, meters: Mapping[int, str]) -> None:
    """Take up counters, tallies and cursors from the last row that holds them. Raises Corrupt, KeyError, FAILURES.

    Readings behind that row are counted here; where another row had to do, a recount is asked for.
    """
    at, last, sound = _last_snapshot(db)
    newest = db.execute("SELECT id FROM record WHERE meter <> ? ORDER BY id DESC LIMIT 1", (COUNTERS,)).fetchone()
    state.cursors.newest = newest[0] if newest else 0
    state.recount = not sound and newest is not None
    for row in last.meters:
        name = meters[row.meter]
        names = row.names if isinstance(row.names, bytes) else read_layout(db, row.names)
        # inside, because a new file after a damaged one has none of its layouts
        state.saved[name] = names, row.values
        state.tallies[name] = Tally(*row.tally)
        state.counters[name] = dict(zip(_decode_names(names), row.values, strict=True)) | state.tallies[name].as_dict()
    state.serial, state.salvages = last.serial, last.salvages
    state.cursors.by_sink = {sink.name: _cursor(sink, meters) for sink in last.sinks}
    state.cursors.ceiling = min(state.salvages.values(), default=None)
    highest = db.execute("SELECT max(id) FROM record").fetchone()[0] or 0
    state.next_id = 1 + max([highest, *(sink.position for sink in last.sinks)])
    for name, n in _count(db, at, meters).items():
        state.tally(name).stored += n
        state.tally(name).recovered += n


def _cursor(sink: _Sink, meters: Mapping[int, str]) -> Cursor:
    return Cursor(
        sink.position,
        {meters[number]: Settled(delivered, dead, evicted) for number, delivered, dead, evicted in sink.meters},
    )


def _count(db: sqlite3.Connection, after: int, meters: Mapping[int, str]) -> dict[str, int]:
    """Count the readings behind a row, by meter."""
    rows = db.execute(
        "SELECT meter, count(*) FROM record WHERE id > ? AND meter <> ? GROUP BY meter", (after, COUNTERS)
    )
    return {meters[number]: n for number, n in rows if number in meters}


def recount(db: sqlite3.Connection, state: State) -> None:
    """Make tallies and cursors those of the rows that are there. Raises FAILURES, Corrupt."""
    meters = {number: meter.name for number, meter in read_meters(db).items()}
    there = _count(db, 0, meters)
    with state.cursors.lock:
        for name in meters.values():
            _correct(state.tally(name), there.get(name, 0))
        for cursor in state.cursors.by_sink.values():
            pending = _count(db, cursor.position, meters)
            for name in meters.values():
                settled = cursor.of(name)
                settled.evicted += state.tally(name).stored - settled.total - pending.get(name, 0)
        state.recount = False


def _correct(tally: Tally, there: int) -> None:
    difference = there - (tally.stored - tally.evicted)
    if difference > 0:
        tally.stored += difference
        tally.recovered += difference
    else:
        tally.evicted -= difference


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
        state.known = False
        return _incomplete(state, path)
    try:
        state = read_state(db)
        state.next_id = max(state.next_id, 1 + _highest(db))
    except (*FAILURES, Corrupt):
        state = _fragments(db)
    finally:
        db.close()
    return _incomplete(state, path)


def after_damage(reserved: int) -> int:
    """A number above all that were given out, when nobody knows them: the wall clock in ms is ahead of any count.

    A clock that is not set may show what it showed before: then it is a random one beyond every clock.
    """
    clock_ms = time.time_ns() // 1_000_000
    if clock_ms < NO_CLOCK_MS and reserved < BEYOND_CLOCKS:
        clock_ms = BEYOND_CLOCKS + secrets.randbelow(BEYOND_CLOCKS)
    return max(reserved, clock_ms)


def _incomplete(state: State, path: Path) -> State:
    state.complete = False
    # So many rows at most may be in what cannot be read; ids have gaps, and the file itself knows how far they go.
    unread = sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.is_file()) // LEAST_ROW
    state.next_id = max(state.next_id + unread, state.ids_end)
    # Numbers of layouts that cannot be known are passed over in one leap.
    state.next_layout = (1 << 24) + secrets.randbelow(1 << 30)
    state.layouts = {}
    return state


def _highest(db: sqlite3.Connection) -> int:
    """The highest id that can be read: behind pages that cannot be, too, for ids have gaps of any size."""
    highest = 0
    with suppress(*FAILURES):
        highest = db.execute("SELECT max(id) FROM record").fetchone()[0] or 0
    for _, rows in chunks(db, "SELECT id FROM record WHERE id > ? ORDER BY id LIMIT ?", highest):
        highest = max(highest, *(entry for (entry,) in rows if isinstance(entry, int)), 0)
    return highest


def _fragments(db: sqlite3.Connection) -> State:
    state = State(known=False)
    fresh = state.salt
    with suppress(*FAILURES, Corrupt, TypeError):
        state.salt = unseal(db.execute("SELECT data FROM meta WHERE id = ?", (SALT,)).fetchone()[0], SALT)
    with suppress(*FAILURES, Corrupt):
        meters = read_meters(db)
        state.reserved = {meter.name: meter.reserved for meter in meters.values()}
        # Pseudonyms of another salt name nobody: every sub-meter, and the meter itself, would look exchanged.
        kept = _kept(db, meters).items()
        state.kept = {key: data for key, data in kept if key[0] == "trust" or state.salt != fresh}
    with suppress(*FAILURES, Corrupt, TypeError):
        state.store = unseal(db.execute("SELECT data FROM meta WHERE id = ?", (STORE,)).fetchone()[0], STORE)
    with suppress(*FAILURES, Corrupt, ValueError):
        state.ids_end = read_ids_end(db)
    with suppress(*FAILURES, Corrupt, KeyError, ValueError):
        _take_up(db, state, {number: meter.name for number, meter in read_meters(db).items()})
        state.known = True
    state.next_id = max(state.next_id, 1 + _highest(db))
    return state


def last_serial(db: sqlite3.Connection) -> int:
    """How often the state was written, as the file has it; 0 where that cannot be read. Raises FAILURES."""
    return _last_snapshot(db)[1].serial


def _last_snapshot(db: sqlite3.Connection) -> tuple[int, _Snapshot, bool]:
    """Id and content of the last row that holds the state, and whether it is the very last, and of this schema."""
    rows = db.execute("SELECT id, data FROM record WHERE meter = ? ORDER BY id DESC LIMIT ?", (COUNTERS, LOOK_BACK))
    for n, (at, sealed) in enumerate(rows):
        try:
            data = unseal(sealed, COUNTERS)
        except Corrupt:
            continue
        try:
            return at, _decode_snapshot(data), n == 0
        except msgspec.DecodeError:
            with suppress(msgspec.DecodeError):
                return at, _Snapshot(0, _decode_counted(data), (), {}), False
    return 0, _Snapshot(0, (), (), {}), False


def _decoded_meter(data: bytes) -> Meter:
    try:
        return decode_meter(data)
    except msgspec.DecodeError as error:
        raise Corrupt("a meter is damaged") from error


def encode_names(names: tuple[str, ...]) -> bytes:
    """Pack the names of counters, a layout."""
    return _encode(names)


#: of a meter that nobody gave counters for
NO_COUNTERS: Saved = (encode_names(()), ())
