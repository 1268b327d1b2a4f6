#!/usr/bin/env python3
"""Turn an SML file typed as text into a frame file: type-length fields, checksums, escapes, transport version 1.

For constructed frames of profiles (docs/profiles.md); the texts of the shipped ones are in tests/profiles/sml. An
element is one word: `-` left out, `x:0a01` octets, `a:EMH` their text, `o:1-0:1.8.0*255` a code, `u32:30` and `i8:-1`
numbers, `b:1` a boolean, `[7` a list of the seven elements that follow. `message` and `end` stand around a message,
`transport` begins a file: `transport x25`, `transport kermit`, or `transport bare` for messages alone. `#` begins a
remark.

SML 1.03 (EMSYCON), clauses 5, 6 and 8; BSI TR-03109-1, annex IV.
"""

import argparse
import sys
from pathlib import Path

ESCAPE = bytes.fromhex("1b1b1b1b")
START = ESCAPE + bytes.fromhex("01010101")
OCTETS, BOOLEAN, SIGNED, UNSIGNED, LIST = 0x00, 0x40, 0x50, 0x60, 0x70


def crc16(data: bytes, start: int) -> int:
    """The polynomial of CCITT, reflected; X-25 starts with all ones, KERMIT with 0."""
    crc = start
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return crc


def checksum(data: bytes, kind: str) -> bytes:
    """X-25, inverted and low octet first; KERMIT high octet first."""
    if kind == "kermit":
        return crc16(data, 0).to_bytes(2, "big")
    return (crc16(data, 0xFFFF) ^ 0xFFFF).to_bytes(2, "little")


def head(kind: int, length: int) -> bytes:
    """A type-length field; `length` counts elements of a list, and without the field itself octets of all others."""
    for size in (1, 2, 3, 4):
        total = length if kind == LIST else length + size
        if total < 1 << 4 * size:
            nibbles = [total >> 4 * place & 0x0F for place in reversed(range(size))]
            nibbles[0] |= kind
            return bytes(0x80 | nibble for nibble in nibbles[:-1]) + bytes(nibbles[-1:])
    raise ValueError(f"{length} is too long")


def obis(code: str) -> bytes:
    """Six octets of `A-B:C.D.E*F`."""
    groups = code.replace("-", ".").replace(":", ".").replace("*", ".").split(".")
    return bytes(int(group) for group in [*groups, "255"][:6])


def element(word: str) -> bytes:
    """One element, or the head of a list."""
    if word == "-":
        return b"\x01"
    if word[0] == "[":
        return head(LIST, int(word[1:]))
    kind, _, value = word.partition(":")
    if kind in ("x", "a", "o"):
        octets = {"x": bytes.fromhex, "a": str.encode, "o": obis}[kind](value)
        return head(OCTETS, len(octets)) + octets
    if kind == "b":
        return head(BOOLEAN, 1) + bytes([int(value)])
    size, signed = int(kind[1:]) // 8, kind[0] == "i"
    return head(SIGNED if signed else UNSIGNED, size) + int(value, 0).to_bytes(size, "big", signed=signed)


def transport(messages: bytes, kind: str) -> bytes:
    """A file on the wire."""
    if kind == "bare":
        return messages
    fill = -len(messages) % 4
    body = START + messages.replace(ESCAPE, ESCAPE + ESCAPE) + bytes(fill) + ESCAPE + bytes([0x1A, fill])
    return body + checksum(body, kind)


def files(text: str) -> bytes:
    """The octets on the wire of all files of a text, one behind the other."""
    made, messages, message, kind = b"", b"", b"", ""
    words = " ".join(line.partition("#")[0] for line in text.splitlines()).split()
    for word in words:
        if word == "transport":
            made, messages, kind = made + (transport(messages, kind) if kind else b""), b"", ""
        elif not kind:
            kind = word
        elif word == "message":
            message = head(LIST, 6)
        elif word == "end":
            messages += message + head(UNSIGNED, 2) + checksum(message, kind) + b"\x00"
        else:
            message += element(word)
    return made + transport(messages, kind)


def main() -> int:
    """Read the text, write the frame."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="file as text, from its transport on")
    parser.add_argument("frame", type=Path, help="frame file to write")
    args = parser.parse_args()
    args.frame.write_bytes(files(args.source.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
