"""Key material on its way from a person to the cipher: it can be read in many forms, and is shown in none."""

import hmac
import os
import re
import stat
from base64 import urlsafe_b64decode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from decoders.cipher import KeyRole, Keys, KeyTextError, fingerprint, parse_key

Parsed = TypeVar("Parsed")

#: a file of one or two keys is small; anything larger is another file
MAX_OCTETS = 4_096
_BETWEEN = r"[\s:,;-]"
#: 16 octets, with what people and portals put between them
_TOKEN = re.compile(
    rf"(?<![0-9A-Za-z])(?:0[xX])?[0-9A-Fa-f]{{2}}(?:{_BETWEEN}{{0,2}}(?:0[xX])?[0-9A-Fa-f]{{2}}){{15}}(?![0-9A-Za-z])"
)
#: one or two keys in base64, which has no other form without the `=` at its end
_BASE64 = re.compile(r"(?<![0-9A-Za-z+/_-])(?:[0-9A-Za-z+/_-]{22}==|[0-9A-Za-z+/_-]{43}=)(?!=)")
#: the names that operators print before an authentication key (GAK: global authentication key)
_AUTHENTICATION = re.compile(r"auth|\bG?AK\b", re.IGNORECASE)
_URLSAFE = str.maketrans("+/", "-_")
_ENCRYPTION = re.compile(r"encr|\bG?U?EK\b", re.IGNORECASE)


class KeyFileError(Exception):
    """A file of keys that cannot be used: one sentence that says which, why and what to do, never what is in it."""


class Secret:
    """The 16 octets of a key; every form that could show them shows the fingerprint."""

    __slots__ = ("_octets", "fingerprint")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.fingerprint = fingerprint(octets)

    def reveal(self) -> bytes:
        """The octets themselves: for the cipher, the store and the control socket only."""
        return self._octets

    def __repr__(self) -> str:
        return f"Secret({self.fingerprint})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are neither copied nor stored")

    def __getstate__(self) -> NoReturn:
        raise TypeError("keys are neither copied nor stored")


class Material(NamedTuple):
    """The keys of one meter as far as they are known."""

    encryption: Secret | None = None
    authentication: Secret | None = None

    def keys(self) -> Keys | None:
        """What telegrams are opened with; None without an encryption key."""
        if self.encryption is None:
            return None
        return Keys(self.encryption.reveal(), self.authentication.reveal() if self.authentication else None)

    def fingerprints(self) -> dict[KeyRole, str | None]:
        """What may be shown: the fingerprint of each key, None where it is absent."""
        return {
            "encryption": self.encryption.fingerprint if self.encryption else None,
            "authentication": self.authentication.fingerprint if self.authentication else None,
        }


def parse_keys(text: str) -> Material:
    """The keys in a pasted text: one, or two in the order of operators (encryption, authentication).

    Blanks, colons, dashes, `0x` and names of the keys may stand between and before them; a name counts more than the
    order. Raises KeyTextError, which never quotes the text.
    """
    found = _labelled(text)
    if len(found) > 2:
        raise KeyTextError(f"there are {len(found)} keys in this text: give the encryption key, then the other one")
    roles = _roles([label for label, _ in found])
    secrets = {role: Secret(parse_key(digits, role)) for role, (_, digits) in zip(roles, found, strict=True)}
    return Material(secrets.get("encryption"), secrets.get("authentication"))


def parse_one(text: str, role: KeyRole) -> Secret:
    """The only key in a text, whose role is known; raises KeyTextError."""
    found = _labelled(text)
    if len(found) > 1:
        raise KeyTextError(f"there are {len(found)} keys in this text, and one {role} key is wanted")
    return Secret(parse_key(found[0][1], role))


def read_file(path: Path, *, private: bool = True) -> str:
    """The text of a file of keys; raises KeyFileError. `private`: refuse one that others than its owner can read."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeyFileError(f"{path} is not a file")
            if private and found.st_mode & 0o077:
                raise KeyFileError(
                    f"{path} can be read by others than its owner (mode {found.st_mode & 0o777:04o}): chmod 0400 {path}"
                )
            return decoded(file.read(MAX_OCTETS + 1), str(path))
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise KeyFileError(f"{path!r} is no path") from None


def decoded(data: bytes, where: str) -> str:
    """Octets of a file or of standard input as text; raises KeyFileError."""
    if len(data) > MAX_OCTETS:
        raise KeyFileError(f"{where} is larger than {MAX_OCTETS} octets: this is no file of keys")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyFileError(f"{where} is no text: a key is written as 32 hexadecimal digits") from None


def read_material(key_file: Path | None, auth_key_file: Path | None, *, private: bool = True) -> Material:
    """The keys of the named files; raises KeyFileError."""
    material = Material()
    if key_file is not None:
        material = told(key_file, parse_keys, read_file(key_file, private=private))
    if auth_key_file is not None:
        parse = partial(parse_one, role="authentication")
        secret = told(auth_key_file, parse, read_file(auth_key_file, private=private))
        material = combined(material, secret, str(auth_key_file))
    return material


def combined(material: Material, authentication: Secret, where: str) -> Material:
    """Material with the authentication key of another file; raises KeyFileError where there are two different ones."""
    if material.authentication not in (None, authentication):
        raise KeyFileError(f"{where}: the file of the encryption key holds another authentication key: leave out one")
    return material._replace(authentication=authentication)


def told(where: object, parse: Callable[[str], Parsed], text: str) -> Parsed:
    """Parse a text; a KeyTextError becomes a KeyFileError that says where."""
    try:
        return parse(text)
    except KeyTextError as error:
        raise KeyFileError(f"{where}: {error}") from None


def _labelled(text: str) -> list[tuple[str, str]]:
    """Each key in a text with what stands before it; a text without any is given whole, for `parse_key` to refuse."""
    text = _BASE64.sub(lambda match: urlsafe_b64decode(match[0].translate(_URLSAFE)).hex(), text)
    digits = re.sub(rf"0[xX]|{_BETWEEN}", "", text)
    if re.fullmatch(r"[0-9A-Fa-f]*", digits):
        return [("", digits[:32]), ("", digits[32:])] if len(digits) == 64 else [("", digits)]
    found, end = [], 0
    for match in _TOKEN.finditer(text):
        found.append((text[end : match.start()], re.sub(rf"0[xX]|{_BETWEEN}", "", match[0])))
        end = match.end()
    return found or [("", text)]


def _roles(labels: list[str]) -> list[KeyRole]:
    """What each key is: by its name, else by the order."""
    named: list[KeyRole | None] = [
        "authentication" if _AUTHENTICATION.search(label) else "encryption" if _ENCRYPTION.search(label) else None
        for label in labels
    ]
    if len(named) == 2:
        order: tuple[KeyRole, KeyRole] = ("encryption", "authentication")
        if "authentication" in named[:1] or "encryption" in named[1:]:
            order = ("authentication", "encryption")
        if any(name not in (None, role) for name, role in zip(named, order, strict=True)):
            raise KeyTextError("both keys in this text have the same name: give each in a file of its own")
        return list(order)
    return [named[0] or "encryption"]
