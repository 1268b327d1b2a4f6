"""Late readings: what the journal holds, and the broker is not proven to have got live, goes to a topic of its own.

page -> proven live? -> else PUBLISH with QoS 1 -> PUBACK with a success code -> settle, in the order of the journal.
Few are under way at once, and fewer on a slow line, so that a live reading never waits behind many late ones. Rows that
were acknowledged out of turn are remembered: after a reconnection only the others are sent again, the oldest first.
"""

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from gateway.item_p import utc
from gateway.settings import MqttSettings
from gateway.sinks import topics
from gateway.sinks.bystander import Bystanders
from gateway.sinks.mqtt_errors import NOT_AUTHORIZED, ROW_AT_FAULT, place
from gateway.sinks.mqtt_link import Link
from gateway.sinks.proven import Proven
from gateway.stores.outbox import Dead, Entry, Outbox

#: readings that are read in one go, and that are in hand at most
PAGE, IN_HAND = 100, 200
#: late readings under way at most; what the sink says of its meters has the rest of what is allowed in flight
WINDOW, RESERVE = 16, 4
#: under way after a reconnection, or a refusal: one, so that none overtakes it; and then a second one, because a row
#: that the broker does not want must not look like a broker that wants nothing
PROBE, PROBE_BESIDE = 1, 2
#: the longest pause after a refusal (s)
RETRY_CAP_S = 120
#: a row is given up when it was refused so often while others were taken
MAX_REFUSALS = 3
#: late readings per second, and more for each meter: 50 times as many as a meter sends at most, and no more than a
#: usual consumer takes: a broker drops what it cannot hand on
RATE, RATE_PER_METER = 500, 100
#: an acknowledgement that takes longer than so many times the fastest one, and so much (s), waits behind others
_SLOWER, _QUEUED_S = 1.25, 0.1
#: after a page without rows the journal is not asked again for so long (s)
_LOOK_S = 1.0
#: octets of PUBLISH beside topic and payload, at most
_HEAD = 96
#: as many readings, and the first ones of each connection, are worth two lines in the log
_LOUD = 60

#: the event in the log is `mqtt`, whichever module says it
_log = logging.getLogger("gateway.sinks.mqtt")


@dataclass(slots=True, eq=False)
class _Row:
    """A reading of the journal on its way to the broker."""

    entry: Entry
    #: None: no topic can be made for it
    message: topics.Message | None
    handed_at: float | None = None
    #: it is with the broker, or given up for a reason
    done: bool = False
    reason: str | None = None
    refusals: int = 0
    #: rows that were accepted before its first refusal
    accepted_before: int = 0

    def give_up(self, reason: str) -> None:
        """Let it be a dead letter."""
        self.done, self.reason = True, reason


@dataclass(slots=True)
class _Drain:
    """Late readings that were accepted since the broker had everything."""

    is_told: bool
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None


