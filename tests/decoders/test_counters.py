"""Receive counters: replay, loss of the counter, its end, another meter and downgrade, and a model of all of it."""

import json
import random
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from decoders.counters import (
    CHAINS,
    JUMP,
    NEAR_END,
    Event,
    Identity,
    Refusal,
    Seen,
    State,
    Verdict,
    commit,
    confirm,
    export,
    judge,
    restore,
)
from decoders.errors import CODES
from decoders.model import Auth

METER = Identity("5453546700001234", "28adde07")
OTHER = Identity("5453546700009999", "28adde07")
NEW_KEY = Identity("5453546700001234", "0badcafe")


class Line:
    """A meter's state, and what came of each telegram."""

    def __init__(self, state: State | None = None, min_auth: Auth | None = None) -> None:
        self.state = state or State()
        self.min_auth = min_auth

    def __call__(
        self, counter: int, clock: int | None, auth: Auth = "verified", identity: Identity | None = METER
    ) -> Verdict:
        seen = Seen(auth, identity, counter, clock)
        verdict = judge(self.state, seen, self.min_auth)
        self.state = commit(self.state, seen, verdict)
        return verdict


def running(last: int = 1000, clock: int = 5000) -> Line:
    """A meter that was accepted up to `last`."""
    line = Line()
    for counter in range(last - 2, last + 1):
        assert line(counter, clock - last + counter) == Verdict()
    return line


def test_a_higher_counter_is_accepted() -> None:
    line = running()
    assert [line(1001, 5001), line(1002, None), line(1100, 4000)] == [Verdict()] * 3


def test_ten_thousand_replayed_telegrams_are_refused() -> None:
    line = Line()
    recorded = [(1000 + n, 50_000 + 10 * n) for n in range(10_000)]
    assert all(line(*telegram).refusal is None for telegram in recorded)
    chance = random.Random(1)
    shuffled = chance.sample(recorded, len(recorded))
    for order in (recorded, recorded[::-1], shuffled):
        assert {line(*telegram) for telegram in order} == {Verdict("replayed")}
    assert {line(counter, None) for counter, _ in recorded} == {Verdict("replayed")}
    assert line(11_000, 150_000) == Verdict()


def test_a_meter_that_lost_its_counter_is_taken_back_with_the_third_telegram() -> None:
    line = running()
    got = [line(counter, 5000 + counter) for counter in range(1, 6)]
    assert got == [Verdict("rollback")] * 2 + [Verdict(event="counter_resumed")] + [Verdict()] * 2


def test_old_telegrams_are_never_taken_for_a_lost_counter() -> None:
    line = running()
    for _ in range(50):
        assert {line(counter, 4000 + counter) for counter in range(1, 1000)} == {Verdict("replayed")}
    assert line(1001, 5001) == Verdict()


@pytest.mark.parametrize("clock", [None, 5000, 4999, 0])
def test_without_a_later_clock_a_lost_counter_is_never_proved(clock: int | None) -> None:
    line = running()
    assert {line(counter, clock) for counter in range(1, 100)} == {Verdict("replayed")}


def test_without_tag_a_lost_counter_is_never_proved() -> None:
    line = Line()
    assert line(1000, 5000, "unverified") == Verdict()
    assert {line(counter, 5000 + counter, "unverified") for counter in range(1, 100)} == {Verdict("rollback")}
    line.state = confirm(line.state, METER)
    assert line(100, 5100, "unverified") == Verdict()


@pytest.mark.parametrize(
    ("telegrams", "resumed_at"),
    [
        ([(5, 1), (6, 2), (7, 3)], 2),
        ([(5, 1), (5, 1), (6, 2), (6, 2), (7, 3)], 4),  # each sent twice
        ([(5, 1), (6, 2), (3, 3), (4, 4), (5, 5)], 4),  # lost again
        ([(5, 1), (7, -1), (6, 2), (7, 3)], 3),  # an old one in between
        ([(7, 1), (6, 2), (5, 3), (4, 4), (3, 5)], None),
        ([(5, 1), (6, 2), (6, 3), (5, 4), (6, 5)], None),
        ([(5, 1), (6, 2), (1001, 3), (7, 4), (8, 5)], None),  # the counter was not lost after all
    ],
)
def test_only_three_rising_telegrams_prove_a_lost_counter(
    telegrams: list[tuple[int, int]], resumed_at: int | None
) -> None:
    line = running()
    got = [line(counter, 5000 + clock).event for counter, clock in telegrams]
    assert [at for at, event in enumerate(got) if event == "counter_resumed"] == (
        [] if resumed_at is None else [resumed_at]
    )


