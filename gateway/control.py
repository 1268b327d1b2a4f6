"""The control socket: how `meterd status` and other local commands ask the running daemon.

A UNIX stream socket of mode 0660; a request and its answer are one line of JSON each. The kernel says who asks
(SO_PEERCRED): root, the daemon's own user, or a member of the group `meterd-admin`. Everything is bounded: 64 KiB a
request, 16 clients, 5 seconds to ask.
"""

import asyncio
import contextlib
import errno
import grp
import json
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

DEFAULT = Path("/run/meterd/control")
GROUP = "meterd-admin"
MAX_OCTETS = 65_536
MAX_CLIENTS = 16
TIMEOUT_S = 5.0
#: what a client may take in all: a reload waits for outlets that say good-bye
CLIENT_S = 15.0
LINGER_S = 0.5

Answer: TypeAlias = Mapping[str, Any]
#: a command takes the request and gives the answer, at once or after a while
Command: TypeAlias = Callable[[Mapping[str, Any]], Answer | Awaitable[Answer]]


class ControlError(Exception):
    """The daemon could not be asked: one sentence that says why and what to do."""


class NotRunningError(ControlError):
    """Nobody listens."""


def socket_path(configured: str | Path = DEFAULT) -> Path:
    """Find the socket: as configured; the default falls back to XDG_RUNTIME_DIR where /run/meterd is not ours."""
    path, runtime = Path(configured), os.environ.get("XDG_RUNTIME_DIR")
    if path != DEFAULT or os.geteuid() == 0 or path.exists() or os.access(path.parent, os.W_OK) or not runtime:
        return path
    return Path(runtime) / "meterd" / "control"


class ControlServer:
    """Answers requests from `commands` between `start` and `close`."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self.path = path
        self._commands = commands
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket; raises OSError, also when another daemon answers on it."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        _remove_stale(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            before = os.umask(0o117)
            try:
                listener.bind(str(self.path))
            finally:
                os.umask(before)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_OCTETS)
        except OSError:
            listener.close()
            raise
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(self.path, -1, grp.getgrnam(GROUP).gr_gid)

    @property
    def answers(self) -> bool:
        """Whether clients are taken."""
        return self._server is not None and self._server.is_serving()

    async def close(self) -> None:
        """Drop every client and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients, timeout=1)
        self.path.unlink(missing_ok=True)
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine always runs in a task
        if len(self._clients) >= 4 * MAX_CLIENTS:
            writer.transport.abort()
            return
        self._clients.add(task)
        refusal = self._refusal(writer)
        try:
            async with asyncio.timeout(CLIENT_S):
                answer = {"error": refusal} if refusal else await self._answer(reader)
                writer.write(json.dumps(answer).encode() + b"\n")
                writer.write_eof()
                await writer.drain()
                await _linger(reader)
        except (OSError, TimeoutError):
            pass  # the client is gone, or does not read: nobody is left to tell
        finally:
            self._clients.discard(task)
            writer.transport.abort()

    def _refusal(self, writer: asyncio.StreamWriter) -> str | None:
        if len(self._clients) > MAX_CLIENTS:
            return f"{MAX_CLIENTS} clients are connected already"
        return None if may_ask(writer.get_extra_info("socket")) else f"only root and the group {GROUP} may ask"

    async def _answer(self, reader: asyncio.StreamReader) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                line = await reader.readline()
        except TimeoutError:
            return {"error": f"no request within {TIMEOUT_S:.0f} s"}
        except ValueError:
            return {"error": f"a request has at most {MAX_OCTETS} octets"}
        return await self._dispatch(line)

    async def _dispatch(self, line: bytes) -> Answer:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "a request is one line of JSON"}
        name = request.get("command") if isinstance(request, dict) else None
        if not isinstance(name, str) or name not in self._commands:
            return {"error": f"unknown command; known: {', '.join(self._commands)}"}
        answer = self._commands[name](request)
        return await answer if isinstance(answer, Awaitable) else answer


async def _linger(reader: asyncio.StreamReader) -> None:
    """Read on for a moment: a socket that is closed before it was read to its end takes the answer back."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(MAX_OCTETS):
                pass


def may_ask(client: Any) -> bool:
    """Tell by SO_PEERCRED whether the process behind a UNIX socket is root, ours, or of the group meterd-admin."""
    _, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid in (0, os.geteuid()):
        return True
    try:
        return grp.getgrnam(GROUP).gr_gid in os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return False


def ask(path: Path, command: str, timeout_s: float = TIMEOUT_S, **fields: Any) -> dict[str, Any]:
    """Ask the daemon that listens on `path`, with the fields of the command; raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            client.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
            with client.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunningError(f"meterd does not run: nobody answers on {path}; start it with `meterd run`") from None
    except PermissionError:
        raise ControlError(f"{path}: no permission; be root or a member of the group {GROUP}") from None
    except (OSError, ValueError) as error:
        raise ControlError(f"{path}: no answer ({error}); does the daemon hang?") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise ControlError(f"{path}: {answer.get('error') if isinstance(answer, dict) else 'strange answer'}")
    return answer


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody answers; raises FileExistsError for anything else that is there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "is there and is no socket", str(path))
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass
    raise FileExistsError(errno.EADDRINUSE, "another meterd answers on it", str(path))
