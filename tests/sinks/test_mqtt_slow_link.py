"""A broker behind a link on which a round trip takes longer than a broker may owe a sign of life."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.sinks.mqtt_link import _OWES_S
from tests.ports import stop_serving

#: one way (s): a mobile network under load
DELAY_S = 0.6


@contextlib.asynccontextmanager
async def slow(port: int) -> AsyncIterator[int]:
    """A TCP port that hands on to another one, and back, after DELAY_S."""
    tasks: set[asyncio.Task[None]] = set()
    ends: list[asyncio.StreamWriter] = []
    loop = asyncio.get_running_loop()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                loop.call_later(DELAY_S, writer.write, data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, back))
        for pair in ((reader, back), (there, writer)):
            tasks.add(asyncio.create_task(hand_on(*pair)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await stop_serving(server)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for end in ends:
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_round_trip_longer_than_a_sign_of_life_is_no_standstill(  # noqa: PLR0917  # fixtures
    broker, subscribe, make_sink, running, until, make_item, version
) -> None:
    """Readings are held while the broker owes one, and go on when it came, in order and without reconnecting."""
    assert 2 * DELAY_S > _OWES_S
    seen = subscribe(broker.port)

    async def scenario() -> None:
        async with slow(broker.port) as port:
            sink = make_sink(port, version=version)
            async with running(sink):
                await until(lambda: sink.status()["connected"])
                seq = 0
                while seen.topics().count("meterd/main/reading") < 6:
                    sink.deliver(make_item(seq=(seq := seq + 1)))
                    await asyncio.sleep(0.2)
                assert sink.status()["reconnects"] == 0

    asyncio.run(asyncio.wait_for(scenario(), 60))
    found = [message.payload for message in seen.messages if message.topic == "meterd/main/reading"]
    assert len(set(found)) == len(found)
