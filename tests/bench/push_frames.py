"""HDLC frames of captured pushes with other values in each, so that no two are alike; FCS and tag written here anew.

The pushes are cases of tests/corpus, which names their sources and licences: Aidon's 27 objects (amshan, MIT) and
Kamstrup's encrypted list (dlms_parser, Apache-2.0). Nothing is shared with the decoders that are measured.
"""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
LLC = b"\xe6\xe7\x00"
#: a code, then the tag of a number of 32 or 16 bits
_NUMBER = re.compile(rb"\x09\x06[\x00\x01](?s:.{4})\xff([\x06\x12\x10])")
_SIZES = {0x06: 4, 0x12: 2, 0x10: 2}


class Stream(NamedTuple):
    """Frames of one meter, and its keys (empty: in clear)."""

    frames: list[bytes]
    encryption: bytes
    authentication: bytes


def aidon(count: int, *, unlike: bool = False) -> Stream:
    """27 objects in clear, each with scaler and unit.

    `unlike`: two scalers differ from frame to frame too, so that nothing remembered fits and each is read whole. Their
    sum stays, and both are of reactive power, which no quantity of item P is made of.
    """
    data, _ = _case("llc-apdu", "amshan-aidon-se-list")
    vary = _varying(data.removeprefix(LLC))
    apdus = [vary() for _ in range(count)]
    if unlike:
        apdus = [_rescaled(apdu, 1 + n % 100) for n, apdu in enumerate(apdus)]
    return Stream([_frame(bytes.fromhex("41088313"), apdu) for apdu in apdus], b"", b"")


def _rescaled(apdu: bytes, scaler: int) -> bytes:
    """The notification with this scaler in one object, and its negative in another."""
    octets = bytearray(apdu)
    for code, value in (("0100030700FF", scaler), ("0100040700FF", -scaler)):
        at = apdu.index(bytes.fromhex(code)) + 6 + 1 + 4 + 2
        octets[at : at + 2] = b"\x0f" + value.to_bytes(1, "big", signed=True)
    return bytes(octets)


def kamstrup(count: int) -> Stream:
    """31 registers, authenticated and encrypted, under a rising counter."""
    data, keys = _case("hdlc-push-encrypted", "dlmsparser-hdlc-kamstrup-omnipower")
    encryption, authentication = bytes.fromhex(keys["encryption"]), bytes.fromhex(keys["authentication"])
    apdu = data[11:-3]
    title, first = apdu[2:10], int.from_bytes(apdu[14:18], "big")
    aad = apdu[13:14] + authentication
    cipher = AESGCM(encryption)

    def seal(plain: bytes, counter: int) -> bytes:
        return cipher.encrypt(title + counter.to_bytes(4, "big"), plain, aad)[:-4]

    # the key stream decrypts: its own tag is made anew below, and found to be the captured one
    vary_from = cipher.encrypt(title + apdu[14:18], apdu[18:-12], None)[:-16]
    if seal(vary_from, first) != apdu[18:]:
        raise ValueError("the captured tag does not match")
    vary = _varying(vary_from)
    apdus = [apdu[:14] + n.to_bytes(4, "big") + seal(vary(), n) for n in range(first, first + count)]
    return Stream([_frame(bytes.fromhex("410313"), one) for one in apdus], encryption, authentication)


def _case(family: str, name: str) -> tuple[bytes, dict[str, str]]:
    lines = (CORPUS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()
    (case,) = (found for found in map(json.loads, lines) if found["id"] == name)
    return bytes.fromhex(case["data"]), case["keys"]


def _varying(apdu: bytes) -> Callable[[], bytes]:
    """Gives the notification with other numbers each time, and the seconds of its clocks."""
    chance = random.Random(1)
    places = [(match.end(), _SIZES[match[1][0]]) for match in _NUMBER.finditer(apdu)]
    if len(places) < 20:
        raise ValueError("too few numbers")
    clocks = [match.end() + 7 for match in re.finditer(rb"\x0c(?=\x07[\xe0-\xef])", apdu)]

    def vary() -> bytes:
        octets = bytearray(apdu)
        for at, size in places:
            octets[at : at + size] = chance.randrange(1 << (8 * size - 2)).to_bytes(size, "big")
        for at in clocks:
            octets[at] = chance.randrange(60)
        return bytes(octets)

    return vary


def _frame(head: bytes, apdu: bytes) -> bytes:
    """An HDLC frame of type 3: format and addresses with HCS, LLC and APDU with FCS, between flags."""
    length = 2 + len(head) + 2 + len(LLC) + len(apdu) + 2
    start = (0xA000 | length).to_bytes(2, "big") + head
    start += _crc(start)
    body = start + LLC + apdu
    return b"\x7e" + body + _crc(body) + b"\x7e"


def _crc(octets: bytes) -> bytes:
    """CRC-16/X-25, bit by bit, low octet first."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (0x8408 if register & 1 else 0)
    return (register ^ 0xFFFF).to_bytes(2, "little")
