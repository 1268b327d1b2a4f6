"""Link p1: cuts telegrams (IEC 62056-21 mode D, DSMR P1 companion standard 5.0.2 clause 6.2) from a stream.

A telegram begins with `/` and a FLAG manufacturer code, ends with `!` and, from DSMR 4 on, four hexadecimal digits:
CRC-16/ARC over everything from `/` to `!`. Real lines differ: the digits may be unpadded or absent (DSMR 2.2 and 3),
`!` may follow the last value on its line (Aidon), and a torn telegram may run into the next one in the middle of a
line.

So a telegram is whatever stands between a start and the next end; when its CRC is wrong, it is tried from the later
starts inside it, because the first may have lost its end. Every decision depends on the stream alone, never on how it
was cut into pieces, and each octet is searched once.
"""

import re
from collections.abc import Iterator

from fastcrc.crc16 import arc

from decoders.buffer import Buffer
from decoders.errors import LinkError
from decoders.model import Frame

#: no telegram of any meter comes near: the longest known, of Sanxing meters in Hungary, has about 3,500 octets
LIMIT = 16_384
#: starts inside a damaged telegram that are tried, the latest first
RETRIES = 16
_HEAD = 80

_START = re.compile(rb"/[A-Za-z]{3}[^\r\n\x00-\x08\x0e-\x1f/!]{0,72}\r?\n")
_END = re.compile(rb"(?<=[\n)])!(?:([0-9A-Fa-f]{4})|([0-9A-Fa-f]{0,3})[ \t]{0,4}(?=[\r\n]))")
_END_OF_INPUT = re.compile(rb"(?<=[\n)])!([0-9A-Fa-f]{0,3})\Z")


class P1Link:
    """Cuts P1 telegrams from a stream; a frame or a LinkError for each, nothing while more octets are needed."""

    def __init__(self) -> None:
        self._buffer = Buffer()

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
        self._buffer.data += data
        return list(self._results())

    def close(self) -> list[Frame | LinkError]:
        """End of input: a telegram whose end is there counts although no line end follows; the rest is cut off."""
        results = list(self._results())
        buffer = self._buffer
        if not buffer.data:
            return results
        end = _END_OF_INPUT.search(buffer.data)
        if end:
            results += self._telegram(end.end(), end[1])
        elif buffer.data.startswith(b"/"):
            results.append(LinkError("truncated", len(buffer)))
        buffer.skip(len(buffer))
        return results

    def _results(self) -> Iterator[Frame | LinkError]:
        buffer = self._buffer
        while self._align():
            end = _END.search(buffer.data, max(0, buffer.searched - 8), LIMIT)
            if end:
                yield from self._telegram(end.end(), end[1] or end[2])
            elif len(buffer) >= LIMIT:
                yield LinkError("oversized", LIMIT)
                buffer.skip(1)
            else:
                buffer.searched = len(buffer)
                return

    def _align(self) -> bool:
        """Skip to the next octet that can begin a telegram; False when more octets are needed to tell."""
        buffer = self._buffer
        while True:
            start = buffer.data.find(b"/")
            buffer.skip(len(buffer) if start < 0 else start)
            if not buffer.data:
                return False
            if buffer.searched or _START.match(buffer.data):
                return True
            if len(buffer) < _HEAD and b"\n" not in buffer.data[:_HEAD]:
                return False
            buffer.skip(1)

    def _telegram(self, length: int, digits: bytes) -> Iterator[Frame | LinkError]:
        """Judge the telegram in the first octets of the buffer, and drop it."""
        data = self._buffer.cut(length)
        start = _first_good_start(data, digits)
        if start:
            yield LinkError("truncated", start)
        if start is None:
            yield LinkError("checksum", length)
        else:
            end = data.rindex(b"!")
            yield Frame(data[start:end], "ok" if digits else "absent", length - start)


def _first_good_start(data: bytes, digits: bytes) -> int | None:
    """Where the telegram that ends in `data` begins: at its first octet, or later where it ran into a torn one."""
    body = data[: data.rindex(b"!") + 1]
    if digits and checksum_matches(body, digits):
        return 0
    later = [match.start() for match in _START.finditer(body, 1)][-RETRIES:]
    if not digits:
        return later[-1] if later else 0
    return next((start for start in reversed(later) if checksum_matches(body[start:], digits)), None)


def checksum_matches(body: bytes, digits: bytes) -> bool:
    """Compare CRC-16/ARC over `/` to `!`. A capture that lost its carriage returns is judged with them restored."""
    expected = int(digits, 16)
    if arc(body) == expected:
        return True
    return b"\r" not in body and arc(body.replace(b"\n", b"\r\n")) == expected
