"""What a channel of notices is: it sends one notice whole, or says why not; it runs in a thread of its own."""

from typing import Protocol

from gateway.uploader.notice_book import Notice

#: a channel that needs a person to act (a wrong password, an unknown certificate) is left alone so long at least (s)
NEEDS_PERSON_S = 900.0
#: one attempt takes no longer, whatever the other side does (s)
DEADLINE_S = 60.0


class NoticeError(Exception):
    """A notice was not taken: one sentence without a secret, and how long to wait at least (s)."""

    def __init__(self, reason: str, least_s: float = 0.0) -> None:
        super().__init__(reason)
        self.least_s = least_s


class Channel(Protocol):
    """One way to people."""

    @property
    def name(self) -> str:
        """What it is called in the log and in the state: "mail", "webhook", "mqtt", "escalate_mail" ..."""
        ...

    def send(self, notice: Notice) -> None:
        """Hand a notice over for good; raises NoticeError. Returns or raises within about DEADLINE_S."""
        ...
