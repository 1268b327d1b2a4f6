"""The request budget: no window of a minute ever holds more requests than the hub allows."""

import random

import pytest

from gateway.uploader.budget import WINDOW_S, Budget
from gateway.uploader.hub import SessionError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.stops = False

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        assert seconds > 0
        self.now += seconds
        return self.stops


def test_no_minute_holds_more_than_the_budget():
    clock, chance, taken = Clock(), random.Random(8), []
    budget = Budget(20, {"peek": 3}, wait=clock.wait, monotonic=clock)
    for _ in range(500):
        clock.now += chance.choice((0, 0, 0, 0.5, 3))
        operation = chance.choice(("peek", "send", "send"))
        budget.take(operation)
        taken.append((clock.now, operation))
    for at, _ in taken:
        window = [operation for t, operation in taken if at <= t < at + WINDOW_S - 1e-6]
        assert len(window) <= 20
        assert window.count("peek") <= 3
    # and it is used: 500 requests of 20 a minute
    assert 23 * 60 <= clock.now <= 60 * 60


def test_another_method_does_not_wait_for_one_that_is_used_up():
    clock = Clock()
    budget = Budget(100, {"peek": 1}, wait=clock.wait, monotonic=clock)
    budget.take("peek")
    budget.take("send")
    assert clock.now == 0
    budget.take("peek")
    assert clock.now == WINDOW_S


def test_the_end_of_the_process_does_not_wait():
    clock = Clock()
    clock.stops = True
    budget = Budget(1, {}, wait=clock.wait, monotonic=clock)
    budget.take("send")
    with pytest.raises(SessionError) as caught:
        budget.take("send")
    assert caught.value.sent is False
