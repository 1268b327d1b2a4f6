"""Attempts and what came of them: what is final opens no more, and a message is as bad as the worst of its parts."""

from hashlib import sha256

import msgspec

from gateway.hub_model import FINAL, Message, Receipt, State
from gateway.stores import hub_rows as rows
from gateway.stores import hub_words as words
from gateway.stores.hub_reading import Listed
from gateway.stores.hub_rows import Answered, Head
from gateway.stores.hub_writing import UPLOADER, GoneError, HubWriting


class HubSettling(HubWriting):
    """Messages on their way."""

    def begin(self, message: Message, now: int) -> Message:
        """Note that an attempt begins: durable before the first byte leaves. GoneError when it may not leave any more.

        A message in `sending` may not begin again: `recover` it first.
        """
        with self._file.writing():
            one = self._again(message)
            if one.state in FINAL or one.state == "sending":
                raise GoneError(f"message {one.id} of {one.hub} is {one.state}: it is not sent")
            if not self._has_body(one.id):
                raise GoneError(f"the bytes of message {one.id} of {one.hub} were lost: it is not sent")
            first = one.head.first if one.head.first is not None else now
            head = msgspec.structs.replace(one.head, first=first, since=now, attempts=one.head.attempts + 1)
            one = self._put(one, head, "sending", one.due)
        return self._like(message, one)

    def recover(self, hub: str, now: int) -> list[Listed]:
        """At start: nobody knows what came of an attempt that a death cut short; what was lost waits for a person.

        Those attempts, due at once; what is given is what they were before.
        """
        found = self.in_state(hub, "sending")
        with self._file.writing():
            self._own_lost(hub, now)
            for one in found:
                answer = Answered(at=now, who=UPLOADER, what="recover", state="unknown")
                self._end_attempt(one, answer)
        return found

    def settle(  # noqa: PLR0913, PLR0917 - an answer and what follows of it
        self, message: Message, receipt: Receipt, state: State, due: int, now: int, actor: str = UPLOADER
    ) -> Message:
        """Keep an answer, and put the message (or the parts that it is about) into a state, to be looked at at `due`.

        What is final opens no more. A message is final when all its parts are: rejected when one of them is.
        GoneError when there is no such message.
        """
        with self._file.writing():
            one = self._settle(self._again(message), receipt, state, due, now, actor)
        return self._like(message, one)

    def _settle(  # noqa: PLR0913, PLR0917 - as `settle`
        self, one: Listed, receipt: Receipt, state: State, due: int, now: int, who: str
    ) -> Listed:
        split = one.head.split or bool(receipt.transactions)
        if receipt.transactions:
            new = self._settle_parts(one, receipt, state)
        else:
            new = self._settle_rest(one, state) if split else rows.after(one.state, state)
        if receipt.verdict == "pending" and new == one.state:
            return self._put(one, _in_time(one.head, now), new, None if new in FINAL else due)
        digest = sha256(receipt.raw).hexdigest() if receipt.raw else None
        answer = rows.answered(receipt, now, who, new, digest)
        self._keep_answer(one, answer, receipt.raw)
        changed = new != one.state
        head = msgspec.structs.replace(
            one.head,
            split=split,
            since=now if changed else one.head.since,
            reasons=answer.reasons if answer.reasons or changed else one.head.reasons,
            reference=answer.reference or one.head.reference,
        )
        return self._put(one, head, new, None if new in FINAL else due)

    def _settle_parts(self, one: Listed, receipt: Receipt, state: State) -> State:
        """Put the parts that an answer names into a state; what follows for the message."""
        states = []
        for row, transaction, data in self._part_rows(one.id):
            # once its message is final, each part keeps the end that it had
            own = data.state or (one.state if one.state in FINAL else None)
            reasons = data.reasons
            if transaction in receipt.transactions:
                own = rows.after(own or one.state, state)
                reasons = words.kept(receipt.told.get(transaction) or receipt.reasons) or reasons
            if own != data.state or reasons != data.reasons:
                self._put_part(row, one.hub, transaction, data, own, reasons)
            states.append(own or one.state)
        # an attempt that says something of some parts ended, and says nothing of the others
        otherwise: State = "unknown" if one.state == "sending" else one.state
        return rows.of_parts(states, otherwise) if states else otherwise

    def _settle_rest(self, one: Listed, state: State) -> State:
        """Put all parts that are not final into a state; what follows for the message."""
        states: list[State] = []
        for row, transaction, data in self._part_rows(one.id):
            judged = data.state is not None and data.state in FINAL and state != "rejected"
            own = data.state if judged and data.state else rows.after(data.state or one.state, state)
            states.append(own)
            # what is not judged goes with its message
            apart = own if own in FINAL else None
            if apart != data.state:
                self._put_part(row, one.hub, transaction, data, apart, data.reasons)
        return rows.of_parts(states, state)

    def _end_attempt(self, one: Listed, answer: Answered) -> None:
        self._keep_answer(one, answer, b"")
        due = answer.at if one.head.way == "auto" else rows.NEVER
        self._put(one, msgspec.structs.replace(one.head, since=answer.at), "unknown", due)


def _in_time(head: Head, now: int) -> Head:
    """A message of a time when the clock was ahead: what is counted from its last attempt begins now."""
    if head.since <= now:
        return head
    first = None if head.first is None else min(head.first, now)
    return msgspec.structs.replace(head, since=now, first=first)
