"""Key custody: where the keys of a meter come from, and the store in which `meterd key set` puts them.

Each key is taken from the first of these places that has it:
1. a systemd credential, `$CREDENTIALS_DIRECTORY/<meter>.ek` and `<meter>.ak` (systemd.exec(5), LoadCredential), or
   `meterd_<meter>.ek` and `stored_<meter>.ek`, as systemd names the files of the folders that the unit names;
2. the files that the configuration names, `key_file` and `auth_key_file`;
3. the store: `meterd/keys` in `$XDG_CONFIG_HOME`, for root without it `/etc/meterd/keys`; files of mode 0400.
"""

import os
import stat
from functools import partial
from pathlib import Path
from typing import NamedTuple

from decoders.cipher import KeyRole
from gateway import durable
from gateway.key_material import KeyFileError, Material, Secret, combined, parse_keys, parse_one, read_file, told

SYSTEM = Path("/etc/meterd/keys")
#: what systemd puts before the names of the files of a folder: LoadCredentialEncrypted=meterd:, LoadCredential=stored:
PREFIXES = ("", "meterd_", "stored_")
#: how the file of each key ends
SUFFIXES: dict[KeyRole, str] = {"encryption": "ek", "authentication": "ak"}


class Held(NamedTuple):
    """The keys of a meter, from where each comes (`credential`, `file`, `store` and the path), and what is wrong."""

    material: Material
    places: dict[KeyRole, str]
    problems: tuple[str, ...]


def find(meter: str, key_file: str | None = None, auth_key_file: str | None = None) -> Held:
    """Look for the keys of a meter; what cannot be used is a problem, and its key absent: no other place fills in."""
    found: dict[KeyRole, Secret] = {}
    places: dict[KeyRole, str] = {}
    problems: list[str] = []
    for kind, role, path in _candidates(meter, key_file, auth_key_file):
        if role in places or not _exists(path, must=kind == "file"):
            continue
        places[role] = f"{kind} {path}"
        try:
            _take(found, places, role, path, private=kind != "credential")
        except KeyFileError as error:
            problems.append(str(error))
    return Held(Material(**found), places, tuple(problems))


def credentials() -> Path | None:
    """The folder of the credentials that systemd gave to this service."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def store() -> Path:
    """The folder of this user's store."""
    named = os.environ.get("XDG_CONFIG_HOME")
    if os.geteuid() == 0 and not named:
        return SYSTEM
    return Path(named or Path.home() / ".config") / "meterd" / "keys"


def stored(meter: str, role: KeyRole) -> Path:
    """The file of a key in the store."""
    return store() / f"{meter}.{SUFFIXES[role]}"


def put(meter: str, material: Material) -> list[Path]:
    """Put keys into the store; each file is whole or as before, also through a power cut. Raises KeyFileError."""
    written = []
    for role, secret in _roles(material).items():
        path = stored(meter, role)
        try:
            _folder(path.parent)
            _replace(path, secret.reveal().hex().encode() + b"\n")
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None
        written.append(path)
    return written


def remove(meter: str) -> list[Path]:
    """Remove the keys of a meter from the store, and say which there were; raises KeyFileError."""
    removed = []
    for role in SUFFIXES:
        path = stored(meter, role)
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KeyFileError(f"{path} cannot be removed: {error.strerror}") from None
        removed.append(path)
    return removed


def _candidates(meter: str, key_file: str | None, auth_key_file: str | None) -> list[tuple[str, KeyRole, Path]]:
    folder = credentials()
    named: dict[KeyRole, str | None] = {"encryption": key_file, "authentication": auth_key_file}
    return [
        *(
            ("credential", role, folder / f"{prefix}{meter}.{suffix}")
            for prefix in PREFIXES
            for role, suffix in SUFFIXES.items()
            if folder
        ),
        *(("file", role, Path(path)) for role, path in named.items() if path),
        *(("store", role, stored(meter, role)) for role in SUFFIXES),
    ]


def _exists(path: Path, *, must: bool) -> bool:
    """Whether there is a file, or may be one that this user cannot see."""
    try:
        path.stat()
    except FileNotFoundError:
        return must
    except OSError:
        return True
    return True


def _take(
    found: dict[KeyRole, Secret], places: dict[KeyRole, str], role: KeyRole, path: Path, *, private: bool
) -> None:
    """Take a key from its file; that of the encryption key may hold both."""
    text = read_file(path, private=private)
    if role == "authentication":
        secret = told(path, partial(parse_one, role=role), text)
        found[role] = found.get(role, secret)
        return
    material = told(path, parse_keys, text)
    if material.encryption is None:
        raise KeyFileError(f"{path}: it holds an authentication key, and no encryption key")
    found[role] = material.encryption
    if material.authentication is not None:
        found["authentication"] = material.authentication
        places["authentication"] = places[role]


def _roles(material: Material) -> dict[KeyRole, Secret]:
    both: dict[KeyRole, Secret | None] = {
        "encryption": material.encryption,
        "authentication": material.authentication,
    }
    return {role: secret for role, secret in both.items() if secret is not None}


def _folder(folder: Path) -> None:
    """Make the folder of the store, or refuse one that others can enter."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        folder.mkdir(mode=0o700)
        durable.sync_folder(folder.parent)
    except FileExistsError:
        found = folder.stat()
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            raise KeyFileError(f"{folder} belongs to another user: it must be a folder of your own") from None
        if found.st_mode & 0o077:
            mode = f"{found.st_mode & 0o777:04o}"
            raise KeyFileError(f"{folder} can be entered by others (mode {mode}): chmod 0700 {folder}") from None


def _replace(path: Path, data: bytes) -> None:
    """Write a file of mode 0400 beside the old one, then put it in its place."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    durable.create(fresh, data, 0o400)
    fresh.replace(path)
    durable.sync_folder(path.parent)


__all__ = ["Held", "KeyFileError", "combined", "credentials", "find", "put", "remove", "store", "stored"]
