"""kill -9 and power cuts, a few of each; `make powercut` does 200 of both."""

import random
import time

import pytest

from tests.powercut import loop
from tests.powercut.trials import GROUP, Outcome, Reported, compare, cuts, kills
from tests.powercut.written import day
from tests.sizes import POWER_CUTS_SHORT, WRITTEN_GROUPS_SHORT

SEED = 44
#: what a few trials may take on a slow machine (s)
LONG_S = 340


def check(outcome: Outcome) -> None:
    assert outcome.wrong == []
    assert outcome.trials == outcome.whole == outcome.went_on == POWER_CUTS_SHORT
    assert outcome.ledger_reported > 0
    assert outcome.stored_reported > 0
    assert (outcome.ledger_lost, outcome.stored_lost) == (0, 0)
    assert outcome.worst <= GROUP


@pytest.fixture(scope="module")
def medium() -> None:
    obstacle = loop.obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)


@pytest.mark.timeout(LONG_S + 60)
def test_a_kill_takes_one_group_at_most_and_nothing_of_the_ledger() -> None:
    check(kills(POWER_CUTS_SHORT, random.Random(SEED), time.monotonic() + LONG_S))


@pytest.mark.timeout(LONG_S + 60)
@pytest.mark.usefixtures("medium")
def test_a_power_cut_takes_one_group_at_most_and_nothing_of_the_ledger() -> None:
    check(cuts(POWER_CUTS_SHORT, random.Random(SEED), time.monotonic() + LONG_S))


@pytest.mark.timeout(LONG_S + 60)
@pytest.mark.usefixtures("medium")
@pytest.mark.parametrize(("interval_s", "warm", "limit_mb"), [(1, 450, 130), (10, 1_000, 65)])
def test_a_day_writes_no_more_than_it_may(interval_s: int, warm: int, limit_mb: int) -> None:
    assert day(interval_s, WRITTEN_GROUPS_SHORT, warm=warm).mb <= limit_mb


def test_what_is_missing_is_found() -> None:
    """The comparison can fail: an entry that is gone, another hash, a reading too few, a file that is not whole."""
    found = {
        "ledger": {"integrity": "ok", "entries": 2, "wrong": [], "hashes": {"1": "aa", "2": "bb"}},
        "journal": {
            "integrity": "malformed",
            "first": 0,
            "readings": 20,
            "wrong": ["the row of reading 3 of meter 1 is damaged"],
        },
    }
    outcome = Outcome()
    compare(Reported(appended=40, stored=29, entries={1: "aa", 2: "b0", 3: "cc"}), found, outcome)
    assert (outcome.ledger_lost, outcome.stored_lost, outcome.worst, outcome.whole) == (2, 10, 21, 0)
    assert len(outcome.wrong) == 2
