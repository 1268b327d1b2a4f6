"""Who is silent for too long is late; a process that stood still blames none of its parts."""

import asyncio
import contextvars

import pytest

from gateway import beats
from gateway.beats import LIMIT_S, STEP_S, Beats, alive, live_as


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock: Clock) -> Beats:
    """A daemon that has looked once already."""
    made = Beats(clock)
    made.look()
    return made


def looks(watched: Beats, clock: Clock, seconds: float) -> list[str]:
    """Look each second, as the daemon does."""
    late: list[str] = []
    for _ in range(int(seconds)):
        clock.now += 1.0
        late = watched.look()
    return late


def test_a_part_is_watched_from_its_first_sign_of_life_on(watched: Beats, clock: Clock) -> None:
    beat = watched.part("meter main")
    assert looks(watched, clock, 100) == []
    assert watched.as_dict() == {"watched": [], "late": []}
    beat()
    assert watched.as_dict() == {"watched": ["meter main"], "late": []}
    assert looks(watched, clock, LIMIT_S) == []
    assert looks(watched, clock, 1) == ["meter main"]
    assert watched.as_dict()["late"] == ["meter main"]
    assert watched.silent_s("meter main") == LIMIT_S + 1


def test_one_part_that_lives_does_not_speak_for_another(watched: Beats, clock: Clock) -> None:
    hangs, lives = watched.part("hangs"), watched.part("lives")
    hangs()
    for _ in range(40):
        lives()
        looks(watched, clock, 1)
    assert watched.late == ["hangs"]
    hangs()
    assert watched.late == []


def test_a_part_may_say_for_how_long_it_will_be_silent(watched: Beats, clock: Clock) -> None:
    beat = watched.part("sink mqtt")
    beat(120.0)
    assert looks(watched, clock, 120 + LIMIT_S) == []
    assert looks(watched, clock, 1) == ["sink mqtt"]


def test_a_part_of_a_limit_of_its_own(watched: Beats, clock: Clock) -> None:
    watched.part("quick", 3.0)()
    assert looks(watched, clock, 3) == []
    assert looks(watched, clock, 1) == ["quick"]


def test_a_part_that_is_dropped_is_not_late(watched: Beats, clock: Clock) -> None:
    old = watched.part("sink mqtt")
    old()
    watched.drop(old)
    assert looks(watched, clock, 100) == []
    new = watched.part("sink mqtt")
    new()
    watched.drop(old)
    assert watched.as_dict()["watched"] == ["sink mqtt"], "the successor stays"


def test_a_process_that_stood_still_blames_nobody(watched: Beats, clock: Clock) -> None:
    """A laptop that was closed for an hour, a machine that swapped for a minute."""
    beat = watched.part("meter main")
    beat()
    looks(watched, clock, 5)
    clock.now += 3_600.0
    assert watched.look() == []
    assert watched.clock == 5 + STEP_S
    beat()
    assert looks(watched, clock, LIMIT_S) == []
    assert looks(watched, clock, 1) == ["meter main"], "but a part that stays silent is late all the same"


def test_tasks_live_as_the_part_that_started_them(watched: Beats) -> None:

    async def inner() -> None:
        alive()

    async def part(name: str) -> None:
        live_as(watched.part(name))
        await asyncio.create_task(inner())

    async def main() -> None:
        await asyncio.gather(asyncio.create_task(part("one")), asyncio.create_task(part("two")))
        alive()  # belongs to no part

    asyncio.run(main())
    assert watched.as_dict()["watched"] == ["one", "two"]


def test_without_a_daemon_nobody_is_told() -> None:
    contextvars.Context().run(alive)
    assert beats.LIMIT_S + STEP_S < 35
