"""Link p1: cuts telegrams (IEC 62056-21 mode D, DSMR P1 companion standard 5.0.2 clause 6.2) from a stream.

A telegram begins with `/` and a FLAG manufacturer code, ends with `!` and, from DSMR 4 on, four hexadecimal digits:
CRC-16/ARC over everything from `/` to `!`. Real lines differ: the digits may be unpadded or absent (DSMR 2.2 and 3),
`!` may follow the last value on its line (Aidon), and a torn telegram may run into the next one in the middle of a
line.

Data blocks that begin alike belong to link iec62056-21, see `identification`.

So a telegram is whatever stands between a start and the next end; when its CRC is wrong, it is tried from the later
starts inside it, because the first may have lost its end. Every decision depends on the stream alone, never on how it
was cut into pieces, and each octet is searched once.
"""

import re

from fastcrc.crc16 import arc

from decoders.buffer import Buffer
from decoders.errors import LinkError
from decoders.links.identification import DATA_BLOCK, IDENTIFICATION
from decoders.model import Frame

#: no telegram of any meter comes near: the longest known, of Sanxing meters in Hungary, has about 3,500 octets
LIMIT = 16_384
#: starts inside a damaged telegram that are tried, the latest first
RETRIES = 16
#: octets that a start can have, and that an end can have before its line end
_HEAD = 80
_END_LENGTH = 8

_START = re.compile(IDENTIFICATION)
#: what follows is ciphered, see link p1-sealed: no telegram, though its CRC is right and `!` may stand anywhere in it
_SEALED = re.compile(IDENTIFICATION + rb"\r?\n\x00")
_END = re.compile(
    rb"(?<=[\n)])!(?:([0-9A-Fa-f]{4})|([0-9A-Fa-f]{1,3})[ \t]{0,4}(?=[\r\n])|[ \t]{0,4}(?:(?=\r\n)|(?=(\n))))"
)
_END_OF_INPUT = re.compile(rb"(?<=[\n)])!([0-9A-Fa-f]{4})?([0-9A-Fa-f]{0,3})\r?\Z")


class P1Link:
    """Cuts P1 telegrams from a stream; a frame or a LinkError for each, nothing while more octets are needed."""

    def __init__(self) -> None:
        self._buffer = Buffer()
        self._aligned = False

    @property
    def noise(self) -> int:
        """Octets outside every telegram so far."""
        return self._buffer.noise

    @property
    def pending(self) -> int:
        """Octets of a telegram that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | LinkError]:
        """Take the next octets of the stream and give every telegram that they complete."""
        buffer = self._buffer
        buffer.data += data
        results: list[Frame | LinkError] = []
        while buffer.data and self._align():
            end = self._end()
            if end:
                results += self._telegram(end)
            elif len(buffer) >= LIMIT:
                results.append(LinkError("oversized", LIMIT))
                buffer.searched = LIMIT
                self._drop(1)
            else:
                buffer.searched = len(buffer)
                break
        return results

    def close(self) -> list[Frame | LinkError]:
        """End of input: a telegram whose end is there counts although no line end follows; the rest is cut off."""
        buffer, results = self._buffer, list[Frame | LinkError]()
        end = _END_OF_INPUT.search(buffer.data) if self._aligned else None
        if end:
            results += self._telegram(end)
        elif self._aligned:
            results.append(LinkError("truncated", len(buffer)))
        self._drop(len(buffer))
        return results

    def expire(self) -> list[Frame | LinkError]:
        """The line was silent: a telegram has no time-out of its own, its end or the next start tells."""
        return []

    def _align(self) -> bool:
        """Skip to the next octet that begins a telegram; False when more octets are needed to tell."""
        buffer = self._buffer
        while not self._aligned and buffer.data:
            start = buffer.data.find(b"/")
            if start:
                buffer.skip(len(buffer) if start < 0 else start)
            self._aligned = _START.match(buffer.data) is not None
            if not self._aligned:
                if len(buffer) < _HEAD and b"\n" not in buffer.data:
                    break
                buffer.skip(1)
        return self._aligned

    def _end(self) -> re.Match[bytes] | None:
        """The first end of a telegram among the octets that were not searched yet."""
        data = self._buffer.data
        mark = data.find(b"!", max(0, self._buffer.searched - _END_LENGTH), LIMIT)
        while mark >= 0:
            end = _END.match(data, mark, LIMIT)
            # a digit that was damaged into LF must not make a telegram without digits of one that has them: such an end
            # is believed only where no line ends in CR LF
            if end and not (end[3] and b"\r" in data[:mark]):
                return end
            mark = data.find(b"!", mark + 1, LIMIT)
        return None

    def _telegram(self, end: re.Match[bytes]) -> list[Frame | LinkError]:
        """Judge the telegram from the start of the buffer to `end`, and drop it."""
        mark, length, digits = end.start(), end.end(), end[1] or end[2] or b""
        body = bytes(self._buffer.data[: mark + 1])
        self._buffer.cut(length)
        self._aligned = False
        start = _first_good_start(body, digits)
        if start is None:
            return [LinkError("checksum", length)]
        if not digits and DATA_BLOCK.match(body, start):
            return [LinkError("header", length)]
        frame = Frame(body[start:mark], "ok" if digits else "absent", length - start)
        return [LinkError("truncated", start), frame] if start else [frame]

    def _drop(self, n: int) -> None:
        self._buffer.skip(n)
        self._aligned = False


def _first_good_start(body: bytes, digits: bytes) -> int | None:
    """Where the telegram in `body` begins: at its first octet, or later where a torn one ran into it."""
    sealed = _SEALED.match(body) is not None
    if digits and not sealed and checksum_matches(body, digits):
        return 0
    later = [match.start() for match in _START.finditer(body, 1) if not _SEALED.match(body, match.start())][-RETRIES:]
    if not digits:
        return None if sealed else later[-1] if later else 0
    return next((start for start in reversed(later) if checksum_matches(body[start:], digits)), None)


def checksum_matches(body: bytes, digits: bytes) -> bool:
    """Compare CRC-16/ARC over `/` to `!`. A capture that lost its carriage returns is judged with them restored."""
    expected = int(digits, 16)
    if arc(body) == expected:
        return True
    return b"\r" not in body and arc(body.replace(b"\n", b"\r\n")) == expected


def inner_frame(text: bytes, size: int, *, vouched: bool) -> Frame:
    """The frame of a telegram that came inside an APDU of `size` octets; raises LinkError.

    A tag that was verified vouches for the text: some meters send a wrong CRC inside. Without it, the CRC must fit.
    """
    mark = text.rfind(b"!")
    if mark < 0 or not _START.match(text):
        raise LinkError("truncated", size)
    digits = text[mark + 1 :].strip()
    right = 1 <= len(digits) <= 4 and not digits.strip(b"0123456789ABCDEFabcdef")
    if not vouched and not (right and checksum_matches(text[: mark + 1], digits)):
        raise LinkError("checksum", size)
    return Frame(text[:mark], "ok", size)