def test_old_telegrams_stay_old_after_the_counter_was_lost() -> None:
    """Their counters are higher than the new ones: only their clocks tell, also behind a second loss."""
    line = running()
    for start in (6000, 7000):
        got = [line(counter, start + counter).refusal for counter in range(1, 20)]
        assert got == ["rollback"] * 2 + [None] * 17
        old = [(counter, 4000 + counter) for counter in range(1, 1001)] + [
            (counter, 6000) for counter in range(1, 1001)
        ]
        assert {line(*telegram).refusal for telegram in old} == {"replayed"}
        assert line(500, None).refusal == "replayed"
    assert [line(counter, 7000 + counter).refusal for counter in range(20, 1100)] == [None] * 1080
    assert line(1100, None) == Verdict()


def test_a_clock_that_was_set_back_makes_no_room_for_old_telegrams() -> None:
    line = running(1000, 5000)
    assert line(1001, 1000) == Verdict()
    assert {line(counter, 4000 + counter).refusal for counter in range(990, 1001)} == {"replayed"}


def test_a_jump_is_accepted_and_told() -> None:
    assert running()(1000 + JUMP, 5001) == Verdict()
    assert running()(1001 + JUMP, 5001) == Verdict(event="counter_jumped")
    line = running()
    assert line(1_001_000, 5001) == Verdict(event="counter_jumped")
    assert line(1_001_001, 5002) == Verdict()


def test_the_first_telegram_may_have_any_counter() -> None:
    for counter in (0, 1, JUMP * 3, 2**31):
        assert Line()(counter, 5000) == Verdict()


def test_the_end_of_the_counter_is_told_and_no_wrap_is_accepted() -> None:
    assert NEAR_END == 4_293_918_720  # 2**32 - 2**20
    assert running()(NEAR_END - 1, 5001).event == "counter_jumped"
    line = running()
    assert line(NEAR_END, 5001) == Verdict(event="counter_near_end")
    assert line(2**32 - 2, 5002) == line(2**32 - 1, 5003) == Verdict(event="counter_near_end")
    for round_ in range(3):
        assert {line(counter, 6000 + counter + round_).refusal for counter in range(50)} == {"counter_exhausted"}
    assert line(2**32 - 1, 7000) == Verdict("replayed")
    assert line(5, 4000) == Verdict("replayed")
    assert line(5, 7000, identity=NEW_KEY) == Verdict()


def test_another_meter_with_the_same_key_is_held_until_a_person_confirms() -> None:
    line = running()
    assert {line(counter, 6000, identity=OTHER).refusal for counter in range(3000)} == {"identity_changed"}
    assert line(1001, 5001) == Verdict()
    line.state = restore(json.loads(json.dumps(export(confirm(line.state, OTHER)))))
    assert line(0, 6001, identity=OTHER) == Verdict()
    assert line(1002, 6002) == Verdict("identity_changed")


def test_another_key_begins_its_own_counter_and_the_old_one_goes_on() -> None:
    line = running()
    assert line(1, 5001, identity=NEW_KEY) == Verdict()
    assert line(1, 5002, identity=NEW_KEY) == Verdict("replayed")
    assert line(1000, 5002) == Verdict("replayed")
    assert line(1001, 5002) == Verdict()
    assert len(line.state.chains) == 2


def test_the_number_of_chains_is_bounded_and_the_meter_s_own_stays() -> None:
    line = Line()
    for n in range(100):
        assert line(n, n, identity=METER).refusal is None
        assert line(n, n, identity=Identity("00" * 8, f"{n:08x}")).refusal is None
    assert len(line.state.chains) == CHAINS
    assert line(99, 99) == Verdict("replayed")


