"""Ciphering of DLMS/COSEM with operator-issued keys: AES-128-GCM with a 12-octet tag.

DLMS UA 1000-2 clause 9.2.7 (IEC 62056-5-3), NIST SP 800-38D. The nonce is system title (8) || invocation counter (4),
the additional authenticated data security control || authentication key, and the APDU too where it is in clear.

GCM encrypts by counter mode, so encrypting the ciphertext again gives the plaintext, and encrypting that gives the tag
that the sender must have written. Both are one call on a cached key: a third of the time of a decryptor per telegram.
Plaintext leaves `verify` only after its tag was found right. Only this module imports cryptography.
"""

import hmac
import re
from typing import Literal, NamedTuple, NoReturn

TAG = 12
_KEY = 16
_FULL_TAG = 16

#: bits of the security control octet; the lower half is the security suite
AUTHENTICATED = 0x10
ENCRYPTED = 0x20
_BROADCAST = 0x40
_COMPRESSED = 0x80
#: suite 1 asks for other key agreement and signatures, not for another cipher: meters send it with AES-128 keys
_SUITES = (0, 1)

#: printed in every textbook and specification; Luxembourg's public authentication key, so never an encryption key
_SAMPLE = bytes.fromhex("00112233445566778899AABBCCDDEEFF")

KeyRole = Literal["encryption", "authentication"]


class KeyTextError(ValueError):
    """A text that is no key; says why, and never what the text was."""


class Cipher(NamedTuple):
    """The security header of one ciphered APDU: 8 octets (or none, where nothing is ciphered), 1 octet, 32 bits."""

    system_title: bytes
    security_control: int
    counter: int


class Keys:
    """The keys of one meter, 16 octets each: they go in, and nothing here gives them out again."""

    __slots__ = ("_authentication", "_encrypt", "_encryption", "authentication_fingerprint", "fingerprint")

    def __init__(self, encryption: bytes, authentication: bytes | None = None) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(encryption) != _KEY or (authentication is not None and len(authentication) != _KEY):
            raise ValueError("a key has 16 octets (AES-128)")
        self._encrypt = AESGCM(encryption).encrypt
        self._encryption = encryption
        self._authentication = authentication
        self.fingerprint = fingerprint(encryption)
        self.authentication_fingerprint = fingerprint(authentication) if authentication else None

    def verify(self, cipher: Cipher, body: bytes, *, empty_aad: bool = False) -> bytes | None:
        """The plain APDU of an authenticated one (`body` ends with its tag), or None when the tag is wrong.

        Without the authentication key only `empty_aad` can be verified: meters that authenticate no additional data.
        """
        if self._authentication is None and not empty_aad:
            return None
        nonce, sealed, tag = _nonce(cipher), body[:-TAG], body[-TAG:]
        aad = b"" if empty_aad else cipher.security_control.to_bytes(1, "big") + (self._authentication or b"")
        if cipher.security_control & ENCRYPTED:
            plain = self._encrypt(nonce, sealed, None)[:-_FULL_TAG]
            expected = self._encrypt(nonce, plain, aad)[-_FULL_TAG : TAG - _FULL_TAG]
        else:
            plain = sealed
            expected = self._encrypt(nonce, b"", aad + sealed)[:TAG]
        return plain if hmac.compare_digest(expected, tag) else None

    def decrypt(self, cipher: Cipher, sealed: bytes) -> bytes:
        """Decrypt without any check: counter mode from nonce || 00000002. What comes out may be anything."""
        return self._encrypt(_nonce(cipher), sealed, None)[:-_FULL_TAG]

    def decrypt_blocks(self, vector: bytes, sealed: bytes) -> bytes:
        """Decrypt whole blocks chained to each other (AES-128-CBC, 16 octets of vector): M-Bus mode 5. No check."""
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        decryptor = BlockCipher(algorithms.AES(self._encryption), modes.CBC(vector)).decryptor()
        return decryptor.update(sealed) + decryptor.finalize()

    @property
    def authenticates(self) -> bool:
        """Whether the authentication key is known."""
        return self._authentication is not None

    def __repr__(self) -> str:
        return f"Keys(encryption {self.fingerprint}, authentication {self.authentication_fingerprint or 'absent'})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are neither copied nor stored")

    def __getstate__(self) -> NoReturn:
        raise TypeError("keys are neither copied nor stored")


