"""A cable that knows its line parameters, and a person at a terminal.

A pseudo-terminal has no line: it carries every octet, whatever speed was set. Here the meter's end looks at the speed
that its reader has set and sends what a UART would have made of the telegram at that speed, bit by bit.
"""

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.setup.listen import Line
from gateway.simulator.keys import MeterKeys
from gateway.simulator.push_meter import simulated

DEADLINE_S = 60.0
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


@pytest.fixture(scope="session")
def uart() -> Callable[[bytes, Line, Line], tuple[bytes, int]]:
    """What is read of octets: `uart(octets, sent, read)`."""
    return received


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


@pytest.fixture(scope="session")
def household() -> Callable[..., Household]:
    return Household


class Cable:
    """A pseudo-terminal behind a link; a thread sends telegrams, each as a UART at the reader's speed gives it."""

    def __init__(self, link: Path, telegram: Callable[[int], bytes], line: Line | None, interval_s: float) -> None:
        self.link = link
        self._telegram, self._line, self._interval_s = telegram, line, interval_s
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
            data = self._at_speed(self._telegram(number))
            number += 1
            if not self._is_read():
                continue
            for at in range(0, len(data), 1_024):
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
        self._thread.join(DEADLINE_S)
        os.close(self._master)
        self.link.unlink(missing_ok=True)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Callable[..., Cable]]:
    """Lay a cable: to a Household, or of anything by number; `line` None carries every octet at every speed."""
    laid: list[Cable] = []

    def lay(source: Any, *, line: Line | None = None, interval_s: float = 0.25) -> Cable:
        link = tmp_path / f"port{len(laid)}"
        if isinstance(source, Household):
            laid.append(Cable(link, source.telegram, source.line, source.interval_s))
        else:
            laid.append(Cable(link, source, line, interval_s))
        return laid[-1]

    yield lay
    for one in laid:
        one.close()


class Terminal:
    """`meterd setup` in a terminal of 80 columns that can do nothing, and the person who types."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = [sys.executable, "-m", "gateway.cli", "setup", *arguments]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=environment(folder)
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.shown = ""
        self._seen = 0

    def expect(self, text: str) -> None:
        """Wait until it is shown, behind what was expected before."""
        end = time.monotonic() + DEADLINE_S
        while self._flat().find(text, self._seen) < 0:
            assert self._read() or self._flat().find(text, self._seen) >= 0, f"ended without {text!r}:\n{self.shown}"
            assert time.monotonic() < end, f"waited for {text!r}:\n{self.shown}"
        self._seen = self._flat().find(text, self._seen) + len(text)

    def answer(self, prompt: str, text: str) -> None:
        self.expect(prompt)
        self.type(text + "\n")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read until the end; its exit code."""
        end = time.monotonic() + DEADLINE_S
        while self._read():
            assert time.monotonic() < end, f"it does not end:\n{self.shown}"
        return self.process.wait(DEADLINE_S)

    def _flat(self) -> str:
        """What was shown with its lines joined, so that a sentence is found wherever it was wrapped."""
        return " ".join(self.shown.split())

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 4_096)
        except BlockingIOError:
            time.sleep(0.01)
            return True
        except OSError:
            return False
        self.shown += data.decode()
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the real user; a terminal without any ability."""
    ours = {"XDG_CONFIG_HOME": f"{folder}/xdg", "XDG_DATA_HOME": f"{folder}/data", "TERM": "dumb", "HOME": str(folder)}
    kept = {key: value for key, value in os.environ.items() if key not in ("CREDENTIALS_DIRECTORY", "TZ", "COLUMNS")}
    return kept | ours


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start the wizard in a terminal; its configuration is `meterd.toml` in tmp_path."""
    opened: list[Terminal] = []

    def open_(*arguments: Any, folder: Path = tmp_path) -> Terminal:
        places = ("--output", f"{folder}/meterd.toml", "--journal", f"{folder}/journal/journal.db")
        opened.append(Terminal(folder, *places, *map(str, arguments)))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture
def setup(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the wizard without a terminal, with `--yes`."""

    def run(*arguments: Any, text: str = "") -> "subprocess.CompletedProcess[str]":
        places = ("--output", f"{tmp_path}/meterd.toml", "--journal", f"{tmp_path}/journal/journal.db")
        command = [sys.executable, "-m", "gateway.cli", "setup", "--yes", *places, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, input=text, timeout=110, env=environment(tmp_path), check=False
        )

    return run


# -- certificates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.ca = folder / "ca.pem"
        made = self._builder(self._name, self._key)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, stem: str, address: Any) -> Identity:
        """Make the certificate of a server at an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)])
        names = x509.SubjectAlternativeName([x509.IPAddress(address)])
        made = self._builder(subject, key).add_extension(names, critical=False)
        cert, secret = self._folder / f"{stem}.pem", self._folder / f"{stem}-key.pem"
        cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return Identity(cert, secret)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of this test."""
    return Authority(tmp_path)
