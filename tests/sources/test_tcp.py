import asyncio
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.sources import tcp as module
from gateway.sources.tcp import KEEPALIVE, REFUSALS, TcpSource
from tests.ports import free_port, stop_serving

SOON = (0.01,)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def bridge(serve: Serve, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A real server; each client is served once and stays connected until the end, unless `serve` closes it."""
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(connected, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await stop_serving(server)
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def saying(data: bytes) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return serve


def saying_and_closing(data: bytes) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return serve


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_mebibyte_arrives_exactly(tapping: Any) -> None:
    sent = random.Random(1).randbytes(1 << 20)

    async def main() -> None:
        async with bridge(saying(sent)) as port, tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap:
            assert (await tap.state("open")).detail == f"socket://127.0.0.1:{port} is connected (address 127.0.0.1)"
            await tap.until(lambda: len(tap.data) >= len(sent))
            assert tap.data == sent

    asyncio.run(main())


def test_a_slow_consumer_loses_nothing_and_the_network_holds_the_rest() -> None:
    sent = random.Random(2).randbytes(32 << 20)
    written: list[int] = []

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for i in range(0, len(sent), 65_536):
            writer.write(sent[i : i + 65_536])
            await writer.drain()
            written.append(i)

    async def main() -> None:
        async with asyncio.timeout(60), bridge(serve) as port:
            items = TcpSource("127.0.0.1", port).chunks()
            assert (await anext(items)).state == "open"
            received = bytearray((await anext(items)).data)
            await asyncio.sleep(0.3)
            assert len(written) < len(sent) // 65_536, "32 MiB were taken that the consumer did not ask for"
            while len(received) < len(sent):
                received += (await anext(items)).data
            assert received == sent
            await items.aclose()

    asyncio.run(main())


def test_refused_then_accepted(tapping: Any) -> None:
    async def main() -> None:
        port = free_port()
        async with tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap:
            event = await tap.state("no_port")
            assert event.detail.startswith(f"socket://127.0.0.1:{port} refuses the connection: ")
            await asyncio.sleep(0.1)
            assert tap.states == ["no_port"]
            async with bridge(saying(b"/ISK5"), port=port):
                await tap.state("open")
                await tap.until(lambda: tap.data == b"/ISK5")

    asyncio.run(main())


def test_a_half_closed_connection_is_left_and_made_again(tapping: Any) -> None:
    async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        writer.write_eof()
        await reader.read()  # ends when the client leaves: otherwise the connection would stay half open for ever

    async def main() -> None:
        async with bridge(half_close) as port, tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap:
            await tap.until(lambda: tap.states.count("open") >= 3)
            assert tap.states[:5] == ["open", "closed", "open", "closed", "open"]
            assert tap.events[1].detail.startswith(f"socket://127.0.0.1:{port} lost the connection: ")

    asyncio.run(main())


def test_a_reset_connection_is_made_again_and_the_octets_before_it_count(tapping: Any) -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        await asyncio.sleep(0.1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def main() -> None:
        async with bridge(reset) as port, tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap:
            await tap.until(lambda: tap.states.count("open") >= 2)
            assert tap.events[1].detail.endswith("(Connection reset by peer)")
            assert tap.data[:1] == b"x"

    asyncio.run(main())


def test_reconnecting_leaks_nothing(tapping: Any, resources: Any) -> None:
    async def main() -> None:
        async with (
            bridge(saying_and_closing(b"x")) as port,
            tapping(TcpSource("127.0.0.1", port, back_off_s=(0.0,))) as tap,
        ):
            await tap.until(lambda: tap.states.count("open") >= 20)
            before = resources()
            await tap.until(lambda: tap.states.count("open") >= 120)
            after = resources()
            assert after[0] <= before[0] + 3  # a connection that is being made or left
            assert after[1] == before[1]

    asyncio.run(main())


def test_a_bridge_without_power_is_noticed(tapping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's socket disappears without FIN or RST (TCP_REPAIR): only keep-alive can tell."""
    tcp_repair = 19
    faster = {socket.TCP_KEEPIDLE: 1, socket.TCP_KEEPINTVL: 1}
    monkeypatch.setattr(
        module, "KEEPALIVE", tuple((level, name, faster.get(name, value)) for level, name, value in KEEPALIVE)
    )
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 1.0)

    async def main() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        with server:
            port = server.getsockname()[1]
            async with tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap:
                await tap.state("open")
                peer, _ = server.accept()
                server.close()
                try:
                    peer.setsockopt(socket.IPPROTO_TCP, tcp_repair, 1)
                except PermissionError:
                    peer.close()
                    pytest.skip("only root can take a socket away silently (TCP_REPAIR)")
                peer.close()
                await tap.until(lambda: "closed" in tap.states)

    asyncio.run(main())


def test_keep_alive_is_in_force_on_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            sock = await module._connect(socket.AF_INET, server.getsockname())
            with sock:
                for level, option, value in KEEPALIVE:
                    assert sock.getsockopt(level, option) == value
                assert sock.gettimeout() == 0

    asyncio.run(main())


