"""Everything real: the daemon's process, pseudo-terminals at the pace of a line, mosquitto with TLS, the simulator."""

import datetime as dt
import ipaddress
import json
import os
import select
import signal
import ssl
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

DEADLINE_S = 40.0
#: octets per s of 115200 Bd 8N1, and the pieces in which a USB adapter hands them on
OCTETS_PER_S, PIECE = 11_520, 32
PASSWORD = "not-the-meters-secret"


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Poll until a condition is true, and give its value."""

    def wait(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_S) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
            time.sleep(0.01)
        return value

    return wait


# -- the wire --------------------------------------------------------------------------------------------------------


class Cable:
    """A stable link, as /dev/serial/by-id has them, to a pseudo-terminal that a plug can leave and come back to."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._master = -1
        self.plug()

    def plug(self) -> None:
        """Make another terminal and let the link lead there."""
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self._speed = termios.tcgetattr(slave)[4]
        self.link.symlink_to(os.ttyname(slave))
        os.close(slave)
        os.set_blocking(self._master, False)

    def pull(self) -> None:
        """Hang up and take the link away."""
        self.link.unlink(missing_ok=True)
        if self._master >= 0:
            os.close(self._master)
        self._master = -1

    @property
    def is_read(self) -> bool:
        """Whether somebody has the terminal open, and has set its speed: what is sent before is dropped."""
        poll = select.poll()
        poll.register(self._master, 0)
        is_open = not any(event & select.POLLHUP for _, event in poll.poll(0))
        return is_open and termios.tcgetattr(self._master)[4] != self._speed

    def send(self, octets: bytes, *, paced: bool = True) -> None:
        """Send at 115200 Bd, or as fast as it is read."""
        began, end = time.monotonic(), time.monotonic() + DEADLINE_S
        sent = 0
        while sent < len(octets):
            if paced:
                time.sleep(max(0.0, began + sent / OCTETS_PER_S - time.monotonic()))
            try:
                sent += os.write(self._master, octets[sent : sent + (PIECE if paced else 4_096)])
            except BlockingIOError:
                assert time.monotonic() < end, "nobody reads the terminal"
                time.sleep(0.002)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Callable[[str], Cable]]:
    """Make a cable at `port-NAME`."""
    made: list[Cable] = []

    def make(name: str = "main") -> Cable:
        made.append(Cable(tmp_path / f"port-{name}"))
        return made[-1]

    yield make
    for one in made:
        one.pull()


# -- the broker ------------------------------------------------------------------------------------------------------


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
        self._name = _name("authority")
        made = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, stem: str, *names: x509.GeneralName) -> Identity:
        """Make a certificate for a server with these names, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(_name(stem), key)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert, secret = self._folder / f"{stem}.pem", self._folder / f"{stem}-key.pem"
        cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        secret.chmod(0o600)
        return Identity(cert, secret)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Guarded:
    """A broker that wants TLS, a certificate of the client and a password, and what a daemon says to it."""

    broker: Any
    ca: Path
    watcher: Identity
    mqtt: str


@pytest.fixture
def guarded(broker: Callable[..., Any], tmp_path: Path) -> Guarded:
    """Start one; `mqtt` is the [mqtt] table of a daemon that may in."""
    authority = Authority(tmp_path)
    server = authority.issue("broker", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    meterd, watcher = authority.issue("meterd"), authority.issue("watcher")
    users, password = tmp_path / "users", tmp_path / "password"
    for new, user in ((["-c"], "meterd"), ([], "watcher")):
        command = ["mosquitto_passwd", *new, "-b", str(users), user, PASSWORD]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    started = broker(
        "listener {port} 127.0.0.1",
        f"cafile {authority.ca}",
        f"certfile {server.cert}",
        f"keyfile {server.key}",
        "require_certificate true",
        "allow_anonymous false",
        f"password_file {users}",
    )
    table = {
        "host": "127.0.0.1", "port": started.port, "tls": True, "ca_file": str(authority.ca),
        "cert_file": str(meterd.cert), "key_file": str(meterd.key), "username": "meterd",
        "password_file": str(password), "reading_registers": True,
    }  # fmt: skip
    mqtt = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return Guarded(started, authority.ca, watcher, mqtt)


class Subscriber:
    """Everything that a broker told under `meterd/`, in order."""

    def __init__(self, port: int, guarded: Guarded | None = None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if guarded:
            context = ssl.create_default_context(cafile=str(guarded.ca))
            context.load_cert_chain(guarded.watcher.cert, guarded.watcher.key)
            self._client.tls_set_context(context)
            self._client.username_pw_set("watcher", PASSWORD)
        self._client.on_connect = lambda *_: self._client.subscribe("#")
        self._client.on_message = lambda _c, _u, message: self.messages.append((message.topic, message.payload))
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def of(self, topic: str) -> list[bytes]:
        """All payloads of a topic below the base."""
        return [payload for name, payload in list(self.messages) if name == f"meterd/{topic}"]

    def last(self, topic: str) -> bytes | None:
        """The newest payload of a topic."""
        found = self.of(topic)
        return found[-1] if found else None

    def readings(self, meter: str = "main") -> list[dict[str, Any]]:
        """All readings of a meter."""
        return [json.loads(payload) for payload in self.of(f"{meter}/reading")]

    def states(self, meter: str = "main") -> list[str]:
        """The line states of a meter, repetitions left out."""
        found = [json.loads(payload)["state"] for payload in self.of(f"{meter}/state")]
        return [state for n, state in enumerate(found) if not n or state != found[n - 1]]

    def close(self) -> None:
        """Disconnect and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    """Subscribe to everything at a broker by its port, or at a guarded one."""
    with ExitStack() as stack:

        def make(port: int, guarded: Guarded | None = None) -> Subscriber:
            made = Subscriber(port, guarded)
            stack.callback(made.close)
            return made

        yield make


# -- processes -------------------------------------------------------------------------------------------------------


class Daemon:
    """`meterd run` as a process with a configuration of its own."""

    def __init__(self, folder: Path, config: str) -> None:
        self.config = folder / "meterd.toml"
        rest = f'[journal]\npath = "{folder}/journal.db"\n[control]\nsocket = "{folder}/control"\n'
        self.config.write_text(config + rest)
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Daemon":
        """Start it; it may take a while to be up."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "gateway.cli", "run", "-c", str(self.config)]
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; gives its exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def export(self) -> list[dict[str, Any]]:
        """What `meterd export` finds in its journal, registers included."""
        command = [sys.executable, "-m", "gateway.cli", "export", "-c", str(self.config), "--registers"]
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon of ports by name of the meter, and of the lines of [mqtt]."""
    made: list[Daemon] = []

    def make(ports: dict[str, str], mqtt: str, **keys: Any) -> Daemon:
        more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        meters = [f'[[meter]]\nname = "{name}"\nport = "{port}"\n{more}' for name, port in ports.items()]
        made.append(Daemon(tmp_path, "\n".join([*meters, "[mqtt]", mqtt, ""])))
        return made[-1]

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def simulator() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Run `meterd simulate` with options; ended with the test."""
    made: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "gateway.cli", "simulate", "--json", *options]
        made.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL))
        return made[-1]

    yield start
    for one in made:
        if one.poll() is None:
            one.kill()
        one.communicate()
