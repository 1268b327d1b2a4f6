"""What a person, or the end of a permission, makes of a message: carried by hand, given up, tried again."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.hub_model import FINAL, Message, Reason, Receipt, Slot, State
from gateway.stores import hub_rows as rows
from gateway.stores import hub_words as words
from gateway.stores.hub_reading import LOST_NOTE, Listed
from gateway.stores.hub_rows import Answered
from gateway.stores.hub_settling import HubSettling
from gateway.stores.hub_writing import UPLOADER, GoneError, HubError

#: what notes begin with that say how far the uploader came
PROGRESS: Final = "uploader."


class HubActs(HubSettling):
    """Messages that somebody decides about."""

    def hand_over(self, message: Message, who: str, now: int) -> Message:
        """Note that a person carries a message from now on: an attempt by hand, whose outcome a file tells.

        The uploader leaves it alone. GoneError when it may not leave any more.
        """
        begun = self.begin(message, now)
        said = Receipt("unknown", (Reason("by_hand", "a person takes it to the portal, and imports its answer"),))
        return self.settle(begun, said, "unknown", rows.NEVER, now, who)

    def cancel(self, message: Message, who: str, why: str, now: int) -> Message:
        """Give a message up at the word of a person. GoneError when it is final already; HubError of what was lost."""
        with self._file.writing():
            one = self._give_up(message, who, why, now)
        return self._like(message, one)

    def withdraw(self, message: Message, why: str, now: int, wanted: Sequence[Slot] = ()) -> Message:
        """Give a message up because its permission ended, or it is too old; as `cancel`, by the uploader itself.

        `wanted`: of its slots those that are to be sent anew, in the same transaction.
        """
        with self._file.writing():
            one = self._give_up(message, UPLOADER, why, now)
            for slot in wanted:
                self._want(message.hub, slot)
            if wanted:
                self.audit.append("wanted", message.hub, UPLOADER, now, {"message": message.id, "slots": len(wanted)})
        return self._like(message, one)

    def retry(self, message: Message, who: str, now: int) -> Message:
        """An open message is due now; the content of a rejected or dead one is wanted anew, in a new document.

        HubError for a confirmed one, for a request that is over (it is made anew), and for one in mid-attempt.
        """
        with self._file.writing():
            one = self._again(message)
            state, due = self._retry(one, now)
            one = self._act(one, Answered(at=now, who=who, what="retry", state=state), due)
        return self._like(message, one)

    def _give_up(self, message: Message, who: str, why: str, now: int) -> Listed:
        one = self._again(message)
        if one.head.operation == LOST_NOTE:
            raise HubError(f"message {one.id} stands for what was lost with a damaged ledger: retry it, or leave it")
        if one.state in FINAL:
            raise GoneError(f"message {one.id} of {one.hub} is {one.state} already")
        said = (("cancelled", words.printable(why)),)
        return self._act(one, Answered(at=now, who=who, what="cancel", state="dead", reasons=said), None)

    def _retry(self, one: Listed, now: int) -> tuple[State, int | None]:
        """What becomes of a message that a person has tried again: its state, and when it is due."""
        if one.state not in FINAL and (one.head.operation == LOST_NOTE or not self._has_body(one.id)):
            self._retry_lost(one)
            return "dead", None
        if one.state == "sending":
            raise HubError(f"message {one.id} of {one.hub} is being sent: wait for the end of the attempt")
        if one.state == "confirmed":
            raise HubError(f"message {one.id} of {one.hub} is confirmed: the hub has it")
        if one.state not in FINAL and one.head.way == "manual":
            raise HubError(f"message {one.id} of {one.hub} is carried by a person: import the answer, or cancel it")
        if one.state not in FINAL:
            return one.state, now
        if not one.head.parts:
            raise HubError(f"message {one.id} of {one.hub} is a request that is over: make it anew")
        self._want_parts(one, "rejected", "dead")
        return one.state, None

    def _retry_lost(self, one: Listed) -> None:
        """Have sent anew what was lost: the parts that are known, or all that nobody knows."""
        if self.note(one.hub, LOST_NOTE) == f"open {one.id}".encode():
            self._note(one.hub, LOST_NOTE, f"retried {one.id}".encode())
            # how far the uploader came: it looks at every day again when it begins
            ends = f"{one.hub}\n{PROGRESS}", f"{one.hub}\n{PROGRESS}\x7f"
            self._db.execute("DELETE FROM hub_note WHERE name >= ? AND name < ?", ends)
        self._want_parts(one, "unknown")

    def _want_parts(self, one: Listed, *states: State) -> None:
        """Have parts sent anew that were not staged since, and are in one of the states."""
        for _, _, data in self._part_rows(one.id):
            known = super().slot(one.hub, data.slot)
            if known is not None and known.last == one.id and known.state in states:
                self._want(one.hub, data.slot)

    def _act(self, one: Listed, answer: Answered, due: int | None) -> Listed:
        """What a person did with a message: its history, its entry in the audit log, its state."""
        self._keep_answer(one, answer, b"")
        if answer.state in FINAL and one.head.split and one.state not in FINAL:
            state = self._settle_rest(one, answer.state)
        else:
            state = answer.state
        since = answer.at if state != one.state else one.head.since
        head = msgspec.structs.replace(one.head, since=since, reasons=answer.reasons or one.head.reasons)
        return self._put(one, head, state, due)