def test_a_server_that_does_not_answer_is_given_up(tapping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full drops what comes."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.2)

    async def main() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            address = server.getsockname()
            clients = [socket.socket() for _ in range(4)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex(address)
            async with tapping(TcpSource(*address, back_off_s=SOON)) as tap:
                assert "does not answer" in (await tap.state("no_port")).detail
            for client in clients:
                client.close()

    asyncio.run(main())


def test_a_free_local_port_is_not_connected_to_itself(tapping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one local port to choose, the kernel chooses that of the server, and TCP's simultaneous open succeeds."""
    ip_local_port_range = 51  # Linux 6.3
    port = unused_port()
    (both,) = struct.unpack("i", struct.pack("HH", port, port))
    option = (socket.IPPROTO_IP, ip_local_port_range, both)
    with socket.socket() as probe:
        try:
            probe.setsockopt(*option)
        except OSError:
            pytest.skip("this kernel cannot choose the local port range by socket")
    monkeypatch.setattr(module, "KEEPALIVE", (option,))

    async def main() -> None:
        async with tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap:
            assert "refuses the connection" in (await tap.state("no_port")).detail
            await asyncio.sleep(0.1)
            assert set(tap.states) == {"no_port"}

    asyncio.run(main())


@pytest.mark.parametrize("words", REFUSALS)
def test_what_ser2net_says_before_it_hangs_up_is_understood(words: bytes, tapping: Any) -> None:
    state, advice = REFUSALS[words]

    async def main() -> None:
        async with (
            bridge(saying_and_closing(words + b"\r\n")) as port,
            tapping(TcpSource("127.0.0.1", port, back_off_s=SOON)) as tap,
        ):
            await tap.until(lambda: tap.states[:2] == ["open", state])
            assert tap.events[1].detail == f"socket://127.0.0.1:{port} refuses ({words.decode()}): {advice}"
            await tap.until(lambda: tap.data.startswith(words))  # nothing that arrived is hidden

    asyncio.run(main())


def test_a_name_that_cannot_be_resolved_is_said_and_the_last_address_kept(
    tapping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "127.0.0.1"]
    asked: list[bytes] = []
    really = socket.getaddrinfo

    def resolver(host: Any, port: Any, *_args: Any, **options: Any) -> Any:
        if host != b"bridge.test" or options.get("flags"):
            return really(host, port, *_args, **options)
        asked.append(host)
        answer = answers.pop(0) if answers else socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
        if isinstance(answer, Exception):
            raise answer
        return really(answer, port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)

    async def main() -> None:
        async with (
            bridge(saying_and_closing(b"x")) as port,
            tapping(TcpSource("bridge.test", port, back_off_s=SOON)) as tap,
        ):
            event = await tap.state("no_port")
            assert "the name cannot be resolved (Name or service not known)" in event.detail
            await tap.until(lambda: tap.states.count("open") >= 3)
            assert len(asked) >= 4, "a name is resolved anew at every attempt"

    asyncio.run(main())


def test_a_name_service_that_hangs_is_given_up(tapping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_args: object, **_options: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.05)

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
        async with tapping(TcpSource("bridge.test", 2001, back_off_s=SOON)) as tap:
            assert "cannot be resolved (no answer within 0.05 s)" in (await tap.state("no_port")).detail

    asyncio.run(main())


def test_each_address_of_a_name_is_tried(tapping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(_host: str, port: int) -> Any:
        return [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(module, "_addresses", two)

    async def main() -> None:
        async with bridge(saying(b"x")) as port, tapping(TcpSource("bridge.test", port, back_off_s=SOON)) as tap:
            assert (await tap.state("open")).detail.endswith("(address 127.0.0.1)")

    asyncio.run(main())


def test_ipv6(tapping: Any) -> None:
    async def main() -> None:
        async with bridge(saying(b"six"), host="::1") as port, tapping(TcpSource("::1", port)) as tap:
            await tap.until(lambda: tap.data == b"six")
            assert tap.events[0].detail == f"socket://[::1]:{port} is connected (address ::1)"

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    asyncio.run(main())


def test_fifty_meters_in_one_process_and_one_thread(tapping: Any) -> None:
    """Addresses in digits need no thread, so fifty bridges cost no more than their descriptors."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            writer.write(b"/telegram!" * 80)
            await asyncio.sleep(0.02)

    async def main() -> None:
        threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
        async with bridge(serve) as port, asyncio.timeout(60):
            sources = [TcpSource("127.0.0.1", port) for _ in range(50)]

            async def total(source: TcpSource) -> bytes:
                received = b""
                async for item in source.chunks():
                    received += getattr(item, "data", b"")
                    if len(received) == 4000:
                        break
                return received

            received = await asyncio.gather(*map(total, sources))
            assert received == [b"/telegram!" * 400] * 50
            assert len(os.listdir("/proc/self/task")) == threads  # noqa: PTH208

    asyncio.run(main())
