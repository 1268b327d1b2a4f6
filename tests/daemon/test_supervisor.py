"""A part that fails is told, started again after a pause, and ends with its keeper."""

import asyncio

import pytest

from gateway import supervisor
from gateway.supervisor import keep, where


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0.001, 0.002, 0.005))


def test_starts_again_after_an_error_and_returns_at_the_end():
    runs: list[int] = []
    told: list[tuple[str, float]] = []

    async def part() -> None:
        runs.append(1)
        if len(runs) < 6:
            raise ValueError("secret")

    async def main() -> None:
        async with asyncio.timeout(10):
            await keep(part, lambda error, pause: told.append((type(error).__name__, pause)))

    asyncio.run(main())
    assert len(runs) == 6
    assert told == [("ValueError", 0.001), ("ValueError", 0.002)] + [("ValueError", 0.005)] * 3


def test_a_part_that_must_not_end_starts_again():
    runs: list[int] = []

    async def part() -> None:
        runs.append(1)
        if len(runs) == 3:
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(keep(part, lambda *_: None, ends=False))
        async with asyncio.timeout(10):
            while len(runs) < 3:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()

    asyncio.run(main())


def test_cancellation_ends_the_part_first():
    ended: list[str] = []

    async def part() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("part")

    async def main() -> None:
        task = asyncio.create_task(keep(part, lambda *_: None))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert ended == ["part"]

    asyncio.run(main())


def test_a_part_that_does_not_end_is_left_behind(monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_S", 0.05)
    release = asyncio.Event()

    async def part() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await release.wait()

    async def main() -> None:
        task = asyncio.create_task(keep(part, lambda *_: None))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.done()
        release.set()
        await asyncio.sleep(0.01)

    asyncio.run(main())


def test_errors_are_named_by_place_and_never_by_text():
    try:
        int("4B384547303034303436")
    except ValueError as error:
        said = where(error)
    assert said.startswith("ValueError at test_supervisor.py:")
    assert "4B38" not in said
    assert where(RuntimeError("x")) == "RuntimeError"
