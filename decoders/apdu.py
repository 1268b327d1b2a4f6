"""Unwrapping: one APDU of a link to the plain APDU inside, past block transfer and ciphering.

DLMS UA 1000-2 clauses 9.2.7 (general-glo-ciphering) and 9.3 (general-block-transfer), IEC 62056-5-3. Blocks may
hold a ciphered APDU, and that may hold one whole block: nothing is opened deeper, so nothing can be nested endlessly.

    E0 | control | number (2) | acknowledged (2) | length | block         blocks of one message: control 80 = the last
    DB | length, system title | length | security control, counter (4) | content [| tag (12)]
    0F ... a data-notification, or `/` ... the text of a P1 telegram      what is wanted

The security control octet decides: suite 0, or 1 with AES-128; no compression; no broadcast key. A tag (0x10) must be
right before anything is used; content that is only encrypted (0x20) is marked unverified, and clear content plain.
"""

from collections import deque
from typing import NamedTuple

from decoders.blocks import Blocks, read_block, read_length
from decoders.cipher import AUTHENTICATED, ENCRYPTED, REFUSALS, TAG, Cipher, Keys, plausible, probe
from decoders.counters import RANK, Identity, Seen
from decoders.errors import UnwrapError
from decoders.model import Auth, Frame

#: telegrams in a row that must agree before a key is called wrong
AGREE = 3

_CIPHERED, _BLOCK = b"\xdb", b"\xe0"
_LAYERS = (_CIPHERED, _BLOCK)
#: data-notification, P1 telegram
_WANTED = (b"\x0f", b"/")
_TITLE = 8

#: APDUs that are known and not opened, by tag: code, name
_NAMED: dict[int, tuple[str, str]] = {
    **dict.fromkeys(bytes.fromhex("60616263"), ("unknown_apdu", "association")),
    **dict.fromkeys(bytes.fromhex("C0C1C2C3C4C5C7D8D9DA"), ("unknown_apdu", "service")),
    **dict.fromkeys(bytes.fromhex("212526282C2D2E3638C8C9CACBCCCDCF"), ("ciphered_service", "glo-ciphered service")),
    **dict.fromkeys(bytes.fromhex("414546484C4D4E5658D0D1D2D3D4D5D7"), ("ciphered_service", "ded-ciphered service")),
    0xDC: ("general_ciphering", "general-ded-ciphering"),
    0xDD: ("general_ciphering", "general-ciphering"),
    0xDF: ("signing", "general-signing"),
}


class Plain(NamedTuple):
    """A plain APDU or P1 telegram, how sure it is, and the security header that it came under (None: none)."""

    payload: bytes
    auth: Auth
    cipher: Cipher | None


