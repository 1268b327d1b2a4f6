"""Which live readings count as arrived: those before an answered ping, or acknowledged ones; and what is bounded."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.sinks import proven
from gateway.sinks.proven import MAX_RANGES, MAX_UNDER_WAY, PATIENCE_S, Proven


@dataclass
class Line:
    proven: int = 0
    unacked: dict[int, str] = field(default_factory=dict)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_ping_proves_what_went_before_it() -> None:
    line, ledger = Line(), Proven()
    ledger.begin(line)
    for number in (1, 2, 3):
        ledger.published("main", 10 + number, number)
    assert not ledger.has("main", 11)
    assert ledger.may_come("main", 11)
    line.proven = 2
    assert [ledger.has("main", seq) for seq in (10, 11, 12, 13)] == [False, True, True, False]
    assert not ledger.may_come("main", 12)
    assert ledger.may_come("main", 13)
    assert not ledger.has("heat", 11)
    assert not ledger.may_come("heat", 11)
    assert not ledger.has("main", None)


def test_an_acknowledgement_proves_its_own_reading() -> None:
    line, ledger = Line(unacked={7: "t"}), Proven()
    ledger.begin(line)
    ledger.published("main", 1, 1, mid=7)
    line.proven = 9
    assert not ledger.has("main", 1)
    del line.unacked[7]
    assert ledger.has("main", 1)


def test_the_end_of_a_connection_keeps_what_was_proven_and_forgets_the_rest() -> None:
    line, ledger = Line(proven=1), Proven()
    ledger.begin(line)
    ledger.published("main", 1, 1)
    ledger.published("main", 2, 2)
    ledger.end()
    ledger.published("main", 3, 3)
    ledger.begin(Line(proven=99))
    assert [ledger.has("main", seq) for seq in (1, 2, 3)] == [True, False, False]
    assert not ledger.may_come("main", 2)


def test_nothing_is_proven_by_a_broker_that_throws_readings_away() -> None:
    line, ledger = Line(), Proven()
    ledger.begin(line)
    ledger.published("main", 1, 1)
    ledger.distrust()
    ledger.published("main", 2, 2)
    line.proven = 2
    assert not ledger.has("main", 1)
    assert not ledger.has("main", 2)
    assert not ledger.may_come("main", 1)


def test_what_is_not_proven_in_time_is_not_waited_for() -> None:
    clock = Clock()
    ledger = Proven(clock)
    ledger.begin(Line())
    ledger.published("main", 1, 1)
    clock.now = PATIENCE_S + 1
    assert not ledger.has("main", 1)
    assert not ledger.may_come("main", 1)


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(proven, "MAX_RANGES", 10)
    assert MAX_RANGES <= 1_000
    assert MAX_UNDER_WAY <= 20_000
    line, ledger = Line(), Proven()
    ledger.begin(line)
    for seq in range(0, 200, 2):
        ledger.published("main", seq, line.proven + 1)
        line.proven += 1
    assert ledger.has("main", 198)
    assert not ledger.has("main", 0)
    assert len(ledger._meters["main"].ranges) == 10


@given(
    live=st.sets(st.integers(1, 60)),
    shown=st.lists(st.integers(1, 60), max_size=5),
)
def test_whatever_is_settled_meanwhile(live: set[int], shown: list[int]) -> None:
    """Forgetting what is settled changes nothing of what comes after it."""
    ledger = Proven()
    ledger.begin(Line(proven=1))
    for seq in sorted(live):
        ledger.published("main", seq, 1)
    settled = 0
    for seq in sorted(shown):
        assert ledger.has("main", 60) == (60 in live and settled < 60)
        ledger.settled("main", seq)
        settled = seq
    assert [seq for seq in range(settled + 1, 61) if ledger.has("main", seq)] == [
        s for s in sorted(live) if s > settled
    ]
