"""What a meter can say and what it cannot: by rules that are told, and against an oracle that knows what happened."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from decoders.counters import Identity, Seen
from decoders.model import Reading
from gateway.item_p import ItemP
from gateway.plausibility import PROOF, SHOWN_S, Plausibility
from tests.sizes import HISTORIES

SALT = bytes(16)
START = datetime(2026, 11, 22, 7, tzinfo=UTC)
READING = Reading(
    profile="nl-dsmr5", interface="p1", auth="plain", quality="measured", t=None, t_meter=None, p_import_w=1,
    p_export_w=0, p_net_w=1, a_import_wh=None, a_export_wh=None, reg_t=None, registers=(), register_times=(), sub=(),
    identity=None, interval_s=10, flags=(), size=80,
)  # fmt: skip
WH = (("1-0:1.8.0", 0, 0, "Wh"), ("1-0:2.8.0", 0, 0, "Wh"))


def said(a_import=None, a_export=None, *, at=0.0, clock=True, **fields):
    """A reading `at` s after the start, by the meter's clock or without one."""
    t = START + timedelta(seconds=at)
    reading = replace(
        READING, a_import_wh=a_import, a_export_wh=a_export, t=t if clock else None, **{"registers": WH} | fields
    )
    return ItemP("main", reading, t, "meter" if clock else "gateway", seq=1, t_rx=t, valid_for_s=30)


class Line:
    """Readings in their order, at 1,000 s of the monotonic clock and later."""

    def __init__(self, max_power_w=25_875, saved=None):
        self.rules = Plausibility(max_power_w, SALT, saved)
        self.at = 0.0

    def take(self, *values, after=10.0, **fields):
        self.at += after
        verdict = self.rules.judge(said(*values, at=self.at, **fields), 1_000 + self.at)
        self.events = [] if verdict is None else [event.name for event in verdict.events]
        self.facts = {} if verdict is None or not verdict.events else verdict.events[-1].facts
        self.reason = None if verdict is None else verdict.reason
        return "ok" if verdict is None or verdict.reason is None else verdict.kind

    def play(self, *values, **fields):
        return [self.take(*(value if isinstance(value, tuple) else (value,)), **fields) for value in values]

    def restarted(self, down_s=0.0):
        """The rules of the next process, after so much time without one."""
        line = Line(self.rules._bounds.most_w, self.rules.export())
        line.at = self.at + down_s
        return line


def test_what_rises_is_believed():
    assert Line().play(100, 100, 101, 150, (151, 0), (151, 5)) == ["ok"] * 6


@pytest.mark.parametrize("name", ["p_import_w", "p_export_w", "p_net_w"])
@pytest.mark.parametrize(("watts", "found"), [(25_875, "ok"), (25_876, "power"), (150_000_000_000, "power")])
def test_power_has_a_bound_in_each_direction(name, watts, found):
    line = Line()
    assert line.take(5, **{name: watts}) == found
    assert line.reason == (None if found == "ok" else f"{name} {watts} W is above max_power_w = 25875")


def test_net_power_has_a_bound_below_zero_too():
    assert Line().take(5, p_export_w=None, p_import_w=None, p_net_w=-25_876) == "power"
    assert Line(max_power_w=0).take(5, p_net_w=-(10**12)) == "ok"


def test_what_has_too_much_power_moves_nothing():
    """Its registers are no better than its power."""
    line = Line()
    line.take(1_000)
    assert line.play(5, 5, 5, 5, p_import_w=99_999) == ["power"] * 4
    assert line.take(1_001) == "ok"


@pytest.mark.parametrize("rise", [79, 80, 81, 82])
def test_energy_is_bounded_by_power_times_time(rise):
    """25 875 W x 10 s x 1.1 is 79.06 Wh; and 1 Wh for each of its registers."""
    line = Line()
    line.take(1_000)
    assert line.take(1_000 + rise) == ("ok" if rise <= 80 else "leap")


def test_the_reason_says_quantity_value_and_bound():
    line = Line()
    line.take(1_000)
    line.take(501_000)
    assert line.reason == (
        "a_import_wh 501000 Wh is 500000 Wh above the last reading, and the connection carries at most 80 Wh in the "
        "time between them"
    )


def test_a_leap_proves_nothing_by_being_repeated():
    line = Line()
    line.take(1_000)
    assert line.play(*(1_001_000 + n for n in range(50))) == ["leap"] * 50
    assert line.take(1_060) == "ok", "and the meter goes on"


def test_a_leap_holds_once_time_made_it_possible():
    line = Line()
    line.take(1_000)
    assert line.take(1_900) == "leap"
    assert line.take(1_900, after=110.0) == "ok"


