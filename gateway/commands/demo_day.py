"""The day before, in the demo: telegrams of the simulated meter, decoded into the journal as they would have come.

Everything is real but the waiting: the telegrams are those that the simulated meter sends, with its keys, and the
decoder is that of the daemon, which then folds and validates what the journal holds.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from decoders.decoder import Decoder, Security
from decoders.model import Reading
from gateway import profiles
from gateway.item_p import ItemP, stamp
from gateway.key_material import read_material
from gateway.stores.journal import Journal

#: telegrams at each full minute: bounds of intervals are met exactly
STEP_S = 60
#: a day is validated a quarter of an hour after its end
SETTLED = timedelta(minutes=20)
PIECE = 65_536
PROFILE = "lu-smarty-encrypted"
ZONE = ZoneInfo("Europe/Luxembourg")


def last_day(now: datetime) -> tuple[datetime, int]:
    """First second (UTC) of the last local day that is over and settled, and the telegrams from there until `now`."""
    local = (now - SETTLED).astimezone(ZONE)
    start = datetime.combine(local.date() - timedelta(1), datetime.min.time(), ZONE).astimezone(UTC)
    return start, int((now - start).total_seconds()) // STEP_S


def keep(capture: Path, keys: Path, journal: Path, meter: str) -> int:
    """Decode a capture into a new journal; how many readings that are. Raises KeyFileError, OSError, JournalError."""
    store = Journal(journal, max_bytes=256 << 20, max_age_s=400 * 86_400, group_s=60, meters=[meter])
    store.start()
    count = 0
    for item in _items(capture, keys, meter, store):
        store.append(item)
        count += 1
    store.cut()
    store.close(30)
    return count


def energy(truth: Path, start: datetime) -> dict[str, int]:
    """What the simulated meter says that it counted on the local day from `start`, in Wh, by direction."""
    end = (start.astimezone(ZONE).replace(tzinfo=None) + timedelta(1)).replace(tzinfo=ZONE)
    rows = (json.loads(line)["item_p"] for line in truth.read_text().splitlines())
    counted = {datetime.fromisoformat(row["t"]): row for row in rows}
    first, last = counted[start], counted[end.astimezone(UTC)]
    names = {"consumption": "a_import_wh", "production": "a_export_wh"}
    return {direction: last[name] - first[name] for direction, name in names.items()}


def _items(capture: Path, keys: Path, meter: str, store: Journal) -> Iterator[ItemP]:
    security = Security(keys=read_material(keys, None, private=False).keys(), min_auth="verified")
    decoder = Decoder([profiles.load(PROFILE)], ZoneInfo, security=security)
    with capture.open("rb") as stream:
        pieces = iter(lambda: stream.read(PIECE), b"")
        for result in (result for piece in pieces for result in decoder.feed(piece)):
            if isinstance(result, Reading):
                yield stamp(result, meter, seq=store.next_seq(meter), t_rx=result.t, max_clock_offset_s=3_600)
