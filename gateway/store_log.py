"""What the log says of a store: that it cannot write and that it can again, and what it did to its file."""

from typing import Literal

from gateway import log

#: events by store: it fails; it stores again; something happened to its file
_EVENTS = {
    "journal": ("journal_trouble", "journal_stores", "journal_notice"),
    "ledger": ("ledger_trouble", "ledger_stores", "ledger_notice"),
}


class StoreLog:
    """Says each thing once."""

    def __init__(self, store: Literal["journal", "ledger"]) -> None:
        #: why nothing is stored now, one sentence
        self.trouble: str | None = None
        self._fails, self._stores, self._notice = _EVENTS[store]
        self._notices: list[str] = []

    def look(self, trouble: str | None, notices: list[str]) -> None:
        """Say what changed since the last look: `trouble` and `notices` of the status of the store."""
        if trouble != self.trouble:
            self.trouble = trouble
            log.event(self._fails if trouble else self._stores, reason=trouble)
        for notice in notices:
            if notice not in self._notices:
                log.event(self._notice, reason=notice)
        self._notices = notices
