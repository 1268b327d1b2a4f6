"""Virtual P1 over real sockets: its clients, one that is frozen, one that talks, too many, and a silent meter."""

import asyncio
import socket
import threading
import time
from contextlib import closing

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.clients.socket_ import SocketReader

from gateway.settings import VirtualP1Settings
from gateway.sinks import SinkError
from gateway.sinks.dsmr import telegram
from gateway.sinks.virtual_p1 import VirtualP1Sink

SALT = b"0123456789abcdef"


@pytest.fixture
def make_output():
    def make(clock=time.monotonic, timezone=None, **settings):
        settings = VirtualP1Settings(meter="main", listen="127.0.0.1:0", **settings)
        return VirtualP1Sink("virtual_p1 1", settings, timezone=timezone, salt=SALT, monotonic=clock)

    return make


class Talk:
    """A plain client of the test."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, output, limit=1 << 16):
        return cls(*await asyncio.open_connection("127.0.0.1", output.listener.port, limit=limit))

    async def telegram(self):
        async with asyncio.timeout(20):
            return await self.reader.readuntil(b"!") + await self.reader.readline()

    async def ends(self):
        """Whether the connection ends, in order or not."""
        try:
            async with asyncio.timeout(20):
                while await self.reader.read(1 << 16):
                    pass
        except ConnectionError:
            pass
        return True

    def close(self):
        self.writer.transport.abort()


def test_dsmr_parsers_own_client_reads_it(make_output, make_item, running, until):
    found = []

    def client(port):
        with closing(SocketReader("127.0.0.1", port, telegram_specifications.V5).read_as_object()) as telegrams:
            found.extend(next(telegrams) for _ in range(3))

    async def main():
        output = make_output()
        async with running(output):
            await until(lambda: output.listener.port)
            thread = threading.Thread(target=client, args=(output.listener.port,), daemon=True)
            thread.start()
            await until(lambda: output.status()["clients"] == 1)
            for watts in (100, 200, 300):
                output.deliver(make_item(p_import_w=watts, p_net_w=watts))
            await until(lambda: not thread.is_alive())

    asyncio.run(main())
    assert [float(one.CURRENT_ELECTRICITY_USAGE.value) for one in found] == [0.1, 0.2, 0.3]


def test_every_client_gets_each_telegram_once_and_nothing_before_it(make_output, make_item, running, until):
    async def main():
        output = make_output()
        async with running(output):
            await until(lambda: output.listener.port)
            output.deliver(make_item(p_import_w=1, p_net_w=1))
            talks = [await Talk.to(output) for _ in range(20)]
            await until(lambda: output.status()["clients"] == 20)
            for watts in (2, 3):
                output.deliver(make_item(p_import_w=watts, p_net_w=watts))
            for talk in talks:
                for watts in (2, 3):
                    assert b"1-0:1.7.0(00.00%d*kW)" % watts in await talk.telegram()
                talk.close()
            assert output.status()["sent"] == 40

    asyncio.run(main())


def test_readings_of_other_meters_are_not_its_own(make_output, make_item, running, until):
    async def main():
        output = make_output()
        async with running(output):
            await until(lambda: output.listener.port)
            talk = await Talk.to(output)
            await until(lambda: output.status()["clients"] == 1)
            output.deliver(make_item(meter="garage", p_import_w=1, p_net_w=1))
            output.deliver(make_item(p_import_w=2, p_net_w=2))
            assert b"1-0:1.7.0(00.002*kW)" in await talk.telegram()
            assert output.status()["sent"] == 1
            talk.close()

    asyncio.run(main())


async def fill(output, frozen, item):
    """Deliver until the kernel takes no more of the frozen client's telegrams."""
    for _ in range(20_000):
        output.deliver(item)
        while output._waiting:
            await asyncio.sleep(0.001)
        if frozen.transport.get_write_buffer_size():
            await asyncio.sleep(0.3)
            if frozen.transport.get_write_buffer_size():
                return
    pytest.fail("the kernel takes everything")


