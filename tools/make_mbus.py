#!/usr/bin/env python3
"""Turn M-Bus telegrams typed as text into a frame file: records, header, long frame with checksum (EN 13757-2 and -3).

For constructed frames of profiles (docs/profiles.md). The texts of the shipped frames are in tests/profiles/mbus. One
thing a line; `#` begins a comment:

    telegram C A CI [key KEY]            begins a telegram, C, A and CI in hexadecimal digits
    long ID MAKER VERSION TYPE ACCESS [STATUS [CONFIGURATION]]
    short ACCESS [STATUS [CONFIGURATION]]
    DIB VIB WORD VALUE                   a record; the words are those of WORDS, octets of data by the DIF
    DIB VIB:UNIT WORD VALUE              a record whose unit is a text
    octets HEX                           anything else: fillers, DIF 0F and what follows, DIF 1F
    raw HEX                              octets outside every telegram: short frames, acknowledgements

With a key the data are encrypted by mode 5 (AES-128-CBC, EN 13757-7): the telegram has to begin with two fillers.
"""

import argparse
import struct
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

#: low half of a DIF -> octets of data
SIZES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 14: 6}


def bcd(value: str, size: int) -> bytes:
    """Digits, two an octet; a minus is F in the first place."""
    digits = value.lstrip("-").rjust(2 * size, "0")
    return bytes.fromhex("F" + digits[1:] if value.startswith("-") else digits)[::-1]


def time(value: str, size: int) -> bytes:
    """Types F and I; `S` at the end is summer time, `!` an invalid time."""
    t = datetime.fromisoformat(value.rstrip("S!"))
    summer, invalid = value.endswith("S"), value.endswith("!")
    day, month = t.day | (t.year % 100 & 7) << 5, t.month | (t.year % 100 >> 3) << 4
    if size == 6:
        return bytes([t.second | summer << 6, t.minute | invalid << 7, t.hour | t.isoweekday() << 5, day, month, 0])
    return bytes([t.minute | invalid << 7, t.hour | 1 << 5 | summer << 7, day, month])


def date(value: str, _: int) -> bytes:
    """Type G."""
    t = datetime.fromisoformat(value)
    return bytes([t.day | (t.year % 100 & 7) << 5, t.month | (t.year % 100 >> 3) << 4])


WORDS: dict[str, Callable[[str, int], bytes]] = {
    "int": lambda value, size: int(value).to_bytes(size, "little", signed=True),
    "bits": lambda value, size: int(value).to_bytes(size, "little"),
    "bcd": bcd,
    "float": lambda value, _: struct.pack("<f", float(value)),
    "text": lambda value, _: bytes([len(value)]) + value.encode("latin-1")[::-1],
    "time": time,
    "date": date,
    "hex": lambda value, _: bytes.fromhex(value),
    "none": lambda _value, _size: b"",
}


def maker(letters: str) -> bytes:
    """Three letters of five bits."""
    a, b, c = (ord(letter) - 64 for letter in letters)
    return (a << 10 | b << 5 | c).to_bytes(2, "little")


def long(*words: str) -> bytes:
    """Twelve octets."""
    number, letters, version, kind, access, status, conf = *words, *("00", "0000")[len(words) - 5 :]
    head = bytes.fromhex(number)[::-1] + maker(letters) + bytes([int(version)]) + bytes.fromhex(kind)
    return head + bytes([int(access)]) + bytes.fromhex(status + conf)


def short(access: str, status: str = "00", conf: str = "0000") -> bytes:
    """Four octets."""
    return bytes([int(access)]) + bytes.fromhex(status + conf)


def record(dib: str, vib: str, word: str, value: str = "") -> bytes:
    """Head and data."""
    head, (vif, _, unit) = bytes.fromhex(dib), vib.partition(":")
    octets = bytes.fromhex(vif)
    if unit:
        octets = octets[:1] + bytes([len(unit)]) + unit.encode("latin-1")[::-1] + octets[1:]
    return head + octets + WORDS[word](value, SIZES.get(head[0] & 0x0F, 0))


def encrypted(header: bytes, data: bytes, key: str) -> bytes:
    """Mode 5: the vector is maker, number, version, type and eight times the access number."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    vector = header[4:6] + header[:4] + header[6:8] + header[8:9] * 8
    encryptor = Cipher(algorithms.AES(bytes.fromhex(key)), modes.CBC(vector)).encryptor()
    padded = data + b"\x2f" * (-len(data) % 16)
    return encryptor.update(padded) + encryptor.finalize()


class Writer:
    """The octets so far, and the telegram that is open."""

    def __init__(self) -> None:
        self.done = b""
        self._head: bytes | None = None
        self._key = ""
        self._header = self._data = b""

    def line(self, words: list[str], text: str) -> None:
        """Take one line."""
        if words[0] == "telegram":
            self.end()
            self._head, self._key = bytes.fromhex("".join(words[1:4])), words[5] if len(words) > 5 else ""
        elif words[0] == "raw":
            self.end()
            self.done += bytes.fromhex("".join(words[1:]))
        elif words[0] in ("long", "short"):
            self._header = (long if words[0] == "long" else short)(*words[1:])
        elif words[0] == "octets":
            self._data += bytes.fromhex("".join(words[1:]))
        else:
            self._data += record(*words[:3], *text.split(maxsplit=3)[3:])

    def end(self) -> None:
        """Close the open telegram."""
        if self._head is None:
            return
        data = encrypted(self._header, self._data, self._key) if self._key else self._data
        body = self._head + self._header + data
        self.done += bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])
        self._head, self._header, self._data = None, b"", b""


def make(text: str) -> bytes:
    """The octets that a text describes; raises ValueError naming the line that it cannot read."""
    writer = Writer()
    for number, line in enumerate(text.splitlines(), 1):
        content = line.split("#")[0].strip()
        try:
            if content:
                writer.line(content.split(), content)
        except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(f"line {number}: {line.strip()!r}: {error}") from None
    writer.end()
    return writer.done


def main() -> int:
    """Read the text, write the frame."""
    parser = argparse.ArgumentParser(description="Turn M-Bus telegrams typed as text into a frame file.")
    parser.add_argument("text", type=Path, help="a text, see tests/profiles/mbus")
    parser.add_argument("frame", type=Path, help="the frame file to write")
    args = parser.parse_args()
    try:
        args.frame.write_bytes(make(args.text.read_text()))
    except ValueError as error:
        print(f"{args.text}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
