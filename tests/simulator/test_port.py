"""Ports carry octets exactly, to nobody when nobody reads, and never let one reader hold up another."""

import asyncio
import errno
import io
import os
import socket
import termios
from contextlib import closing, contextmanager

import pytest

from gateway.simulator.port import BACKLOG, FilePort, PtyPort, TcpPort

ALL_OCTETS = bytes(range(256)) * 8 + b"\r\n\r\n\x03\x04\x11\x13"


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(bounded())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


@contextmanager
def reader(path):
    """A program that has the terminal open and changes nothing about it."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


async def read(fd, size):
    octets = b""
    while len(octets) < size:
        try:
            octets += os.read(fd, 65536)
        except BlockingIOError:
            await asyncio.sleep(0.005)
    return octets


def hung_up(fd):
    try:
        return os.read(fd, 1) == b""
    except OSError as error:
        return error.errno == errno.EIO


def test_a_terminal_carries_every_octet():
    async def scenario():
        port = PtyPort()
        await port.open()
        with reader(port.address) as fd:
            assert port.ready() == 1
            assert await port.put(ALL_OCTETS)
            assert await read(fd, len(ALL_OCTETS)) == ALL_OCTETS
        await port.close()

    run(scenario())


def test_a_terminal_waits_for_a_reader_that_is_behind():
    async def scenario():
        port = PtyPort()
        await port.open()
        octets = os.urandom(300_000)
        with reader(port.address) as fd:
            sending = asyncio.create_task(port.put(octets))
            assert await read(fd, len(octets)) == octets
            assert await sending
        await port.close()

    run(scenario())


def test_a_terminal_gives_up_on_a_reader_that_never_reads(monkeypatch):
    monkeypatch.setattr("gateway.simulator.port.PATIENCE_S", 0.2)

    async def scenario():
        port = PtyPort()
        await port.open()
        with reader(port.address):
            assert await port.put(bytes(1_000_000)) is False
            await port.close()

    run(scenario())


def test_nobody_reads_a_terminal_that_nobody_has_open():
    async def scenario():
        port = PtyPort()
        await port.open()
        assert port.ready() == 0
        with reader(port.address):
            assert port.ready() == 1
            assert await port.put(b"left unread")
        assert port.ready() == 0
        with reader(port.address) as fd:
            assert port.ready() == 1
            assert await port.put(b"fresh")
            assert await read(fd, 5) == b"fresh"
        await port.close()
        assert port.ready() == 0

    run(scenario())


def test_what_a_reader_sends_is_ignored():
    async def scenario():
        port = PtyPort()
        await port.open()
        with reader(port.address) as fd:
            for _ in range(50):
                os.write(fd, b"/?!\r\n" * 200)
                assert port.ready() == 1
            await port.put(b"/ISK5")
            assert await read(fd, 5) == b"/ISK5"
        await port.close()

    run(scenario())


def test_closing_a_terminal_waits_for_what_was_sent_then_hangs_up():
    async def scenario():
        port = PtyPort()
        await port.open()
        with reader(port.address) as fd:
            await port.put(b"x" * 3000)
            closing_port = asyncio.create_task(port.close())
            await asyncio.sleep(0.05)
            assert await read(fd, 3000) == b"x" * 3000
            await closing_port
            assert hung_up(fd)

    run(scenario())


def test_the_link_stays_and_leads_to_each_new_terminal(tmp_path):
    link = tmp_path / "meter"

    async def scenario():
        port = PtyPort(link)
        for _ in range(3):
            await port.open()
            assert port.address == str(link)
            with reader(link) as fd:
                assert port.ready() == 1
                termios.tcgetattr(fd)
            await port.close()
            assert not link.is_symlink()

    run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_a_link_never_replaces_a_file(tmp_path):
    (tmp_path / "meter").write_text("precious")

    async def scenario():
        port = PtyPort(tmp_path / "meter")
        try:
            with pytest.raises(FileExistsError, match="choose another --link"):
                await port.open()
        finally:
            await port.close()

    run(scenario())
    assert (tmp_path / "meter").read_text() == "precious"


def test_two_clients_get_the_same_octets():
    async def scenario():
        port = TcpPort("127.0.0.1", 0)
        await port.open()
        assert port.ready() == 0
        clients = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(2)]
        await until(lambda: port.ready() == 2)
        await port.put(ALL_OCTETS)
        await port.put(b"more")
        for stream, _ in clients:
            assert await stream.readexactly(len(ALL_OCTETS) + 4) == ALL_OCTETS + b"more"
        await port.close()
        for stream, writer in clients:
            assert await stream.read() == b""
            writer.close()
            await writer.wait_closed()

    run(scenario())


def test_a_client_that_never_reads_misses_telegrams_and_holds_up_nobody():
    telegram = b"t" * 1000

    async def scenario():
        port = TcpPort("127.0.0.1", 0)
        await port.open()
        with closing(socket.create_connection(("127.0.0.1", port.port))) as deaf:
            stream, writer = await asyncio.open_connection("127.0.0.1", port.port)
            await until(lambda: port.ready() == 2)
            sent = 0
            while port.ready() == 2:
                await port.put(telegram)
                assert await stream.readexactly(len(telegram)) == telegram
                sent += 1
                assert sent < 100_000
            for _ in range(100):
                assert port.ready() == 1
                await port.put(telegram)
                assert await stream.readexactly(len(telegram)) == telegram
            assert max(client.get_write_buffer_size() for client in port._clients) <= BACKLOG + len(telegram)
            deaf.setblocking(False)
            await port.close()
            writer.close()
            await writer.wait_closed()

    run(scenario())


def test_a_tcp_port_comes_back_under_its_number():
    async def scenario():
        port = TcpPort("127.0.0.1", 0)
        await port.open()
        number = port.port
        await port.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", number)
        await port.open()
        assert port.address == f"socket://127.0.0.1:{number}"
        _, writer = await asyncio.open_connection("127.0.0.1", number)
        await until(lambda: port.ready() == 1)
        writer.close()
        await until(lambda: port.ready() == 0)
        await port.close()

    run(scenario())


def test_a_file_takes_everything():
    async def scenario():
        file = io.BytesIO()
        port = FilePort(file, "capture.p1")
        await port.open()
        assert port.ready() == 1
        assert await port.put(ALL_OCTETS)
        await port.close()
        return file.getvalue()

    assert run(scenario()) == ALL_OCTETS
