"""Opens journal and ledger as the configuration has them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.beats import Beat
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.stores.journal import Journal
    from gateway.stores.ledger import Ledger

#: how long a group of readings is, by the mode of the journal (s)
GROUP_S = {"normal": 10.0, "saver": 60.0}
MIB = 1 << 20
DAY_S = 86_400


class Kept(NamedTuple):
    """What each meter has, by its name: the journal keeps it with each group that it commits."""

    counters: Callable[[], Mapping[str, Mapping[str, int]]]
    trust: Callable[[], Mapping[str, bytes]]
    sub_meters: Callable[[], Mapping[str, bytes]]
    series: Callable[[], Mapping[str, bytes]]


def open_journal(settings: Settings, kept: Kept, beat: Beat) -> "Journal":
    """Open or create the journal and start it; `beat` gets its signs of life. Raises JournalError."""
    from gateway.stores.journal import Journal

    table = settings.journal
    journal = Journal(
        Path(table.path),
        max_bytes=table.max_mib * MIB,
        max_age_s=table.max_days * DAY_S,
        group_s=GROUP_S[table.mode],
        meters=[meter.name for meter in settings.meter],
        save_counters=kept.counters,
        save_trust=kept.trust,
        save_sub_meters=kept.sub_meters,
        save_series=kept.series,
        beat=beat,
    )
    journal.start()
    return journal


def open_ledger(settings: Settings, beat: Beat) -> "Ledger":
    """Open or create the ledger and start it; `beat` gets its signs of life. Raises LedgerError."""
    from gateway.stores.ledger import Ledger

    ledger = Ledger(settings.ledger_path, beat=beat)
    ledger.start()
    return ledger
