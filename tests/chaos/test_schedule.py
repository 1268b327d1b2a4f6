"""The schedule of faults: the same for the same seed, within its limits, and with every kind in a long run."""

from collections import Counter

import pytest

from tests.chaos.faults import BEGIN
from tests.chaos.schedule import CALM_S, KINDS, LAST, LAST_S, MOST, plan
from tests.sizes import CHAOS_FAULTS, CHAOS_KILLS, CHAOS_KINDS, CHAOS_S, CHAOS_SHORT_S, SCHEDULES


def test_a_seed_is_a_schedule() -> None:
    assert plan(7, CHAOS_S) == plan(7, CHAOS_S)
    assert plan(7, CHAOS_S) != plan(8, CHAOS_S)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_long_run_has_enough_of_everything(seed: int) -> None:
    made = Counter(fault.kind for fault in plan(seed, CHAOS_S))
    assert made.total() >= CHAOS_FAULTS
    assert made["kill"] >= CHAOS_KILLS
    assert set(made) == set(KINDS) == set(BEGIN)


@pytest.mark.parametrize("seconds", [CHAOS_S, CHAOS_SHORT_S])
def test_limits(seconds: float) -> None:
    for seed in range(SCHEDULES):
        planned = plan(seed, seconds)
        assert len({fault.kind for fault in planned}) >= CHAOS_KINDS
        assert planned[0].at >= CALM_S
        for fault in planned:
            assert fault.end <= seconds - max(LAST_S, LAST * seconds) + LAST_S
            at_once = [one for one in planned if one.at <= fault.at < one.end]
            assert len(at_once) <= MOST
            assert len({part for one in at_once for part in one.target.split("+")}) == sum(
                len(one.target.split("+")) for one in at_once
            ), "two faults of one target at once"
