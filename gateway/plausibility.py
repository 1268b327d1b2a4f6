"""What a meter can say and what it cannot: power and energy against the connection, registers against themselves.

One set of rules (docs/plausibility.md). A reading with a value that is physically impossible is set aside whole, with
the reason: nobody sees it, nothing is corrected. A meter may be exchanged and a register reset all the same, so
registers that fell, and another identification, are believed when PROOF readings in a row, or two that lie a minute
apart, go on from each other. A leap proves nothing by being repeated: it holds once time made it possible, or a person
confirms it.

Between two readings of one register no more can have flowed than the connection carries in the time between them.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from decoders.model import Reading
from gateway.energy_bounds import MARGIN, EnergyBounds
from gateway.item_p import ItemP, utc
from gateway.meter_exchange import Exchange, exchanged, resets
from gateway.pseudonym import pseudonym
from gateway.register_series import ENERGY, Mark, SavedMark, Series, identification
from gateway.telemetry import Event

#: readings in a row that go on from each other; or as few as two, when so much time (s) lies between them: damage does
#: not repeat itself, and a register that comes once an hour would be held back for hours
PROOF, PROOF_S = 3, 60.0
#: what is stored may be older than what is known by so much (s)
SAVE_EVERY_S = 300.0
#: a doubt shows for so long (s) after the last reading that was set aside
SHOWN_S = 60.0

POWER = ("p_import_w", "p_export_w", "p_net_w")


Kind: TypeAlias = Literal["power", "leap", "fall", "identity"]


class Verdict(NamedTuple):
    """What became of a reading: set aside for a reason (one sentence), or believed where there is none."""

    reason: str | None = None
    kind: Kind | None = None
    events: tuple[Event, ...] = ()
    #: the first that is set aside since all was well for SHOWN_S
    is_news: bool = False


class _Saved(msgspec.Struct, frozen=True):
    """What the journal keeps of one meter."""

    profile: str
    who: tuple[str | None, str | None]
    marks: tuple[SavedMark | None, SavedMark | None]
    batch_s: tuple[float, float]
    exchange: Exchange | None


class _Problem(NamedTuple):
    kind: Kind
    text: str
    event: Event | None = None


class Plausibility:
    """The rules over the readings of one meter, across restarts."""

    def __init__(self, max_power_w: int, salt: bytes, saved: bytes | None = None) -> None:
        """`max_power_w`: what the connection carries, 0 for no limit; `saved` is what `export` gave.

        Raises ValueError for what it cannot have given.
        """
        self._bounds = EnergyBounds(max_power_w)
        self._salt = salt
        self._series = Series()
        self._doubted: Series | None = None
        self._agreed = 0
        self._since = 0.0
        #: until when a doubt shows (monotonic, s)
        self._shown = 0.0
        self.exchange: Exchange | None = None
        #: pseudonyms of the meter before this start; a person confirmed the next meter, or the values that are held
        self._known: tuple[str | None, str | None] = (None, None)
        self._expected = self._forced = False
        self._saved, self._saved_at, self._news = saved or b"", 0.0, False
        if saved:
            self._restore(msgspec.json.decode(saved, type=_Saved))

    def judge(self, item: ItemP, at: float) -> Verdict | None:
        """Judge a reading that arrived `at` (monotonic, s); None for one that is believed, and nothing happened."""
        reading, series, most = item.reading, self._series, self._bounds.most_w
        if most:
            net = reading.p_net_w
            if (
                (reading.p_import_w or 0) > most
                or (reading.p_export_w or 0) > most
                or (net is not None and not -most <= net <= most)
            ):
                is_news, self._shown = not self.doubts(at), at + SHOWN_S
                return Verdict(_too_much_power(reading, most), "power", is_news=is_news)
        if series.profile != reading.profile:
            self._change_profile(reading.profile)
        events: list[Event] = []
        problems = [*self._strangers(reading)] or [*self._contradictions(item, at, events)]
        if problems:
            return self._doubt(item, at, problems)
        if reading.a_import_wh is None and reading.a_export_wh is None:
            return None  # it says nothing for or against those that are set aside
        self._doubted, self._expected, self._forced = None, False, False
        series.take(item, at)
        self._news = self._news or bool(events)
        return Verdict(events=tuple(events)) if events else None

    def doubts(self, now: float) -> bool:
        """Whether readings are set aside, or were lately."""
        return self._doubted is not None or now < self._shown

    def limit(self, max_power_w: int) -> bool:
        """Judge by another limit from now on; whether it is another one."""
        before, self._bounds.most_w = self._bounds.most_w, max_power_w
        return before != max_power_w

    def expect(self) -> None:
        """A person said that another meter comes, by entering its key."""
        self._expected = True

    def confirm(self) -> Event | None:
        """A person says: this is the meter of this connection, and what it says is right; None where nothing waited."""
        waiting = self.exchange if self.exchange is not None and not self.exchange.confirmed else None
        self._forced = self._doubted is not None
        if waiting is None and not self._forced:
            return None
        if waiting is not None:
            self.exchange = msgspec.structs.replace(waiting, confirmed=True)
            self._news = True
        facts = {"before": waiting.before, "after": waiting.after} if waiting else {}
        return Event("meter_confirmed", {**facts, "registers": self._forced})

    def shown(self) -> dict[str, Any] | None:
        """The last exchange of the meter as `<meter>/state` shows it; None where there was none."""
        return None if self.exchange is None else msgspec.structs.asdict(self.exchange)

    def export(self) -> bytes:
        """What the journal keeps; the registers up to SAVE_EVERY_S late, to spare the medium."""
        marks, now = self._series.marks, time.monotonic()
        if self._series.profile and (self._news or not self._saved_at or now - self._saved_at >= SAVE_EVERY_S):
            kept = [None if mark is None else mark.saved() for mark in marks]
            batch_s = self._bounds.batch_s
            saved = _Saved(
                self._series.profile,
                self._pseudonyms(self._series.who),
                (kept[0], kept[1]),
                (batch_s[0], batch_s[1]),
                self.exchange,
            )
            self._saved, self._saved_at, self._news = msgspec.json.encode(saved), now, False
        return self._saved

    def latest(self) -> datetime | None:
        """The latest time of this host's clock in what the journal kept: the clock was not earlier since."""
        return max((mark.host for mark in self._series.marks if mark and mark.host), default=None)

    def _restore(self, saved: _Saved) -> None:
        self._series.profile, self._known, self.exchange = saved.profile, saved.who, saved.exchange
        self._series.marks = [None if mark is None else mark.restored() for mark in saved.marks]
        self._bounds.batch_s = list(saved.batch_s)

    def _change_profile(self, profile: str) -> None:
        """Another profile may mean other registers by the same quantity: there is nothing to compare."""
        if self._series.profile is not None:
            self._series.marks, self._doubted, self._news = [None, None], None, True
        self._series.profile = profile

    def _strangers(self, reading: Reading) -> Iterator[_Problem]:
        """Another identification than that of the series; what is not said is as it was."""
        who = self._series.who
        said = identification(reading)
        if said in (who, (None, None)):
            return
        if all(self._is_same(index, text) for index, text in enumerate(said)):
            self._series.who = said[0] or who[0], said[1] or who[1]
            return
        yield _Problem("identity", "another meter answers than before")

    def _is_same(self, index: int, text: str | None) -> bool:
        before, known = self._series.who[index], self._known[index]
        if text is None or text == before or (before is None and known is None):
            return True
        return before is None and pseudonym(self._salt, text) == known

    def _contradictions(self, item: ItemP, at: float, events: list[Event]) -> Iterator[_Problem]:
        """Registers that fell or leapt since the last reading that was believed; one that ran over is an event."""
        reading, marks, registers = item.reading, self._series.marks, self._series.registers
        for index, wh in enumerate((reading.a_import_wh, reading.a_export_wh)):
            mark = marks[index]
            if wh is None or mark is None or wh == mark.wh:
                continue
            rise = wh - mark.wh
            if rise > 0:
                if mark.at is not None and 36_000 * rise <= self._bounds.most_w * (at - mark.at) * (MARGIN / 10):
                    continue
                most = self._bounds.most(index, mark, item, at)
                if most is not None and rise > most:
                    yield self._leap(index, mark, wh, most)
            elif (rolled := self._bounds.rolled(index, mark, registers, wh, item, at)) is not None:
                delta, modulus = rolled
                facts = {"register": ENERGY[index], "last_wh": mark.wh, "first_wh": wh, "delta_wh": delta}
                events.append(Event("rollover", {**facts, "modulus_wh": modulus, "at": utc(item.t)}))
            else:
                yield self._fall(index, mark, wh, item)

    def _leap(self, index: int, mark: Mark, wh: int, most: int) -> _Problem:
        what = f"{ENERGY[index]} {wh} Wh is {wh - mark.wh} Wh above the last reading"
        return _Problem("leap", f"{what}, and the connection carries at most {most} Wh in the time between them")

    def _fall(self, index: int, mark: Mark, wh: int, item: ItemP) -> _Problem:
        facts = {"register": ENERGY[index], "last_wh": mark.wh, "said_wh": wh, "at": utc(item.t)}
        text = f"{ENERGY[index]} {wh} Wh is less than {mark.wh} Wh before: a register of energy only rises"
        return _Problem("fall", text, Event("rollback", facts))

    def _doubt(self, item: ItemP, at: float, problems: Sequence[_Problem]) -> Verdict:
        """Set a reading aside, unless it is the one that proves that those before it were right."""
        first = not self.doubts(at)
        agrees = self._doubted is not None and self._goes_on(self._doubted, item, at)
        if self._doubted is None or not agrees:
            self._doubted, self._agreed, self._since = Series(), 0, at
            self._doubted.who = identification(item.reading)
        self._doubted.take(item, at)
        self._agreed += 1
        proven = self._agreed >= PROOF or at - self._since >= PROOF_S
        if self._forced or (proven and self._may_be(problems, at)):
            return Verdict(events=self._accept(item, problems))
        self._shown = at + SHOWN_S
        events = tuple(problem.event for problem in problems if problem.event is not None) if first else ()
        return Verdict("; ".join(problem.text for problem in problems), problems[0].kind, events, first)

    def _goes_on(self, doubted: Series, item: ItemP, at: float) -> bool:
        """Whether a reading goes on from those that are doubted."""
        said = identification(item.reading)
        if any(one is not None and two is not None and one != two for one, two in zip(doubted.who, said, strict=True)):
            return False
        for index, wh in enumerate((item.reading.a_import_wh, item.reading.a_export_wh)):
            mark = doubted.marks[index]
            if wh is None or mark is None:
                continue
            most = self._bounds.most(index, mark, item, at)
            if wh < mark.wh or (most is not None and wh - mark.wh > most):
                return False
        return True

    def _may_be(self, problems: Sequence[_Problem], at: float) -> bool:
        """Whether proof is enough: for a leap alone only where the register had stood still for long enough."""
        if any(problem.kind != "leap" for problem in problems):
            return True
        assert self._doubted is not None  # noqa: S101  # a leap is doubted
        return self._bounds.come_in_batches(self._series.marks, self._doubted.marks, at)

    def _accept(self, item: ItemP, problems: Sequence[_Problem]) -> tuple[Event, ...]:
        """Begin anew with the registers that were proven."""
        before, new = self._series, self._doubted
        assert new is not None  # noqa: S101  # what is accepted was doubted
        if any(problem.kind == "identity" for problem in problems):
            who = [one[0] or one[1] for one in (self._pseudonyms(before.who), self._pseudonyms(new.who))]
            confirmed = self._expected or self._forced
            self.exchange = exchanged(before, new, item.t, (who[0], who[1]), confirmed=confirmed)
            events: tuple[Event, ...] = (self.exchange.event(),)
            self._bounds.batch_s = [0.0, 0.0]
        else:
            events = tuple(resets(before, new, item.t, by_person=self._forced))
            new.who = before.who
            new.marks = [theirs or ours for theirs, ours in zip(new.marks, before.marks, strict=True)]
        self._series, self._doubted, self._agreed, self._shown = new, None, 0, 0.0
        self._known, self._expected, self._forced, self._news = (None, None), False, False, True
        return events

    def _pseudonyms(self, who: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
        named = [None if text is None else pseudonym(self._salt, text) for text in who]
        if who is self._series.who:
            named = [name or known for name, known in zip(named, self._known, strict=True)]
        return named[0], named[1]


def _too_much_power(reading: Reading, most: int) -> str:
    said = ((name, getattr(reading, name)) for name in POWER)
    name, watts = next((name, watts) for name, watts in said if watts is not None and abs(watts) > most)
    return f"{name} {watts} W is above max_power_w = {most}"
