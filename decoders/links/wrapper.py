"""Link wrapper: the wrapper of IEC 62056-47 (clause 4.3.2) over TCP, a stream, or UDP, datagrams in a row.

    version 0001 | source wPort | destination wPort | length | APDU

There is no checksum. Where the stream was lost, a header counts as one only if its version, its length and the tag of
the APDU behind it are possible.
"""

import re

from decoders.links.apdus import TAGS
from decoders.links.framing import APDU_LIMIT, FALSE_START, MORE, Verdict
from decoders.links.unchecked import UncheckedLink

#: octets of version and wPorts, and of the header
_PORTS, _HEADER = 6, 8


class WrapperLink(UncheckedLink):
    """Cuts APDUs from a stream of wrapped ones."""

    START = re.compile(rb"\x00(?:\x01|\Z)")
    LEAD = _HEADER + 1

    def _length(self, data: bytearray) -> Verdict:
        if len(data) <= _HEADER:
            return MORE
        length = int.from_bytes(data[_PORTS:_HEADER], "big")
        possible = 0 < length <= APDU_LIMIT and data[_HEADER] in TAGS
        return _HEADER + length if possible else FALSE_START

    def _head_of(self, data: bytes | bytearray) -> bytes:
        return bytes(data[:_PORTS])

    def _payload(self, frame: bytes) -> bytes:
        return frame[_HEADER:]
