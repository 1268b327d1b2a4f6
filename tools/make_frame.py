#!/usr/bin/env python3
"""Turn a telegram typed as text into a frame file: CR LF line ends and a fresh checksum after `!`.

For constructed frames of profiles (docs/profiles.md): another serial number, other values and another time in the
structure of a real telegram. The checksum is CRC-16/ARC over `/` to `!` (DSMR P1 companion standard 5.0.2, clause 6.2).
"""

import argparse
import sys
from pathlib import Path


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0x8005 reflected, start 0, no final XOR."""
    crc = 0
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def frame(text: bytes, *, checksum: bool = True) -> bytes:
    """The octets on the wire of one telegram; what follows its last `!` is replaced."""
    lines = b"\r\n".join(text.replace(b"\r\n", b"\n").split(b"\n"))
    end = lines.rindex(b"!") + 1
    body = lines[:end]
    return body + (f"{crc16_arc(body):04X}".encode() if checksum else b"") + b"\r\n"


def main() -> int:
    """Read the text, write the frame."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="telegram as text, from / to !")
    parser.add_argument("frame", type=Path, help="frame file to write")
    parser.add_argument("--no-checksum", action="store_true", help="the meter sends none (DSMR 2.2 and 3)")
    args = parser.parse_args()
    args.frame.write_bytes(frame(args.source.read_bytes(), checksum=not args.no_checksum))
    return 0


if __name__ == "__main__":
    sys.exit(main())
