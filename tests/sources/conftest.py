"""Pseudo-terminals, and a consumer that collects what a source yields."""

import asyncio
import os
import pathlib
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.sources import Chunk, PortEvent, Source

DEADLINE_S = 30


class Pty:
    """A port without hardware: `master` is the meter's end, `path` the device."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self.master, False)

    def unplug(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    async def write(self, data: bytes) -> None:
        """Write all of it, at the pace at which the other end reads."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.master, view) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)


class Tap:
    """What a source has yielded so far."""

    def __init__(self) -> None:
        self.items: list[Chunk | PortEvent] = []

    @property
    def data(self) -> bytes:
        return b"".join(item.data for item in self.items if isinstance(item, Chunk))

    @property
    def events(self) -> list[PortEvent]:
        return [item for item in self.items if isinstance(item, PortEvent)]

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.002)

    async def state(self, state: str) -> PortEvent:
        """Wait until the port is in this state."""
        await self.until(lambda: self.states[-1:] == [state])
        return self.events[-1]


@asynccontextmanager
async def _tapping(source: Source) -> AsyncIterator[Tap]:
    tap = Tap()

    async def consume() -> None:
        async for item in source.chunks():
            tap.items.append(item)

    task = asyncio.create_task(consume())
    try:
        yield tap
        if task.done():
            task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def tapping() -> Callable[[Source], object]:
    """Consume a source in a task: `async with tapping(source) as tap`."""
    return _tapping


@pytest.fixture
def new_pty() -> Iterator[Callable[[], Pty]]:
    made: list[Pty] = []

    def make() -> Pty:
        made.append(Pty())
        return made[-1]

    yield make
    for pty in made:
        pty.unplug()


@pytest.fixture
def resources() -> Callable[[], tuple[int, int]]:
    """Open descriptors and threads of this process."""
    return lambda: tuple(len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))  # type: ignore[return-value]  # noqa: PTH208


@pytest.fixture
def link(tmp_path: pathlib.Path) -> Callable[[Pty], str]:
    """A stable name like those of /dev/serial/by-id, pointed to a pty, and to another one later."""
    name = tmp_path / "usb-FTDI_P1_cable-if00-port0"

    def point_to(pty: Pty) -> str:
        new = tmp_path / "new"
        new.symlink_to(pty.path)
        new.replace(name)
        return str(name)

    return point_to
