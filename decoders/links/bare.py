"""Link bare: APDUs without a link, in a row on a P1 port (Luxembourg, Austria) or from a file, with LLC or without.

A ciphered APDU and a block of a block transfer say their own length. A data-notification does not: it lasts to the
next beginning, to silence or to the end of input.

There is no delimiter and no checksum. Where the stream was lost, an APDU begins only where enough of its head is
possible:

    LLC (E6 E7 00, E6 E6 00) and a tag
    DB or DC | 08 | system title | length | security control of suite 0 to 2
    0F | long-invoke-id-and-priority | no date-time and an array or structure, or a date-time from 1792 to 2303

In step with the stream, less is asked, so that what is odd is named behind the link.
"""

import re

from decoders.errors import LinkError
from decoders.links.apdus import CIPHERED, LLC, TAGS, delimited, length_of, strip_llc
from decoders.links.framing import APDU_LIMIT, FALSE_START, MORE, Verdict
from decoders.links.unchecked import UncheckedLink

_LLC = rb"\xe6[\xe6\xe7]\x00"
_LENGTH = rb"(?:[\x05-\x7f]|\x81.|\x82[\x00-\x10].)"
_SUITE = b"[" + b"".join(b"\\x%x0-\\x%x2" % (high, high) for high in range(16)) + b"]"
_BEGINNING = re.compile(
    _LLC + b"[" + re.escape(TAGS) + b"]"
    rb"|[\xdb\xdc]\x08.{8}" + _LENGTH + _SUITE +
    rb"|\x0f.{4}(?:\x00[\x01\x02]|\x09?\x0c[\x07\x08])",
    re.DOTALL,
)  # fmt: skip
_IN_STEP = re.compile(
    _LLC + b"[" + re.escape(TAGS) + rb"]|[\xdb-\xdd\xdf][\x00\x08]|\x0f.{4}[\x00\x09\x0c]|\xe0.\x00.\x00.", re.DOTALL
)
#: octets that the longest beginning has
_LONGEST = 14
#: octets of tag, title length and system title
_TITLED = 10


class BareLink(UncheckedLink):
    """Cuts APDUs from a stream that has nothing else."""

    START = re.compile(rb"[\xe6" + re.escape(TAGS) + rb"]")
    LEAD = _TITLED

    def _length(self, data: bytearray) -> Verdict:
        beginning = _IN_STEP if self._buffer.in_step else _BEGINNING
        if not beginning.match(data):
            return FALSE_START if len(data) >= _LONGEST else MORE
        tag_at = _tag_at(data)
        if not delimited(data[tag_at]):
            return self._next_beginning(data)
        return self._torn_head(data, tag_at) or length_of(data, tag_at)

    def _torn_head(self, data: bytearray, tag_at: int) -> Verdict:
        """What is wrong where another APDU begins inside a tag and system title, 0 where all is well."""
        if not _titled(data, tag_at):
            return 0
        torn = _BEGINNING.search(data, tag_at + 1, tag_at + _TITLED + _LONGEST)
        if torn and torn.start() < tag_at + _TITLED:
            return LinkError("truncated", torn.start())
        return MORE if len(data) < tag_at + _TITLED + _LONGEST else 0

    def _next_beginning(self, data: bytearray) -> Verdict:
        """Where an APDU ends that does not say so."""
        limit = APDU_LIMIT + _LONGEST
        following = _BEGINNING.search(data, max(_tag_at(data) + 1, self._buffer.searched - _LONGEST), limit)
        if following and following.start() + _LONGEST <= len(data):
            return following.start()
        self._buffer.searched = following.start() if following else len(data)
        return MORE if len(data) < limit else LinkError("oversized", APDU_LIMIT)

    def _at_end(self, data: bytearray) -> Verdict:
        if not (_IN_STEP if self._buffer.in_step else _BEGINNING).match(data):
            return super()._at_end(data)
        tag_at = _tag_at(data)
        end = length_of(data, tag_at) if delimited(data[tag_at]) else len(data)
        return end if isinstance(end, int) and 0 < end <= len(data) else super()._at_end(data)

    def _head_of(self, data: bytes | bytearray) -> bytes:
        return bytes(data[:_TITLED]) if _titled(data, _tag_at(data)) else b""

    def _payload(self, frame: bytes) -> bytes:
        return strip_llc(frame)


def _tag_at(data: bytes | bytearray) -> int:
    """Where the tag stands: at once, or behind the LLC header."""
    return len(LLC[0]) if data[0] == LLC[0][0] else 0


def _titled(data: bytes | bytearray, tag_at: int) -> bool:
    """Whether a system title follows the tag."""
    return data[tag_at] in CIPHERED and any(data[tag_at + 1 : tag_at + 2])
