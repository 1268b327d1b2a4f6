"""Brokers that stand still, refuse, answer nonsense or are shared by mistake: named, bounded, nothing said wrongly."""
# ruff: noqa: PLR0917 - fixtures are arguments

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from gateway.settings import MqttSettings
from gateway.sinks.mqtt_connector import Connector
from gateway.sinks.mqtt_errors import ClosedError
from tests.ports import stop_serving

OK = {"state": "ok", "flags": [], "evidence": "1 frame"}
PASSWORD = "c4n4ry-s3cr3t"


# -- a broker that stands still --------------------------------------------------------------------------------------


def test_what_a_broker_that_stands_still_holds_is_bounded(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    """Its kernel takes what is sent; when it wakes that is news to everybody. So nothing more is sent after 1.5 s."""
    seen = subscribe(broker.port)
    sent: dict[int, float] = {}

    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            sink.report("main", OK, available=True)
            frozen = woken = time.monotonic()
            for seq in range(1, 45):
                if seq == 10:
                    os.kill(broker.process.pid, signal.SIGSTOP)
                    frozen = time.monotonic()
                sent[seq] = time.monotonic()
                sink.deliver(make_item(seq))
                await asyncio.sleep(0.1)
            woken = time.monotonic()
            os.kill(broker.process.pid, signal.SIGCONT)
            await until(lambda: f'"seq":{seq},' in (seen.payload("meterd/main/reading") or ""))
            got = [json.loads(m.payload)["seq"] for m in seen.messages if m.topic == "meterd/main/reading"]
            held = [seq for seq in got if frozen <= sent[seq] < woken - 0.3]
            assert held, "what was on its way cannot be called back"
            # asked with the first reading that comes 0.5 s after it was asked last, and trusted for 1 s from then on
            asked = min(at for at in sent.values() if at >= frozen + 0.5)
            assert max(sent[seq] for seq in held) <= asked + 2.0, "a busy machine may ask a little later"
            assert sink.status()["connected"]
            assert sink.status()["dropped"] >= 5

    asyncio.run(main())


def test_a_broker_that_spoke_5_and_stands_still_is_not_offered_3_1_1(
    server: "Server", make_sink, running, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wake to a connection without expiry. Byte 8 of CONNECT is the version."""
    monkeypatch.setattr("gateway.sinks.mqtt_link.CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr("gateway.sinks.mqtt_link._PING_ANSWER_S", 0.2)
    versions: list[int] = []

    def answer(octets: bytes) -> bytes:
        versions.append(octets[8])
        return ACCEPTED if len(versions) == 1 else b""

    async def main() -> None:
        async with server(answer) as port:
            sink = make_sink(port, keepalive_s=1)
            async with running(sink):
                await until(lambda: len(versions) >= 4)
                assert "did not answer CONNECT" in sink.status()["last_error"]

    asyncio.run(main())
    assert set(versions) == {5}


# -- one client id twice ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_clients_of_one_id_throw_each_other_out_a_few_times_only(
    broker, make_sink, running, until, version: str
) -> None:
    async def main() -> None:
        one, two = (make_sink(broker.port, version=version, client_id="twin") for _ in range(2))
        both = one, two
        async with running(one):
            await until(lambda: one.status()["connected"])
            async with running(two):
                await until(lambda: any("(twin)" in (sink.status()["last_error"] or "") for sink in both))
                await asyncio.sleep(1)
                counts = [sink.status()["reconnects"] for sink in both]
                assert sum(counts) <= 8
                await asyncio.sleep(1)
                assert counts == [sink.status()["reconnects"] for sink in both], "they go on"
                assert sum(sink.status()["connected"] for sink in both) == 1

    asyncio.run(main())


def test_a_broker_that_was_started_three_times_is_back_within_30_s(monkeypatch) -> None:
    """Who is closed again and again suspects another client of its id; a suspicion must not cost two minutes."""
    pauses: list[float] = []

    class Shut:
        def close(self) -> None: ...

    async def connected(_connector: Connector) -> Shut:
        return Shut()

    async def closed(_link: Shut) -> None:
        raise ClosedError("broker localhost:1 closed the connection: it is tried again")

    async def slept(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(Connector, "_connect", connected)
    monkeypatch.setattr("gateway.sinks.mqtt_connector.asyncio.sleep", slept)
    connector = Connector(
        MqttSettings(host="localhost", port=1), "twin", backoff=lambda attempt, cap_s: min(cap_s, 2**attempt)
    )
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(connector.run(closed))
    assert "probably another client uses this client id (twin)" in connector.status(None)["last_error"]
    assert pauses[:2] == [2, 4]
    assert all(10 < pause <= 25 for pause in pauses[2:])


# -- rights ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(start_broker, tmp_path: Path) -> Callable[[str], int]:
    """A broker whose user `meter` may write what the line says; gives its port."""

    def start(*topics: str) -> int:
        users, rights = tmp_path / "users", tmp_path / "rights"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "meter", PASSWORD], check=True, capture_output=True)
        rights.write_text("\n".join(["user meter", *(f"topic write {topic}" for topic in topics), ""]))
        return start_broker(f"password_file {users}", f"acl_file {rights}", anonymous=False).port

    return start


@pytest.fixture
def login(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return {"username": "meter", "password_file": str(path)}


def test_a_base_that_is_refused_is_named(guarded, login, make_sink, running, until, caplog) -> None:
    """Mosquitto takes the client and refuses its messages; others refuse the client for its will."""
    port = guarded("elsewhere/#")
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        sink = make_sink(port, discovery="off", **login)
        async with running(sink):
            await until(lambda: sink.status()["last_error"])
            assert (
                "does not let this user publish meterd/main/availability: allow it to write meterd/#"
                in sink.status()["trouble"]
            )

    asyncio.run(main())
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(("version", "connack"), [("5", b"\x20\x03\x00\x87\x00"), ("3.1.1", b"\x20\x02\x00\x05")])
def test_a_will_that_is_refused_is_named(
    server: "Server", login, make_sink, running, until, version: str, connack: bytes
) -> None:
    async def main() -> None:
        async with server(lambda _: connack) as port:
            sink = make_sink(port, version=version, **login)
            async with running(sink):
                await until(lambda: sink.status()["last_error"])
                assert not sink.status()["connected"]
                assert "no right to write meterd/status" in sink.status()["last_error"]

    asyncio.run(main())


def test_a_state_that_is_refused_is_named_once_and_the_rest_goes_on(
    guarded, login, subscribe, make_sink, running, until, make_item, caplog
) -> None:
    port = guarded("meterd/status", "meterd/main/availability", "meterd/main/reading", "meterd/main/p_net_w")

    async def main() -> None:
        sink = make_sink(port, **login)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            for seq in range(5):
                sink.report("main", OK | {"state": f"state {seq}"}, available=True)
                sink.deliver(make_item(seq))
                await asyncio.sleep(0.05)
            await until(lambda: sink.status()["trouble"])
            assert "does not let this user publish meterd/main/state" in sink.status()["trouble"]
            assert sink.status()["connected"]
            assert sink.status()["published"] == 5

    asyncio.run(main())
    assert caplog.text.count("does not let this user publish meterd/") == 1
    assert caplog.text.count("does not let this user publish homeassistant/") == 1
    assert PASSWORD not in caplog.text


# -- no broker at all ------------------------------------------------------------------------------------------------

Server = Callable[[Callable[[bytes], bytes]], AbstractAsyncContextManager[int]]


@pytest.fixture
def server() -> Server:
    """A TCP server that answers the first octets of each client, and keeps the connection open."""

    @asynccontextmanager
    async def run(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(answer(await reader.read(4096)))
                await reader.read()
            except ConnectionError:
                pass
            finally:
                writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            await stop_serving(listening)

    return run


ACCEPTED = b"\x20\x03\x00\x00\x00"
NONSENSE = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x7f" + b"a" * 127, b"\xff" * 1000, b"\x20\x00", b"\x20\x03\x00\x00",
    b"\x20\x05\x00\x00\x02\xff\xff", b"\x20\x06\x00\x00\x03\x22\x00",
    *(ACCEPTED + rest for rest in (
        b"\x40\x02\x00\x01", b"\x40\x00", b"\x30\x00", b"\x30\x05\x00\x03a/b", b"\xe0\x02\xff\x00", b"\xe0\x00",
        ACCEPTED,
        b"\x90\x03\x00\x01\x00", b"\x50\x02\x00\x01", b"\x62\x02\x00\x01", b"\x30\x08\x00\x02\xff\xfe\x00abc",
        b"\xf0\x00",
        b"\x40\x03\x00\x01\xee", b"\x30\xff\xff\xff\x7f" + b"a" * 1000,
    )),
)  # fmt: skip


def test_nonsense_ends_in_a_sentence_and_never_in_an_exception(
    server: Server, make_sink, running, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sinks.mqtt_link.CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr("gateway.sinks.mqtt_link._PING_ANSWER_S", 0.2)
    rng = random.Random(5)
    noise = [prefix + rng.randbytes(rng.randint(1, 40)) for prefix in (b"", ACCEPTED) for _ in range(30)]
    raised: list[str] = []

    async def one(answer: bytes) -> None:
        async with server(lambda _: answer) as port:
            sink = make_sink(port, version="5", keepalive_s=1)
            async with running(sink):
                await until(lambda: sink.status()["last_error"])
                assert sink.status()["last_error"].startswith("broker 127.0.0.1")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(str(context)))
        await asyncio.gather(*(one(answer) for answer in (*NONSENSE, *noise)))

    asyncio.run(main())
    assert raised == []


def test_a_server_that_never_answers_the_handshake_holds_nothing_up(
    server: Server, make_sink, running, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sinks.mqtt_dial.CONNECT_TIMEOUT_S", 0.5)

    async def main() -> None:
        async with server(lambda _: b"") as port:
            sink = make_sink(port, host="localhost", tls=True)
            async with running(sink):
                await until(lambda: sink.status()["last_error"])
                assert "did not answer in time" in sink.status()["last_error"]

    asyncio.run(main())


def test_a_password_never_leaves_where_tls_was_asked_for(server: Server, login, make_sink, running, until) -> None:
    """A port without TLS, or somebody in between who says so, sees no octet of MQTT."""
    heard: list[bytes] = []

    def answer(octets: bytes) -> bytes:
        heard.append(octets)
        return ACCEPTED

    async def main() -> None:
        async with server(answer) as port:
            sink = make_sink(port, host="localhost", tls=True, **login)
            async with running(sink):
                await until(lambda: len(heard) >= 3)
                await until(lambda: sink.status()["last_error"])
                assert "does not speak TLS on this port" in sink.status()["last_error"]

    asyncio.run(main())
    assert not any(b"MQTT" in octets or PASSWORD.encode() in octets for octets in heard)
