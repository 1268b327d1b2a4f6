"""Tells people by e-mail, webhook and MQTT what happens at the hubs; nothing waits for it (docs/hubs/notices.md).

One thread keeps the book (gateway.uploader.notice_book) and writes it to the ledger, one thread for each channel sends.
A notice leaves only after it was written: after a restart what was not told is told, under the id that it had.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from gateway.hub_model import Event
from gateway.hub_settings import NoticeSettings
from gateway.stores.files import Damaged, StorageFault
from gateway.uploader.notice_book import Book
from gateway.uploader.notice_channel import Channel, NoticeError
from gateway.uploader.notice_desk import Desk
from gateway.uploader.notice_mqtt import MqttChannel

_log = logging.getLogger(__name__)
#: the note under which the book is kept
NOTE: Final = "notices"
#: the book is written at most so often (s), however many events there are
_WRITE_S: Final = 1.0
_LONGEST_S: Final = 3_600.0


class Notes(Protocol):
    """Where the book outlives a restart; used by one thread only. Methods raise Damaged or StorageFault."""

    def note(self, key: str) -> bytes | None:
        """What was kept under a key."""
        ...

    def remember(self, key: str, value: bytes) -> None:
        """Keep at most 64 KiB under a key, durably."""
        ...


def backoff_s(attempt: int) -> float:
    """How long a channel rests after its `attempt`-th failure in a row (s): up to 30 s, then twice as much, to 1 h."""
    return random.uniform(1, min(_LONGEST_S, 15.0 * 2 ** min(attempt, 9)))  # noqa: S311 - spreads load, no secret


def channels(settings: NoticeSettings, publish: Callable[[bytes], bool] | None) -> list[Channel]:
    """The channels that `[notice]` names; `publish` gives MQTT's payload to the broker."""
    found: list[Channel] = []
    if settings.smtp_host:
        from gateway.uploader.notice_mail import MailChannel

        found.append(MailChannel(settings))
    if settings.webhook_url:
        from gateway.uploader.notice_webhook import WebhookChannel

        found.append(WebhookChannel(settings))
    if settings.mqtt and publish is not None:
        found.append(MqttChannel(publish))
    return found


def second(settings: NoticeSettings) -> list[Channel]:
    """The channels to those who are told of what lasts for `escalate_h`."""
    found: list[Channel] = []
    if settings.smtp_host and settings.escalate_mail_to:
        from gateway.uploader.notice_mail import MailChannel

        found.append(MailChannel(settings, escalated=True))
    if settings.webhook_url and settings.escalate_webhook_template:
        from gateway.uploader.notice_webhook import WebhookChannel

        found.append(WebhookChannel(settings, escalated=True))
    return found


