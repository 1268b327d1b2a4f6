"""What the intervals of a history must be: by rational arithmetic, from all its readings at once, sorted by time.

Nothing here knows of receipt, of cells or of what is kept in between: breaks are those that the history made. To a
register is added what each break took, so that it never breaks.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from fractions import Fraction
from math import floor

from gateway.intervals.model import AUTHS, QUALITIES
from tests.intervals.histories import MODULUS, Good, History

QUARTER = 900


class Oracle:
    def __init__(self, history: History) -> None:
        self.history = history
        self.good = sorted(history.good, key=lambda good: good.t)
        self.times = [good.t for good in self.good]
        self.gap = history.rules.max_bound_gap_s
        #: by how much the register of each epoch must be raised to go on from the one before
        self.raised = [0]
        for before, after in zip(self.good, self.good[1:], strict=False):
            if after.epoch > before.epoch:
                kind = history.breaks[before.epoch]
                lost = MODULUS if kind == "rollover" else before.value - after.value
                self.raised.append(self.raised[-1] + lost)
        self.minutes, self.powers = set(), defaultdict(list)
        heard = None
        for t, _, power, _ in history.deliveries:
            if t != heard:
                self.minutes.add(t // 60)
                if power is not None:
                    self.powers[t // QUARTER].append(power)
            heard = t
        self.minutes = sorted(self.minutes)

    def total(self, good: Good) -> int:
        return good.value + self.raised[good.epoch]

    def bound(self, t: int) -> dict:
        """The register that never breaks at a moment, how it was found, and the readings beside."""
        place = bisect_left(self.times, t)
        if place < len(self.good) and self.times[place] == t:
            good = self.good[place]
            return {"method": "measured", "total": self.total(good), "epoch": good.epoch, "beside": [good]}
        if place in (0, len(self.good)):
            return {"method": "none", "total": None, "epoch": None, "beside": []}
        before, after = self.good[place - 1], self.good[place]
        near = t - before.t <= self.gap and after.t - t <= self.gap
        beside = [before, after]
        if before.epoch != after.epoch and self.history.breaks[before.epoch] != "rollover":
            kind = self.history.breaks[before.epoch]
            if near:
                return {
                    "method": "interpolated", "total": self.total(before), "epoch": before.epoch, "beside": beside,
                }  # fmt: skip
            return {"method": "none", "total": None, "epoch": None, "beside": beside, "kind": kind}
        rise = self.total(after) - self.total(before)
        share, by_power = Fraction(t - before.t, after.t - before.t), False
        if not near and rise:
            share, by_power = self.share(t, before.t, after.t, rise, share)
        total = self.total(before) + floor(rise * share)
        epoch = before.epoch
        if after.epoch > epoch and total - self.raised[epoch] >= MODULUS:
            epoch = after.epoch
        method = "interpolated" if near else "estimated"
        by_power = not near and (by_power or not rise)
        return {"method": method, "total": total, "epoch": epoch, "beside": beside, "by_power": by_power}

    def share(self, t: int, since: int, until: int, rise: int, flat: Fraction) -> tuple[Fraction, bool]:
        """What part of a rise (Wh) fell before `t`: power integrated, and the rest spread over the time without it."""
        wattseconds, seconds = [0, 0], [0, 0]
        for quarter, powers in self.powers.items():
            if since // QUARTER <= quarter < until // QUARTER:
                begin, end = max(since, quarter * QUARTER), (quarter + 1) * QUARTER
                wattseconds[end > t] += floor(Fraction(sum(powers), len(powers))) * (end - begin)
                seconds[end > t] += end - begin
        known, energy = sum(seconds), sum(wattseconds)
        if not known:
            return flat, False
        unknown = until - since - known
        if unknown and energy <= 3_600 * rise:
            per_second = Fraction(3_600 * rise - energy, unknown)
            return (wattseconds[0] + per_second * (t - since - seconds[0])) / (3_600 * rise), True
        return (Fraction(wattseconds[0], energy), True) if energy else (flat, False)

    def interval(self, start: int, end: int) -> dict:
        """Everything that an interval must say."""
        low, high = self.bound(start), self.bound(end)
        inside = self.good[bisect_left(self.times, start) : bisect_left(self.times, end)]
        used = {good.origin for good in [*inside, *low["beside"], *high["beside"]]}
        origins = [self.history.origins[index] for index in used]
        quarters = range(start // QUARTER, end // QUARTER)
        contradicted = any(t // QUARTER in quarters for t in self.history.contradictions)
        set_back = any(a // QUARTER <= quarters[-1] and b // QUARTER >= quarters[0] for a, b in self.history.clock_back)
        missing = low["total"] is None or high["total"] is None
        kinds = [] if missing else self.history.breaks[low["epoch"] : high["epoch"]]
        words = set(kinds)
        words |= {bound["kind"] for bound in (low, high) if "kind" in bound}
        words |= {"no_reading"} if any(not bound["beside"] for bound in (low, high)) else set()
        if missing:  # breaks between what is known
            words |= self.breaks_of_missing(low, high)
        words |= ({"contradiction"} if contradicted else set()) | ({"clock_back"} if set_back else set())
        estimated = [bound for bound in (low, high) if bound["method"] == "estimated"]
        if missing:
            status = "missing"
        elif contradicted or set_back or {"back", "leap"} & set(kinds):
            status = "suspect"
        else:
            status = "estimated" if estimated or self.exchanged_unseen(low, high) else "raw"
        quantity = None if missing else high["total"] - low["total"]
        least = ["estimated"] if status == "estimated" else []
        qualities = [*least, *(origin.quality for origin in origins)]
        return {
            "start": start,
            "end": end,
            "quantity": quantity,
            "status": status,
            "quality": "suspect" if missing else max(qualities, key=QUALITIES.index),
            "auth": max((origin.auth for origin in origins), key=AUTHS.index, default="plain"),
            "coverage": 1000 * self.minutes_in(start, end) // ((end - start) // 60),
            "low": self.register(low),
            "high": self.register(high),
            "methods": (low["method"], high["method"]),
            "sum_break": 0 if missing else quantity - (self.register(high) - self.register(low)),
            "words": words,
            "method": "none" if missing else self.method(estimated),
            "step": max((origin.step for origin in origins), default=1),
        }

    def breaks_of_missing(self, low: dict, high: dict) -> set[str]:
        """Breaks that an interval without quantity has between the last reading at its low and its high bound."""
        first = low["beside"][0].epoch if low["beside"] else 0
        last = high["beside"][0].epoch if high["beside"] else len(self.history.breaks)
        first = low["epoch"] if low["epoch"] is not None else first
        last = high["epoch"] if high["epoch"] is not None else last
        return set(self.history.breaks[first:last])

    def minutes_in(self, start: int, end: int) -> int:
        return bisect_left(self.minutes, end // 60) - bisect_left(self.minutes, start // 60)

    def register(self, bound: dict) -> int | None:
        return None if bound["total"] is None else bound["total"] - self.raised[bound["epoch"]]

    def method(self, estimated: list[dict]) -> str:
        if not estimated:
            return "register"
        return "power" if any(bound["by_power"] for bound in estimated) else "linear"

    def exchanged_unseen(self, low: dict, high: dict) -> bool:
        """Whether a meter was exchanged inside while nobody looked for longer than a bound may be away."""
        for epoch in range(low["epoch"], high["epoch"]):
            if self.history.breaks[epoch] == "exchange":
                after = bisect_right([good.epoch for good in self.good], epoch)
                if self.good[after].t - self.good[after - 1].t > self.gap:
                    return True
        return False
