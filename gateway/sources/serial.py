"""Serial ports through pyserial: exclusive, found by their stable name at every opening, every failure explained."""

import asyncio
import errno
import fcntl
import grp
import os
import pwd
import struct
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import serial

from gateway.sources.holders import held_by_itself, other_holders
from gateway.sources.link import Link
from gateway.sources.model import PortEvent
from gateway.sources.reconnecting import BACK_OFF_S, ReconnectingSource

#: seconds that opening may take before it is reported; an adapter that hangs can keep the kernel longer than that
OPEN_TIMEOUT_S = 10.0

FRAMINGS: dict[str, dict[str, Any]] = {
    "8N1": {"bytesize": serial.EIGHTBITS, "parity": serial.PARITY_NONE, "stopbits": serial.STOPBITS_ONE},
    "8E1": {"bytesize": serial.EIGHTBITS, "parity": serial.PARITY_EVEN, "stopbits": serial.STOPBITS_ONE},
    "7E1": {"bytesize": serial.SEVENBITS, "parity": serial.PARITY_EVEN, "stopbits": serial.STOPBITS_ONE},
}

#: ioctl that tells whether a terminal is in exclusive mode (asm-generic/ioctls.h); termios does not name it
TIOCGEXCL = 0x80045440
#: ioctl that counts interrupts and errors of a UART into a serial_icounter_struct of 20 ints (linux/serial.h)
TIOCGICOUNT = 0x545D
#: major numbers of pseudo-terminals (Linux: Documentation/admin-guide/devices.txt)
_PTY_MAJORS = range(136, 144)

_ABSENT = {errno.ENOENT, errno.ENODEV, errno.ENXIO}
_DENIED = {errno.EACCES, errno.EPERM}
_BUSY = {errno.EBUSY, errno.EAGAIN}


class SerialSource(ReconnectingSource):
    """A serial device by its path, best /dev/serial/by-id/...: the link is followed anew at every opening."""

    def __init__(self, path: str, *, baud: int, framing: str, back_off_s: Sequence[float] = BACK_OFF_S) -> None:
        """`baud` in bit/s; `framing` one of FRAMINGS; `back_off_s`: see BACK_OFF_S."""
        super().__init__(path, back_off_s)
        self._baud = baud
        self._framing = framing
        self._opening: asyncio.Future[serial.Serial | PortEvent] | None = None
        self._fd: int | None = None

    async def _open(self) -> Link | PortEvent:
        """Open in a thread. One that hangs is reported and waited for again: there is never a second one beside it.

        A port that comes open after the iterator was closed is released when its object is collected (io.RawIOBase).
        """
        loop = asyncio.get_running_loop()
        if self._opening is None:
            self._opening = loop.run_in_executor(None, open_port, self.name, self._baud, self._framing)
        opening = self._opening
        await asyncio.wait({opening}, timeout=OPEN_TIMEOUT_S)
        if not opening.done():
            return PortEvent.now(
                "no_port", f"{self.name} does not open within {OPEN_TIMEOUT_S:g} s: replug its adapter"
            )
        self._opening = None
        port = opening.result()
        if isinstance(port, PortEvent):
            return port
        self._fd = port.fileno()
        return Link(
            self._fd,
            lambda: loop.run_in_executor(None, port.close),
            detail=f"{self.name} is open ({Path(self.name).resolve()}, {self._baud} Bd, {self._framing})",
            lost=f"{self.name} vanished: it was unplugged, or its adapter was reset",
        )

    @property
    def line_errors(self) -> int | None:
        """Octets that came damaged (framing, parity, break) since the driver counts; None where it does not."""
        try:
            counts = struct.unpack("20i", fcntl.ioctl(self._fd or -1, TIOCGICOUNT, bytes(80)))
        except (OSError, ValueError):
            return None
        return int(counts[6] + counts[8] + counts[9])


def open_port(path: str, baud: int, framing: str) -> serial.Serial | PortEvent:
    """Open a port for this program alone, DTR and RTS asserted (many P1 cables take Data Request from RTS).

    Blocks for as long as the driver does. VMIN is 1 (inter_byte_timeout=0), so that an empty read is a hang-up and
    nothing else. A pty has no line and refuses every framing but 8N1, so it gets that.
    """
    try:
        pty = _is_pty(path)
        line = FRAMINGS["8N1" if pty else framing]
        port = serial.Serial(path, baud, timeout=0, inter_byte_timeout=0, exclusive=True, **line)
    except (OSError, termios.error, ValueError) as error:
        return _explain(path, error)
    try:
        busy = _claim(port, path, pty=pty)
    except OSError as error:
        busy = _explain(path, error)
    if busy is None:
        return port
    port.close()
    return busy


def occupied(path: str) -> PortEvent | None:
    """Say who has a port open, without opening it; None for nobody, and for a pty, whose maker may hold both ends."""
    try:
        holders = [] if _is_pty(path) else other_holders(path)
    except OSError as error:
        return _explain(path, error)
    return _busy(path, holders) if holders else None


def _claim(port: serial.Serial, path: str, *, pty: bool) -> PortEvent | None:
    """Make sure that nobody else reads the port; None when it is ours.

    pyserial's lock keeps out programs that lock too, TIOCEXCL all others but root; who came before us is found in
    /proc. Not on a pty: whoever made it may hold both ends, and its exclusive mode outlives a killed process.
    """
    if (not pty or _is_exclusive(port.fileno())) and (holders := other_holders(path)):
        return _busy(path, holders)
    if not pty:
        fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    return None


def _is_pty(path: str) -> bool:
    return os.major(Path(path).stat().st_rdev) in _PTY_MAJORS


def _is_exclusive(fd: int) -> bool:
    """Only root gets as far as asking: others are refused at opening."""
    try:
        return any(fcntl.ioctl(fd, TIOCGEXCL, bytes(4)))
    except OSError:
        return False


def _explain(path: str, error: Exception) -> PortEvent:
    """Turn what the system said into what a person can do."""
    code = getattr(error, "errno", None)
    if code in _BUSY:
        return _busy(path, other_holders(path))
    if code in _ABSENT:
        return PortEvent.now("no_port", f"{path} is not there: is the cable plugged in? (see /dev/serial/by-id)")
    if code in _DENIED:
        return PortEvent.now("no_port", f"{path} may not be opened: {_access_advice(path)}")
    if not Path(path).is_char_device():
        return PortEvent.now("no_port", f"{path} is no serial port: name a device, such as /dev/serial/by-id/usb-...")
    reason = os.strerror(code) if code else str(error)
    return PortEvent.now("no_port", f"{path} cannot be opened with its line parameters: {reason}")


def _busy(path: str, holders: list[tuple[int, str]]) -> PortEvent:
    if holders:
        names = ", ".join(f"{command} (pid {pid})" for pid, command in holders)
        return PortEvent.now("port_busy", f"{path} is held by {names}: end it, two programs cannot read one meter")
    if held_by_itself(path):
        return PortEvent.now("port_busy", f"{path} is held by another meter of this configuration: give each its own")
    return PortEvent.now("port_busy", f"{path} is held by another program: `sudo fuser -v {path}` names it")


def _access_advice(path: str) -> str:
    """Name the user and the group that would help (dialout, uucp)."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    try:
        status = Path(path).stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return f"the user {user} has no access to it"
    if status.st_mode & 0o060 == 0o060 and status.st_gid not in (0, *os.getgroups()):
        return f"add the user {user} to the group {group} (`sudo usermod -aG {group} {user}`) and start again"
    return f"its mode {status.st_mode & 0o777:04o} and group {group} give the user {user} no access (a udev rule can)"
