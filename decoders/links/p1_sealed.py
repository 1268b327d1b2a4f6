"""Link p1-sealed: P1 telegrams whose body is one ciphered block between a plain identification and a plain end.

Stoen Operator (Poland) sends them on the P1 port:

    / identification CR LF | CR LF | 00 | 82, length (2) | security control, counter (4), ciphertext, tag (12) | ! | CRC

The block is general-glo-ciphering (DLMS UA 1000-2 clause 9.2.7) without its tag DB, with an empty system title. Its
own length ends it: the ciphertext may hold `!` and line ends. The four hexadecimal digits are CRC-16/ARC over
everything from `/` to `!`, the ciphertext included (DSMR P1 companion standard 5.0.2 clause 6.2).
"""

import re

from fastcrc.crc16 import arc

from decoders.errors import LinkError
from decoders.links.framing import APDU_LIMIT, FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.links.identification import IDENTIFICATION
from decoders.model import Frame

#: identification with its empty line, then the empty title, then the length of what follows
_HEAD = re.compile(b"(" + IDENTIFICATION + rb"\r?\n)\x00\x82(..)", re.DOTALL)
#: the octets so far may become a head
_BEGUN = re.compile(
    rb"/(?:[A-Za-z]{0,2}|[A-Za-z]{3}[^\r\n\x00/!]{0,72}(?:\r?|\r?\n\r?|\r?\n\r?\n(?:\x00(?:\x82.?)?)?))\Z", re.DOTALL
)
_END = re.compile(rb"!([0-9A-Fa-f]{4})")
_END_LENGTH = 5
_GENERAL_GLO = b"\xdb"


class P1SealedLink(FramedLink):
    """Cuts such telegrams; gives the block as general-glo-ciphering, and the lines before it as the frame's head."""

    START = re.compile(rb"/")
    LEAD = 12
    GAP = b"\r\n"

    def _judge(self, data: bytearray) -> Verdict:
        """Judge the head, then wait for the block, which the CRC behind it proves."""
        head = _HEAD.match(data)
        if head is None:
            return MORE if _BEGUN.match(data) else FALSE_START
        length = int.from_bytes(head[2], "big")
        if length > APDU_LIMIT:
            return LinkError("oversized", length)
        mark = head.end() + length
        if len(data) < mark + _END_LENGTH:
            return MORE
        end = _END.match(data, mark)
        if end and arc(bytes(data[: mark + 1])) == int(end[1], 16):
            return end.end()
        # the octets that a torn telegram lacks are the beginning of the next one
        torn = _HEAD.search(data, 1, mark)
        return LinkError("truncated", torn.start()) if torn else LinkError("checksum", mark + _END_LENGTH)

    def _accept(self, frame: bytes) -> list[Outcome]:
        head = _HEAD.match(frame)
        assert head is not None  # noqa: S101  # `_judge` has found it
        return [Frame(_GENERAL_GLO + frame[head.end(1) : -_END_LENGTH], "ok", len(frame), head[1])]
