"""A meter on a cable that knows its line parameters, and a person at a terminal."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
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
from tests.cables import Cable, Household

DEADLINE_S = 60.0


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
