import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

from gateway.sources import PortEvent
from gateway.sources import reconnecting as module
from gateway.sources.link import Link
from gateway.sources.reconnecting import BACK_OFF_S, ReconnectingSource
from gateway.sources.serial import SerialSource
from gateway.sources.tcp import TcpSource
from tests.ports import stop_serving


class Scripted(ReconnectingSource):
    """Each opening does what the next step says: a failure, or a port that has ended when it is first read."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__("scripted", BACK_OFF_S)
        self.steps = iter(steps)

    async def _open(self) -> Link | PortEvent:
        step = next(self.steps, None)
        if step is None:
            raise asyncio.CancelledError
        if step != "open":
            return PortEvent.now("no_port", step)
        reader, writer = os.pipe()
        os.close(writer)
        return Link(reader, lambda: os.close(reader), detail="open", lost="lost")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []

    class Asyncio:
        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        async def sleep(self, seconds: float) -> None:
            waited.append(seconds)

    monkeypatch.setattr(module, "asyncio", Asyncio())
    return waited


def events(source: ReconnectingSource) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []

    async def main() -> None:
        async with asyncio.timeout(30):
            async for item in source.chunks():
                assert isinstance(item, PortEvent)
                seen.append((item.state, item.detail))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    return seen


def test_the_back_off_is_1_2_5_10_10_s(waits: list[float]) -> None:
    assert events(Scripted(["gone"] * 6)) == [("no_port", "gone")]
    assert waits == [1, 2, 5, 10, 10, 10]


def test_a_reason_is_told_when_it_changes(waits: list[float]) -> None:
    assert [detail for _, detail in events(Scripted(["a", "a", "b", "a"]))] == ["a", "b", "a"]


def test_a_failure_after_an_opening_is_always_told(waits: list[float]) -> None:
    assert events(Scripted(["gone", "open", "gone"])) == [
        ("no_port", "gone"),
        ("open", "open"),
        ("closed", "lost"),
        ("no_port", "gone"),
    ]


def test_a_port_that_opens_and_fails_at_once_is_no_busy_loop(waits: list[float]) -> None:
    events(Scripted(["open"] * 5))
    assert waits == [1, 2, 5, 10, 10]


def test_the_back_off_starts_over_after_a_port_that_held(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 1000)
    monkeypatch.setattr(PortEvent, "now", classmethod(lambda cls, state, detail: cls(state, detail, next(clock))))
    events(Scripted(["gone", "gone", "gone", "open", "gone"]))
    assert waits == [1, 2, 5, 1, 2]


def test_a_failing_source_never_affects_the_others(new_pty: Callable[[], Any], tapping: Any) -> None:
    """One port flaps, one is absent, one is held; two go on as if they were alone."""
    serial = {"baud": 115_200, "framing": "8N1", "back_off_s": (0.001,)}
    sent = b"/ISK5\r\n!ABCD\r\n" * 20

    async def meter(pty: Any) -> None:
        for i in range(0, len(sent), 7):
            await pty.write(sent[i : i + 7])
            await asyncio.sleep(0.001)

    async def flapping(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def main() -> None:
        good, better = new_pty(), new_pty()
        server = await asyncio.start_server(flapping, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            tapping(TcpSource("127.0.0.1", port, back_off_s=(0.001,))) as flaps,
            tapping(SerialSource("/dev/serial/by-id/none", **serial)) as absent,
            tapping(SerialSource(good.path, **serial)) as first,
            tapping(SerialSource(better.path, **serial)) as second,
        ):
            await first.state("open")
            await second.state("open")
            async with tapping(SerialSource(good.path, **serial)) as held:
                await held.state("port_busy")
                await asyncio.gather(meter(good), meter(better))
                await first.until(lambda: first.data == sent)
                await second.until(lambda: second.data == sent)
            assert first.states == second.states == ["open"]
            assert absent.states == ["no_port"]
            await flaps.until(lambda: flaps.states.count("open") > 10)
            good.unplug()
            await first.until(lambda: first.states[1:2] == ["closed"])
            await better.write(b"on")
            await second.until(lambda: second.data == sent + b"on")
        await stop_serving(server)

    asyncio.run(main())
