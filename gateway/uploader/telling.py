"""What people are told of the messages of one hub: events under the key of what they are about, lines in the log."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from gateway import log
from gateway.hub_model import Event, Message, PartRow, Reason, Receipt
from gateway.uploader.hub import FOREIGN_ANSWER

#: the same reason for which nothing came of a request is in the log once in so long (s); so many reasons are known
AGAIN_S: Final = 3_600
MOST_KNOWN: Final = 100
#: rejected parts of one message that are told one by one; reasons that are told of each
_MOST_TOLD: Final = 20
_MOST_REASONS: Final = 5


class Telling:
    """The words of the delivery to one hub; `clock` gives UTC s."""

    def __init__(self, hub: str, tell: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._hub = hub
        self._tell = tell
        self._clock = clock
        #: requests of which it was told in this run that no answer came
        self._waits: set[int] = set()
        #: reason -> when it was put into the log
        self._known: dict[str, float] = {}

    def vain(self, why: str) -> None:
        """Nothing came of a request: it is in the log once, however often the hub says so."""
        if self._is_news(why):
            log.event("hub_unserved", hub=self._hub, reason=why)

    def _is_news(self, why: str) -> bool:
        """Whether this was not said for AGAIN_S."""
        now = self._clock()
        if abs(now - self._known.get(why, -AGAIN_S)) < AGAIN_S:
            return False
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[why] = now
        return True

    def down(self, why: str) -> None:
        """The hub does not serve us for a while."""
        self._say("hub_down", "error", f"the hub does not serve us: {why}")

    def blocked(self, why: str) -> None:
        """The hub does not serve us, and no retry helps."""
        self._say("blocked", "error", f"nothing is sent until a person acts: {why}")

    def back(self) -> None:
        """The hub serves us again, whatever was told of it."""
        self._say("hub_down", "info", "the hub answers again", recovered=True)
        self._say("blocked", "info", "the hub takes messages again", recovered=True)

    def stuck(self, message: Message, why: str) -> None:
        """A message cannot go, and a person must say what is to be done."""
        self._say("message_stuck", "error", f"{why}; have its days sent in a new one: meterd hub retry", message)

    def given_up(self, message: Message, reason: Reason) -> None:
        """A message is dead."""
        self._say("given_up", "warning", f"{_name(message)} is given up: {reason.text}", message)

    def foreign(self, message: Message, receipt: Receipt) -> None:
        """What was answered is about another message: told once, however often the hub says so."""
        for code, text in receipt.reasons:
            told = f"{_name(message)}: {text}; nothing is changed by it"
            if code == FOREIGN_ANSWER and self._is_news(told):
                self._say("unknown_answer", "warning", told, message)

    def waits(self, message: Message, age_s: int, within_s: int) -> None:
        """A request that is not answered in time is told once."""
        if message.kind == "request" and age_s >= within_s and message.id not in self._waits:
            self._waits.add(message.id)
            self._say("no_answer", "warning", f"{_name(message)} was not answered within {within_s} s", message)

    def rejected(self, message: Message, receipt: Receipt) -> None:
        """What a hub refused, part by part."""
        parts = [one for one in message.parts if not receipt.transactions or one.transaction in receipt.transactions]
        what = _sentence(receipt.reasons) or "no reason was given"
        if not parts:
            self._say("rejected", "error", f"{_name(message)} was refused: {what}", message)
        for part in parts[:_MOST_TOLD]:
            own = _sentence(receipt.told.get(part.transaction, ())) or what
            text = f"{_day(part)} was refused: {own}; correct it, then: meterd hub retry (message {message.id})"
            self._say("rejected", "error", text, part)
        if len(parts) > _MOST_TOLD:
            text = f"{_name(message)}: {len(parts) - _MOST_TOLD} more parts were refused: meterd hub show {message.id}"
            self._say("rejected", "error", text, message)

    def repaired(self, message: Message, receipt: Receipt, was_refused: Callable[[PartRow], bool]) -> None:
        """What was refused once, and is there now."""
        for part in message.parts:
            if (not receipt.transactions or part.transaction in receipt.transactions) and was_refused(part):
                self._say("rejected", "info", f"{_day(part)} is at the hub now", part, recovered=True)

    def _say(
        self,
        name: str,
        severity: Literal["info", "warning", "error"],
        text: str,
        about: Message | PartRow | None = None,
        *,
        recovered: bool = False,
    ) -> None:
        key = "" if about is None else about.document if isinstance(about, Message) else _key(about)
        self._tell(Event(name, self._hub, severity, text, int(self._clock()), key, recovered))


def _sentence(reasons: Sequence[Reason]) -> str:
    """The first reasons, each once: a hub may give thousands, and `meterd hub show` has them."""
    told = list(dict.fromkeys(f"{code} {text}".strip() for code, text in reasons))
    more = f"; and {len(told) - _MOST_REASONS} more" if len(told) > _MOST_REASONS else ""
    return "; ".join(told[:_MOST_REASONS]) + more


def _name(message: Message) -> str:
    return f"message {message.id} ({message.operation} {message.document})"


def _key(part: PartRow) -> str:
    return f"{part.slot.point} {part.slot.direction} {part.slot.kind} {part.slot.start}"


def _day(part: PartRow) -> str:
    start = datetime.fromtimestamp(part.slot.start, UTC)
    return f"{part.slot.direction} of {part.slot.point} from {start:%Y-%m-%dT%H:%MZ}"
