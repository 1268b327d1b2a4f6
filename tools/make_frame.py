#!/usr/bin/env python3
"""Turn a telegram typed as text into a frame file: CR LF line ends and a fresh checksum after `!`.

For constructed frames of profiles (docs/profiles.md): another serial number, other values and another time in the
structure of a real telegram. The checksum is CRC-16/ARC over `/` to `!` (DSMR P1 companion standard 5.0.2, clause 6.2).
`--seal` ciphers the lines behind the identification with test keys, as link p1-sealed expects them. `--bcc` makes a
data block of IEC 62056-21:2002 (clause 5.8): first line, STX, the rest, ETX and BCC. `--teleinfo` makes a frame
of Enedis-NOI-CPT_54E: a line for each group, label and value with HT between them (standard) or a blank (historique).
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


def data_block(text: bytes) -> bytes:
    """A block behind STX, with its BCC."""
    head, rest = frame(text, checksum=False).split(b"\r\n", 1)
    covered, bcc = rest + b"\x03", 0
    for octet in covered:
        bcc ^= octet
    return head + b"\r\n\x02" + covered + bytes([bcc])


def teleinfo(text: bytes) -> bytes:
    """A frame of groups, each with its checksum: over label to value, with HT also over the HT behind them."""
    groups = b""
    for line in text.splitlines():
        separator = b"\t" if b"\t" in line else b" "
        covered = line + separator if separator == b"\t" else line
        groups += b"\n" + line + separator + bytes([(sum(covered) & 0x3F) + 0x20]) + b"\r"
    return b"\x02" + groups + b"\x03"


def seal(telegram: bytes, encryption: bytes, authentication: bytes, counter: int) -> bytes:
    """The telegram with everything behind its empty line in one block of AES-128-GCM, system title zero."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, lines = telegram.split(b"\r\n\r\n", 1)
    control, count = b"\x30", counter.to_bytes(4, "big")
    block = control + count + AESGCM(encryption).encrypt(bytes(8) + count, lines, control + authentication)[:-4]
    body = head + b"\r\n\r\n\x00\x82" + len(block).to_bytes(2, "big") + block + b"!"
    return body + f"{crc16_arc(body):04X}\r\n".encode()


def main() -> int:
    """Read the text, write the frame."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="telegram as text, from / to !")
    parser.add_argument("frame", type=Path, help="frame file to write")
    parser.add_argument("--no-checksum", action="store_true", help="the meter sends none (DSMR 2.2 and 3)")
    parser.add_argument("--seal", nargs=3, metavar=("EK", "AK", "COUNTER"), help="test keys in hexadecimal, a number")
    parser.add_argument("--bcc", action="store_true", help="a data block behind STX, with BCC")
    parser.add_argument("--teleinfo", action="store_true", help="a frame of French meters; the text has its groups")
    args = parser.parse_args()
    source = args.source.read_bytes()
    if args.teleinfo or args.bcc:
        args.frame.write_bytes(teleinfo(source) if args.teleinfo else data_block(source))
        return 0
    made = frame(source, checksum=not args.no_checksum)
    if args.seal:
        encryption, authentication, counter = args.seal
        made = seal(made, bytes.fromhex(encryption), bytes.fromhex(authentication), int(counter))
    args.frame.write_bytes(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
