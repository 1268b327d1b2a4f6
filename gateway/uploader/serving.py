"""One hub with its open ledger: its inbox, its open messages, then what is due; one thing at a time, in this order."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from gateway.hub_model import Draft, Event, Message, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import Direction, SeriesKey
from gateway.item_p import utc
from gateway.settings import Settings
from gateway.stores.hub_reading import RETIRED
from gateway.stores.hub_rows import NEVER
from gateway.stores.hubs import HubStore
from gateway.stores.intervals import IntervalStore
from gateway.stores.ledger_file import LedgerFile
from gateway.uploader import retelling, targets
from gateway.uploader.delivery import Delivery
from gateway.uploader.forerunner import Forerunner
from gateway.uploader.hub import BuildError, SessionError
from gateway.uploader.inbox import Inbox, View
from gateway.uploader.late import Late
from gateway.uploader.line import Line
from gateway.uploader.month_sums import MonthSums, Ours
from gateway.uploader.parts import Due
from gateway.uploader.permission_feed import PermissionFeed
from gateway.uploader.permissions import CONFIG, Grounds
from gateway.uploader.plan import Plan
from gateway.uploader.schedule import HubNotes, Schedule
from gateway.uploader.staging import Staging
from gateway.uploader.targets import Target
from gateway.uploader.world import Alive, HubSession, Thread, World

#: longest sleep between two looks (s), pause between two rounds of the plan (at least, and as a multiple of a round)
TICK_S, PLAN_S, PLAN_DUTY = 1.0, 5.0, 20
#: series are looked up anew so often (s)
SERIES_S: Final = 30.0
#: how often old bytes are removed, the status is written, and ends of certificates are looked at (s)
PRUNE_S, STATUS_S, EXPIRY_S = 3_600.0, 60.0, 60.0
#: how often is looked whether a person said what a hub with a new name is (s)
CLAIM_S: Final = 5.0
#: no message is due so far ahead (s): a hub may ask for a day of patience at most
FAR_S: Final = 2 * 86_400
#: notes: the day of the last daily run, and of the last that was done with how many messages the hub had got by then;
#: ends of certificates that were told; the status
RUN, DONE, TOLD, STATUS = "uploader.run", "uploader.done", "uploader.told", "status"

#: what is due every so often
NAMES: Final = ("plan", "series", "inbox", "permissions", "prune", "status", "expiry", "claim")

_log = logging.getLogger(__name__)


class Serving:
    """One hub with its open ledger."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it works with
        self,
        settings: Settings,
        hub: HubSettings,
        world: World,
        file: LedgerFile,
        session: HubSession,
        line: Line,
        thread: Thread,
        feed: HubSession | None = None,
    ) -> None:
        """`feed` is the session with the permission administrator, where there is one."""
        self._settings, self._hub, self._world, self._file = settings, hub, world, file
        self._session, self._line, self._thread = session, line, thread
        self._alive = Alive(session, self._live)
        self._store = HubStore(file, world.clock)
        self.adapter = self._adapter = world.adapter(hub)
        self._schedule = Schedule(hub, HubNotes(self._store, hub.name))
        self._feed: PermissionFeed | None = None
        heard = None if feed is None else self._heard
        self._grounds = Grounds(hub, self._store.permission, self._store.permissions, heard)
        self._delivery = Delivery(
            hub,
            self._adapter,
            self._store,
            self._alive,
            grounds=self._grounds,
            line=line,
            clock=world.clock,
            tell=world.tell,
        )
        self._late = Late(hub.name, HubNotes(self._store, hub.name), world.tell, world.book.flush)
        self._sums = MonthSums(
            hub, self._adapter, self._store, tell=world.tell, flush=world.book.flush, alive=self._live
        )
        self._staging = Staging(hub, self._adapter, self._store, world.tell, hub.legal_basis)
        self._inbox = Inbox(
            hub,
            self._adapter,
            self._store,
            self._delivery,
            clock=world.clock,
            tell=world.tell,
            permitted=self._permitted,
        )
        if feed is not None:
            self._feed = PermissionFeed(
                hub,
                self._store,
                feed,
                frozenset(name for one in settings.point for name in (one.id, one.id_export) if name),
                receive=self._inbox.receive,
                clock=world.clock,
                tell=world.tell,
                flush=world.book.flush,
            )
        #: the queue was visited last: a message goes before the next visit, or a queue that is broken, or takes longer
        #: to read than it is left alone, keeps every day back
        self._heard_last = False
        #: whether a permission ended since the messages were looked through
        self._ended = False
        self._plan: Plan | None = None
        self._slices: Iterator[list[Due]] | None = None
        self._problems: tuple[str, ...] = ()
        self._generation = session.generation()
        #: by the monotonic clock (s): when each is due again
        self._due = dict.fromkeys(NAMES, 0.0)
        self._said: Mapping[str, Any] = {}
        self._forerunner = Forerunner(settings, hub, self._store)
        #: why nothing may be sent under this name yet
        self._claimed: str | None = None
        #: where the audit log ended when the hub was found blocked
        self._blocked_at: int | None = None

    def begin(self) -> None:
        """What was on its way when the last process died has an outcome that nobody knows."""
        self._claimed = self._forerunner.trouble()
        if self._claimed is not None:
            return
        if self._store.note(self._hub.name, RETIRED):
            self._store.remember(self._hub.name, RETIRED, b"")
        self._tell_again()
        found = self._store.recover(self._hub.name, self._now())
        if found:
            _log.warning("hub %s: the outcome of a message is unknown: it is found out", self._hub.name)

    def end(self) -> None:
        """Keep how far the plan came."""
        if self._plan is not None:
            self._plan.save()
        self._tell_status(force=True)

    def _tell_again(self) -> None:
        """What the last process kept, and may not have told."""
        book, hub = self._world.book, self._hub.name
        if (since := book.seen(hub)) is not None:
            retelling.tell_again(self._store, hub, since, self._delivery, self._inbox)
        self._mark()
        if "renamed" in book.troubles(hub):
            self._tell_served()

    def _mark(self) -> None:
        """What comes of the audit log so far was told."""
        if (last := self._store.audit.last) != self._marked:
            self._marked = last
            self._world.book.mark(self._hub.name, last)

    _marked = -1

    def step(self) -> float:
        """Do one thing; the seconds to rest before the next one."""
        rest = self._step()
        self._mark()
        return rest

    def _step(self) -> float:
        self._live()
        now = self._now()
        self._tell_status()
        if not self._world.believed() or self._waits_for_a_word(now):
            return TICK_S
        self._look_at_credentials()
        if self._hear(now) or self._begin_day(now):
            return 0.0
        if self._line.blocked and self._person_acted():
            self._line.unblock()
        if not self._line.free(now):
            return TICK_S
        if not self._heard_last and self._is_due("inbox", self._inbox_s):
            self._ask_inbox(now)
            self._heard_last = True
            return 0.0
        self._heard_last = False
        message = next(iter(self._store.open(self._hub.name, now, 1)), None) or self._misdated(now)
        if message is not None:
            self._delivery.work(message)
            return 0.0
        return 0.0 if self._stage(now) else TICK_S

    def _live(self) -> None:
        # an answer may take its time, and the budget of the hub another minute
        self._thread.live(3 * self._hub.timeout_s + 120)

    def _person_acted(self) -> bool:
        """Whether somebody said `meterd hub retry` since the hub is blocked: the audit log tells."""
        if self._blocked_at is None:
            self._blocked_at = self._store.audit.last
        acted = False
        for entry in self._store.audit.entries(self._blocked_at):
            self._blocked_at = entry.id
            acted = acted or (entry.what == "retry" and entry.hub == self._hub.name)
        if acted:
            self._blocked_at = None
        return acted

    def _misdated(self, now: int) -> Message | None:
        """A message that is due when nothing ever is: it was stored while the clock of this host was ahead."""
        first = next(iter(self._store.waiting(self._hub.name, NEVER - 1, 1)), None)
        if first is None or first.due is None or first.due <= now + FAR_S:
            return None
        return self._store.message(self._hub.name, first.id)

    @property
    def _inbox_s(self) -> int | None:
        """How often the hub's queue is asked (s); None: this hub has none."""
        own = self._adapter.policy.inbox_s
        return (self._hub.inbox_s or own) if own else None

    def _waits_for_a_word(self, now: int) -> bool:
        """Whether another name has this hub's days: tell so, and look whether a person said what it is."""
        if self._claimed is None:
            return False
        if not self._asked:
            self._asked = True
            self._world.tell(Event("renamed", self._hub.name, "error", self._claimed, now))
        if self._is_due("claim", CLAIM_S):
            self.begin()
            if self._claimed is None and "renamed" not in self._world.book.troubles(self._hub.name):
                self._tell_served()
        return True

    def _tell_served(self) -> None:
        text = "a person said which hub it is: it is served"
        self._world.tell(Event("renamed", self._hub.name, "info", text, self._now(), recovered=True))

    _asked = False

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _look_at_credentials(self) -> None:
        """Certificates and secrets that were exchanged are used; what ends soon is told."""
        generation = self._session.generation()
        if generation != self._generation:
            self._generation = generation
            self._line.unblock()
            self._store.say("credentials", self._hub.name, "uploader", self._now(), {"generation": generation})
        if not self._is_due("expiry", EXPIRY_S):
            return
        if events := self._session.expiries():
            for event in events:
                self._world.tell(event)
            self._world.book.flush()
            self._store.remember(self._hub.name, TOLD, msgspec.json.encode(self._session.reminder.told))

    def _begin_day(self, now: int) -> bool:
        """With the daily run requests go out, and a hub that was blocked is tried again."""
        today = self._schedule.last_run(self._zone, now)
        day = today.isoformat().encode()
        if self._store.note(self._hub.name, RUN) == day:
            return False
        self._line.unblock()
        view = View(self._store, self._hub.name)
        sums, notes = self._sums.ask(today, self._staging.about(now), self._zone, self._ours)
        drafts = [*self._daily(view, now), *sums]
        self._staging.ask(drafts, {**view.notes, **notes, RUN: day}, now)
        self._store.say("run", self._hub.name, "uploader", now, {"day": day.decode(), "requests": len(drafts)})
        self._due["plan"] = 0.0
        return True

    def _daily(self, view: View, now: int) -> Sequence[Draft]:
        """What the adapter asks of the hub each day."""
        try:
            return self._adapter.daily(self._staging.about(now), view)
        except BuildError as error:
            text = f"what is asked each day cannot be asked: {error}"
            self._world.tell(Event(error.code, self._hub.name, "error", text, now, "daily"))
            return ()

    def _ask_inbox(self, now: int) -> None:
        try:
            self._inbox.empty(self._alive, self._thread.ends)
        except SessionError as error:
            self._delivery.failed(error)
        if self._inbox.asked:
            self._inbox.asked = False
            self._due["plan"] = 0.0
        self._sums.look(self._ours, now)

    def _ours(self) -> tuple[Ours, IntervalStore]:
        """The series whose sums the hub tells: those of the points of the configuration."""
        found: dict[Direction, list[tuple[SeriesKey, int]]] = {}
        for one in self._planned(self._now()).targets:
            if one.basis == CONFIG and one.kind == "active" and one.unit.name == "Wh":
                found.setdefault(one.direction, []).append((one.key, one.unit.exponent))
        return found, IntervalStore(self._file, self._world.clock)

    def _hear(self, now: int) -> bool:
        """Ask the permission administrator, whatever the hub does; what ended is dead before anything else is done."""
        asked = self._feed is not None and self._is_due("permissions", self._hub.permissions_s)
        if asked and self._feed is not None and (rest := self._feed.poll(self._thread.ends)) is not None:
            self._due["permissions"] = time.monotonic() + rest
        if self._ended:
            self._ended = False
            self._withdraw(now)
        return asked

    def _stage(self, now: int) -> bool:
        """Store the next messages that are due; whether there are more."""
        if self._slices is None:
            if not self._adapter.policy.takes_readings or not self._is_due("plan", PLAN_S):
                self._prune(now)
                return False
            self._round = time.monotonic()
            self._slices = self._staging.slices(self._planned(now).due(now))
        plan, dues = self._planned(now), next(self._slices, None)
        if dues is None:
            self._slices = None
            plan.save()
            self._due["plan"] = time.monotonic() + max(PLAN_S, PLAN_DUTY * (time.monotonic() - self._round))
            if not self._looked:
                # the last process may have died between its last step and its last word
                self._looked = True
                self._late.went(list(self._gone(plan)), now)
            self._late.passed(plan.empty, now)
            self._tell_done(now)
            return False
        self._staging.stage(dues, plan, now)
        plan.save()
        self._late.went(((one.target, one.part.slot.start) for one in dues if not plan.holds(one)), now)
        return True

    _round = 0.0
    _looked = False

    def _gone(self, plan: Plan) -> Iterator[tuple[Target, int]]:
        """Late days of which something went meanwhile."""
        for start in self._late.days:
            for target in plan.targets:
                slot = Slot(target.point, target.direction, target.kind, self._hub.resolution, start)
                row = self._store.slot(self._hub.name, slot)
                if row is not None and row.content:
                    yield target, start

    def _planned(self, now: int) -> Plan:
        """The plan, for the series that there are now."""
        if self._plan is None or (self._slices is None and self._is_due("series", SERIES_S)):
            began = time.monotonic()
            reader = IntervalStore(self._file, self._world.clock)
            found = targets.find(
                self._settings,
                self._hub,
                self._adapter.policy.kinds,
                reader.series(),
                () if self._grounds.silent(now) else self._store.permissions(),
                zone_of=self._world.zone_of,
                now=now,
                one_direction=self._adapter.policy.one_direction,
            )
            self._problems = found.problems
            if self._plan is None or self._plan.targets != found.targets:
                if self._plan is not None:
                    self._plan.save()
                self._plan = Plan(
                    self._hub,
                    self._adapter.policy,
                    self._store,
                    reader,
                    targets=found.targets,
                    schedule=self._schedule,
                    now=now,
                    alive=self._live,
                )
            self._due["series"] = time.monotonic() + max(SERIES_S, PLAN_DUTY * (time.monotonic() - began))
        return self._plan

    def _permitted(self, ended: bool) -> None:
        """A permission came or ended: what it changes is looked up before anything leaves."""
        self._slices = None
        self._due["series"] = self._due["plan"] = 0.0
        self._ended = self._ended or ended

    def _withdraw(self, now: int) -> None:
        """Give up every message whose ground ended."""
        for one in self._store.in_state(self._hub.name, "new", "unknown"):
            message = self._store.message(self._hub.name, one.id)
            if message is not None:
                self._delivery.withdraw(message, now)

    def _heard(self) -> int | None:
        return None if self._feed is None else self._feed.heard

    def _prune(self, now: int) -> None:
        if self._is_due("prune", PRUNE_S) and self._store.prune(self._hub.name, now - self._hub.raw_days * 86_400):
            self._due["prune"] = 0.0

    # -- what is told --------------------------------------------------------------------------------------------------

    def _tell_done(self, now: int) -> None:
        """Once for each daily run: everything that was due has reached the hub."""
        run, counts = self._store.note(self._hub.name, RUN), self._store.counts(self._hub.name)
        done, _, before = (self._store.note(self._hub.name, DONE) or b"").partition(b" ")
        if run is None or run == done:
            return
        if counts["new"] + counts["sending"] + counts["unknown"] == 0:
            waiting, refused = counts["accepted"], counts["rejected"]
            there = waiting + refused + counts["confirmed"]
            went = max(0, there - int(before)) if before.isdigit() else there
            said = f"{went} went to the hub, {waiting} wait for its word, {refused} are parked as refused"
            text = f"the daily run of {run.decode()} is done; messages: {said}"
            self._world.tell(Event("run_done", self._hub.name, "info", text, now, run.decode()))
            self._world.book.flush()
            self._store.remember(self._hub.name, DONE, b"%b %d" % (run, there))

    def _tell_status(self, *, force: bool = False) -> None:
        if not (self._is_due("status", TICK_S) or force):
            return
        said = self._status()
        self._thread.status = said
        lasting = {name: value for name, value in said.items() if name != "t"}
        late = time.monotonic() >= self._written + STATUS_S
        if force or late or lasting != self._said:
            self._said, self._written = lasting, time.monotonic()
            self._store.remember(self._hub.name, STATUS, msgspec.json.encode(said))

    _written = 0.0

    def _status(self) -> dict[str, Any]:
        """What `<base>/uploader/status` and `meterd hub status` tell of this hub."""
        now, counts = self._now(), self._store.counts(self._hub.name)
        oldest = self._store.oldest(self._hub.name)
        run = self._store.note(self._hub.name, RUN)
        is_open = sum(counts[state] for state in ("new", "sending", "unknown", "accepted"))
        return {
            "hub": self._hub.name,
            "kind": self._hub.kind,
            "environment": self._hub.environment,
            "state": self._state(now),
            "t": _shown(now),
            "last_run": run.decode() if run else None,
            "next_run": _shown(self._schedule.next_run(self._zone, now)),
            "open": is_open,
            "unknown": counts["unknown"],
            "rejected": counts["rejected"],
            "confirmed": counts["confirmed"],
            "dead": counts["dead"],
            "oldest_open": None if oldest is None else _shown(oldest),
            "trouble": self._sentence(),
        }

    def _state(self, now: int) -> str:
        if not self._world.believed():
            return "clock"
        if self._line.blocked or self._claimed:
            return "blocked"
        return "ok" if self._line.free(now) and not self._line.failures else "unreachable"

    def _sentence(self) -> str | None:
        """The worst that keeps data from the hub."""
        if not self._world.believed():
            return "the clock of this host is not set: nothing is sent until it is"
        if self._claimed:
            return self._claimed
        unheard = None if self._feed is None else self._feed.trouble
        return (
            self._line.trouble
            or self._session.trouble
            or unheard
            or next(iter(self._problems), None)
            or self._staging.trouble
        )

    # -- tools ---------------------------------------------------------------------------------------------------------

    @property
    def _zone(self) -> ZoneInfo:
        """By whose local time the daily run begins: that of the first point."""
        if self._plan is not None and self._plan.targets:
            return self._plan.targets[0].zone
        named = {*self._hub.points}
        zones = (self._world.zone_of(one) for one in self._settings.point if {one.id, one.id_export} & named)
        return next((zone for zone in zones if zone is not None), ZoneInfo("UTC"))

    def _is_due(self, what: str, every_s: float | None) -> bool:
        """Whether something is due, and then not again for a while; never where there is no `every_s`."""
        now = time.monotonic()
        if every_s is None or now < self._due[what]:
            return False
        self._due[what] = now + every_s
        return True

    def _now(self) -> int:
        return int(self._world.clock())


def _shown(t: int) -> str | None:
    return utc(datetime.fromtimestamp(t, UTC), "seconds")