class Backfill:
    """Works off the outbox `mqtt` from `begin` to `end` of each connection. Everything but reading runs in the loop."""

    def __init__(  # noqa: PLR0913
        self,
        settings: MqttSettings,
        outbox: Outbox,
        *,
        meters: int,
        told: Callable[[str], None],
        backoff: Callable[[int, int], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`meters` is how many there are; `told` takes a sentence for the log.

        `backoff(attempt, cap_s)` gives the pause in s after refusals.
        """
        self._settings = settings
        self._outbox = outbox
        self._told = told
        self._backoff = backoff
        self._monotonic = monotonic
        self.proven = Proven(monotonic)
        self._topics: dict[str, topics.MeterTopics] = {}
        self._rows: deque[_Row] = deque()
        #: index of the first row that may be still to be sent
        self._next = 0
        self._in_flight = 0
        self._window, self._fastest_s, self._shrunk_at = float(PROBE), math.inf, 0.0
        self._reading: asyncio.Task[list[_Row]] | None = None
        self._look_at = self._paused_until = -math.inf
        self._attempt = 0
        #: meters that this user may not publish: when one row of theirs is tried again
        self._parked: dict[str, float] = {}
        self._bystanders = Bystanders(outbox, self.work, monotonic)
        #: a reading behind those in hand, and ids of those that were accepted there, before their turn
        self._bystander: _Row | None = None
        self._accepted_ahead: set[int] = set()
        self._rate = RATE + RATE_PER_METER * meters
        #: messages that may be sent at that rate now, and since when
        self._allowed, self._allowed_at = float(WINDOW), monotonic()
        self._accepted = 0
        self._trouble: str | None = None
        self._drain: _Drain | None = None
        self._is_first = True
        self._told_dead = False
        self._link: Link | None = None

    def begin(self, link: Link) -> None:
        """Count on in a new connection; what is late is handed over by `work`."""
        for row in self._rows:
            row.handed_at = None
        if self._bystander is not None:
            self._bystander.handed_at = None
        self._bystander = None
        self._next = self._in_flight = 0
        self._parked.clear()
        self._window, self._fastest_s, self._shrunk_at = PROBE, math.inf, 0.0
        self._is_first, self._told_dead, self._link = True, False, link
        self.proven.begin(link)

    def work(self) -> None:
        """Do what there is to do, at once: read ahead, hand over, settle. To be called now and then."""
        if self._link is not None:
            self._read_ahead()
            self._send(self._link)
            self._settle()

    def pause(self) -> None:
        """Hand nothing more to this connection, which is about to end; it may prove a last few readings yet."""
        self._link = None

    async def settle_last(self, timeout_s: float) -> None:
        """Settle what the farewell proved, so that the next start does not send it once more; `pause` went before."""
        self._look_at = -math.inf
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                self._read_ahead()
                while self._settle_proven() and self._reading is not None:
                    await asyncio.wait([self._reading])
                    self._read_ahead()

    def _settle_proven(self) -> bool:
        """Settle the oldest rows in hand as far as they are proven; False where one is not."""
        for row in self._rows:
            row.done = row.done or self.proven.has(row.entry.item.meter, row.entry.item.seq)
            if not row.done:
                break
        self._settle()
        return not self._rows

    def end(self) -> None:
        """Hand nothing more to this connection, which is lost or at its end."""
        self._link = None
        self.proven.end()
        self._settle()

    def close(self) -> None:
        """Let go of the file, by a thread: another one may be reading it still."""
        asyncio.get_running_loop().run_in_executor(None, self._outbox.let_go)

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows of the history: how it goes, and where the stored readings are."""
        outbox = self._outbox.status()
        state = "refused" if self._trouble else "sending" if self._drain else "up_to_date"
        return outbox | {
            "state": state if self._link else "no_connection",
            "in_flight": self._in_flight,
            "late": self._accepted,
            "trouble": self._trouble or outbox.get("trouble"),
        }

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read_ahead(self) -> None:
        """Keep rows in hand; the disk is read by a thread."""
        page = self._reading
        if page is not None and page.done():
            rows = page.result()
            self._rows.extend(map(self._in_turn, rows))
            self._look_at = -math.inf if rows else self._monotonic() + _LOOK_S
            page = self._reading = None
        if page is not None or len(self._rows) > IN_HAND - PAGE or self._monotonic() < self._look_at:
            return
        last = self._rows[-1].entry.id if self._rows else None
        if self._outbox.newest > (self._outbox.position if last is None else last):
            self._reading = asyncio.create_task(asyncio.to_thread(self._page, last))
            self._reading.add_done_callback(lambda _page: self.work())

    def _in_turn(self, row: _Row) -> _Row:
        """A row that comes into hand; it may have been sent before its turn."""
        if self._bystander is not None and self._bystander.entry.id == row.entry.id:
            row, self._bystander = self._bystander, None
        if row.entry.id in self._accepted_ahead:
            self._accepted_ahead.remove(row.entry.id)
            row.done = True
        return row

    def _page(self, after: int | None) -> list[_Row]:
        store = self._outbox.store
        return [_Row(entry, self._message(entry, store)) for entry in self._outbox.page(after, PAGE)]

    def _message(self, entry: Entry, store: str) -> topics.Message | None:
        meter = entry.item.meter
        try:
            known = self._topics.get(meter) or topics.meter_topics(self._settings.base, meter)
        except ValueError:
            return None
        self._topics[meter] = known
        return topics.late_reading(known, entry.item, store, registers=self._settings.reading_registers)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send(self, link: Link) -> None:
        now = self._monotonic()
        self._allowed = min(WINDOW, self._allowed + (now - self._allowed_at) * self._rate)
        self._allowed_at = now
        limit = max(1, min(int(self._window), link.max_in_flight - RESERVE))
        if any(now >= again_at for again_at in self._parked.values()):
            self._next = 0
        while self._next < len(self._rows) and now >= self._paused_until and link.writable:
            row = self._rows[self._next]
            if not row.done and row.handed_at is None and not self._pass(link, row, limit, now):
                return
            self._next += 1
        self._make_way(link)

    def _make_way(self, link: Link) -> None:
        """Give up what this user may not publish once it holds up others that he may: no more fits in hand.

        That he may the broker has to show by the next reading of another meter. Nothing is given up that was not
        refused just now, or stands behind one of its meter that was.
        """
        waiting = [row for row in self._rows if not row.done]
        if len(self._rows) <= IN_HAND - PAGE or self._reading is not None or not self._are_refused(waiting):
            return
        firsts = {row.entry.item.meter: row for row in reversed(waiting)}
        untried = [meter for meter, row in firsts.items() if not row.refusals]
        if untried:
            self._parked |= dict.fromkeys(untried, -math.inf)
            self._soon()
        elif self._is_other_taken(link, firsts.keys()):
            for row in waiting:
                row.give_up(
                    f"the broker lets this user publish other meters, and not this one (0x{NOT_AUTHORIZED:02X})"
                )
            self._soon()

    def _are_refused(self, waiting: list[_Row]) -> bool:
        return bool(waiting) and all(row.handed_at is None and row.entry.item.meter in self._parked for row in waiting)

    def _is_other_taken(self, link: Link, meters: Collection[str]) -> bool:
        """Whether the broker took the next reading of a meter that is none of these; else it is sent, if there is one.

        Where there is none nobody is held up, and where it is refused, too, the broker may refuse everything.
        """
        row, now = self._bystander, self._monotonic()
        if row is not None and row.done and row.reason is None:
            self._accepted_ahead.add(row.entry.id)
            self._bystander = None
            return True
        refused = {*meters, *(meter for meter, again_at in self._parked.items() if now < again_at)}
        if row is None or row.done or (row.handed_at is None and row.entry.item.meter in refused):
            behind = row.entry.id if row is not None and row.done else self._rows[-1].entry.id
            entry = self._bystanders.next(behind, refused, partial(self._is_missed, link))
            row = None if entry is None else _Row(entry, self._message(entry, self._outbox.store))
            self._bystander = row or self._bystander
        if row is not None and row.handed_at is None and not self._in_flight and now >= self._paused_until:
            self._hand(link, row, now)
        return False

    def _is_missed(self, link: Link, entry: Entry) -> bool | None:
        """Whether a reading has to come late; None where that is to be seen yet."""
        meter, seq = entry.item.meter, entry.item.seq
        message = self._message(entry, self._outbox.store)
        if message is None or _is_too_large(link, message):
            return False
        if entry.id in self._accepted_ahead or self.proven.has(meter, seq):
            return False
        return None if self.proven.may_come(meter, seq) else True

    def _soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.work)

    def _pass(self, link: Link, row: _Row, limit: int, now: float) -> bool:
        """Find out what becomes of a row, or hand it over; False when it has to wait."""
        item, message = row.entry.item, row.message
        if self.proven.has(item.meter, item.seq):
            row.done = True
        elif now < self._parked.get(item.meter, -math.inf):
            return True
        elif self.proven.may_come(item.meter, item.seq) or self._in_flight >= limit:
            return False
        elif message is None:
            row.give_up("its meter's name cannot be part of a topic")
        elif _is_too_large(link, message):
            row.give_up(
                f"the broker takes packets of {link.max_packet} octets, and this one has about {_size(message)}"
            )
        elif self._allowed < 1:
            asyncio.get_running_loop().call_later(WINDOW / 2 / self._rate, self.work)
            return False
        else:
            return self._hand(link, row, now)
        return True

    def _hand(self, link: Link, row: _Row, now: float) -> bool:
        """Hand a row over; False when it did not leave."""
        if row.message is None or not link.writable or not link.hand(row.message, partial(self._acked, row)):
            return False
        row.handed_at, meter = now, row.entry.item.meter
        if meter in self._parked:
            self._parked[meter] = now + RETRY_CAP_S  # one row alone
        self._in_flight += 1
        self._allowed -= 1
        self._begin_drain()
        return True

    def _acked(self, row: _Row, code: int, name: str) -> None:
        self._take(row, code, name)
        self.work()

    def _take(self, row: _Row, code: int, name: str) -> None:
        if row.handed_at is None:  # of a connection that was lost meanwhile
            row.done = row.done or code < 0x80
            return
        handed_at, row.handed_at = row.handed_at, None
        self._in_flight -= 1
        if code >= 0x80:
            self._refused(row, code, name)
            return
        row.done = True
        self._accepted += 1
        self._attempt = 0
        if row.refusals:
            self._trouble = None
        if self._parked.pop(row.entry.item.meter, None) is not None:
            self._next = 0
        self._pace(handed_at, self._monotonic())
        if self._drain:
            self._drain.count += 1
            self._drain.last = row.entry.item.t
            self._drain.first = self._drain.first or row.entry.item.t

    def _pace(self, handed_at: float, now: float) -> None:
        """Have more under way while that makes nothing slower, and half as much once acknowledgements queue up."""
        self._fastest_s = min(self._fastest_s, now - handed_at)
        if now - handed_at <= _SLOWER * self._fastest_s + _QUEUED_S:
            self._window = min(WINDOW, self._window + (1 / self._window if self._shrunk_at else 1))
        elif handed_at > self._shrunk_at:
            self._window, self._shrunk_at = max(1, self._window / 2), now

    def _refused(self, row: _Row, code: int, name: str) -> None:
        """Give up a row that is the only one refused; otherwise it is the broker's matter, and all is tried again."""
        row.accepted_before = row.accepted_before if row.refusals else self._accepted
        row.refusals += 1
        now = self._monotonic()
        if code == NOT_AUTHORIZED:
            self._parked[row.entry.item.meter] = now + self._backoff(row.refusals - 1, RETRY_CAP_S)
            self._trouble = self._why(row, code, name)
            self._told(self._trouble)
            return
        is_alone = row.refusals >= MAX_REFUSALS and self._accepted > row.accepted_before
        if code in ROW_AT_FAULT or is_alone:
            row.give_up(f"the broker refuses it: {ROW_AT_FAULT.get(code, name)} (0x{code:02X})")
            self._trouble = None
            return
        self._next = 0
        self._window = PROBE if row.refusals == 1 else PROBE_BESIDE
        if now >= self._paused_until:
            self._paused_until = now + self._backoff(self._attempt, RETRY_CAP_S)
            self._attempt += 1
        self._trouble = self._why(row, code, name)
        self._told(self._trouble)

    def _why(self, row: _Row, code: int, name: str) -> str:
        base, topic = self._settings.base, row.message.topic if row.message else ""
        if code == NOT_AUTHORIZED:
            return (
                f"broker {place(self._settings)} does not let this user publish {topic}: allow it to write {base}/# in "
                "the broker's access list, or set mqtt.backfill = false; late readings wait in the journal"
            )
        return (
            f"broker {place(self._settings)} does not take {topic}: {name} (0x{code:02X}); "
            "check its limits; late readings wait in the journal"
        )

    # -- settling ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Move the cursor over all that is done in order; then tell when nothing is left."""
        delivered: Counter[str] = Counter()
        dead: list[Dead] = []
        upto = None
        while self._rows and self._rows[0].done:
            row = self._rows.popleft()
            self._next = max(0, self._next - 1)
            upto, item = row.entry.id, row.entry.item
            self.proven.settled(item.meter, item.seq)
            if row.reason is None:
                delivered[item.meter] += 1
            else:
                dead.append(Dead(row.entry, row.reason))
                self._tell_dead(item.meter, row.reason)
        if upto is not None:
            self._account(upto, delivered, dead)
        if not self._rows and self._outbox.newest <= self._outbox.position:
            self._end_drain()

    def _tell_dead(self, meter: str, reason: str) -> None:
        """Say it once for each connection: there may be thousands, and `status` counts them."""
        if not self._told_dead:
            self._told(f"a reading of {meter} is a dead letter: {reason}; further ones are counted as dead_letter")
        self._told_dead = True

    def _account(self, upto: int, delivered: Counter[str], dead: list[Dead]) -> None:
        try:
            self._outbox.settle(upto, delivered=delivered, dead=dead)
        except ValueError:  # an error in meterd: begin anew from the cursor, and let it be seen
            self._rows.clear()
            self._next = self._in_flight = 0
            self._reading = None
            raise

    def _begin_drain(self) -> None:
        if self._drain is not None:
            return
        status = self._outbox.status()
        self._drain = _Drain(is_told=self._is_first or status["pending"] >= _LOUD)
        if self._drain.is_told:
            _log.info(
                "%d stored readings since %s were not published live: those that the broker does not have go to %s/+/"
                "backfill/reading", status["pending"], status["oldest_pending"] or "an earlier run",
                self._settings.base,
            )  # fmt: skip

    def _end_drain(self) -> None:
        drain, self._drain, self._is_first = self._drain, None, False
        if drain is not None and drain.is_told:
            _log.info(
                "the broker has all that is stored: %d late readings from %s to %s were published",
                drain.count, utc(drain.first, "seconds"), utc(drain.last, "seconds"),
            )  # fmt: skip


def _size(message: topics.Message) -> int:
    """Octets of the packet, at most."""
    return len(message.topic) + len(message.payload) + _HEAD


def _is_too_large(link: Link, message: topics.Message) -> bool:
    return 0 < link.max_packet < _size(message)