# --- Classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "pinned"),
    [
        (["verified"] * 3, "verified"),
        (["plain", "unverified", "verified"], "verified"),
        (["unverified", "plain", "unverified"], "unverified"),
        (["plain"] * 3, "plain"),
        (["verified"] * 2, "plain"),
        ([], "plain"),
    ],
)
def test_an_automatic_meter_keeps_the_best_class_of_its_first_three(first: list[Auth], pinned: Auth) -> None:
    line = Line()
    for counter, auth in enumerate(first):
        assert line(counter, counter, auth, METER if auth != "plain" else None) == Verdict()
    assert line.state.pinned == pinned
    rank: list[Auth] = ["plain", "unverified", "verified"]
    for auth in rank:
        refused = rank.index(auth) < rank.index(pinned)
        state = line.state
        assert judge(state, Seen(auth, METER, 99, 99)).refusal == ("downgrade" if refused else None)
        assert (commit(state, Seen(auth, METER, 99, 99), Verdict("downgrade")) == state) is True


def test_refused_telegrams_pin_nothing() -> None:
    line = Line()
    line(5, 5, "unverified")
    for _ in range(9):
        assert line(5, 5, "verified").refusal == "replayed"
    assert line.state.classes == ("unverified",)


@pytest.mark.parametrize("least", ["plain", "unverified", "verified"])
def test_a_stated_class_counts_instead_of_the_pinned_one(least: Auth) -> None:
    line = running()
    assert line.state.pinned == "verified"
    line.min_auth = least
    rank: list[Auth] = ["plain", "unverified", "verified"]
    for counter, auth in enumerate(rank, 2000):
        assert (line(counter, 6000, auth).refusal == "downgrade") == (rank.index(auth) < rank.index(least))


def test_a_downgrade_from_tag_to_none_to_clear_is_refused() -> None:
    line = running()
    assert [line(1001, 5001, auth).refusal for auth in ("verified", "unverified")] == [None, "downgrade"]
    assert line(0, 5002, "plain", None).refusal == "downgrade"
    assert line(1002, 5003) == Verdict()


# --- Two phases, state as data ---------------------------------------------------------------------------------------


def test_to_judge_changes_nothing() -> None:
    line = running()
    seen = Seen("verified", METER, 1001, 5001)
    before = line.state
    assert [judge(before, seen) for _ in range(5)] == [Verdict()] * 5
    assert line.state == before
    assert commit(before, seen, Verdict()) != before
    assert before == line.state


def test_what_is_refused_changes_nothing_but_the_proof_of_a_lost_counter() -> None:
    state = running().state
    for seen in (Seen("verified", METER, 5, 1), Seen("verified", OTHER, 5, 1), Seen("plain", None, 0, None)):
        verdict = judge(state, seen)
        assert verdict.refusal
        assert commit(state, seen, verdict) is state


def states() -> list[State]:
    lost = running()
    lost(5, 6000)
    resumed = running()
    for counter in range(4):
        resumed(counter, 6000 + counter)
    two = running()
    two(7, None, identity=NEW_KEY)
    return [State(), running().state, lost.state, resumed.state, two.state]


@pytest.mark.parametrize("state", states())
def test_a_state_survives_json(state: State) -> None:
    assert restore(json.loads(json.dumps(export(state)))) == state


@pytest.mark.parametrize(
    "saved",
    [
        None,
        5,
        [],
        {"chains": 5},
        {"chains": [{"identity": ["a", "b", "unicast"]}]},
        {"chains": [{"identity": ["a", "b", "unicast"], "last": 2**32}]},
        {"chains": [{"identity": ["a", "b", "other"], "last": 5}]},
        {"classes": ["best"]},
    ],
)
def test_what_is_no_saved_state_is_refused(saved: Any) -> None:
    with pytest.raises(ValueError, match="saved receive counters"):
        restore(saved)


def test_a_state_is_a_value() -> None:
    state = running().state
    for value, name in ((state, "chains"), (state.chains[0], "clock")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)
        assert not hasattr(value, "__dict__")


