#!/usr/bin/env python3
"""Turn a DLMS push typed as text into a frame file: A-XDR, data-notification, link with checksums.

For constructed frames of profiles (docs/profiles.md). One value a line, in order; `structure` and `array` say how many
values follow. The texts of the shipped frames are in tests/profiles/pushes. A-XDR: IEC 62056-6-2, clause 4.1.5;
data-notification: IEC 62056-5-3; HDLC: IEC 62056-46; M-Bus: IEC 62056-7-3; wrapper: IEC 62056-47.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

#: words of integer types -> tag and octets
INTEGERS = {
    "bool": (3, 1), "i32": (5, 4), "u32": (6, 4), "i8": (15, 1), "i16": (16, 2), "u8": (17, 1), "u16": (18, 2),
    "i64": (20, 8), "u64": (21, 8), "enum": (22, 1),
}  # fmt: skip
UNITS = {"W": 27, "VA": 28, "var": 29, "Wh": 30, "varh": 32, "A": 33, "V": 35, "Hz": 44, "1": 255}
LLC = bytes.fromhex("E6E700")


def length(n: int) -> bytes:
    """A length in as few octets as it takes."""
    return bytes([n]) if n < 0x80 else bytes([0x81, n]) if n < 0x100 else b"\x82" + n.to_bytes(2, "big")


def obis(code: str) -> bytes:
    """Six octets of `A-B:C.D.E`, F = 255."""
    return bytes(int(group) for group in code.replace("-", ".").replace(":", ".").split(".")) + b"\xff"


def date_time(when: str, deviation: str, status: str, hundredths: str = "ff") -> bytes:
    """Twelve octets; deviation in minutes, or `none`."""
    t = datetime.fromisoformat(when)
    minutes = -0x8000 if deviation == "none" else int(deviation)
    head = t.year.to_bytes(2, "big") + bytes([t.month, t.day, t.isoweekday(), t.hour, t.minute, t.second])
    return head + bytes.fromhex(hundredths) + minutes.to_bytes(2, "big", signed=True) + bytes.fromhex(status)


def octets(data: bytes, tag: int = 9) -> bytes:
    """A string of octets with its tag."""
    return bytes([tag]) + length(len(data)) + data


def integer(word: str, value: str) -> bytes:
    """An integer with its tag."""
    tag, size = INTEGERS[word]
    return bytes([tag]) + int(value).to_bytes(size, "big", signed=word.startswith("i"))


def unit(scaler: str, name: str) -> bytes:
    """Scaler and unit as meters send them."""
    return b"\x02\x02" + integer("i8", scaler) + bytes([22, UNITS[name]])


def descriptor(class_: str, code: str, attribute: str, *index: str) -> bytes:
    """One entry of a push object list."""
    parts = [integer("u16", class_), octets(obis(code)), integer("i8", attribute), *(integer("u16", i) for i in index)]
    return bytes([2, len(parts)]) + b"".join(parts)


#: what a word adds to the APDU
WORDS: dict[str, Callable[..., bytes]] = {
    "invoke": lambda value: b"\x0f" + bytes.fromhex(value),
    "header": lambda *time: octets(date_time(*time) if time[0] != "none" else b"")[1:],
    "tagged-header": lambda *time: octets(date_time(*time)),
    "structure": lambda n: b"\x02" + length(int(n)),
    "array": lambda n: b"\x01" + length(int(n)),
    "null": lambda: b"\x00",
    "obis": lambda code: octets(obis(code)),
    "octets": lambda value="": octets(bytes.fromhex(value)),
    "ascii": lambda value: octets(value.encode()),
    "visible": lambda value: octets(value.encode(), 10),
    "time": lambda *time: octets(date_time(*time)),
    "unit": unit,
    "descriptor": descriptor,
    "bare-descriptor": lambda class_, code, n: int(class_).to_bytes(2, "big") + obis(code) + bytes([int(n)]),
    **{word: (lambda value, word=word: integer(word, value)) for word in INTEGERS},
}


def crc16_x25(data: bytes) -> bytes:
    """CRC-16/X-25 as HDLC sends it, low octet first."""
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def parts(data: bytes, size: int) -> list[bytes]:
    """Cut into parts of at most `size` octets."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def hdlc(apdu: bytes, destination: str, source: str, control: str, size: str = "2030") -> bytes:
    """UI frames with the LLC header in the first, `size` octets of information in each."""
    frames, segments = b"", parts(LLC + apdu, int(size))
    address = bytes.fromhex(destination + source + control)
    for number, segment in enumerate(segments, 1):
        more = 0 if number == len(segments) else 0x0800
        head = (0xA000 | more | (2 + len(address) + 2 + len(segment) + 2)).to_bytes(2, "big") + address
        body = head + crc16_x25(head) + segment
        frames += b"\x7e" + body + crc16_x25(body) + b"\x7e"
    return frames


def mbus(apdu: bytes) -> bytes:
    """Long frames of at most 250 octets of user data, numbered; the last has FIN."""
    frames, segments = b"", parts(apdu, 245)
    for number, segment in enumerate(segments):
        last = 0x10 if number == len(segments) - 1 else 0
        body = bytes([0x53, 0xFF, last | number, 0x01, 0x67]) + segment
        frames += bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])
    return frames


def wrapper(apdu: bytes) -> bytes:
    """Version 1, both ports 1, length."""
    return bytes.fromhex("000100010001") + len(apdu).to_bytes(2, "big") + apdu


LINKS: dict[str, Callable[..., bytes]] = {"hdlc": hdlc, "mbus": mbus, "wrapper": wrapper, "bare": bytes}


def push(lines: Iterable[str]) -> bytes:
    """The octets on the wire; a text may hold several pushes, each begins with its link."""
    link, arguments, apdu, made = "", [""], b"", b""
    for line in (line.partition("#")[0].split() for line in lines):
        if line[:1] == ["link"]:
            made += LINKS[link](apdu, *arguments) if link else b""
            link, arguments, apdu = line[1], line[2:], b""
        elif line:
            apdu += WORDS[line[0]](*line[1:])
    return made + LINKS[link](apdu, *arguments)


def main() -> int:
    """Read the text, write the frame."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="push as text, from its link on")
    parser.add_argument("frame", type=Path, help="frame file to write")
    args = parser.parse_args()
    args.frame.write_bytes(push(args.source.read_text(encoding="utf-8").splitlines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
