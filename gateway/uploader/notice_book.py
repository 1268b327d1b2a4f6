"""What people are to be told: troubles that last, digests that gather, notices that wait for a channel; no I/O.

A trouble (hub, name, key) is told once, again while it lasts, and its end is told exactly when its beginning was.
One that lasts for `escalate_h` is told to a second circle of people too, once, and so is its end. Events of a hub that
come within `digest_s` are one notice to each circle. Everything here is bounded, and outlives a restart as one
value of at most MOST_OCTETS octets.
"""

import uuid
import zlib
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from gateway.hub_model import Event
from gateway.hub_settings import NoticeSettings
from gateway.uploader.notice_text import RANK, How, Line, Severity, clean, group_of, subject, text

#: names of events that last until the same name and key is told to be over: these are told again meanwhile. Of others
#: nobody says so, or they count down by themselves (30, 14, 7, 1 days): they are told whenever their words change
LASTING: Final = frozenset(
    (
        "hub_down",
        "receiver_down",
        "blocked",
        "renamed",
        "rejected",
        "late_day",
        "permissions_late",
        "permissions_stopped",
    )
)
#: troubles that are known one by one, in all and of one name at one hub; lines that a digest holds one by one;
#: notices that wait for one channel
MOST_TROUBLES: Final = 300
MOST_ALIKE: Final = 40
MOST_LINES: Final = 100
MOST_WAITING: Final = 10
#: octets of the value that `dump` gives (a note of the store holds 64 KiB), and of what it is unpacked
MOST_OCTETS: Final = 60_000
_MOST_UNPACKED: Final = 1 << 20
_MOST_KEY: Final = 64
_WORST_FIRST: Final[tuple[Severity, ...]] = ("error", "warning", "info")
_SHORT: Final = 60
#: so long after it was last heard of (s), what lasts is told no more, and what has no end is forgotten
_SILENT_S: Final = 30 * 86_400
_FORGOTTEN_S: Final = 40 * 86_400


class Trouble(msgspec.Struct):
    """Something that is wrong; `told`: when it was told last (UTC s), None as long as nobody knows of it."""

    hub: str
    name: str
    key: str
    severity: Severity
    text: str
    since: int
    last: int
    told: int | None = None
    #: it has ended, and its end waits for the next digest
    over: bool = False
    #: when the second circle was told (UTC s); None: it does not know of it
    escalated: int | None = None

    @property
    def id(self) -> str:
        """What it is known by."""
        return _id(self.hub, self.name, self.key)


class Digest(msgspec.Struct):
    """Lines that gather for a notice; `more` counts, by notice_text.group_of, what no line is kept of."""

    begun: int
    lines: dict[str, Line] = {}
    more: dict[str, int] = {}


class Notice(msgspec.Struct, frozen=True):
    """What goes to every channel, under an id that stays the same when it has to be sent again."""

    id: str
    hub: str
    #: UTC s
    at: int
    severity: Severity
    subject: str
    text: str
    #: events by "how severity name", with how many there are
    counts: dict[str, int]


class _State(msgspec.Struct):
    troubles: dict[str, Trouble] = {}
    #: troubles beyond MOST_TROUBLES, by hub and name: how many
    unlisted: dict[str, int] = {}
    digests: dict[str, Digest] = {}
    #: the same of the second circle
    escalations: dict[str, Digest] = {}
    notices: dict[str, Notice] = {}
    waiting: dict[str, list[str]] = {}
    #: notices that a channel has lost, because too many waited
    lost: dict[str, int] = {}
    #: by hub: entries of the audit log up to this one are told, as far as they are to be
    seen: dict[str, int] = {}