def test_a_state_stays_small() -> None:
    line = Line()
    for n in range(1000):
        line(n % 700, n, identity=Identity("00" * 8, f"{n % 9:08x}"))
    assert len(json.dumps(export(line.state))) < 1500


def test_every_refusal_is_a_code() -> None:
    assert {("unwrap", code) for code in Refusal.__args__} <= set(CODES)  # type: ignore[attr-defined]
    assert len(Event.__args__) == 3  # type: ignore[attr-defined]


# --- A model, written apart from the code: a log of everything that was accepted --------------------------------------


class Model:
    """Decides from the whole history of one meter with one key, by the sentences of the requirements."""

    def __init__(self) -> None:
        self.accepted: list[tuple[int, int]] = []  # (counter, clock), as accepted
        self.held: list[int] = []  # counters that wait, rising
        self.classes: list[str] = []

    def take(self, auth: str, title: str, counter: int, clock: int) -> str:
        order = ["plain", "unverified", "verified"]
        if len(self.classes) >= 3 and order.index(auth) < max(map(order.index, self.classes[:3])):
            return "downgrade"
        if auth != "plain":
            refusal = self.refuse(auth, title, counter, clock)
            if refusal:
                return refusal
            self.accepted.append((counter, clock))
            self.held = []
        self.classes.append(auth)
        return "accepted"

    def refuse(self, auth: str, title: str, counter: int, clock: int) -> str | None:  # noqa: PLR0911
        if title != "meter":
            return "identity_changed"
        if not self.accepted:
            return None
        last = self.accepted[-1][0]
        newer = clock > max(clock for _, clock in self.accepted)
        if counter > last:
            used_before = counter <= max(counter for counter, _ in self.accepted)
            return "replayed" if used_before and not newer else None
        if counter == last or not newer or counter in self.held[-1:]:
            return "replayed"
        if last >= 2**32 - 2**20:
            return "counter_exhausted"
        if auth != "verified":
            return "rollback"
        self.held = [*self.held, counter] if not self.held or counter > self.held[-1] else [counter]
        return None if len(self.held) >= 3 else "rollback"


TITLES = {"meter": METER, "other": OTHER}
AUTHS: list[Auth] = ["plain", "unverified", "verified"]


class Rules(RuleBasedStateMachine):
    """Telegrams of a meter, old ones again, lost counters, leaps, and other meters, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.model = Model()
        self.sent: list[tuple[Auth, str, int, int]] = []
        self.counter, self.clock = 100, 1000
        self.send("unverified", "meter", 100, 1000)

    def send(self, auth: Auth, title: str, counter: int, clock: int) -> None:
        self.sent.append((auth, title, counter, clock))
        seen = Seen(auth, TITLES[title] if auth != "plain" else None, counter, clock)
        verdict = judge(self.state, seen)
        self.state = commit(self.state, seen, verdict)
        assert (verdict.refusal or "accepted") == self.model.take(auth, title, counter, clock)

    @rule(auth=st.sampled_from(AUTHS[1:]), step=st.integers(1, 3), later=st.integers(-2, 3))
    def next_telegram(self, auth: Auth, step: int, later: int) -> None:
        self.counter = min(self.counter + step, 2**32 - 1)
        self.clock += later
        self.send(auth, "meter", self.counter, self.clock)

    @rule(counter=st.integers(0, 20))
    def lose_the_counter(self, counter: int) -> None:
        self.counter = counter

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        self.send(*data.draw(st.sampled_from(self.sent)))

    @rule(auth=st.sampled_from(AUTHS))
    def other_meter_or_clear(self, auth: Auth) -> None:
        self.send(auth, "other", self.counter + 1, self.clock + 1)

    @rule(counter=st.sampled_from([2**31, 2**32 - 2**20 - 1, 2**32 - 2**20, 2**32 - 2]))
    def leap(self, counter: int) -> None:
        self.counter = counter

    @rule()
    def restart(self) -> None:
        self.state = restore(json.loads(json.dumps(export(self.state))))

    @invariant()
    def state_is_small(self) -> None:
        assert len(self.state.chains) <= 1
        assert len(self.state.classes) <= 3


TestRules = Rules.TestCase
TestRules.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
