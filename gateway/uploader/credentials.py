"""What a hub knows us by: certificate, key, client secret and the authority of the hub, from files that may change.

Each is taken from a systemd credential of the hub (`<hub>.crt`, `.key`, `.ca`, `.secret`, as gateway.keys names those
of meters), else from the file that `[[hub]]` names. A private key or secret that others than its owner can read is
refused. What a file holds is in no log, message or exception.
"""

import os
import stat
from collections.abc import Mapping
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.keys import PREFIXES, credentials

#: key of `[[hub]]` -> how a systemd credential of it ends
SUFFIXES: Final[Mapping[str, str]] = {
    "ca_file": "ca",
    "cert_file": "crt",
    "key_file": "key",
    "client_secret_file": "secret",
    "token_ca_file": "token-ca",
}
_PRIVATE: Final = frozenset(("key_file", "client_secret_file"))
#: a bundle of every public authority has some 250 KB
MAX_OCTETS: Final = 1 << 20
MAX_SECRET: Final = 4_096
#: days before its end at which something is told of
STAGES: Final = (30, 14, 7, 1)
_DAY_S = 86_400


class CredentialError(Exception):
    """A file that cannot be used: one sentence that says which, why and what to do, never what is in it."""


class Expiry(NamedTuple):
    """When something that we use ends (UTC s)."""

    #: "certificate", "authority" or "secret"
    what: str
    #: the file, or the key of the configuration
    place: str
    at: int

    def stage(self, now: float) -> int | None:
        """The smallest of STAGES that its end is within, 0 when it has ended, None when it is further away."""
        if self.at <= now:
            return 0
        return min((days for days in STAGES if self.at - now <= days * _DAY_S), default=None)


class ClientSecret:
    """The secret of an OAuth2 client; no form of it shows it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself: for the form of the token service only."""
        return self._text

    def __repr__(self) -> str:
        return "ClientSecret(...)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor stored")


class Loaded(NamedTuple):
    """What the files held when they were read."""

    #: key of `[[hub]]` -> file; a key is absent where there is none
    paths: Mapping[str, Path]
    secret: "ClientSecret | None"
    #: serial number of the client certificate in hexadecimal
    serial: str | None
    expiries: tuple[Expiry, ...]


class Credentials:
    """The files of one hub: whether they changed, and what they hold."""

    def __init__(self, settings: HubSettings) -> None:
        self._settings = settings
        #: file -> what stat said of it when it was looked at last, and what it held then
        self._stamps: dict[str, object] = {}
        self._digests: dict[str, bytes] = {}
        self.generation = 0

    def changed(self) -> bool:
        """Whether a file holds something else than when it was asked last (always so the first time)."""
        stamps = {key: (path, _stamp(path)) for key, path in self.paths().items()}
        if self.generation and stamps == self._stamps:
            return False
        self._stamps = dict(stamps)
        digests = {key: _digest(path) for key, path in self.paths().items()}
        if self.generation and digests == self._digests:
            return False
        self._digests = digests
        self.generation += 1
        return True

    def paths(self) -> dict[str, Path]:
        """Where each is: a systemd credential, else the file that is configured."""
        named = {key: getattr(self._settings, key) for key in SUFFIXES}
        found = {key: _credential(self._settings.name, suffix) for key, suffix in SUFFIXES.items()}
        chosen = {key: found[key] or (Path(named[key]) if named[key] else None) for key in SUFFIXES}
        return {key: path for key, path in chosen.items() if path is not None}

    def load(self) -> Loaded:
        """Read all; raises CredentialError."""
        paths = self.paths()
        contents = {key: read(key, path, private=_is_private(key, path)) for key, path in paths.items()}
        secret = contents.get("client_secret_file")
        expiries = [*self._secret_expiry()]
        serial = None
        if "ca_file" in paths:
            expiries.append(_earliest("authority", "ca_file", paths["ca_file"], contents["ca_file"]))
        if "cert_file" in paths:
            expiries.append(_earliest("certificate", "cert_file", paths["cert_file"], contents["cert_file"]))
            serial = _serial(contents["cert_file"])
        hidden = None if secret is None else ClientSecret(_line(secret, paths["client_secret_file"]))
        return Loaded(paths, hidden, serial, tuple(expiries))

    def _secret_expiry(self) -> list[Expiry]:
        ends = self._settings.client_secret_expires
        if ends is None:
            return []
        try:
            # it may end in the first second of that day, wherever the hub is
            day = datetime.combine(date.fromisoformat(ends), datetime.min.time(), UTC)
        except ValueError:
            raise CredentialError(f"client_secret_expires {ends} is no day of the calendar") from None
        return [Expiry("secret", "client_secret_expires", int(day.timestamp()))]