def test_a_person_says_that_a_leap_is_right():
    line = Line()
    line.take(1_000)
    assert line.rules.confirm() is None
    line.take(1_001_000)
    assert line.rules.confirm().facts == {"registers": True}
    assert line.take(1_001_001) == "ok"
    assert line.events == ["register_reset"]
    assert line.facts["by"] == "person"
    assert line.take(1_001_002) == "ok"


def test_registers_that_move_once_in_a_while_are_learned():
    """A register that stood still for a quarter of an hour moves by what flowed meanwhile."""
    line = Line()
    line.take(1_000)
    assert line.play(*[1_000] * 90) == ["ok"] * 90
    assert line.play(*[1_500] * 4) == ["leap", "leap", "ok", "ok"]
    assert line.play(*[1_500] * 86, *[2_000] * 3) == ["ok"] * 89
    assert line.take(9_000) == "leap", "and no more than that"


def test_the_clock_of_the_meter_says_how_much_time_passed():
    """Telegrams that waited come at once; those of a meter that was replayed come too soon."""
    line = Line()
    line.take(1_000)
    for number in range(1, 20):
        item = said(1_000 + 70 * number, at=10.0 * number + line.at)
        assert line.rules.judge(item, 1_000 + line.at + number / 1000) is None


def test_a_clock_that_is_set_back_takes_no_time_away():
    line = Line()
    line.take(1_000)
    item = said(1_070, at=line.at - 1_800)
    assert line.rules.judge(item, 1_000 + line.at + 10) is None


def test_without_a_clock_the_receipt_counts():
    line = Line()
    line.take(1_000, clock=False)
    assert line.take(1_080, clock=False) == "ok"
    assert line.take(1_162, clock=False) == "leap"


def test_the_step_of_a_register_is_no_leap():
    """Whole kWh rise by 1 kWh within a second; two tariffs by two."""
    whole = tuple((f"1-0:1.8.{tariff}", 0, 0, "kWh") for tariff in (1, 2))
    assert Line().play(5_000_000, 5_001_000, 5_003_000, after=1.0, registers=whole) == ["ok"] * 3
    assert Line().play(5_000_000, 5_003_000, after=1.0, registers=whole) == ["ok", "leap"]
    tenths = (("1-0:1.8.0", 0, -1, "Wh"),)
    assert Line().play(5_000_000, 5_001_000, after=1.0, registers=tenths) == ["ok", "leap"]
    assert Line().play(5_000_000, 5_001_000, 5_001_234, after=1.0, registers=tenths, interface="sml") == ["ok"] * 3, (
        "whole kWh, and then the PIN was entered"
    )


@pytest.mark.parametrize("wrong", [0, 64_000_000, 99_999_999], ids=["zero", "lower", "higher"])
def test_one_wrong_register_is_set_aside_and_the_next_right_one_believed(wrong):
    line = Line()
    assert line.play(65_000_000, wrong, 65_000_010) == ["ok", "leap" if wrong > 65_000_000 else "fall", "ok"]
    assert line.rules.doubts(1_000 + line.at)
    assert not line.rules.doubts(1_000 + line.at + SHOWN_S)


def test_a_register_that_wavers_is_told_once():
    line = Line()
    line.take(100)
    told = 0
    for number in range(40):
        line.take(99 if number % 2 else 101)
        told += line.events == ["rollback"]
    assert told == 1


def test_a_reset_is_proven_by_three():
    line = Line()
    assert line.play((65_000_000, 700), (12, 0), (13, 0)) == ["ok", "fall", "fall"]
    assert line.take(14, 0) == "ok"
    assert line.events == ["register_reset", "register_reset"]
    assert line.facts == {"register": "a_export_wh", "last_wh": 700, "first_wh": 0, "at": "2026-11-22T07:00:40Z",
                          "by": "proof"}  # fmt: skip
    assert not line.rules.doubts(1_000 + line.at)


def test_a_reset_is_proven_by_two_that_lie_apart():
    """Hourly registers of Nordic meters: the second one is proof, and of damage that differs none is."""
    line = Line()
    assert line.play(65_000_000, 12, 700, 1_500, after=3_600.0) == ["ok", "fall", "ok", "ok"]
    assert Line().play(65_000_000, 12, 11, 65_000_500, after=3_600.0) == ["ok", "fall", "fall", "ok"]


def test_wrong_registers_that_differ_prove_nothing():
    assert Line().play(65_000_000, 30_000_000, 20_000_000, 10_000_000, 5_000_000) == ["ok", *["fall"] * 4]


def test_readings_without_energy_neither_prove_nor_doubt():
    assert Line().play(5_000, None, 1, None, 1, None, 2) == ["ok", "ok", "fall", "ok", "fall", "ok", "ok"]


def test_registers_that_come_in_turns_are_compared_with_their_own():
    assert Line().play((5_000, None), (None, 80), (5_001, None), (None, 79))[-1] == "fall"


