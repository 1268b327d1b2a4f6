"""The control socket: answers, refusals, hostile input, and who may ask."""

import asyncio
import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway import control
from gateway.control import ControlError, ControlServer, ask, socket_path


def serve(path: Path, scene: Callable[[], Awaitable[None]], commands=None) -> None:
    """Run a server and a scene beside it."""

    async def main() -> None:
        server = ControlServer(path, commands or {"status": lambda request: {"asked": request}})
        async with asyncio.timeout(30):
            await server.start()
            try:
                await scene()
            finally:
                await server.close()

    asyncio.run(main())
    assert not path.exists()


async def raw(path: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    try:
        writer.write(data)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


def test_answers_a_request(tmp_path):
    async def scene() -> None:
        answer = await asyncio.to_thread(ask, tmp_path / "c", "status")
        assert answer == {"asked": {"command": "status"}}
        assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o660

    serve(tmp_path / "c", scene)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\n", "one line of JSON"),
        (b"\xff\x00\n", "one line of JSON"),
        (b"[" * 60_000 + b"\n", "one line of JSON"),
        (b"[]\n", "unknown command"),
        (b'"status"\n', "unknown command"),
        (b'{"command": ["status"]}\n', "unknown command"),
        (b'{"command": "__class__"}\n', "unknown command; known: status"),
        (b'{"command": null}\n', "unknown command"),
    ],
)
def test_what_is_no_request_is_refused(tmp_path, data, error):
    async def scene() -> None:
        assert error in json.loads(await raw(tmp_path / "c", data))["error"]

    serve(tmp_path / "c", scene)


def test_an_oversized_request_ends_its_client_only(tmp_path):
    async def scene() -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c"))
        writer.write(b"x" * 1_000_000)
        assert b"at most 65536 octets" in await reader.readline()
        writer.close()
        assert "asked" in await asyncio.to_thread(ask, tmp_path / "c", "status")

    serve(tmp_path / "c", scene)


def test_a_slow_client_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "TIMEOUT_S", 0.2)

    async def scene() -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c"))
        writer.write(b"{")
        assert b"no request within" in await reader.readline()
        assert await reader.read() == b""
        writer.close()

    serve(tmp_path / "c", scene)


def test_a_client_that_does_not_read_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "TIMEOUT_S", 0.2)

    async def scene() -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c"), limit=1)
        writer.write(b'{"command":"status"}\n')
        await asyncio.sleep(1.0)
        writer.close()
        assert reader is not None

    serve(tmp_path / "c", scene, {"status": lambda _: {"much": "x" * 20_000_000}})


def test_many_clients_are_bounded(tmp_path):
    async def scene() -> None:
        silent = [await asyncio.open_unix_connection(str(tmp_path / "c")) for _ in range(control.MAX_CLIENTS)]
        await asyncio.sleep(0.1)
        with pytest.raises(ControlError, match="16 clients are connected already"):
            await asyncio.to_thread(ask, tmp_path / "c", "status")
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.1)
        assert "asked" in await asyncio.to_thread(ask, tmp_path / "c", "status")

    serve(tmp_path / "c", scene)


def test_five_hundred_clients_leave_nothing_behind(tmp_path):
    async def scene() -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(500):
            assert b"asked" in await raw(tmp_path / "c", b'{"command":"status"}\n')
        await asyncio.sleep(0.1)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2

    serve(tmp_path / "c", scene)


def test_a_stale_socket_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "c"))

    async def scene() -> None:
        assert "asked" in await asyncio.to_thread(ask, tmp_path / "c", "status")

    serve(tmp_path / "c", scene)


def test_a_socket_that_answers_is_left_alone(tmp_path):
    async def scene() -> None:
        with pytest.raises(OSError, match="another meterd answers"):
            await ControlServer(tmp_path / "c", {}).start()
        assert "asked" in await asyncio.to_thread(ask, tmp_path / "c", "status")

    serve(tmp_path / "c", scene)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    (tmp_path / "c").write_text("precious")

    async def main() -> None:
        with pytest.raises(FileExistsError, match="no socket"):
            await ControlServer(tmp_path / "c", {}).start()

    asyncio.run(main())
    assert (tmp_path / "c").read_text() == "precious"


class Peer:
    """A socket whose other end has these credentials."""

    def __init__(self, uid: int, gid: int) -> None:
        self.credentials = struct.pack("3i", 1, uid, gid)

    def getsockopt(self, *_: int) -> bytes:
        return self.credentials


def test_only_root_the_own_user_and_the_group_may_ask(monkeypatch):
    monkeypatch.setattr(control.os, "geteuid", lambda: 4_242)
    assert control.may_ask(Peer(0, 0))
    assert control.may_ask(Peer(4_242, 4_242))
    assert not control.may_ask(Peer(4_243, 0)), "the group of root is no permission"
    monkeypatch.setattr(control.grp, "getgrnam", lambda name: type("G", (), {"gr_gid": 77})())
    monkeypatch.setattr(control.pwd, "getpwuid", lambda uid: type("P", (), {"pw_name": "anna"})())
    monkeypatch.setattr(control.os, "getgrouplist", lambda name, gid: [gid, 77])
    assert control.may_ask(Peer(4_243, 4_243))
    monkeypatch.setattr(control.os, "getgrouplist", lambda name, gid: [gid, 78])
    assert not control.may_ask(Peer(4_243, 4_243))


def test_a_stranger_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "may_ask", lambda _: False)

    async def scene() -> None:
        with pytest.raises(ControlError, match="only root and the group meterd-admin may ask"):
            await asyncio.to_thread(ask, tmp_path / "c", "status")

    serve(tmp_path / "c", scene)


def test_asking_nobody_says_so(tmp_path):
    with pytest.raises(ControlError, match="meterd does not run"):
        ask(tmp_path / "c", "status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "c"))
    with pytest.raises(ControlError, match="meterd does not run"):
        ask(tmp_path / "c", "status")


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"[1]\n", b'{"error": "no"}\n', b"{"])
def test_a_strange_answer_is_an_error(tmp_path, answer):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c"))
        server.listen()

        def one() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(answer)

        thread = threading.Thread(target=one)
        thread.start()
        with pytest.raises(ControlError):
            ask(tmp_path / "c", "status")
        thread.join(10)


def test_a_daemon_that_hangs_is_said(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c"))
        server.listen()
        with pytest.raises(ControlError, match="does the daemon hang"):
            ask(tmp_path / "c", "status", timeout_s=0.1)


def test_where_the_socket_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert socket_path("/somewhere/else") == Path("/somewhere/else")
    assert socket_path(control.DEFAULT) == control.DEFAULT or os.geteuid() != 0
    monkeypatch.setattr(control.os, "geteuid", lambda: 1_000)
    monkeypatch.setattr(control.os, "access", lambda *_: False)
    monkeypatch.setattr(control, "DEFAULT", tmp_path / "absent" / "control")
    assert socket_path(control.DEFAULT) == tmp_path / "meterd" / "control"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert socket_path(control.DEFAULT) == control.DEFAULT
