"""Brings each stored message to a final state: one attempt after the other, same bytes, same ids (docs/hubs/README.md).

Before the first octet leaves, the store says `sending`; a process that dies there finds it so, and the outcome counts
as unknown. What is unknown is asked about where the hub can be asked, and sent again as it is where it cannot: a hub
that has it answers `duplicate`, which is as good as accepted.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gateway.hub_model import FINAL, Event, Message, PartRow, Reason, Receipt, State, Verdict
from gateway.hub_settings import HubSettings
from gateway.stores.hubs import GoneError, HubStore
from gateway.uploader.hub import HubAdapter, Policy, Session, SessionError
from gateway.uploader.line import Line
from gateway.uploader.permissions import CONFIG, Grounds
from gateway.uploader.telling import Telling

#: a hub that can be asked is believed to be still at work on an unknown message for so long (s)
QUIET_S: Final = 60
#: an accepted message of which nothing can be learnt meanwhile is looked at so often (s)
LOOK_S: Final = 3_600
#: what waits for the permission administrator is looked at so often (s)
HELD_S: Final = 60
#: code of the reason why an accepted message is given up
NO_VERDICT: Final = "no_verdict"
#: note: people were told that the hub is down or blocked, and not yet that it is back
DOWN: Final = "uploader.down"
_DAY_S: Final = 86_400
#: what a verdict that decides makes of a message
DECIDED: Final[Mapping[Verdict, State]] = {
    "confirmed": "confirmed",
    "accepted": "accepted",
    "duplicate": "accepted",
    "rejected": "rejected",
}

_log = logging.getLogger(__name__)


class Delivery:
    """The messages of one hub, in its thread."""

    def __init__(  # noqa: PLR0913 - what it works with, by name
        self,
        hub: HubSettings,
        adapter: HubAdapter,
        store: HubStore,
        session: Session,
        *,
        grounds: Grounds,
        line: Line,
        clock: Callable[[], float],
        tell: Callable[[Event], None],
    ) -> None:
        self._hub = hub
        self._adapter = adapter
        self._store = store
        self._session = session
        self._grounds = grounds
        self._line = line
        self._clock = clock
        self._telling = Telling(hub.name, tell, clock)
        #: when the inbox was emptied last (UTC s); until then silence says nothing
        self.heard = 0
        #: the last attempt reached the hub, and nothing came of it: that its queue can be read does not heal that
        self._vain = False
        if store.note(hub.name, DOWN):
            line.resume()

    def work(self, message: Message) -> None:
        """Do what is due of an open message. Raises Damaged and StorageFault; nothing of what a hub does."""
        now = self._now()
        try:
            if (reason := self._hindrance(message, now)) is not None:
                self._drop(message, reason, now)
            elif message.state == "new":
                self._attempt(message)
            elif message.state == "unknown":
                self._resolve(message, now)
            elif message.state == "accepted":
                self._follow(message, now)
            else:
                self._store.recover(self._hub.name, now)
        except GoneError as error:
            self._leave(message, str(error), now)

    def _leave(self, message: Message, why: str, now: int) -> None:
        """A message that cannot go: cancelled meanwhile, or its bytes were lost; it holds up no other."""
        _log.info("hub %s: %s", self._hub.name, why)
        with suppress(GoneError):
            left = self._store.settle(message, Receipt("pending"), message.state, now + LOOK_S, now)
            if left.state not in FINAL:
                self._telling.stuck(message, why)

    def heard_of(self, message: Message, receipt: Receipt) -> list[tuple[Message, Receipt, State]]:
        """What the store is to keep of something that the hub says of a message, in this order."""
        said: list[tuple[Message, Receipt, State]] = [(message, receipt, DECIDED.get(receipt.verdict, message.state))]
        if receipt.verdict == "rejected" and receipt.transactions and self._confirm_after_s is None:
            # a hub that answers each document, and refuses some of its parts, has taken the others
            said.append((message, Receipt("confirmed", receipt.reasons), "confirmed"))
        elif receipt.verdict == "rejected" and receipt.transactions and message.state == "sending":
            said.append((message, Receipt("accepted", status=receipt.status), "accepted"))
        return said

    def judged(self, message: Message, receipt: Receipt) -> None:
        """Tell what a hub's word means for people."""
        if receipt.verdict == "rejected":
            self._telling.rejected(message, receipt)
        elif receipt.verdict == "confirmed":
            self._telling.repaired(message, receipt, self._was_refused)

    def tell_again(self, message: Message) -> None:
        """Tell of a message what was refused and is nowhere else, and what is there that was refused before."""
        refused = [one for one in message.parts if one.state == "rejected" and self._is_last(message, one)]
        there = frozenset(one.transaction for one in message.parts if one.state == "confirmed")
        reasons = message.reasons
        if refused or (message.state == "rejected" and not message.parts):
            told = {one.transaction: one.reasons for one in refused if one.reasons}
            self.judged(message, Receipt("rejected", reasons, transactions=frozenset(_ids(refused)), told=told))
        if there:
            self.judged(message, Receipt("confirmed", transactions=there))
        self._telling.foreign(message, Receipt("unknown", reasons))

    def tell_given_up(self, message: Message, reason: Reason) -> None:
        """Tell of a message that is dead."""
        self._telling.given_up(message, reason)

    def _is_last(self, message: Message, part: PartRow) -> bool:
        """Whether nothing was sent of a day since."""
        row = self._store.slot(self._hub.name, part.slot)
        return row is not None and row.last == message.id

    def _was_refused(self, part: PartRow) -> bool:
        """Whether a part, or what it corrects, was refused, and nothing was confirmed since."""
        row = self._store.slot(self._hub.name, part.slot) if part.revision > 1 else None
        return part.state == "rejected" or (row is not None and row.refused and row.revision == part.revision)

    def _due_of(self, state: State, message: Message, now: int) -> int:
        """When a message is to be looked at again."""
        if state != "accepted":
            return now
        policy = self._policy
        waits = [LOOK_S, policy.query_s, self._confirm_after_s or 0, policy.resend_after_s or 0]
        if message.kind == "request":
            waits.append(policy.answer_within_s)
        return now + min(wait for wait in waits if wait > 0)

    def _drop(self, message: Message, reason: Reason, now: int) -> None:
        """Give a message up; parts that may go, or may go again one day, are staged anew in a document of their own."""
        is_over = reason.code == NO_VERDICT
        left = () if is_over else [one.slot for one in message.parts if one.state not in FINAL and self._goes(one, now)]
        self._store.withdraw(message, reason.text, now, left)
        self._telling.given_up(message, reason)

    def _goes(self, part: PartRow, now: int) -> bool:
        """Whether a part may leave, but for its message; a point may come back into the configuration."""
        stays = part.basis == CONFIG or self._grounds.again((part,), now)
        return not self._is_old(part, now) and (stays or self._grounds.missing((part,), now) is None)

    def _is_old(self, part: PartRow, now: int) -> bool:
        return part.end < now - self._policy.correction_days * _DAY_S

    def failed(self, error: SessionError) -> None:
        """A request that was about no message had no answer."""
        receipt, now = receipt_of(error, None), self._now()
        self._rest(receipt, now)

    def withdraw(self, message: Message, now: int) -> None:
        """Give a message up at once where its ground ended."""
        if message.parts and (reason := self._grounds.missing(message.parts, now)) is not None:
            self._drop(message, reason, now)

    # -- one step ------------------------------------------------------------------------------------------------------

    def _hindrance(self, message: Message, now: int) -> Reason | None:
        """Why a message may not leave any more: no ground, or too old for the hub."""
        if message.kind != "readings" or message.state == "accepted":
            return None
        if (reason := self._grounds.missing(message.parts, now)) is not None:
            return reason
        if any(self._is_old(part, now) for part in message.parts):
            return Reason("too_old", f"the hub takes data of the last {self._policy.correction_days} days only")
        return None

    def _attempt(self, message: Message) -> None:
        """Send once, unless nobody knows whether it may leave. Whoever cancelled it meanwhile wins."""
        before, now = message.state, self._now()
        if self._grounds.held(message.parts, now):
            self._settle(message, Receipt("pending"), before, now + HELD_S)
            return
        begun = self._store.begin(message, self._now())
        receipt = self._call(self._adapter.send, begun)
        now = self._now()
        if receipt.verdict == "pending":
            receipt = Receipt("unknown", receipt.reasons, receipt.retry_after_s, receipt.reference)
        elif receipt.verdict == "rejected" and not receipt.judged and before != "new":
            # an earlier attempt may have arrived, and nobody has judged that one
            receipt = replace(receipt, verdict="unknown")
        self._take(begun, receipt, before, now)

    def _take(self, message: Message, receipt: Receipt, before: State, now: int) -> None:
        """Act on what an attempt or a query said. `before` is the state to which a vain one goes back."""
        if receipt.verdict in DECIDED:
            self._decide(message, receipt, now)
            return
        wait = self._line.pause_s(max(1, message.attempts), receipt.retry_after_s)
        state: State = "unknown" if receipt.verdict == "unknown" and before in ("new", "unknown", "sending") else before
        # what never left this host is not held back itself: the oldest goes first when the hub can be reached again
        kept = state == "new" and receipt.verdict == "busy" and receipt.status is None
        self._settle(message, receipt, state, min(message.due, now) if kept else now + wait)
        self._vain = receipt.verdict == "unknown" or receipt.status is not None
        self._telling.foreign(message, receipt)
        self._rest(receipt, now, whole=kept)

    def _rest(self, receipt: Receipt, now: int, *, whole: bool = False) -> None:
        """The hub did not serve us: leave it alone for a while, or until a person acts."""
        why = "; ".join(text for _, text in receipt.reasons) or "no answer"
        if receipt.verdict == "blocked":
            if self._line.block(why, now):
                self._store.remember(self._hub.name, DOWN, b"blocked")
                self._telling.blocked(why)
            return
        self._telling.vain(why)
        was_down = self._line.is_down
        self._line.failed(why, now, receipt.retry_after_s, whole=whole)
        if self._line.is_down and not was_down:
            self._store.remember(self._hub.name, DOWN, b"down")
            self._telling.down(why)

    def _decide(self, message: Message, receipt: Receipt, now: int) -> None:
        """The hub has judged, or has received."""
        self._served()
        for one, said, state in self.heard_of(message, receipt):
            self._settle(one, said, state, self._due_of(state, message, now))
        self.judged(message, receipt)

    def _served(self) -> None:
        """The hub took or judged a message: say so where it did not before."""
        self._vain = False
        if self._line.good():
            self._telling.back()
            self._store.remember(self._hub.name, DOWN, b"")

    def answered(self) -> None:
        """The hub answers what it is asked: it serves us, unless it does so while messages go to it in vain."""
        if self._vain:
            counts = self._store.counts(self._hub.name)
            self._vain = bool(counts["new"] + counts["sending"] + counts["unknown"])
        if not self._vain:
            self._served()

    def _resolve(self, message: Message, now: int) -> None:
        """Find out what came of an attempt: ask, else send the same once more."""
        if self._policy.query_s:
            receipt = self._call(self._adapter.query, message)
            if receipt.verdict != "pending":
                self._take(message, receipt, "unknown", self._now())
                return
            self.answered()
            quiet = min(QUIET_S, self._policy.resend_after_s or QUIET_S)
            if now - message.since < quiet:
                self._settle(message, receipt, "unknown", now + max(1, quiet // 4))
                return
        self._attempt(message)

    def _follow(self, message: Message, now: int) -> None:
        """An accepted message: ask, wait for the inbox, or for the time in which a hub says no."""
        if self._policy.query_s:
            receipt = self._call(self._adapter.query, message)
            now = self._now()
            if receipt.verdict not in ("pending", "accepted", "duplicate"):
                self._take(message, receipt, "accepted", now)
                return
            self.answered()
        age, silence, lost = now - message.since, self._confirm_after_s, self._policy.resend_after_s
        if message.kind == "readings" and silence is not None and age >= silence and self._heard(message, silence):
            self._confirm(message, silence, now)
        elif now - (message.first or message.created) >= self._policy.give_up_s:
            self._drop(message, Reason(NO_VERDICT, "the hub received it, and said nothing more of it"), now)
        elif lost is not None and age >= lost:
            self._send_again(message, now)
        else:
            self._telling.waits(message, age, self._policy.answer_within_s)
            self._settle(message, Receipt("pending"), "accepted", self._due_of("accepted", message, now))

    def _send_again(self, message: Message, now: int) -> None:
        """Some hubs accept, and lose: the same bytes under the same ids once more."""
        if (reason := self._grounds.missing(message.parts, now)) is not None:
            self._drop(message, reason, now)
        else:
            self._attempt(message)

    def _confirm(self, message: Message, silence: int, now: int) -> None:
        said = Reason("not_rejected", f"the hub did not refuse it within {silence} s")
        receipt = Receipt("confirmed", (said,))
        self._settle(message, receipt, "confirmed", now)
        self.judged(message, receipt)

    def _heard(self, message: Message, silence: int) -> bool:
        """Whether a refusal would have been seen: the inbox was emptied after the time was over."""
        # not by a clock that was ahead then
        return not self._policy.inbox_s or message.since + silence <= self.heard <= self._now()

    # -- tools ---------------------------------------------------------------------------------------------------------

    def _call(self, ask: Callable[[Session, Message], Receipt], message: Message) -> Receipt:
        try:
            return ask(self._session, message)
        except SessionError as error:
            return receipt_of(error, self._session.certificate)

    def _settle(self, message: Message, receipt: Receipt, state: State, due: int) -> None:
        self._store.settle(message, receipt, state, due, self._now())

    @property
    def _policy(self) -> Policy:
        return self._adapter.policy

    @property
    def _confirm_after_s(self) -> int | None:
        """How long a hub that confirms nothing may take to refuse (s)."""
        own = self._policy.confirm_after_s
        return own if own is None else self._hub.confirm_after_s or own

    def _now(self) -> int:
        return int(self._clock())


def _ids(parts: Iterable[PartRow]) -> Iterator[str]:
    return (one.transaction for one in parts)


def receipt_of(error: SessionError, certificate: str | None) -> Receipt:
    """What a request without an answer says of its message."""
    verdict: Verdict = "unknown" if error.sent else "blocked" if error.person else "busy"
    return Receipt(verdict, (Reason("session", str(error)),), error.retry_after_s, certificate=certificate)
