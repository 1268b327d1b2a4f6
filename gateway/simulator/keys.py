"""Test keys of a simulated meter: random for each run, or from a file; never printed and never in an argument."""

import os
import secrets
from pathlib import Path
from typing import NoReturn

#: octets of an AES-128 key
SIZE = 16
#: octets of a key file: two keys, line ends, and some blanks
_MAX_FILE = 256


class KeyFileError(Exception):
    """A key file that cannot be used: one sentence that says which and why, and never repeats what is in it."""


class MeterKeys:
    """Encryption key and authentication key of a meter, 16 octets each; shown as nothing but its name."""

    __slots__ = ("authentication", "encryption")

    def __init__(self, encryption: bytes, authentication: bytes) -> None:
        if len(encryption) != SIZE or len(authentication) != SIZE:
            raise ValueError("a key has 16 octets")
        self.encryption = encryption
        self.authentication = authentication

    def __repr__(self) -> str:
        return "MeterKeys(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not serialised")


def generate(authentication: bytes | None = None) -> MeterKeys:
    """Random keys; `authentication` is the key that every meter of this kind has, if there is one."""
    return MeterKeys(secrets.token_bytes(SIZE), authentication or secrets.token_bytes(SIZE))


def read(path: Path, authentication_path: Path | None = None, authentication: bytes | None = None) -> MeterKeys:
    """Keys from files of 32 hexadecimal digits a line: the encryption key, then the authentication key.

    The second line may be in a file of its own; `authentication` stands in where neither has it.
    Raises OSError, and KeyFileError for a file that holds something else, and where no authentication key is known.
    """
    first, *more = _lines(path)
    if authentication_path:
        more = _lines(authentication_path)
    if not more and authentication is None:
        raise KeyFileError(f"{path} holds no authentication key: write it as the second line, or name --auth-key-file")
    return MeterKeys(first, more[0] if more else authentication or bytes(SIZE))


def write(keys: MeterKeys, path: Path) -> None:
    """Write both keys as lines to a file that only its owner can read (0600), and replace what was there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(f"{keys.encryption.hex()}\n{keys.authentication.hex()}\n")
    try:
        fresh.replace(path)
    except OSError:
        fresh.unlink()
        raise


def _lines(path: Path) -> list[bytes]:
    """One or two keys."""
    with path.open("rb") as file:
        text = file.read(_MAX_FILE + 1)
    try:
        keys = [bytes.fromhex(line) for line in text.decode("ascii").split("\n") if line.strip()]
    except ValueError:
        keys = []
    if len(text) > _MAX_FILE or not 1 <= len(keys) <= 2 or any(len(key) != SIZE for key in keys):
        raise KeyFileError(f"{path} holds no key: one or two lines of 32 hexadecimal digits")
    return keys
