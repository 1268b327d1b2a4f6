"""The listening half of an output: a flood of connections, no descriptor left, and an address of the other family."""

import asyncio
import errno
import socket
import threading
import time

import pytest

from gateway.sinks import listener as module
from gateway.sinks.listener import BURST, RATE, Client, Listener


@pytest.fixture
def listen(running, until):
    """Run a coroutine beside a listener: `listen(act)` gives what `act(listener)` gives."""

    def run(act, address="127.0.0.1:0", limit=3):
        async def main():
            listener = Listener("test", address, limit, Client)
            async with running(listener):
                await until(lambda: listener.trouble is None)
                return await act(listener)

        return asyncio.run(main())

    return run


def test_a_flood_is_accepted_no_faster_than_the_rate(listen, until):
    stop = threading.Event()

    def flood(port):
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=0.2):
                    pass
            except OSError:
                pass

    async def act(listener):
        began = time.monotonic()
        threads = [threading.Thread(target=flood, args=(listener.port,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        await until(lambda: listener.connections + listener.refused > BURST + RATE, 60)
        stop.set()
        accepted, elapsed = listener.connections + listener.refused, time.monotonic() - began
        await until(lambda: not any(thread.is_alive() for thread in threads))
        assert accepted <= BURST + RATE * elapsed
        assert elapsed > 0.9
        assert len(listener.clients) <= 3
        taken = -1
        while taken != listener.connections + listener.refused:  # what waits in the kernel comes first
            taken = listener.connections + listener.refused
            await asyncio.sleep(1)
        await until(lambda: not listener.clients)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await until(lambda: listener.clients)
        writer.transport.abort()
        return reader

    listen(act)


def test_without_a_descriptor_it_pauses_and_goes_on(listen, until):
    async def act(listener):
        accepts = 0

        class Exhausted:
            def accept(self):
                nonlocal accepts
                accepts += 1
                raise OSError(errno.EMFILE, "too many open files")

            def fileno(self):
                return quiet.fileno()

        quiet, other = socket.socketpair()
        with quiet, other:
            listener._accept(Exhausted())
            assert accepts == 1
            assert listener._tokens == 0
            listener._pause.cancel()
        listener._tokens = BURST
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await until(lambda: listener.clients)
        writer.transport.abort()

    listen(act)


def test_ipv6(listen, until):
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")

    async def act(listener):
        _, writer = await asyncio.open_connection("::1", listener.port)
        await until(lambda: listener.clients)
        writer.transport.abort()

    listen(act, "[::1]:0")


def test_a_low_port_says_what_allows_it(running, until, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module.socket, "create_server", refuse)

    async def main():
        listener = Listener("test", "0.0.0.0:80", 3, Client)
        async with running(listener):
            await until(lambda: "CAP_NET_BIND_SERVICE" in listener.trouble)

    asyncio.run(main())
