"""The HTTP server over real sockets: what it answers, what it refuses, and what it bounds."""

import asyncio

import pytest

from gateway.sinks import http
from gateway.sinks.http import HttpClient, Response, is_local
from gateway.sinks.listener import Listener

OK = Response(200, b'{"a":1}')


@pytest.fixture
def served(running, until):
    """Talk to a server: `served(talk)` gives what the coroutine `talk(port, listener)` gives."""

    def run(talk, handle=lambda _: OK, hosts=(), limit=5):
        async def main():
            listener = Listener("test", "127.0.0.1:0", limit, lambda it: HttpClient(it, handle, hosts))
            async with running(listener):
                await until(lambda: listener.port)
                return await talk(listener.port, listener)

        return asyncio.run(main())

    return run


async def say(port, *pieces, pause=0.0):
    """Everything that the server answers until it closes, or 0.3 s after it went silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(20):
            while octets := await asyncio.wait_for(reader.read(1 << 16), 0.3 if answer else 20):
                answer += octets
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
    return answer


def get(path="/", host="127.0.0.1", more="", version="1.1"):
    return f"GET {path} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n".encode()


def status(answer):
    return int(answer.split()[1]) if answer else None


def test_an_answer(served):
    answer = served(lambda port, _: say(port, get("/api?x=1")))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        b"Content-Length: 7",
        b"Cache-Control: no-store",
        b"Connection: keep-alive",
    ]
    assert body == b'{"a":1}'


def test_the_path_comes_without_its_query(served):
    asked = []

    def handle(request):
        asked.append(request)
        return OK

    served(lambda port, _: say(port, get("/api/v1/data?x=1")), handle)
    assert asked == [("GET", "/api/v1/data")]


def test_octet_by_octet(served):
    assert status(served(lambda port, _: say(port, *(bytes([octet]) for octet in get())))) == 200


def test_a_connection_is_kept_and_a_body_is_passed_over(served):
    async def talk(port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = []
        for _ in range(3):
            writer.write(b"PUT /x HTTP/1.1\r\nHost: meterd\r\nContent-Length: 4\r\n\r\nGET ")
            head = await reader.readuntil(b"\r\n\r\n")
            found.append((status(head), await reader.readexactly(7)))
        writer.transport.abort()
        return found

    assert served(talk) == [(200, b'{"a":1}')] * 3


def test_one_that_asks_on_before_the_answer_gets_one(served):
    answer = served(lambda port, _: say(port, get() * 1_000))
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("more", "version", "kept"),
    [("", "1.1", True), ("Connection: close\r\n", "1.1", False), ("", "1.0", False),
     ("Connection: keep-alive\r\n", "1.0", True)],
)  # fmt: skip
def test_how_long_a_connection_lives(served, more, version, kept):
    answer = served(lambda port, _: say(port, get(more=more, version=version)))
    assert (b"Connection: keep-alive" in answer) is kept
    assert (b"Connection: close" in answer) is not kept


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00" + bytes(5_000), 431),
        (get(host="evil.example"), 403),
    ],
)
def test_what_is_refused(served, request_, expected):
    answer = served(lambda port, _: say(port, request_))
    assert status(answer) == expected
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("host", "names", "expected"),
    [
        ("192.168.1.5", (), True),
        ("192.168.1.5:80", (), True),
        ("[fe80::1]:80", (), True),
        ("::1", (), True),
        ("localhost", (), True),
        ("meterd:8080", (), True),
        ("p1meter-aabbcc.local", (), True),
        ("Meterd.Home.Arpa", (), True),
        ("meterd.fritz.box", (), False),
        ("meterd.fritz.box:80", ("meterd.fritz.box",), True),
        ("evil.example", (), False),
        ("evil.example.", (), False),
        ("192.168.1.5.evil.example", (), False),
        ("local.evil.example", (), False),
        ("", (), False),
        (".", (), False),
    ],
)
def test_local_names(host, names, expected):
    assert is_local(host, names) is expected


def test_a_slow_request_ends_the_connection(served, monkeypatch):
    monkeypatch.setattr(http, "HEAD_S", 0.2)

    async def talk(port, listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(20):
                for octet in get() * 10:
                    writer.write(bytes([octet]))
                    await asyncio.sleep(0.02)
                    if reader.at_eof() or reader.exception():
                        return listener.status()["clients"]
        except ConnectionError:
            return listener.status()["clients"]
        finally:
            writer.transport.abort()
        return None

    assert served(talk) == 0


def test_more_clients_than_the_limit_are_refused(served):
    async def talk(port, listener):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        while listener.status()["clients"] < 5:
            await asyncio.sleep(0.01)
        refused = await say(port, get())
        for _, writer in held:
            writer.transport.abort()
        while listener.status()["clients"]:
            await asyncio.sleep(0.01)
        return refused, await say(port, get()), listener.refused

    refused, answered, count = served(talk)
    assert (refused, status(answered), count) == (b"", 200, 1)


def test_a_client_that_never_reads_is_dropped(served, until):
    async def talk(port, listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()
        try:
            async with asyncio.timeout(30):
                while listener.clients or not listener.connections:
                    writer.write(get())
                    await asyncio.sleep(0.001)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        return listener.status()["clients"], reader

    clients, _ = served(talk, lambda _: Response(200, bytes(1 << 20)))
    assert clients == 0