def _nonce(cipher: Cipher) -> bytes:
    return cipher.system_title + cipher.counter.to_bytes(4, "big")


def fingerprint(key: bytes) -> str:
    """What may be shown of a key: the first 32 bits of HMAC-SHA256(key, "fp") in hexadecimal."""
    return hmac.digest(key, b"fp", "sha256")[:4].hex()


def parse_key(text: str, role: KeyRole = "encryption") -> bytes:
    """The 16 octets of a key as operators write it: 32 hexadecimal digits, with `0x`, blanks, colons or dashes.

    Raises KeyTextError for what cannot be an issued key.
    """
    digits = re.sub(r"0[xX]|[\s:-]", "", text)
    if not re.fullmatch(r"[0-9A-Fa-f]*", digits):
        raise KeyTextError("a key is written in hexadecimal digits (0-9, A-F), and this text holds others")
    if len(digits) != 2 * _KEY:
        raise KeyTextError(f"a key has 32 hexadecimal digits (16 octets), and this text has {len(digits)}")
    key = bytes.fromhex(digits)
    if not any(key):
        raise KeyTextError("a key of zeros is a place-holder: enter the one that the operator issued")
    if len(set(key)) == 1:
        raise KeyTextError("a key of one repeated octet is a place-holder: enter the one that the operator issued")
    if role == "encryption" and key == _SAMPLE:
        raise KeyTextError("this is the sample key of the specifications: enter the one that the operator issued")
    return key


def pair_warning(encryption: bytes, authentication: bytes) -> str | None:
    """What is odd about two keys together, or None."""
    if hmac.compare_digest(encryption, authentication):
        return "the encryption key and the authentication key are the same: was one of them entered twice?"
    return None


def _refusal(security_control: int) -> str | None:
    if security_control & 0x0F not in _SUITES:
        return "suite"
    if security_control & _COMPRESSED:
        return "compression"
    return "broadcast_key" if security_control & _BROADCAST else None


#: for each security control octet, the fault code of what is not supported in it, or None
REFUSALS: tuple[str | None, ...] = tuple(_refusal(octet) for octet in range(256))


def probe(keys: Keys, cipher: Cipher, sealed: bytes) -> bool:
    """Tell whether the encryption key fits: whether its first plaintext octets begin an APDU or a P1 telegram.

    `sealed` is the ciphertext without tag. A wrong key passes less than once in a million telegrams; the plaintext
    never leaves this function.
    """
    return plausible(keys.decrypt(cipher, sealed[:_HEAD]), len(sealed))


#: octets of plaintext that are enough to judge
_HEAD = 24
#: its identification, or its first object where the identification is in clear
_P1 = re.compile(rb"/[A-Za-z]{3}5|[01]-\d:\d")
#: what a notification body can be: array, structure, compact array
_BODIES = b"\x01\x02\x13"


def plausible(head: bytes, length: int) -> bool:
    """Whether `head` can begin an APDU of `length` octets that a meter pushes, or the text of a P1 telegram.

    Random octets pass with 1.9e-7 as data-notification without time, 1.3e-7 as P1 from `/`, below 1e-8 as each other
    form.
    """
    if head[:1] == b"\x0f":
        return _notification(head)
    if head[:1] == b"\xc2":
        return head[1:3] == b"\0\0" and head[9:10] == b"\xff"
    if head[:1] == b"\xe0":
        return head[2:6] == b"\0\1\0\0" and len(head) > 6 and (head[6] > 0x80 or head[6] == length - 7)
    return _P1.match(head) is not None


def _notification(head: bytes) -> bool:
    """Data-notification (tag 15): long-invoke-id-and-priority, date-time or none, then the body."""
    at = 5
    if head[at : at + 2] == b"\x09\x0c":  # Kaifa writes the type of the octet string too
        at += 1
    if len(head) > at + 1 and head[at] == 0:
        return head[at + 1] in _BODIES
    if len(head) < at + 14 or head[at] != 12:
        return False
    year, month = int.from_bytes(head[at + 1 : at + 3], "big"), head[at + 3]
    return (0x0700 <= year <= 0x08FF or year == 0xFFFF) and (month <= 12 or month >= 0xFD) and head[at + 13] in _BODIES
