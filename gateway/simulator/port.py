"""Where simulated telegrams go: a pseudo-terminal, a TCP server, a file. A port knows octets and readers, no protocol.

Lifecycle: `open()`; per telegram `ready()` (how many readers take it) and `put()` for each piece of it; `close()`;
after that it can be opened again. As on a real line, what is sent while nobody reads is gone.
"""

import asyncio
import contextlib
import fcntl
import os
import select
import struct
import termios
import tty
from pathlib import Path
from typing import BinaryIO, Protocol

#: octets that wait for one slow TCP reader; beyond that it misses whole telegrams
BACKLOG = 256 * 1024
#: s that an unplugged or blocked reader is waited for
PATIENCE_S = 2.0
#: a terminal is looked at so often (s); so many looks at nothing unread in a row say that nothing is under way either
LOOK_S, QUIET_LOOKS = 0.01, 20


class Port(Protocol):
    """A way out of the simulator."""

    #: what a configuration calls it: `/dev/pts/4`, `socket://127.0.0.1:2001`, a file name
    address: str

    async def open(self) -> None:
        """Become reachable; raises OSError."""
        ...

    def ready(self) -> int:
        """Settle who gets the next telegram, and say how many they are."""
        ...

    async def put(self, octets: bytes) -> bool:
        """Send a piece of it; False when the reader did not take it all."""
        ...

    async def close(self) -> None:
        """Vanish, once what was sent has been read (or the patience is over)."""
        ...


class PtyPort:
    """A pseudo-terminal, in raw mode, with an optional symbolic link that survives being unplugged."""

    def __init__(self, link: Path | None = None) -> None:
        self.address = ""
        self._link = link
        self._device = ""
        self._master: int | None = None

    async def open(self) -> None:
        """Make a terminal; the device is another one each time, the link stays the same. Raises OSError."""
        self._master, slave = os.openpty()
        self._device = os.ttyname(slave)
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        # Closed here, open in the reader: so that a hang-up says that nobody reads.
        os.close(slave)
        self.address = self._device
        if self._link is not None:
            self.address = str(self._link)
            _point(self._link, self._device)

    def ready(self) -> int:
        """1 while somebody has the terminal open."""
        if self._master is None:
            return 0
        poll = select.poll()
        poll.register(self._master, 0)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            self._forget()
            return 0
        with contextlib.suppress(BlockingIOError, OSError):
            os.read(self._master, 4096)
        return 1

    async def put(self, octets: bytes) -> bool:
        """Write, with patience for a reader that is behind."""
        if self._master is None:
            return False
        try:
            async with asyncio.timeout(PATIENCE_S):
                while octets:
                    octets = octets[await self._write(self._master, octets) :]
        except (TimeoutError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Hang up, and take the link away."""
        if self._master is None:
            return
        await self._drain()
        os.close(self._master)
        self._master = None
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self._device:
            self._link.unlink()

    async def _drain(self) -> None:
        """Wait until the reader has read; what was written takes a moment to reach its side, more on a busy machine."""
        quiet = 0
        for _ in range(int(PATIENCE_S / LOOK_S)):
            await asyncio.sleep(LOOK_S)
            quiet = 0 if self._unread() else quiet + 1
            if not self.ready() or quiet == QUIET_LOOKS:
                return

    async def _write(self, master: int, octets: bytes) -> int:
        try:
            return os.write(master, octets)
        except BlockingIOError:
            # The reader is behind; a pty cannot be waited for once it hangs up, so look again soon.
            await asyncio.sleep(0.005)
            return 0

    def _unread(self) -> int:
        """Octets that wait in the terminal for their reader."""
        try:
            slave = self._open_slave()
        except OSError:  # the reader has it for itself
            return 0
        try:
            return int(struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, bytes(4)))[0])
        finally:
            os.close(slave)

    def _forget(self) -> None:
        """What a reader left unread is not kept for the next one."""
        slave = self._open_slave()
        try:
            termios.tcflush(slave, termios.TCIFLUSH)
        finally:
            os.close(slave)

    def _open_slave(self) -> int:
        return os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


class TcpPort:
    """A TCP server that sends the same octets to every client, as ser2net and meter bridges do."""

    def __init__(self, host: str, port: int) -> None:
        self.address = f"socket://{_bracketed(host)}:{port}"
        self.host, self.port = host, port
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Transport] = set()
        self._taking: list[asyncio.Transport] = []

    async def open(self) -> None:
        """Listen; a port of 0 becomes a free one, and stays that one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self._clients), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.address = f"socket://{_bracketed(self.host)}:{self.port}"

    def ready(self) -> int:
        """How many clients are connected and not far behind."""
        self._taking = [client for client in self._clients if client.get_write_buffer_size() < BACKLOG]
        return len(self._taking)

    async def put(self, octets: bytes) -> bool:
        """Queue for each client by itself: none waits for another."""
        for client in self._taking:
            client.write(octets)
        return True

    async def close(self) -> None:
        """Refuse new clients, say good-bye to those that read, and cut off those that do not."""
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.close()
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while self._clients and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        for client in tuple(self._clients):
            client.abort()
        await self._server.wait_closed()
        self._server = None


class _Client(asyncio.Protocol):
    """One reader of a TcpPort; what it sends is ignored."""

    def __init__(self, clients: set[asyncio.Transport]) -> None:
        self._clients = clients
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._clients.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._clients.discard(self._transport)


class FilePort:
    """A file or a pipe: every telegram has exactly one reader, and none is lost."""

    def __init__(self, file: BinaryIO, address: str) -> None:
        self.address = address
        self._file = file

    async def open(self) -> None:
        """A file is open already."""

    def ready(self) -> int:
        """Always 1."""
        return 1

    async def put(self, octets: bytes) -> bool:
        """Write it all."""
        self._file.write(octets)
        return True

    async def close(self) -> None:
        """Flush; the file belongs to its opener."""
        self._file.flush()


def _point(link: Path, device: str) -> None:
    """Make `link` point at `device` in one step; anything that is not a link stays as it is (FileExistsError)."""
    if link.exists() and not link.is_symlink():
        raise FileExistsError(f"{link} is there already and is no symbolic link: choose another --link")
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(device)
    fresh.replace(link)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
