"""Cables that know their line parameters, for tests and benchmarks.

A pseudo-terminal has no line: it carries every octet, whatever speed was set. Here the meter's end looks at the speed
that its reader has set and sends what a UART would have made of the telegram at that speed, bit by bit.
"""

import os
import select
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.setup.listen import Line
from gateway.simulator.keys import MeterKeys
from gateway.simulator.push_meter import simulated

JOIN_S = 60.0
#: bits of an octet on the line, and how much of it a paced cable carries at once (s)
BITS, PIECE_S = 10, 0.05
#: what tcgetattr calls a speed
SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


def line_bits(octets: bytes, framing: str) -> list[int]:
    """The levels of a line on which these octets are sent back to back."""
    size = int(framing[0])
    bits: list[int] = []
    for octet in octets:
        data = [octet >> i & 1 for i in range(size)]
        parity = [sum(data) & 1] if framing[1] == "E" else []
        bits += [0, *data, *parity, 1]
    return bits


def received(octets: bytes, sent: Line, read: Line) -> tuple[bytes, int]:
    """What a UART gives that reads a line with other parameters: octets, and how many came with an error.

    An octet without a stop bit is given as zero (tty, without PARMRK); one with wrong parity as it is (without INPCK).
    """
    bits = line_bits(octets, sent.framing)
    size, parity = int(read.framing[0]), int(read.framing[1] == "E")
    out, errors, at = bytearray(), 0, 0.0

    def level(t: float) -> int:
        i = int(t * sent.baud)
        return bits[i] if i < len(bits) else 1

    def next_fall(t: float) -> float | None:
        i = int(t * sent.baud)
        while i < len(bits) and bits[i] == 0:
            i += 1
        while i < len(bits) and bits[i]:
            i += 1
        return i / sent.baud if i < len(bits) else None

    begin = 0.0 if bits else None
    while begin is not None:
        bit = 1 / read.baud
        sampled = [level(begin + (1.5 + i) * bit) for i in range(size + parity)]
        at = begin + (1.5 + size + parity) * bit
        data = sum(value << i for i, value in enumerate(sampled[:size]))
        damaged = not level(at)
        errors += damaged or bool(parity and sum(sampled) & 1)
        out.append(0 if damaged else data)
        begin = next_fall(at)
    return bytes(out), errors


class Household:
    """A simulated meter with fixed keys and its telegrams by number, one each `interval_s`."""

    def __init__(self, variant: str, interval_s: float = 1.0) -> None:
        self.keys = MeterKeys(bytes(range(1, 17)), bytes(range(33, 49)))
        self._start = datetime.now(UTC).replace(microsecond=0)
        self._meter = simulated(3, variant, self._start, keys=self.keys, interval_s=interval_s)
        self._interval = timedelta(seconds=interval_s)
        self.interval_s = interval_s
        known = self._meter.variant
        self.line = Line(known.baud, known.framing)

    def telegram(self, number: int) -> bytes:
        return self._meter.telegram_at(self._start + number * self._interval)

    @property
    def text(self) -> str:
        """Both keys as an operator writes them."""
        return f"GUEK {self.keys.encryption.hex(' ').upper()} GAK 0x{self.keys.authentication.hex()}"


class Cable:
    """A pseudo-terminal behind a link; a thread sends telegrams, each as a UART at the reader's speed gives it.

    `paced`: octets come when the line has carried them, and a reader that changes its speed meanwhile gets the rest so.
    """

    def __init__(
        self, link: Path, telegram: Callable[[int], bytes], line: Line | None, interval_s: float, *, paced: bool = False
    ) -> None:
        self.link = link
        self._telegram, self._line, self._interval_s = telegram, line, interval_s
        self._pace = line.baud / BITS if paced and line else None
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        link.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        number = 0
        while not self._ended.wait(self._interval_s):
            telegram = self._telegram(number)
            number += 1
            step = max(1, int(self._pace * PIECE_S)) if self._pace else len(telegram) or 1
            for at in range(0, len(telegram), step):
                self._write(telegram[at : at + step])
                if self._pace:
                    self._ended.wait(step / self._pace)

    def _write(self, octets: bytes) -> None:
        """Send octets as they are read, where somebody reads."""
        data = self._at_speed(octets)
        for at in range(0, len(data) if self._is_read() else 0, 1_024):
            with suppress(BlockingIOError, OSError):
                os.write(self._master, data[at : at + 1_024])

    def _at_speed(self, data: bytes) -> bytes:
        speed = SPEEDS[termios.tcgetattr(self._master)[4]]
        if self._line is None or (speed == self._line.baud and self._line.framing != "7E1"):
            return data
        return received(data, self._line, Line(speed, "8N1"))[0]

    def _is_read(self) -> bool:
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def close(self) -> None:
        self._ended.set()
        self._thread.join(JOIN_S)
        os.close(self._master)
        self.link.unlink(missing_ok=True)
