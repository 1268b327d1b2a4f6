"""What a meter can say and what it cannot: power and energy against the connection, registers against themselves.

One set of rules (docs/plausibility.md). A reading with a value that is physically impossible is set aside whole, with
the reason: nobody sees it, nothing is corrected. A meter may be exchanged and a register reset all the same, so
registers that fell, and another identification, are believed when PROOF readings in a row, or two that lie a minute
apart, go on from each other. A leap proves nothing by being repeated: it holds once time made it possible, or a person
confirms it.

Between two readings of one register no more can have flowed than the connection carries in the time between them.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from decoders.model import Reading, Register
from gateway.item_p import ItemP, utc
from gateway.pseudonym import pseudonym

#: readings in a row that go on from each other; or as few as two, when so much time (s) lies between them: damage does
#: not repeat itself, and a register that comes once an hour would be held back for hours
PROOF, PROOF_S = 3, 60.0
#: counting, clocks and the delay of a line add to what a connection carries, in percent
MARGIN = 110
#: a register that stands still may be one that moves at intervals: up to so long (s)
BATCH_S = 3_600.0
#: how far the clock of a meter is followed that is not believed (s): it still tells how much time passed
FOLLOWED_S = 900.0
#: no meter counts with fewer digits (9 999.999 kWh); and what no connection exceeds where no limit is set (W)
LEAST_ROLL, MOST_W = 10**7, 100_000_000
#: what is stored may be older than what is known by so much (s)
SAVE_EVERY_S = 300.0
#: a doubt shows for so long (s) after the last reading that was set aside
SHOWN_S = 60.0

POWER = ("p_import_w", "p_export_w", "p_net_w")
ENERGY = ("a_import_wh", "a_export_wh")
#: OBIS groups C.D of active energy, by direction; exponents of its units
_CODES = (":1.8.", ":2.8.")
_UNITS = {"Wh": 0, "kWh": 3, "MWh": 6, "GWh": 9}

Kind: TypeAlias = Literal["power", "leap", "fall", "identity"]


class Event(NamedTuple):
    """Something for the metrology log: a name of telemetry.EVENTS and its facts."""

    name: str
    facts: dict[str, Any]


class Verdict(NamedTuple):
    """What became of a reading: set aside for a reason (one sentence), or believed where there is none."""

    reason: str | None = None
    kind: Kind | None = None
    events: tuple[Event, ...] = ()
    #: the first that is set aside since all was well for SHOWN_S
    is_news: bool = False


@dataclass(slots=True)
class _Mark:
    """One register in Wh as it was last believed, and when by each clock; `moved`: since when (monotonic, s)."""

    wh: int
    #: by the meter's clock, whether that was believed, and by this host's clock; None where there was none
    meter: datetime | None
    believed: bool
    host: datetime | None
    #: None: before this start
    at: float | None
    moved: float


class Exchange(msgspec.Struct, frozen=True):
    """Another meter in the place of one: the last reading of the old one, the first of the new one, pseudonyms."""

    t: str | None
    before: str | None
    after: str | None
    last: dict[str, Any]
    first: dict[str, Any]
    #: whether a person said that this is the meter of this connection now
    confirmed: bool


class _SavedMark(msgspec.Struct, array_like=True, frozen=True):
    """A register as the journal keeps it, by the clocks that go on while this process does not run."""

    wh: int
    meter: datetime | None
    believed: bool
    host: datetime | None


class _Saved(msgspec.Struct, frozen=True):
    """What the journal keeps of one meter."""

    profile: str
    who: tuple[str | None, str | None]
    marks: tuple[_SavedMark | None, _SavedMark | None]
    batch_s: tuple[float, float]
    exchange: Exchange | None


class _Problem(NamedTuple):
    kind: Kind
    text: str
    event: Event | None = None


class _Series:
    """The registers of one meter as far as they go on from each other."""

    def __init__(self) -> None:
        self.profile: str | None = None
        #: identification and system title as sent
        self.who: tuple[str | None, str | None] = (None, None)
        self.marks: list[_Mark | None] = [None, None]
        #: the registers of the last reading, for those that run over behind a sum
        self.registers: tuple[Register, ...] = ()

    def take(self, item: ItemP, at: float) -> None:
        """Go on with a reading; a register that was not said is as it was."""
        reading = item.reading
        self.profile = reading.profile
        self.registers = reading.registers
        for index, wh in enumerate((reading.a_import_wh, reading.a_export_wh)):
            if wh is None:
                continue
            mark = self.marks[index]
            if mark is None:
                mark = self.marks[index] = _Mark(wh, None, False, None, None, at)
            elif wh != mark.wh:
                mark.wh, mark.moved = wh, at
            mark.meter = reading.reg_t or reading.t
            mark.believed = item.t_source == "meter"
            mark.host, mark.at = item.t_rx, at


class Plausibility:
    """The rules over the readings of one meter, across restarts."""

    def __init__(self, max_power_w: int, salt: bytes, saved: bytes | None = None) -> None:
        """`max_power_w`: what the connection carries, 0 for no limit; `saved` is what `export` gave.

        Raises ValueError for what it cannot have given.
        """
        self._most_w = max_power_w
        self._salt = salt
        self._series = _Series()
        self._doubted: _Series | None = None
        self._agreed = 0
        self._since = 0.0
        #: until when a doubt shows (monotonic, s); the longest pause of each register that moves at intervals (s)
        self._shown = 0.0
        self._batch_s = [0.0, 0.0]
        self.exchange: Exchange | None = None
        #: pseudonyms of the meter before this start; a person confirmed the next meter, or the values that are held
        self._known: tuple[str | None, str | None] = (None, None)
        self._expected = self._forced = False
        self._saved, self._saved_at, self._news = saved or b"", 0.0, False
        if saved:
            self._restore(msgspec.json.decode(saved, type=_Saved))

    def judge(self, item: ItemP, at: float) -> Verdict | None:
        """Judge a reading that arrived `at` (monotonic, s); None for one that is believed, and nothing happened."""
        reading, series, most = item.reading, self._series, self._most_w
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
        before, self._most_w = self._most_w, max_power_w
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
            saved = _Saved(
                self._series.profile,
                self._pseudonyms(self._series.who),
                (_to_save(marks[0]), _to_save(marks[1])),
                (self._batch_s[0], self._batch_s[1]),
                self.exchange,
            )
            self._saved, self._saved_at, self._news = msgspec.json.encode(saved), now, False
        return self._saved

    def latest(self) -> datetime | None:
        """The latest time of this host's clock in what the journal kept: the clock was not earlier since."""
        return max((mark.host for mark in self._series.marks if mark and mark.host), default=None)

    def _restore(self, saved: _Saved) -> None:
        self._series.profile, self._known, self.exchange = saved.profile, saved.who, saved.exchange
        self._series.marks = [
            None if mark is None else _Mark(mark.wh, mark.meter, mark.believed, mark.host, None, math.inf)
            for mark in saved.marks
        ]
        self._batch_s = list(saved.batch_s)

    def _change_profile(self, profile: str) -> None:
        """Another profile may mean other registers by the same quantity: there is nothing to compare."""
        if self._series.profile is not None:
            self._series.marks, self._doubted, self._news = [None, None], None, True
        self._series.profile = profile

    def _strangers(self, reading: Reading) -> Iterator[_Problem]:
        """Another identification than that of the series; what is not said is as it was."""
        who = self._series.who
        said = _who(reading)
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
        reading, marks = item.reading, self._series.marks
        for index, wh in enumerate((reading.a_import_wh, reading.a_export_wh)):
            mark = marks[index]
            if wh is None or mark is None or wh == mark.wh:
                continue
            rise = wh - mark.wh
            if rise > 0:
                if mark.at is not None and 36_000 * rise <= self._most_w * (at - mark.at) * (MARGIN / 10):
                    continue
                most = self._most(index, mark, item, at)
                if most is not None and rise > most:
                    yield self._leap(index, mark, wh, most)
            elif (rolled := self._rolled(index, mark, item, at)) is not None:
                delta, modulus = rolled
                facts = {"register": ENERGY[index], "last_wh": mark.wh, "first_wh": wh, "delta_wh": delta}
                events.append(Event("rollover", {**facts, "modulus_wh": modulus, "at": utc(item.t)}))
            else:
                yield self._fall(index, mark, wh, item)

    def _most(self, index: int, mark: _Mark, item: ItemP, at: float) -> int | None:
        """Wh by which a register can have risen since its mark; None where nobody knows how long ago that was."""
        if not self._most_w:
            return None
        gap_s = _gap_s(mark, item, at)
        if gap_s is None:
            return None
        gap_s = max(gap_s, min(at - mark.moved, self._batch_s[index]))
        return self._carried_wh(gap_s) + _resolution(index, item.reading, mark.wh)

    def _carried_wh(self, seconds: float) -> int:
        return int((self._most_w or MOST_W) * MARGIN * max(0.0, seconds) / 360_000)

    def _leap(self, index: int, mark: _Mark, wh: int, most: int) -> _Problem:
        what = f"{ENERGY[index]} {wh} Wh is {wh - mark.wh} Wh above the last reading"
        return _Problem("leap", f"{what}, and the connection carries at most {most} Wh in the time between them")

    def _fall(self, index: int, mark: _Mark, wh: int, item: ItemP) -> _Problem:
        facts = {"register": ENERGY[index], "last_wh": mark.wh, "said_wh": wh, "at": utc(item.t)}
        text = f"{ENERGY[index]} {wh} Wh is less than {mark.wh} Wh before: a register of energy only rises"
        return _Problem("fall", text, Event("rollback", facts))

    def _rolled(self, index: int, mark: _Mark, item: ItemP, at: float) -> tuple[int, int] | None:
        """(Wh that flowed, Wh of a whole turn) where a register passed its last digit; None where it cannot have."""
        wh = (item.reading.a_import_wh, item.reading.a_export_wh)[index]
        assert wh is not None  # noqa: S101  # asked about a register that was said
        gap_s = _gap_s(mark, item, at)
        most = self._carried_wh(BATCH_S if gap_s is None else gap_s) + _resolution(index, item.reading, mark.wh)
        for modulus in (10 ** len(str(mark.wh)), _turned(index, self._series.registers, item.reading.registers)):
            if modulus >= LEAST_ROLL and 0 <= (delta := wh - mark.wh + modulus) <= most:
                return delta, modulus
        return None

    def _doubt(self, item: ItemP, at: float, problems: Sequence[_Problem]) -> Verdict:
        """Set a reading aside, unless it is the one that proves that those before it were right."""
        first = not self.doubts(at)
        agrees = self._doubted is not None and self._goes_on(self._doubted, item, at)
        if self._doubted is None or not agrees:
            self._doubted, self._agreed, self._since = _Series(), 0, at
            self._doubted.who = _who(item.reading)
        self._doubted.take(item, at)
        self._agreed += 1
        proven = self._agreed >= PROOF or at - self._since >= PROOF_S
        if self._forced or (proven and self._may_be(problems, at)):
            return Verdict(events=self._accept(item, at, problems))
        self._shown = at + SHOWN_S
        events = tuple(problem.event for problem in problems if problem.event is not None) if first else ()
        return Verdict("; ".join(problem.text for problem in problems), problems[0].kind, events, first)

    def _goes_on(self, doubted: _Series, item: ItemP, at: float) -> bool:
        """Whether a reading goes on from those that are doubted."""
        said = _who(item.reading)
        if any(one is not None and two is not None and one != two for one, two in zip(doubted.who, said, strict=True)):
            return False
        for index, wh in enumerate((item.reading.a_import_wh, item.reading.a_export_wh)):
            mark = doubted.marks[index]
            if wh is None or mark is None:
                continue
            most = self._most(index, mark, item, at)
            if wh < mark.wh or (most is not None and wh - mark.wh > most):
                return False
        return True

    def _may_be(self, problems: Sequence[_Problem], at: float) -> bool:
        """Whether proof is enough: for a leap alone only where the register had stood still for long enough."""
        if any(problem.kind != "leap" for problem in problems):
            return True
        assert self._doubted is not None  # noqa: S101  # a leap is doubted
        for index, (mark, new) in enumerate(zip(self._series.marks, self._doubted.marks, strict=True)):
            if mark is None or new is None or new.wh <= mark.wh:
                continue
            stood_s = min(at - mark.moved, BATCH_S)
            if new.wh - mark.wh > self._carried_wh(stood_s):
                return False
            self._batch_s[index] = max(self._batch_s[index], stood_s)
        return True

    def _accept(self, item: ItemP, at: float, problems: Sequence[_Problem]) -> tuple[Event, ...]:
        """Begin anew with the registers that were proven; nothing is ever subtracted across this."""
        before, new = self._series, self._doubted
        assert new is not None  # noqa: S101  # what is accepted was doubted
        first = {name: mark.wh for name, mark in zip(ENERGY, new.marks, strict=True) if mark}
        last = {name: mark.wh for name, mark in zip(ENERGY, before.marks, strict=True) if mark}
        events = []
        if any(problem.kind == "identity" for problem in problems):
            names = self._pseudonyms(before.who), self._pseudonyms(new.who)
            who = [one[0] or one[1] for one in names]
            confirmed = self._expected or self._forced
            self.exchange = Exchange(
                utc(item.t), who[0], who[1], {**last, "t": _time(before)}, {**first, "t": utc(item.t)}, confirmed
            )
            facts: dict[str, Any] = {
                "before": who[0],
                "after": who[1],
                "last": self.exchange.last,
                "first": self.exchange.first,
            }
            events.append(Event("meter_exchanged", {**facts, "confirmed": confirmed}))
            self._batch_s = [0.0, 0.0]
        else:
            new.who = before.who
            new.marks = [theirs or ours for theirs, ours in zip(new.marks, before.marks, strict=True)]
            for name, wh in first.items():
                if name in last and wh != last[name] and (wh < last[name] or self._forced):
                    facts = {"register": name, "last_wh": last[name], "first_wh": wh, "at": utc(item.t)}
                    events.append(Event("register_reset", {**facts, "by": "person" if self._forced else "proof"}))
        self._series, self._doubted, self._agreed, self._shown = new, None, 0, 0.0
        self._known, self._expected, self._forced, self._news = (None, None), False, False, True
        return tuple(events)

    def _pseudonyms(self, who: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
        named = [None if text is None else pseudonym(self._salt, text) for text in who]
        if who is self._series.who:
            named = [name or known for name, known in zip(named, self._known, strict=True)]
        return named[0], named[1]


def _to_save(mark: _Mark | None) -> _SavedMark | None:
    return None if mark is None else _SavedMark(mark.wh, mark.meter, mark.believed, mark.host)


def _time(series: _Series) -> str | None:
    """When the registers of a series were last believed: by the meter's clock, else by this host's."""
    times = (mark.meter or mark.host for mark in series.marks if mark is not None)
    return utc(max((t for t in times if t is not None), default=None))


def _who(reading: Reading) -> tuple[str | None, str | None]:
    """Identification and system title, as sent."""
    identity = None if reading.seen is None else reading.seen.identity
    return reading.identity, None if identity is None else identity.system_title


def _too_much_power(reading: Reading, most: int) -> str:
    said = ((name, getattr(reading, name)) for name in POWER)
    name, watts = next((name, watts) for name, watts in said if watts is not None and abs(watts) > most)
    return f"{name} {watts} W is above max_power_w = {most}"


def _gap_s(mark: _Mark, item: ItemP, at: float) -> float | None:
    """Seconds since a mark by the clocks that tell: the longest, so that none that was set back makes it too short."""
    gaps = [] if mark.at is None else [at - mark.at]
    now = item.reading.reg_t or item.reading.t
    if mark.meter is not None and now is not None:
        by_meter = (now - mark.meter).total_seconds()
        gaps.append(by_meter if mark.believed and item.t_source == "meter" else min(by_meter, FOLLOWED_S))
    if mark.at is None and mark.host is not None and item.t_rx is not None:
        gaps.append((item.t_rx - mark.host).total_seconds())
    longest = max(gaps, default=-1.0)
    return longest if longest >= 0 else None


def _resolution(index: int, reading: Reading, before_wh: int) -> int:
    """Wh by which the registers of a direction step, all of them together; and what cutting to whole Wh adds.

    German meters show whole kWh until their PIN is entered, in a register of tenths of a Wh.
    """
    named = [row for row in _energy(reading.registers) if _CODES[index] in row[0]]
    steps = named or list(_energy(reading.registers))
    finest = sum(int(10 ** max(0, exponent + _UNITS[unit])) for _, _, exponent, unit in steps)
    whole_kwh = 1_000 if reading.interface == "sml" and before_wh and before_wh % 1_000 == 0 else 0
    return max(1, finest) + whole_kwh


def _turned(index: int, before: tuple[Register, ...], now: tuple[Register, ...]) -> int:
    """Wh of the turns that registers of single tariffs made: those that fell, by their own digits."""
    old = {code: (integer, exponent) for code, integer, exponent, _ in _energy(before) if _CODES[index] in code}
    turns: int = 0
    for code, integer, exponent, unit in _energy(now):
        if code in old and not code.endswith(".8.0") and old[code][1] == exponent and integer < old[code][0]:
            digits = len(str(old[code][0])) + exponent + _UNITS[unit]
            turns += int(10**digits) if digits > 0 else 0
    return turns


def _energy(registers: tuple[Register, ...]) -> Iterator[Register]:
    return (row for row in registers if row[3] in _UNITS)
