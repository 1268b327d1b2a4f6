"""APDUs of a simulated meter: data-notification, general-glo-ciphering, general-block-transfer (IEC 62056-5-3)."""

from typing import NamedTuple

from gateway.simulator.axdr import length
from gateway.simulator.keys import MeterKeys

AUTHENTICATED, ENCRYPTED = 0x10, 0x20
TAG = 12
_NOTIFICATION, _CIPHERED, _BLOCK = b"\x0f", b"\xdb", b"\xe0"
#: control of a block: streaming, and last block
_STREAMING, _LAST = 0x40, 0x80
#: octets of AES-GCM's full tag
_FULL_TAG = 16


class Seal(NamedTuple):
    """What a message is ciphered under: system title (8 octets), security control, invocation counter."""

    title: bytes
    control: int
    counter: int


def notification(invoke_id: int, header_time: bytes, body: bytes) -> bytes:
    """A data-notification; `header_time` holds its own length, and is `00` where the meter sends none."""
    return _NOTIFICATION + invoke_id.to_bytes(4, "big") + header_time + body


def cipher(content: bytes, seal: Seal, keys: MeterKeys, *, spoil_tag: bool = False) -> bytes:
    """General-glo-ciphering of a content, as the security control says; `spoil_tag` turns one bit of the tag."""
    header = bytes([seal.control]) + seal.counter.to_bytes(4, "big")
    sealed = _sealed(content, seal, keys)
    if spoil_tag:
        sealed = sealed[:-1] + bytes([sealed[-1] ^ 0x01])
    title = bytes([len(seal.title)]) + seal.title
    return _CIPHERED + title + length(len(header) + len(sealed)) + header + sealed


def blocks(apdu: bytes, room: int, first_room: int) -> list[bytes]:
    """General-block-transfer in APDUs of at most `room` octets, the first of at most `first_room`."""
    at = 0
    pieces: list[bytes] = []
    while at < len(apdu):
        size = (room if pieces else first_room) - len(_block(1, b"", last=False))
        pieces.append(apdu[at : at + size])
        at += size
    return [_block(number, piece, last=number == len(pieces)) for number, piece in enumerate(pieces, 1)]


def _block(number: int, data: bytes, *, last: bool) -> bytes:
    control = _STREAMING | (_LAST if last else 0)
    return _BLOCK + bytes([control]) + number.to_bytes(2, "big") + bytes(2) + length(len(data)) + data


def _sealed(content: bytes, seal: Seal, keys: MeterKeys) -> bytes:
    """AES-GCM (NIST SP 800-38D): the nonce is title and counter, the associated data security control and AK."""
    if not seal.control & (AUTHENTICATED | ENCRYPTED):
        return content
    # slow to import, and meters without encryption never need it
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = seal.title + seal.counter.to_bytes(4, "big")
    associated = bytes([seal.control]) + keys.authentication
    octets = AESGCM(keys.encryption).encrypt(nonce, content, associated)
    encrypted, tag = octets[:-_FULL_TAG], octets[-_FULL_TAG:]
    return encrypted + tag[:TAG] if seal.control & AUTHENTICATED else encrypted