@pytest.mark.parametrize("digits", [8, 9])
def test_a_register_that_runs_over(digits):
    turn = 10**digits
    line = Line()
    line.take(turn - 20)
    assert line.take(30) == "ok"
    assert line.events == ["rollover"]
    assert (line.facts["delta_wh"], line.facts["modulus_wh"]) == (50, turn)
    assert line.take(31) == "ok"


@pytest.mark.parametrize("first", [100, 5_000_000])
def test_a_register_that_falls_by_more_than_it_can_have_run_over(first):
    line = Line()
    line.take(10**8 - 20)
    assert line.take(first) == "fall"


@pytest.mark.parametrize("rise", [79, 80, 81])
def test_a_register_runs_over_by_no_more_than_flowed(rise):
    line = Line()
    line.take(10**8 - 20)
    assert line.take(rise - 20) == ("ok" if rise <= 80 else "fall")


def test_few_digits_do_not_run_over():
    """9 Wh and then 0: nothing counts with one digit."""
    assert Line().play(9, 0) == ["ok", "fall"]
    assert Line().play(999_999, 0) == ["ok", "fall"]


def test_a_tariff_that_runs_over_behind_a_sum():
    def tariffs(low, high):
        return (("1-0:1.8.1", low, -3, "kWh"), ("1-0:1.8.2", high, -3, "kWh"))

    line = Line()
    line.take(99_999_990 + 5_000_000, registers=tariffs(99_999_990, 5_000_000))
    assert line.take(5_000_000 + 20, registers=tariffs(20, 5_000_000)) == "ok"
    assert (line.events, line.facts["delta_wh"]) == (["rollover"], 30)


def test_another_meter_is_believed_after_proof_and_named():
    line = Line()
    line.play((65_000_000, 700), identity="OLD")
    assert line.play((12, 0), (13, 0), identity="NEW") == ["identity", "identity"]
    assert line.take(14, 0, identity="NEW") == "ok"
    assert line.events == ["meter_exchanged"]
    assert line.facts["last"] == {"a_import_wh": 65_000_000, "a_export_wh": 700, "t": "2026-11-22T07:00:10Z"}
    assert line.facts["first"] == {"a_import_wh": 14, "a_export_wh": 0, "t": "2026-11-22T07:00:40Z"}
    assert not line.facts["confirmed"]
    assert not any(name in str(line.facts) for name in ("OLD", "NEW")), "numbers of meters stay inside"
    assert line.rules.shown()["confirmed"] is False
    assert line.take(15, 0) == "ok", "a telegram without identification is of the same meter"
    assert line.rules.confirm().name == "meter_confirmed"
    assert line.rules.shown()["confirmed"] is True
    assert line.rules.confirm() is None


def test_another_meter_with_higher_registers_is_another_one_all_the_same():
    line = Line()
    line.play(5_000, identity="OLD")
    assert line.play(5_001, 5_002, 5_003, identity="NEW") == ["identity", "identity", "ok"]
    assert line.events == ["meter_exchanged"]


def test_two_meters_that_talk_in_turns_are_never_mixed():
    line = Line()
    line.take(5_000, identity="ONE")
    found = [line.take(5_001 + n if n % 2 else 9_000_000, identity="ONE" if n % 2 else "TWO") for n in range(20)]
    assert found == ["identity", "ok"] * 10


def test_a_meter_whose_key_was_entered_again_is_confirmed():
    def under(title):
        return Seen("verified", Identity(title, "abcdefgh", 0), 1, None)

    line = Line()
    line.take(5_000, seen=under("4D4D4D0000000001"))
    line.rules.expect()
    assert line.play(7, 8, 9, seen=under("4D4D4D0000000002")) == ["identity", "identity", "ok"]
    assert line.rules.shown()["confirmed"] is True


def test_another_profile_means_other_registers():
    line = Line()
    line.play(5_000)
    assert line.take(80, profile="p1-generic") == "ok"


def test_a_restart_changes_nothing():
    line = Line()
    line.play((65_000_000, 700), identity="ONE")
    assert line.restarted(60).take(65_000_100, 700, identity="ONE") == "ok"
    assert line.restarted(60).take(65_009_000, 700, identity="ONE") == "leap"
    assert line.restarted(3_600).take(65_009_000, 700, identity="ONE") == "ok"
    assert line.restarted(60).take(64_000_000, 700, identity="ONE") == "fall"
    assert line.restarted(60).take(65_000_000, 700, identity="TWO") == "identity"
    again = line.restarted(60)
    assert again.play((12, 0), (13, 0), (14, 0), identity="TWO") == ["identity", "identity", "ok"]
    last = again.restarted(5)
    assert last.rules.shown() == again.rules.shown()
    assert last.take(15, 0, identity="TWO") == "ok"


