"""Link sml: files of SML messages in transport protocol version 1 (SML 1.03, clause 8; BSI TR-03109-1, annex IV).

    1B1B1B1B 01010101 | messages | 00 to fill up to 4 octets | 1B1B1B1B 1A, fill octets, CRC (2)

1B1B1B1B among the messages is sent twice. The CRC covers everything before it. It is CRC-16/X-25 with the low octet
first, or, from some Holley meters, CRC-16/KERMIT with the high octet first; which of the two goes with the frame, and
the messages inside must have the same.

Captures and converters sometimes hold the messages without the transport. They are taken where a file is expected,
from an open to a close response, if the checksum of each message fits and no escape sequence stands in them or behind
them: inside a damaged transport frame there is no whole file.
"""

import re

from decoders.errors import GrammarError, LinkError
from decoders.links.framing import FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.model import Frame
from decoders.sml_message import (
    CLOSE_RESPONSE,
    END,
    KERMIT,
    MESSAGE,
    OPEN_RESPONSE,
    X25,
    checksums,
    closing,
    opening,
    skip,
)

#: no meter sends more than about 1,000 octets; a push of a load profile has several thousand
LIMIT = 16_384
#: the same for messages without transport, which are walked as they come
BARE_LIMIT = 4_096

_ESCAPE = b"\x1b\x1b\x1b\x1b"
_VERSION_1 = b"\x01\x01\x01\x01"
_END = 0x1A
#: octets of start and end sequence
_START_SIZE, _END_SIZE = 8, 8
_CHECK = 2
#: octets that tell a message without transport from a chance: up to its tag
_BARE_LEAD = 16
#: octets that fill up to a multiple of four
_FILL = 3


class SmlLink(FramedLink):
    """Cuts SML files from a stream."""

    START = re.compile(rb"\x1b(?:\x1b{3}(?:\x01{4}|\x01{0,3}\Z)|\x1b{0,2}\Z)|\x76")
    LEAD = _START_SIZE

    def __init__(self) -> None:
        super().__init__()
        #: checksums that fit the frame that was judged last
        self._variant = 0

    def _judge(self, data: bytearray) -> Verdict:
        if data[0] == MESSAGE:
            return self._bare(data, final=False) if self._buffer.in_step else FALSE_START
        at = self._escape(data)
        if at < 0:
            return MORE if len(data) < LIMIT else LinkError("oversized", LIMIT)
        if data[at + 4] == _END:
            return self._whole(data, at)
        begins = data.startswith(_VERSION_1, at + 4)
        return LinkError("truncated" if begins else "checksum", at)

    def _escape(self, data: bytearray) -> int:
        """Where the first escape sequence stands that is no data; -1 while it is not there whole."""
        at = max(_START_SIZE, self._buffer.searched)
        while (found := data.find(_ESCAPE, at)) >= 0 and data.startswith(_ESCAPE, found + 4):
            at = found + 8
        whole = 0 <= found <= len(data) - _END_SIZE
        self._buffer.searched = found if found >= 0 else max(at, len(data) - 3)
        return found if whole else -1

    def _whole(self, data: bytearray, at: int) -> Verdict:
        """Judge a frame from its start to its end sequence at `at`."""
        end, fill = at + _END_SIZE, data[at + 5]
        self._variant = checksums(bytes(data[: end - _CHECK]), data[end - _CHECK : end])
        if not self._variant:
            return LinkError("checksum", end)
        return end if fill <= min(_FILL, at - _START_SIZE) else LinkError("header", end)

    def _accept(self, frame: bytes) -> list[Outcome]:
        payload = frame
        if frame[0] != MESSAGE:
            payload = frame[_START_SIZE : -_END_SIZE - frame[-3]].replace(_ESCAPE + _ESCAPE, _ESCAPE)
        return [Frame(payload, "ok", len(frame), variant=self._variant)]

    def _at_end(self, data: bytearray) -> Verdict:
        if data[0] != MESSAGE or not self._buffer.in_step:
            return super()._at_end(data)
        bare = self._bare(data, final=True)
        if bare == MORE:
            return LinkError("truncated", len(data)) if len(data) >= _BARE_LEAD else FALSE_START
        return bare

    def _bare(self, data: bytearray, *, final: bool) -> Verdict:
        """Judge messages without transport: their length where they are whole and nothing speaks against it."""
        if len(data) < self._buffer.searched and not final:
            return MORE
        try:
            end, self._variant = _messages(data)
        except GrammarError:
            return FALSE_START
        behind = data[end : end + _FILL + 1].lstrip(bytes([END]))
        if end > BARE_LIMIT or _ESCAPE in data[: end + _FILL + 4] or behind[:1] not in (b"", bytes([MESSAGE])):
            return FALSE_START
        if end > len(data):
            self._buffer.searched = end
            return MORE
        if not self._variant:
            return LinkError("checksum", end)
        return end if behind or final else MORE


def _messages(data: bytearray) -> tuple[int, int]:
    """Where the file ends, and the checksums that fit all of its messages; the least it needs where it is not whole.

    Raises GrammarError.
    """
    pos, variant, tag = 0, X25 | KERMIT, 0
    try:
        while tag != CLOSE_RESPONSE:
            start = pos
            tag, body = opening(data, pos)
            if not start and tag != OPEN_RESPONSE:
                raise GrammarError("type")
            pos = skip(data, body)
            pos, variant = closing(data, start, pos, variant)
    except IndexError:
        return max(pos, len(data)) + 1, variant
    return pos, variant