class Reminder:
    """Says once for each stage that something ends, and once that it was renewed."""

    def __init__(self, hub: str, told: Mapping[str, int] | None = None) -> None:
        """Take what was told before, by `told`; kept by its owner, it outlives a restart."""
        self._hub = hub
        self.told: dict[str, int] = dict(told or {})

    def due(self, expiries: tuple[Expiry, ...], now: float) -> list[Event]:
        """Events of stages that were reached since the last call, and of renewals."""
        events = []
        for expiry in expiries:
            stage, before = expiry.stage(now), self.told.get(expiry.what)
            if stage is not None and (before is None or stage < before):
                events.append(self._event(expiry, now, stage))
            elif before is not None and (stage is None or stage > before):
                events.append(self._event(expiry, now, None))
            if stage is None:
                self.told.pop(expiry.what, None)
            else:
                self.told[expiry.what] = stage
        return events

    def _event(self, expiry: Expiry, now: float, stage: int | None) -> Event:
        name = f"{expiry.what}_expires"
        day = f"{datetime.fromtimestamp(expiry.at, UTC):%Y-%m-%d %H:%M} UTC"
        what = _NAMES[expiry.what]
        if stage is None:
            text = f"{what} ({expiry.place}) was renewed: it is valid until {day}"
            return Event(name, self._hub, "info", text, int(now), expiry.what, recovered=True)
        left = max(1, -(-int(expiry.at - now) // _DAY_S))
        when = f"ended {day}" if stage == 0 else f"ends within {left} day{'s' * (left > 1)}, {day}"
        text = f"{what} ({expiry.place}) {when}: {_WHAT_TO_DO[expiry.what]}"
        return Event(name, self._hub, "error" if stage <= 1 else "warning", text, int(now), expiry.what)


_NAMES = {
    "certificate": "the client certificate",
    "authority": "the certificate of the hub's authority",
    "secret": "the client secret",
}
_WHAT_TO_DO = {
    "certificate": "ask the hub's operator for a new one and put it in its place; no restart is needed",
    "authority": "ask the hub's operator for the new one and put it in its place; no restart is needed",
    "secret": "make a new one at the hub, put it in its place, and set client_secret_expires to its end",
}


def read(key: str, path: Path, *, private: bool) -> bytes:
    """The octets of a file; raises CredentialError. `private`: refuse one that others than its owner can read."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise CredentialError(f"{key} {path} is not a file")
            if private and found.st_mode & 0o077:
                mode = f"{found.st_mode & 0o777:04o}"
                raise CredentialError(
                    f"{key} {path} can be read by others than its owner (mode {mode}): chmod 0400 {path}"
                )
            content = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise CredentialError(f"{key} {path} cannot be read: {error.strerror}") from None
    if not 0 < len(content) <= MAX_OCTETS:
        raise CredentialError(f"{key} {path} is empty, or larger than {MAX_OCTETS} octets")
    return content


def _credential(hub: str, suffix: str) -> Path | None:
    folder = credentials()
    candidates = [folder / f"{prefix}{hub}.{suffix}" for prefix in PREFIXES] if folder else []
    return next((path for path in candidates if path.exists()), None)


def _is_private(key: str, path: Path) -> bool:
    """What systemd hands over has the modes that systemd gives it."""
    return key in _PRIVATE and path.parent != credentials()


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


def _digest(path: Path) -> bytes:
    """SHA-256 of a file with its mode: a mode that was put right is a change, too."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return sha256(f"{mode} ".encode() + file.read(MAX_OCTETS + 1)).digest()
    except OSError as error:
        return str(error.errno).encode()


def _line(content: bytes, path: Path) -> str:
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise CredentialError(f"client_secret_file {path} is no text") from None
    if not text.isprintable() or not 0 < len(text) <= MAX_SECRET:
        raise CredentialError(f"client_secret_file {path} holds no single line of text: the secret and nothing else")
    return text


def _certificates(key: str, path: Path, content: bytes) -> list[object]:
    from cryptography import x509

    try:
        return list(x509.load_pem_x509_certificates(content))
    except ValueError:
        raise CredentialError(f"{key} {path} holds no certificate in PEM") from None


def _earliest(what: str, key: str, path: Path, content: bytes) -> Expiry:
    """The end of our certificate, which comes first in its file; of authorities that of the last one to end.

    A file of authorities holds the old and the new one while they change: it serves as long as one of them does.
    """
    ends = [int(one.not_valid_after_utc.timestamp()) for one in _certificates(key, path, content)]  # type: ignore[attr-defined]
    return Expiry(what, str(path), max(ends) if what == "authority" else ends[0])


def _serial(content: bytes) -> str:
    from cryptography import x509

    return f"{x509.load_pem_x509_certificates(content)[0].serial_number:x}"


__all__ = ["CredentialError", "Credentials", "Expiry", "Loaded", "Reminder", "read"]
