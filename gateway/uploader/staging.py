"""From parts that are due to stored messages: bundled within the hub's bounds, built, validated, with ids and bytes.

Parts are taken some at a time, and none while messages wait to be sent: so a hub that is away fills neither memory nor
the ledger, and what is sent at last is what is true then.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gateway.hub_model import Draft, Event, PartRow, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.calendar import FIXED
from gateway.stores.hubs import HubStore, IdTakenError, SlotBusyError
from gateway.uploader.hub import Build, BuildError, HubAdapter
from gateway.uploader.parts import Due
from gateway.uploader.permissions import CONFIG
from gateway.uploader.plan import Plan

#: intervals in memory at once (some hundred octets each), and messages of one transaction
MOST_INTERVALS, MOST_DRAFTS = 24_000, 64
#: days that are known as refused here
MOST_REFUSED: Final = 10_000

_log = logging.getLogger(__name__)


def new_id() -> str:
    """An id unlike every other one, of 36 characters."""
    return str(uuid.uuid4())


class Staging:
    """Stores what the plan finds due, for one hub, in its thread."""

    def __init__(
        self, hub: HubSettings, adapter: HubAdapter, store: HubStore, tell: Callable[[Event], None], ground: str | None
    ) -> None:
        self._hub = hub
        self._adapter = adapter
        self._store = store
        self._tell = tell
        self._ground = ground
        #: slots that the adapter refused here, with code and reason: the last MOST_REFUSED
        self._refused: dict[Slot, tuple[str, str]] = {}

    @property
    def trouble(self) -> str | None:
        """What keeps days here, as a sentence."""
        _, why = next(iter(self._refused.values()), ("", ""))
        least = "at least " if len(self._refused) == MOST_REFUSED else ""
        return f"{least}{len(self._refused)} days are not sent: {why}" if self._refused else None

    def slices(self, dues: Iterator[Due]) -> Iterator[list[Due]]:
        """Parts that are built together: of one ground, and never more than memory should hold."""
        taken: list[Due] = []
        for due in dues:
            if taken and (len(taken) >= self._most or due.row.basis != taken[0].row.basis):
                yield taken
                taken = []
            taken.append(due)
        if taken:
            yield taken

    def stage(self, dues: Sequence[Due], plan: Plan, now: int) -> int:
        """Build and store; the number of messages. What is refused here is told, and the rest goes on."""
        try:
            drafts = self._adapter.build([due.part for due in dues], self._build(now))
            self._store.stage(self._hub.name, _own(drafts, dues), now, ground=self._ground_of(dues))
        except BuildError as error:
            return self._apart(dues, plan, error, now)
        except (SlotBusyError, IdTakenError) as error:
            if len(dues) == 1:
                _log.info("hub %s: %s", self._hub.name, error)
                return 0  # what is in its place may be older: compared in the next round
            return sum(self.stage([due], plan, now) for due in dues)
        for due in dues:
            self._accept(due.part.slot, now)
        plan.staged(dues)
        return len(drafts)

    def ask(self, drafts: Sequence[Draft], notes: Mapping[str, bytes], now: int) -> None:
        """Store requests, and with them what says that they are made."""
        self._store.stage(self._hub.name, drafts, now, ground=self._hub.legal_basis, notes=notes)

    def about(self, now: int) -> Build:
        """What building needs."""
        return self._build(now)

    @property
    def _most(self) -> int:
        """Parts that are built at once: a bundle, or as many bundles of a few parts as a transaction takes."""
        policy, step = self._adapter.policy, FIXED[self._hub.resolution]
        intervals = 90_000 // step
        bundle = max(1, min(policy.max_parts, self._hub.bundle or policy.max_parts, policy.max_intervals // intervals))
        room = max(1, MOST_INTERVALS // intervals)
        return min(bundle, room) if bundle * MOST_DRAFTS > room else bundle * MOST_DRAFTS

    def _build(self, now: int) -> Build:
        return Build(self._hub, now, new_id)

    def _ground_of(self, dues: Sequence[Due]) -> str | None:
        basis = dues[0].row.basis
        return self._ground if basis == CONFIG else f"permission {basis}"

    def _apart(self, dues: Sequence[Due], plan: Plan, error: BuildError, now: int) -> int:
        """Find the parts that are refused: those that the error names, else by halves."""
        named = [due for due in dues if due.part.slot in error.slots]
        if len(dues) == 1 or (named and len(named) == len(dues)):
            for due in dues:
                self._refuse(due, plan, error, now)
            return 0
        if named:
            for due in named:
                self._refuse(due, plan, error, now)
            return self.stage([due for due in dues if due.part.slot not in error.slots], plan, now)
        half = len(dues) // 2
        return self.stage(dues[:half], plan, now) + self.stage(dues[half:], plan, now)

    def _refuse(self, due: Due, plan: Plan, error: BuildError, now: int) -> None:
        plan.refused(due)
        slot, said = due.part.slot, (error.code, str(error))
        if self._refused.get(slot) != said:
            self._refused.pop(slot, None)
            self._refused[slot] = said
            if len(self._refused) > MOST_REFUSED:
                del self._refused[next(iter(self._refused))]
            text = f"{slot.direction} of {slot.point} is not sent, the hub would refuse it: {error}"
            self._tell(Event(error.code, self._hub.name, "error", text, now, _key(slot)))

    def _accept(self, slot: Slot, now: int) -> None:
        if (said := self._refused.pop(slot, None)) is not None:
            text = f"{slot.direction} of {slot.point} goes to the hub now"
            self._tell(Event(said[0], self._hub.name, "info", text, now, _key(slot), recovered=True))


def _key(slot: Slot) -> str:
    return f"{slot.point} {slot.direction} {slot.start}"


def _own(drafts: Sequence[Draft], dues: Sequence[Due]) -> list[Draft]:
    """The drafts with what the store is to keep of each part: content and ground are ours to say."""
    rows: Mapping[str, PartRow] = {due.part.transaction: due.row for due in dues}
    own = [replace(draft, parts=tuple(rows[part.transaction] for part in draft.parts)) for draft in drafts]
    carried = [part.transaction for draft in own for part in draft.parts]
    if sorted(carried) != sorted(rows):
        raise BuildError("the adapter did not put each part into one message", code="adapter_error")
    return own