class Unwrapper:
    """Unwraps the frames of one meter.

    `system_title` (8 octets) is used where the wire has none. `min_auth` is the least class that is accepted.
    `unverified_by_person`: a person, not a profile, set `min_auth` to "unverified"; only then is an authenticated APDU
    opened without the authentication key. `empty_aad`: the profile says that this meter authenticates no extra data.
    """

    def __init__(
        self,
        keys: Keys | None,
        *,
        system_title: bytes | None = None,
        min_auth: Auth = "plain",
        unverified_by_person: bool = False,
        empty_aad: bool = False,
    ) -> None:
        if system_title is not None and len(system_title) != _TITLE:
            raise ValueError("a system title has 8 octets")
        self._keys = keys
        self._title = system_title or b""
        self._least = RANK[min_auth]
        self._open_untagged = unverified_by_person
        self._empty_aad = empty_aad
        self._blocks = Blocks()
        #: of the last failures in a row: whether the encryption key fitted, None where that cannot be told
        self._probes: deque[bool | None] = deque(maxlen=AGREE)

    @property
    def pending(self) -> int:
        """Octets of a message whose last block is not here yet."""
        return self._blocks.pending

    def unwrap(self, frame: Frame) -> Plain | None:
        """The plain content of a frame; None when more blocks are needed; raises UnwrapError."""
        try:
            apdu: bytes | None = frame.payload
            if frame.payload[:1] == _BLOCK:
                apdu = self._blocks.add(frame.payload)
            return None if apdu is None else self._open(apdu, frame.head)
        except UnwrapError as error:
            error.size = frame.size
            raise

    def close(self) -> None:
        """End of input; raises UnwrapError when the last block of a message is missing."""
        self._blocks.end()

    def seen(self, plain: Plain, clock: int | None) -> Seen:
        """What the counter rules judge of `plain`; `clock` is the meter's time in seconds.

        A counter that neither opened nor proved the content proves nothing itself: anyone could have written it.
        """
        cipher = plain.cipher
        if (
            cipher is None
            or self._keys is None
            or not (plain.auth == "verified" or cipher.security_control & ENCRYPTED)
        ):
            return Seen(plain.auth, None, 0, clock)
        identity = Identity(cipher.system_title.hex().upper(), self._keys.fingerprint, "unicast")
        return Seen(plain.auth, identity, cipher.counter, clock)

    def _open(self, apdu: bytes, head: bytes) -> Plain:
        """Open what is not a block, or was put together of blocks; `head` belongs before what is ciphered."""
        if apdu[:1] != _CIPHERED:
            content = _content(apdu)
            return Plain(content, self._require("plain"), None)
        cipher, body = _general_glo(apdu, self._title)
        try:
            return self._decipher(cipher, body, head)
        except UnwrapError as error:
            error.evidence = ", ".join(filter(None, (error.evidence, _evidence(cipher))))
            raise

    def _decipher(self, cipher: Cipher, body: bytes, head: bytes) -> Plain:
        """Open general-glo-ciphering, by the class of authenticity that its security control and the keys allow."""
        auth = self._class(cipher.security_control)
        keys = self._keys
        if auth == "plain" or keys is None:
            return Plain(_inner(head + body), "plain", cipher)
        if len(cipher.system_title) != _TITLE:
            raise UnwrapError("title_missing")
        if cipher.security_control & AUTHENTICATED and len(body) < TAG:
            raise UnwrapError("length")
        plain = self._verified(keys, cipher, body) if auth == "verified" else self._unverified(keys, cipher, body)
        self._probes.clear()
        return Plain(_inner(head + plain), auth, cipher)

    def _class(self, control: int) -> Auth:
        """The class that content under this security control can have; raises UnwrapError where it is not opened."""
        refusal = REFUSALS[control]
        if refusal:
            raise UnwrapError(refusal)
        if not control & (AUTHENTICATED | ENCRYPTED):
            return self._require("plain")
        if self._keys is None:
            raise UnwrapError("key_missing")
        if control & AUTHENTICATED and self._can_verify(control):
            return self._require("verified")
        if control & AUTHENTICATED and not self._open_untagged:
            raise UnwrapError("unauthenticated_refused")
        return self._require("unverified")

    def _can_verify(self, control: int) -> bool:
        """Whether there is additional data to verify a tag with; a clear APDU always needs the authentication key."""
        return (self._keys is not None and self._keys.authenticates) or (self._empty_aad and bool(control & ENCRYPTED))

    def _require(self, auth: Auth) -> Auth:
        if RANK[auth] < self._least:
            raise UnwrapError("downgrade")
        return auth

    def _verified(self, keys: Keys, cipher: Cipher, body: bytes) -> bytes:
        """The content when its tag is right; else the failure, by whether at least the encryption key fits."""
        encrypted = bool(cipher.security_control & ENCRYPTED)
        plain = keys.verify(cipher, body, empty_aad=self._empty_aad and encrypted)
        if plain is None:
            raise self._rejected("tag", probe(keys, cipher, body[:-TAG]) if encrypted else None)
        return plain

    def _unverified(self, keys: Keys, cipher: Cipher, body: bytes) -> bytes:
        """The content without any proof but its own form."""
        sealed = body[:-TAG] if cipher.security_control & AUTHENTICATED else body
        if not cipher.security_control & ENCRYPTED:
            return sealed
        plain = keys.decrypt(cipher, sealed)
        if not plausible(plain, len(plain)):
            raise self._rejected("garbled", False)
        return plain

    def _rejected(self, code: str, fits: bool | None) -> UnwrapError:
        """The failure of one telegram, and once enough of them agree, the key that is to blame."""
        self._probes.append(fits)
        if fits is not None and self._probes.count(fits) == AGREE:
            code = "auth_key_rejected" if fits else "key_rejected"
        return UnwrapError(code)


def _general_glo(apdu: bytes, own_title: bytes) -> tuple[Cipher, bytes]:
    """The security header of general-glo-ciphering, and what stands under it."""
    title_length = apdu[1] if len(apdu) > 1 else -1
    if title_length not in (0, _TITLE):
        raise UnwrapError("length")
    title = apdu[2 : 2 + title_length] or own_title
    length, at = read_length(apdu, 2 + title_length)
    if at + length != len(apdu) or length < 5:
        raise UnwrapError("length")
    return Cipher(title, apdu[at], int.from_bytes(apdu[at + 1 : at + 5], "big")), apdu[at + 5 :]


def _inner(apdu: bytes) -> bytes:
    """The content of a ciphered APDU; it may come as one block, which is then the whole message."""
    if apdu[:1] == _BLOCK:
        number, last, apdu = read_block(apdu)
        if number != 1 or not last:
            raise UnwrapError("nesting")
    return _content(apdu)


def _content(apdu: bytes) -> bytes:
    """A data-notification or a P1 telegram, as it is; raises UnwrapError for every other APDU, by its name."""
    tag = apdu[:1]
    if tag in _WANTED:
        return apdu
    if tag in _LAYERS:
        raise UnwrapError("nesting")
    if not tag:
        raise UnwrapError("length")
    code, name = _NAMED.get(apdu[0], ("unknown_apdu", "APDU"))
    raise UnwrapError(code, evidence=f"{name} (tag {apdu[0]:02X})")


def _evidence(cipher: Cipher) -> str:
    """What a failure may say of a ciphered APDU."""
    title = cipher.system_title.hex().upper() or "absent"
    return f"system title {title}, counter {cipher.counter}, security control {cipher.security_control:02X}"