class Notices:
    """Who is told what, and when.

    `settings` None: there is no `[notice]`, and nobody is told. `notes` is called in the thread that keeps the book,
    and gives the place where it outlives a restart. `publish` takes the payload of `<base>/uploader/notice` and says
    whether the broker has it; it is called by a thread of its own and may take some seconds. `hubs`: names of the hubs
    that are configured; troubles of others are forgotten at the start.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        settings: NoticeSettings | None,
        notes: Callable[[], Notes],
        publish: Callable[[bytes], bool] | None = None,
        clock: Callable[[], float] = time.time,
        *,
        hubs: Collection[str] | None = None,
        backoff: Callable[[int], float] = backoff_s,
    ) -> None:
        self._notes = notes
        self._hubs = hubs
        ways = [] if settings is None else channels(settings, publish)
        others = [] if settings is None else second(settings)
        book = Book(settings or NoticeSettings(), [way.name for way in ways], [way.name for way in others])
        self._desk = Desk(book, clock)
        self._couriers = [_Courier(way, self._desk, clock, backoff) for way in (*ways, *others)]
        self._keeper = threading.Thread(target=self._keep, name="meterd-notices", daemon=True)

    def start(self) -> None:
        """Begin to tell; what the last run did not tell comes first."""
        if self._couriers:
            self._keeper.start()
        for courier in self._couriers:
            courier.start()

    def tell(self, event: Event) -> None:
        """Note an event, from any thread: returns at once, and keeps a bounded amount."""
        if self._couriers:
            self._desk.take(event)

    def seen(self, hub: str) -> int | None:
        """Up to which entry of the audit log the events of a hub were noted; None: nobody is told, or it is new."""
        return self._desk.seen(hub) if self._couriers else None

    def mark(self, hub: str, entry: int) -> None:
        """Every event of a hub that comes of entries of the audit log up to this one was told here."""
        if self._couriers:
            self._desk.mark(hub, entry)

    def troubles(self, hub: str) -> frozenset[str]:
        """Names of the troubles of a hub that people know of."""
        return self._desk.troubles(hub) if self._couriers else frozenset()

    def flush(self) -> None:
        """Wait until what was told is written: some seconds at most."""
        if self._couriers:
            self._desk.flush()

    def state(self) -> Mapping[str, dict[str, Any]]:
        """Each channel: notices that wait, notices that it lost, and its trouble with since when (UTC s)."""
        return {courier.channel.name: courier.state() for courier in self._couriers}

    def stop(self, timeout_s: float = 5.0) -> None:
        """End: what was not told stays written for the next start."""
        deadline = time.monotonic() + timeout_s
        self._desk.stop()
        for courier in self._couriers:
            _join(courier, deadline)
        self._desk.close()
        _join(self._keeper, max(deadline, time.monotonic() + 1))

    def _keep(self) -> None:
        """Write the book whenever it changes, and read it once before."""
        place = self._open()
        while (found := self._desk.to_write()) is not None:
            change, data = found
            if place is not None:
                _write(place, data)
            self._desk.written(change)
            self._desk.rest(_WRITE_S)

    def _open(self) -> Notes | None:
        try:
            place = self._notes()
            data = place.note(NOTE)
        except (Damaged, StorageFault) as error:
            _log.error("notices: what was not told cannot be read, and will not outlive a restart: %s", error)
            self._desk.open(None, self._hubs)
            return None
        if not self._desk.open(data, self._hubs):
            _log.error("notices: what the last run did not tell cannot be read; it begins anew")
        return place


class _Courier(threading.Thread):
    """Sends the notices of one channel, one after the other, each until it is taken."""

    def __init__(
        self, channel: Channel, desk: Desk, clock: Callable[[], float], backoff: Callable[[int], float]
    ) -> None:
        super().__init__(name=f"meterd-notice-{channel.name}", daemon=True)
        self.channel = channel
        self._desk = desk
        self._clock = clock
        self._backoff = backoff
        self._trouble: tuple[int, str] | None = None

    def run(self) -> None:
        """Send until the end."""
        attempt, pause_s = 0, 0.0
        while (notice := self._desk.next(self.channel.name, pause_s)) is not None:
            try:
                self.channel.send(notice)
            except NoticeError as error:
                attempt += 1
                pause_s = error.least_s + self._backoff(attempt)
                self._failed(str(error))
            else:
                attempt, pause_s = 0, 0.0
                self._desk.sent(self.channel.name, notice.id)
                self._delivers()

    def state(self) -> dict[str, Any]:
        """What waits, what was lost, and why."""
        waiting, lost = self._desk.counts(self.channel.name)
        since, reason = self._trouble or (None, None)
        return {"waiting": waiting, "lost": lost, "trouble": reason, "since": since}

    def _failed(self, reason: str) -> None:
        if self._trouble is None or self._trouble[1] != reason:
            _log.warning("notices by %s wait, and are tried again: %s", self.channel.name, reason)
        self._trouble = (self._trouble[0] if self._trouble else int(self._clock()), reason)

    def _delivers(self) -> None:
        if self._trouble is not None:
            _log.warning("notices by %s are taken again", self.channel.name)
        self._trouble = None


def _write(place: Notes, data: bytes) -> None:
    try:
        place.remember(NOTE, data)
    except (Damaged, StorageFault) as error:
        _log.error("notices: what was not told cannot be stored, and would not outlive a restart: %s", error)


def _join(thread: threading.Thread, deadline: float) -> None:
    if thread.is_alive():
        thread.join(max(0.0, deadline - time.monotonic()))