def test_a_restart_without_any_clock_bounds_no_rise():
    line = Line()
    line.take(1_000, clock=False)
    again = line.restarted()
    item = said(900_000, at=99.0, clock=False)
    assert again.rules.judge(replace(item, t_rx=None), 5.0) is None
    assert line.restarted().take(999) == "fall", "what fell, fell"


def test_what_is_saved_spares_the_medium_and_is_never_news(monkeypatch):
    now = [50_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    line = Line()
    assert line.rules.export() == b""
    line.take(1_000)
    first = line.rules.export()
    line.take(1_001)
    assert line.rules.export() == first, "registers may be older than what is known"
    now[0] += 301
    assert line.rules.export() != first


@pytest.mark.parametrize("saved", [b"{", b"[]", b'{"profile":1}', b"null"])
def test_what_cannot_have_been_saved_is_refused(saved):
    with pytest.raises(ValueError, match=r"."):
        Plausibility(25_875, SALT, saved)


class Oracle:
    """A meter of which everything is known, and which of its telegrams must be believed (docs/plausibility.md).

    It knows nothing of the rules' state: only the true registers, the true time, and which telegrams were believed.
    """

    def __init__(self, rng):
        self.rng = rng
        self.limit = rng.choice([5_750, 25_875, 43_470])
        self.turn = 10 ** rng.choice([8, 9])
        self.true = rng.randrange(10**6, self.turn - 10**5) if rng.random() < 0.8 else self.turn - rng.randint(1, 300)
        self.name, self.at = "meter 0", 0.0
        #: of the last one that was believed: name, register, time; and of those in doubt, oldest first
        self.last = None
        self.doubted = []

    def flows(self, seconds):
        """As much as the connection carries, or less."""
        self.at += seconds
        self.true = (self.true + int(self.limit * seconds / 3_600 * self.rng.random())) % self.turn

    def follows(self, before, name, wh, at):
        """Whether a register can have come to this since."""
        rise = wh - before[1] if wh >= before[1] else wh - before[1] + self.turn
        wraps = wh >= before[1] or len(str(before[1])) == len(str(self.turn - 1))
        return before[0] == name and wraps and rise <= int(self.limit * (at - before[2]) * 1.1 / 3_600) + 1

    def expects(self, name, wh, watts):
        """Whether the next telegram must be believed."""
        if watts > self.limit:
            return False
        now = (name, wh, self.at)
        if self.last is None or self.follows(self.last, *now):
            self.last, self.doubted = now, []
            return True
        if not (self.doubted and self.doubted[-1][1] <= wh and self.follows(self.doubted[-1], *now)):
            self.doubted = []
        self.doubted.append(now)
        proven = len(self.doubted) >= PROOF or self.at - self.doubted[0][2] >= 60
        if proven and (name != self.last[0] or wh < self.last[1]):
            self.last, self.doubted = now, []
            return True
        return False


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_agree_with_an_oracle(seed):
    """Rises, turns, exchanges, rollbacks, spikes, gaps, restarts: no wrong value is believed, no right one refused."""
    rng = random.Random(seed)
    seen = dict.fromkeys(("rise", "spike", "low", "power", "exchange", "rollback", "gap", "restart"), 0)
    for _ in range(HISTORIES // 8 // 50):
        oracle = Oracle(rng)
        line = Line(oracle.limit)
        registers = (("1-0:1.8.0", 0, 0, "Wh"),)
        for _ in range(50):
            kind = rng.choices(list(seen), (60, 8, 8, 8, 2, 3, 8, 3))[0]
            oracle.flows(rng.choice([3_600, 86_400]) if kind == "gap" else rng.choice([1, 10, 10, 60]))
            seen[kind] += 1
            if kind == "restart":
                line.rules._news = True
                line = line.restarted()
                oracle.doubted = []
            elif kind == "exchange":
                oracle.name = f"meter {rng.randrange(10**6)}"
                oracle.true = rng.randrange(oracle.turn)
            elif kind == "rollback":
                oracle.true = max(0, oracle.true - rng.choice([1, 10_000, 10_000_000]))
            wh, watts = oracle.true, rng.randrange(oracle.limit + 1)
            if kind == "spike":
                wh += rng.choice([rng.randrange(10**5, 10**7), 10**11])
            elif kind == "low":
                wh = rng.randrange(wh + 1)
            elif kind == "power":
                watts = oracle.limit + rng.choice([1, 10_000, 10**11])
            line.at = oracle.at
            found = line.take(wh, after=0.0, p_import_w=watts, p_net_w=watts, identity=oracle.name, registers=registers)
            assert (found == "ok") == oracle.expects(oracle.name, wh, watts), (seed, seen, kind, wh, line.reason)
    assert min(seen.values()) > 5