def test_a_frozen_client_costs_the_others_nothing_and_is_dropped(make_output, make_item, running, until):
    now = [1000.0]

    async def main():
        output = make_output(clock=lambda: now[0])
        async with running(output):
            await until(lambda: output.listener.port)
            with socket.socket() as stuck:
                stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                stuck.connect(("127.0.0.1", output.listener.port))
                await until(lambda: output.status()["clients"] == 1)
                [frozen] = output.listener.clients
                item = make_item()
                await fill(output, frozen, item)
                size = len(telegram(item, output._zone.of(item), output._equipment))
                talk = await Talk.to(output)
                await until(lambda: output.status()["clients"] == 2)
                for second in range(3 * item.valid_for_s):
                    now[0] = 1000.0 + second
                    output.deliver(make_item(p_import_w=second, p_net_w=second))
                    assert b"1-0:1.7.0(00.%03d*kW)" % second in await talk.telegram()
                    if output.status()["dropped"]:
                        break
                    assert frozen.transport.get_write_buffer_size() <= size
                    # Whether the kernel takes a little more is its affair; what it took last holds until then.
                    assert now[0] <= frozen.holds_until <= now[0] + item.valid_for_s
                assert second > item.valid_for_s
                assert output.status()["skipped"] > 0
                await until(lambda: output.status()["clients"] == 1)
                assert output.status()["dropped"] == 1
                talk.close()

    asyncio.run(main())


def test_a_client_that_talks_is_not_heard_and_may_not_talk_on(make_output, make_item, running, until):
    async def main():
        output = make_output()
        async with running(output):
            await until(lambda: output.listener.port)
            talk = await Talk.to(output)
            talk.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: output.status()["clients"] == 1)
            output.deliver(make_item())
            assert await talk.telegram()
            talk.writer.write(b"x" * 5_000)
            assert await talk.ends()
            await until(lambda: output.status()["clients"] == 0)
            assert output.status()["dropped"] == 1
            talk.close()

    asyncio.run(main())


def test_beyond_the_limit_connections_are_refused_until_a_place_is_free(make_output, make_item, running, until):
    async def main():
        output = make_output(max_clients=3)
        async with running(output):
            await until(lambda: output.listener.port)
            talks = [await Talk.to(output) for _ in range(3)]
            await until(lambda: output.status()["clients"] == 3)
            for _ in range(50):
                extra = await Talk.to(output)
                assert await extra.ends()
                extra.close()
            assert (output.status()["clients"], output.status()["refused"]) == (3, 50)
            output.deliver(make_item())
            for talk in talks:
                assert await talk.telegram()
            talks[0].close()
            await until(lambda: output.status()["clients"] == 2)
            late = await Talk.to(output)
            await until(lambda: output.status()["clients"] == 3)
            for talk in (*talks, late):
                talk.close()

    asyncio.run(main())


def test_a_silent_meter_is_silence_and_keeps_its_clients(make_output, make_item, running, until):
    async def main():
        output = make_output()
        async with running(output):
            await until(lambda: output.listener.port)
            talk = await Talk.to(output)
            await until(lambda: output.status()["clients"] == 1)
            output.report("main", {"state": "no_bytes"}, available=False)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await talk.reader.read(1)
            assert output.status()["clients"] == 1
            talk.close()

    asyncio.run(main())


def test_what_can_be_no_telegram_is_refused_with_its_reason_and_shown(make_output, make_item):
    output = make_output()
    with pytest.raises(SinkError, match="estimated"):
        output.deliver(make_item(quality="estimated"))
    with pytest.raises(SinkError, match="knows no zone"):
        output.deliver(make_item(profile="no-aidon"))
    assert not output.status()["works"]


def test_the_zone_of_the_meters_table_serves_where_its_own_is_absent(make_output, make_item):
    make_output(timezone="Europe/Oslo").deliver(make_item(profile="no-aidon"))
    make_output(timezone=None).deliver(make_item())


def test_a_port_that_is_taken_is_told_and_tried_again(make_output, running, until, monkeypatch):
    monkeypatch.setattr("gateway.sinks.listener.RETRY_S", 0.05)

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as other:
            output = make_output()
            output.listener._listen = f"127.0.0.1:{other.getsockname()[1]}"
            async with running(output):
                await until(lambda: "another program listens there" in (output.status()["trouble"] or ""))
                assert not output.status()["works"]
                other.close()
                await until(lambda: output.status()["works"])
            assert not output.status()["works"]

    asyncio.run(main())


def test_the_end_drops_every_client_and_frees_the_port(make_output, running, until):
    async def main():
        output = make_output()
        async with running(output):
            await until(lambda: output.listener.port)
            talk = await Talk.to(output)
            await until(lambda: output.status()["clients"] == 1)
        assert await talk.ends()
        talk.close()
        socket.create_server(("127.0.0.1", output.listener.port)).close()

    asyncio.run(main())
