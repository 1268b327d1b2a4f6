"""The folder of a test hub: its authority, certificates, secrets, parties and store; everything in it is private.

ca.pem ca.key                      the authority that clients of the tests trust
server.pem server.key              for localhost, 127.0.0.1 and ::1
foreign-ca.pem foreign-server.*    an authority that nobody trusts, and the server certificate of the fault
clients/NAME.pem .key .secret      certificate and OAuth2 secret of each party
clients/expired.* foreign.*        client certificates that the hub must refuse
parties.json admin.token           who is who, and the token of /control
sandbox.sqlite3                    what the hub received
"""

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from gateway.sandbox.authority import Authority, Issued
from gateway.sandbox.parties import DEFAULTS, Parties


class FolderError(Exception):
    """The folder cannot be used; one sentence that says why and what to do."""


class Folder:
    """Paths and contents of the folder of a test hub."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = path / "ca.pem"
        self.clients = path / "clients"
        self.database = path / "sandbox.sqlite3"

    def pair(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate and its key; `name` such as "server", "clients/gridco"."""
        return self.path / f"{name}.pem", self.path / f"{name}.key"

    def parties(self) -> Parties:
        """Read who may speak; raises FolderError."""
        try:
            found = {path.stem: _line(path) for path in self.clients.glob("*.secret")}
            return Parties.read(self.path / "parties.json", found)
        except OSError as error:
            raise FolderError(
                f"{error.filename}: {error.strerror}: make the folder with `meterd sandbox init --folder {self.path}`"
            ) from None
        except ValueError as error:
            raise FolderError(str(error)) from None

    def admin_token(self) -> str:
        """Read the token of /control; raises FolderError."""
        try:
            return _line(self.path / "admin.token")
        except OSError as error:
            raise FolderError(
                f"{error.filename}: {error.strerror}: make the folder with `meterd sandbox init`"
            ) from None

    def make(self, now: datetime | None = None) -> None:
        """Make everything anew; raises FolderError when the folder is one already, OSError."""
        if self.ca.exists():
            raise FolderError(f"{self.path} is the folder of a test hub already: take another one, or remove it first")
        now = now or datetime.now(UTC)
        self.clients.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        authority, foreign = Authority("meterd sandbox CA", now), Authority("foreign CA", now)
        self._keep("server", authority.server())
        self._keep("foreign-ca", foreign.issued)
        self._keep("foreign-server", foreign.server())
        self._keep("clients/expired", authority.client("gridco", days=-1))
        self._keep("clients/foreign", foreign.client("gridco"))
        entries = [self._party(authority, dict(entry)) for entry in DEFAULTS]
        _write(self.path / "parties.json", json.dumps(entries, indent=1).encode() + b"\n")
        _write(self.path / "admin.token", _random())
        # The last one: a folder that has it is complete.
        self._keep("ca", authority.issued)

    def _party(self, authority: Authority, entry: dict[str, object]) -> dict[str, object]:
        name = str(entry["name"])
        issued = authority.client(name)
        self._keep(f"clients/{name}", issued)
        _write(self.clients / f"{name}.secret", _random())
        return entry | {"client_id": f"{name}-client", "certificate": issued.serial}

    def _keep(self, name: str, issued: Issued) -> None:
        certificate, key = self.pair(name)
        _write(key, issued.key)
        _write(certificate, issued.certificate)


def _random() -> bytes:
    """Return a secret, without the end of a line, which some clients would send along."""
    return secrets.token_urlsafe(32).encode()


def _line(path: Path) -> str:
    return path.read_text("utf-8").strip()


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
