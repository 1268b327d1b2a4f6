"""Random histories of a register: what was measured, what broke it, and in which order it came to the gateway."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.intervals.continuity import Origin, Rules

ZONES = ("Europe/Amsterdam", "Europe/Prague", "Atlantic/Azores", "Europe/Dublin", "Europe/Lisbon", "Asia/Nicosia")
MODULUS = 10**9


@dataclass
class Good:
    """A reading that holds: time, register, power, index of its origin, how often the register was broken before."""

    t: int
    value: int
    power: int | None
    origin: int
    epoch: int


@dataclass
class History:
    """Deliveries are in the order of receipt: (t, value, power, origin)."""

    rules: Rules
    zone: ZoneInfo
    origins: list[Origin]
    #: kind of each break
    breaks: list[str] = field(default_factory=list)
    good: list[Good] = field(default_factory=list)
    deliveries: list[tuple[int, int | None, int | None, int]] = field(default_factory=list)
    contradictions: list[int] = field(default_factory=list)
    clock_back: list[tuple[int, int]] = field(default_factory=list)


def history(seed: int) -> History:
    """The history of a seed, always the same."""
    dice = random.Random(seed)
    found = History(
        rules=Rules(modulus=dice.choice((None, None, MODULUS)), max_bound_gap_s=dice.choice((60, 60, 30, 90))),
        zone=ZoneInfo(dice.choice(ZONES)),
        origins=[Origin(device="a", step=dice.choice((1, 1, 10, 1000)))],
    )
    _measure(dice, found, _times(dice))
    _deliver(dice, found)
    return found


def _begin(dice: random.Random) -> int:
    """Some hours before a change of clocks, before midnight or the end of a month, or at any time."""
    year = dice.randrange(2015, 2040)
    moment = dice.choice((
        datetime(year, 3, 25, tzinfo=UTC) + timedelta(days=dice.randrange(7)),
        datetime(year, 10, 25, tzinfo=UTC) + timedelta(days=dice.randrange(7)),
        datetime(year, dice.randrange(1, 13), 1, tzinfo=UTC),
    ))  # fmt: skip
    return int(moment.timestamp()) + dice.randrange(-20_000, 20_000)


def _times(dice: random.Random) -> list[int]:
    """Times of readings in stretches, each with its own pace, with gaps between them; often one lies at a bound."""
    times, t = [], _begin(dice)
    for _ in range(dice.randrange(1, 4)):
        pace = dice.choice((10, 30, 60, 60, 120, 300, 900, 900, 3_600 if dice.random() < 0.3 else 20))
        t -= t % pace if dice.random() < 0.5 else 0
        for _ in range(dice.randrange(2, 18)):
            t += pace if dice.random() < 0.8 else dice.randrange(1, 2 * pace)
            times.append(t)
        t += dice.choice((0, 0, 45, 200, 400, 1_500, 3_000, 9_000, 100_000 if dice.random() < 0.05 else 0))
    return sorted(set(times))


def _measure(dice: random.Random, found: History, times: list[int]) -> None:
    """What the meters counted: a register that rises, but for breaks."""
    exact = MODULUS - dice.randrange(1, 3_000) if dice.random() < 0.25 else dice.randrange(10**7, 9 * 10**7)
    rolls = exact > 9 * 10**7
    has_power, sparse, epoch, before = dice.random() < 0.6, dice.random() < 0.3, 0, times[0]
    lasting = 0
    for t in times:
        power = dice.choice((0, dice.randrange(5_000), dice.randrange(20_000)))
        exact += power * (t - before) // 3_600
        before, lasting = t, lasting + 1
        if rolls and exact >= MODULUS:
            exact, rolls, epoch, lasting = exact - MODULUS, False, epoch + 1, 1
            found.breaks.append("rollover")
        elif lasting > 4 and dice.random() < 0.04 and not rolls:
            # only a register that is far up can fall so far that nothing it counts until then makes up for it
            kind = dice.choice(("exchange", "exchange", "back", "leap")) if exact > 10**7 else "exchange"
            found.breaks.append(kind)
            exact, epoch, lasting = _broken(dice, found, kind, exact), epoch + 1, 1
        elif lasting > 1 and dice.random() < 0.02:
            found.origins.append(found.origins[-1]._replace(
                quality=dice.choice(("measured", "estimated", "substituted")),
                auth=dice.choice(("verified", "unverified", "plain")),
            ))  # fmt: skip
        step = found.origins[-1].step
        shown = power if has_power else None
        if sparse and lasting > 1 and dice.random() < 0.6:
            found.deliveries.append((t, None, shown, 0))
        else:
            found.good.append(Good(t, exact - exact % step, shown, len(found.origins) - 1, epoch))


def _broken(dice: random.Random, found: History, kind: str, exact: int) -> int:
    if kind == "exchange":
        found.origins.append(Origin(device=f"meter {len(found.origins)}", step=dice.choice((1, 10))))
        return dice.choice((0, dice.randrange(10**7), exact, exact + dice.randrange(1_000)))
    return exact // 2 if kind == "back" else exact + 10**10


def _deliver(dice: random.Random, found: History) -> None:
    """Put readings in the order of receipt: some come late, some twice, some contradict, some by a clock set back."""
    late = _late(dice, found.good)
    powers, found.deliveries = found.deliveries, []
    rows: list[tuple[float, int, object]] = [(good.t, 0, good) for good in found.good if id(good) not in late]
    rows += [(row[0], 0, row) for row in powers]
    last = found.good[-1].t
    rows += [(dice.uniform(good.t, last + 1), 1, good) for good in found.good if id(good) in late]
    rows.sort(key=lambda row: row[:2])
    newest: Good | None = None
    behind: int | None = None
    seen = 0
    for _, is_late, row in rows:
        if isinstance(row, tuple):
            found.deliveries.append(row)
            continue
        assert isinstance(row, Good)
        found.deliveries.append((row.t, row.value, row.power, row.origin))
        if newest is not None and row.t < newest.t:
            continue
        if behind is not None:
            found.clock_back.append((behind, row.t))
            behind = None
        seen = seen + 1 if newest is not None and newest.epoch == row.epoch else 1
        before, newest = newest, row
        if is_late or before is None:
            continue
        _twice(dice, found, row, fresh=seen == 1)
        if seen > 1 and dice.random() < 0.01 and _set_back(dice, found, row):
            behind = row.t


def _late(dice: random.Random, good: list[Good]) -> set[int]:
    """Readings that come later than others; the first one, and one of each register, do not."""
    if dice.random() < 0.4:
        return set()
    chosen = set()
    for epoch in range(good[-1].epoch + 1):
        mine = [one for one in good if one.epoch == epoch and one is not good[0]]
        if len(mine) > 1:
            chosen |= {id(one) for one in dice.sample(mine, dice.randrange(min(6, len(mine))))}
    return chosen


def _twice(dice: random.Random, found: History, row: Good, *, fresh: bool) -> None:
    """The same telegram again, or another one of the same time."""
    what = dice.random()
    if what < 0.05:
        found.deliveries.append((row.t, row.value, row.power, row.origin))
    elif what < 0.08 and not fresh:
        low = max(one.value for one in found.good if one.epoch == row.epoch and one.t < row.t)
        if low < row.value:
            row.value = dice.randrange(max(low, row.value - 900), row.value)
            found.deliveries.append((row.t, row.value, row.power, row.origin))
            found.contradictions.append(row.t)
    elif what < 0.10 and not fresh:
        first = min(one.value for one in found.good if one.epoch == row.epoch)
        found.deliveries.append((row.t, first - 1, row.power, row.origin))
        found.contradictions.append(row.t)


def _set_back(dice: random.Random, found: History, row: Good) -> bool:
    """The meter's clock goes back behind times that it had; the register goes on, and all later values with it."""
    first = found.good[0].t
    times = sorted(dice.randrange(first + 1, row.t) for _ in range(3)) if row.t - first > 10 else []
    if not times or MODULUS - 10_000 < row.value < MODULUS:
        return False
    for number, t in enumerate(times, 1):
        found.deliveries.append((t, row.value + number, row.power, row.origin))
        found.contradictions.append(t)
    for later in found.good:
        if later.epoch == row.epoch and later.t > row.t:
            later.value += len(times) + 1
    return True