class Book:
    """Takes events, gives notices; the caller holds a lock around every call."""

    def __init__(
        self,
        settings: NoticeSettings,
        channels: Collection[str],
        second: Collection[str] = (),
        *,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """`second`: channels of the second circle; nothing is escalated without one."""
        self._settings = settings
        self._channels = tuple(channels)
        self._second = tuple(second)
        self._new_id = new_id
        self._state = _State()

    def take(self, event: Event, now: int) -> None:
        """Note an event: a trouble, its end, or something that is told once."""
        id_ = _id(event.hub, event.name, event.key)
        trouble = self._state.troubles.get(id_)
        if event.recovered:
            self._end(event, trouble, now)
        elif event.severity == "info":
            if self._settings.success:
                self._gather("once", event, now)
        elif trouble is not None:
            self._go_on(event, trouble, now)
        elif self._has_room(event):
            self._state.troubles[id_] = _trouble(event)
            self._gather("new", event, now)
        else:
            _count(self._state.unlisted, f"{event.hub} {event.name}")
            self._gather("new", event, now, listed=False)

    def form(self, now: int) -> list[Notice]:
        """Put what lasts into digests, and make notices of those that are due; each waits for all of its channels."""
        self._remind(now)
        self._escalate(now)
        told = [self._told(hub, digest, now) for hub, digest in self._due(self._state.digests, now)]
        escalated = [
            self._escalated(hub, digest, now) for hub, digest in self._due(self._state.escalations, now, MOST_LINES)
        ]
        for notices, channels in ((told, self._channels), (escalated, self._second)):
            for notice in notices:
                self._queue(notice, channels)
        return told + escalated

    def next_due(self) -> int | None:
        """When `form` has something to do, at the earliest (UTC s)."""
        gathering = (*self._state.digests.values(), *self._state.escalations.values())
        digests = [digest.begun + self._settings.digest_s for digest in gathering]
        lasting = [at for one in self._state.troubles.values() for at in (self._again(one), self._escalates(one))]
        return min((*digests, *(at for at in lasting if at is not None)), default=None)

    def head(self, channel: str) -> Notice | None:
        """The notice that a channel has to send next."""
        waiting = self._state.waiting.get(channel)
        return self._state.notices[waiting[0]] if waiting else None

    def waiting(self, channel: str) -> int:
        """How many notices wait for a channel."""
        return len(self._state.waiting.get(channel, ()))

    def lost(self, channel: str) -> int:
        """How many notices a channel has not got, because too many waited for it."""
        return self._state.lost.get(channel, 0)

    def done(self, channel: str, notice: str) -> None:
        """A channel has sent a notice."""
        waiting = self._state.waiting.get(channel, [])
        if notice in waiting:
            waiting.remove(notice)
            self._state.lost.pop(channel, None)
        self._tidy()

    def seen(self, hub: str) -> int | None:
        """Up to which entry of the audit log the events of a hub were taken; None: it is new here."""
        return self._state.seen.get(hub)

    def mark(self, hub: str, entry: int) -> None:
        """Every event of a hub was taken that comes of entries up to this one."""
        self._state.seen[hub] = entry

    def troubles(self) -> list[Trouble]:
        """What is wrong now."""
        return [trouble for trouble in self._state.troubles.values() if not trouble.over]

    def dump(self) -> bytes:
        """Everything, as at most MOST_OCTETS octets: with shorter words where it would be more."""
        packed = zlib.compress(msgspec.json.encode(self._state))
        return packed if len(packed) <= MOST_OCTETS else zlib.compress(msgspec.json.encode(self._shortened()))

    def load(self, data: bytes, hubs: Collection[str] | None = None) -> bool:
        """Go on from what `dump` gave, without the hubs that are not there any more; False: it cannot be read."""
        try:
            unpacked = zlib.decompressobj().decompress(data, _MOST_UNPACKED)
            state = msgspec.json.decode(unpacked, type=_State)
        except (zlib.error, msgspec.DecodeError):
            return False
        if hubs is not None:
            state.troubles = {id_: one for id_, one in state.troubles.items() if one.hub in hubs}
            state.seen = {name: entry for name, entry in state.seen.items() if name in hubs}
            state.unlisted = {name: count for name, count in state.unlisted.items() if name.split(" ")[0] in hubs}
        state.waiting = {
            channel: [one for one in state.waiting.get(channel, ()) if one in state.notices]
            for channel in (*self._channels, *self._second)
        }
        if not self._second:
            state.escalations = {}
        self._state = state
        self._tidy()
        return True

    def _again(self, trouble: Trouble) -> int | None:
        """When a trouble is to be told again (UTC s)."""
        if trouble.told is None or trouble.over or trouble.name not in LASTING:
            return None
        at = trouble.told + self._settings.again_h * 3_600
        return at if at <= trouble.last + _SILENT_S else None

    def _has_room(self, event: Event) -> bool:
        """Whether there is room for one more trouble; what was told, and has no end, gives way."""
        known = self._state.troubles
        alike = [one for one in known.values() if one.hub == event.hub and one.name == event.name]
        if len(alike) < MOST_ALIKE and len(known) < MOST_TROUBLES:
            return True
        told = [one for one in (alike or known.values()) if one.told is not None and one.name not in LASTING]
        if told:
            del known[min(told, key=lambda one: one.last).id]
        return bool(told)

    def _go_on(self, event: Event, trouble: Trouble, now: int) -> None:
        """A known trouble is heard of again: told anew only when it is worse, or when it is told by its words."""
        said = clean(event.text)
        worse = RANK[event.severity] > RANK[trouble.severity]
        anew = trouble.told is None or worse or (event.name not in LASTING and said != trouble.text)
        trouble.severity, trouble.text, trouble.last = event.severity, said, event.at
        if trouble.over:
            # it came back before anybody was told that it had gone
            trouble.over = False
            self._drop(self._state.digests, "over", trouble)
            if not self._drop(self._state.escalations, "over", trouble):
                # the second circle was told that it had gone, and is told again
                trouble.escalated = None
        if anew:
            self._gather("new", event, now)

    def _end(self, event: Event, trouble: Trouble | None, now: int) -> None:
        unlisted = f"{event.hub} {event.name}"
        if trouble is not None and not trouble.over:
            for how in ("new", "again"):
                self._drop(self._state.digests, how, trouble)
            self._drop(self._state.escalations, "escalated", trouble)
            if trouble.told is None:
                del self._state.troubles[trouble.id]
            else:
                trouble.over = True
                over = event._replace(severity="info")
                self._gather("over", over, now, since=trouble.since)
                if trouble.escalated is not None and self._second:
                    self._gather("over", over, now, since=trouble.since, digests=self._state.escalations)
        elif trouble is None and self._state.unlisted.get(unlisted):
            _count(self._state.unlisted, unlisted, -1)
            digest = self._state.digests.get(event.hub)
            untold = (
                [group for group in digest.more if group.startswith("new") and group.endswith(f" {event.name}")]
                if digest
                else []
            )
            if digest and untold:
                _count(digest.more, untold[0], -1)
                _tidied(self._state.digests, event.hub)
            else:
                self._gather("over", event._replace(severity="info"), now, listed=False)

    def _gather(  # noqa: PLR0913 - a line of a digest, by name
        self,
        how: How,
        event: Event,
        now: int,
        *,
        listed: bool = True,
        since: int | None = None,
        digests: dict[str, Digest] | None = None,
    ) -> None:
        """Add to the digest of the hub: one line for each thing, as long as there is room."""
        digest = (self._state.digests if digests is None else digests).setdefault(event.hub, Digest(now))
        line = Line(how, event.name, clean(event.key, _MOST_KEY), event.severity, clean(event.text), event.at)
        if since is not None:
            line.since = since
        name = f"{how} {_id(event.hub, event.name, event.key)}"
        if (known := digest.lines.get(name)) is not None:
            line.count, line.since = known.count + 1, known.since
        if listed and (known is not None or len(digest.lines) < MOST_LINES):
            digest.lines[name] = line
        else:
            _count(digest.more, group_of(line))

    def _drop(self, digests: dict[str, Digest], how: How, trouble: Trouble) -> bool:
        """Take a line back that nobody has read yet, and the digest with it when it was the only one."""
        if (digest := digests.get(trouble.hub)) is None:
            return False
        found = digest.lines.pop(f"{how} {trouble.id}", None) is not None
        if not found and how == "new" and trouble.told is None:
            _count(digest.more, f"new {trouble.severity} {trouble.name}", -1)
        _tidied(digests, trouble.hub)
        return found

    def _remind(self, now: int) -> None:
        for trouble in list(self._state.troubles.values()):
            # the clock was set back
            trouble.since = min(trouble.since, now)
            if trouble.told is not None and trouble.told > now:
                trouble.told = now
            if (at := self._again(trouble)) is not None and at <= now:
                trouble.told = now
                self._gather("again", _event(trouble), now)
            elif trouble.name not in LASTING and now - trouble.last > _FORGOTTEN_S:
                del self._state.troubles[trouble.id]

    def _escalates(self, trouble: Trouble) -> int | None:
        """When a trouble goes to the second circle (UTC s), unless it ends before."""
        untold = trouble.told is None or trouble.over or trouble.escalated is not None
        if untold or not self._second or trouble.name not in LASTING or self._gathers(trouble):
            return None
        return trouble.since + self._settings.escalate_h * 3_600

    def _gathers(self, trouble: Trouble) -> bool:
        digest = self._state.escalations.get(trouble.hub)
        return digest is not None and f"escalated {trouble.id}" in digest.lines

    def _escalate(self, now: int) -> None:
        for trouble in self._state.troubles.values():
            digest = self._state.escalations.get(trouble.hub)
            is_full = digest is not None and len(digest.lines) >= MOST_LINES
            if not is_full and (at := self._escalates(trouble)) is not None and at <= now:
                self._gather("escalated", _event(trouble), now, digests=self._state.escalations)

    def _due(self, digests: dict[str, Digest], now: int, most: int | None = None) -> list[tuple[str, Digest]]:
        """Take the digests out that have gathered long enough, or `most` lines."""
        due = [
            hub
            for hub, digest in digests.items()
            if not 0 <= now - digest.begun < self._settings.digest_s or (most and len(digest.lines) >= most)
        ]
        return [(hub, digests.pop(hub)) for hub in due]

    def _told(self, hub: str, digest: Digest, now: int) -> Notice:
        """The notice of a digest: everything that is wrong at the hub is told now."""
        for trouble in [one for one in self._state.troubles.values() if one.hub == hub]:
            if trouble.over:
                del self._state.troubles[trouble.id]
            elif trouble.told is None:
                trouble.told = now
        return self._notice(hub, digest, now)

    def _escalated(self, hub: str, digest: Digest, now: int) -> Notice:
        """The notice of a digest to the second circle: it knows of these now, and of no other."""
        for trouble in self._state.troubles.values():
            if trouble.hub == hub and f"escalated {trouble.id}" in digest.lines:
                trouble.escalated = now
        return self._notice(hub, digest, now)

    def _notice(self, hub: str, digest: Digest, now: int) -> Notice:
        lines = digest.lines.values()
        counts = dict(digest.more)
        for line in lines:
            _count(counts, group_of(line), line.count)
        severities = {group.split(" ")[1] for group in counts}
        severity = next(one for one in _WORST_FIRST if one in severities)
        return Notice(
            self._new_id(),
            hub,
            now,
            severity,
            subject(hub, lines, digest.more),
            text(hub, now, lines, digest.more),
            counts,
        )

    def _queue(self, notice: Notice, channels: Iterable[str]) -> None:
        self._state.notices[notice.id] = notice
        for channel in channels:
            waiting = self._state.waiting.setdefault(channel, [])
            waiting.append(notice.id)
            if len(waiting) > MOST_WAITING:
                # the first one may be on its way: it stays
                del waiting[1]
                _count(self._state.lost, channel)
        self._tidy()

    def _tidy(self) -> None:
        wanted = {one for waiting in self._state.waiting.values() for one in waiting}
        self._state.notices = {id_: notice for id_, notice in self._state.notices.items() if id_ in wanted}

    def _shortened(self) -> _State:
        """The same with sentences of _SHORT characters, and only the newest notices of each channel."""
        state: _State = msgspec.json.decode(msgspec.json.encode(self._state), type=_State)
        state.waiting = {channel: waiting[-2:] for channel, waiting in state.waiting.items()}
        wanted = {one for waiting in state.waiting.values() for one in waiting}
        state.notices = {id_: notice for id_, notice in state.notices.items() if id_ in wanted}
        for said in _sentences(state):
            said.text = clean(said.text, _SHORT)
        return state


def _sentences(state: _State) -> Iterable[Trouble | Line]:
    yield from state.troubles.values()
    for digest in (*state.digests.values(), *state.escalations.values()):
        yield from digest.lines.values()


def _trouble(event: Event) -> Trouble:
    key = clean(event.key, _MOST_KEY)
    return Trouble(event.hub, event.name, key, event.severity, clean(event.text), event.at, event.at)


def _event(trouble: Trouble) -> Event:
    """A trouble as what is told of it once more: at the time at which it began."""
    return Event(trouble.name, trouble.hub, trouble.severity, trouble.text, trouble.since, trouble.key)


def _tidied(digests: dict[str, Digest], hub: str) -> None:
    """Without the digest of a hub where nothing is left of it."""
    if not digests[hub].lines and not digests[hub].more:
        del digests[hub]


def _id(hub: str, name: str, key: str) -> str:
    return f"{hub} {name} {clean(key, _MOST_KEY)}"


def _count(counts: dict[str, int], name: str, by: int = 1) -> None:
    counts[name] = counts.get(name, 0) + by
    if counts[name] <= 0:
        del counts[name]
