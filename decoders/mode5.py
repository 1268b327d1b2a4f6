"""Security mode 5 of M-Bus (EN 13757-7, OMS volume 2): AES-128-CBC under the operator's key, on wired pushes.

    configuration   bits 8 to 12: 5; bits 4 to 7: how many blocks of 16 octets are encrypted, the rest is in clear
    vector          manufacturer 2 | identification 4 | version | type, as sent; then eight times the access number

What was encrypted begins with two fillers, 2F 2F. That is all that a wrong key is known by: the mode has no tag, and no
counter but the eight bits of the access number, so what it opens is `unverified`.
"""

from collections.abc import Iterator

from decoders.cipher import Keys
from decoders.counters import RANK
from decoders.errors import UnwrapError
from decoders.model import Auth, Frame

_BLOCK = 16
_FILLERS = b"\x2f\x2f"
#: CI with a long header, which the vector is made of, and with a short one, which lacks it
_LONG, _SHORT = frozenset((0x5B, 0x72)), frozenset((0x5A, 0x7A))
#: octets of C, A and CI; where the configuration and the data of a telegram with a long header begin
_LEAD, _CONFIGURATION, _DATA = 3, 13, 15
_MODE, _FIVE = 0x1F, 0x05
#: failures in a row that blame the key
AGREE = 3


class Mode5:
    """Opens the readouts of one meter; readouts in clear pass where their class of authenticity is enough."""

    def __init__(self, keys: Keys | None, min_auth: Auth = "plain") -> None:
        self._keys = keys
        self._least = RANK[min_auth]
        self._failures = 0

    def unwrap(self, frame: Frame) -> tuple[Frame, Auth]:
        """The readout in clear, and what it is worth; raises UnwrapError."""
        sent = list(_telegrams(frame.payload))
        ciphered = list(map(_is_ciphered, sent))
        if not any(ciphered):
            return frame, self._require("plain", frame.size)
        bodies = [self._open(body, frame.size) if sealed else body for body, sealed in zip(sent, ciphered, strict=True)]
        auth = self._require("unverified" if all(ciphered) else "plain", frame.size)
        return frame._replace(payload=b"".join(bytes([len(body)]) + body for body in bodies)), auth

    def _require(self, auth: Auth, size: int) -> Auth:
        if RANK[auth] < self._least:
            raise UnwrapError("downgrade", size)
        return auth

    def _open(self, body: bytes, size: int) -> bytes:
        evidence = f"mode 5, access number {body[11 if body[2] in _LONG else 3]}"
        if self._keys is None:
            raise UnwrapError("key_missing", size, evidence)
        if body[2] in _SHORT:
            raise UnwrapError("title_missing", size, evidence)
        end = _DATA + min((body[_CONFIGURATION] >> 4) * _BLOCK or len(body), (len(body) - _DATA) // _BLOCK * _BLOCK)
        vector = body[7:9] + body[3:7] + body[9:11] + body[11:12] * 8
        plain = self._keys.decrypt_blocks(vector, body[_DATA:end])
        if plain[:2] != _FILLERS:
            self._failures += 1
            raise UnwrapError("key_rejected" if self._failures >= AGREE else "garbled", size, evidence)
        self._failures = 0
        return body[:_DATA] + plain + body[end:]


def _telegrams(payload: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(payload):
        yield payload[at + 1 : at + 1 + payload[at]]
        at += 1 + payload[at]


def _is_ciphered(body: bytes) -> bool:
    """Whether a telegram says mode 5 and does not begin as one in clear does."""
    if body[2:3] == b"" or body[2] not in _LONG | _SHORT:
        return False
    at = _CONFIGURATION if body[2] in _LONG else _LEAD + 2
    data = body[at + 2 :]
    return len(data) >= _BLOCK and body[at + 1] & _MODE == _FIVE and data[:2] != _FILLERS
