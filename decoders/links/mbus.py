"""Link mbus: pushes in M-Bus long frames (EN 13757-2, IEC 62056-7-3), one segment of an APDU in each.

    68 | L | L | 68 | C | A | CI | STSAP | DTSAP | data | checksum | 16

L counts from C to the data, and the checksum is their sum. CI 00 to 1F is the transport layer of DLMS: bit 4 says that
this segment is the last one (FIN), bits 0 to 3 number it from 0. Segment 0 begins a new message, whatever was open.

The Sagemcom T210-D sends bodies of 257 octets and lets L wrap to 01. An L too small for the header that stands there
is taken modulo 256; checksum and 16 at the end prove it.
"""

import re

from decoders.errors import LinkError
from decoders.links.framing import FALSE_START, MORE, Outcome, Verdict
from decoders.links.segments import SegmentedLink

_START, _STOP = 0x68, 0x16
#: SND_UD, with frame count bit 0 and 1
_CONTROLS = b"\x53\x73"
_FIN, _NUMBER = 0x10, 0x0F
#: the largest CI of the transport layer of DLMS
_LARGEST_CI = 0x1F
#: octets before C, those from C to DTSAP, and those behind the body
_HEAD, _HEADER, _TAIL = 4, 5, 2
#: octets of the smallest body: C, A and CI
_SMALLEST_BODY = 3


class MbusLink(SegmentedLink):
    """Cuts M-Bus long frames from a stream and joins their segments."""

    START = re.compile(rb"\x68")
    LEAD = _HEAD + _SMALLEST_BODY
    #: acknowledgements
    GAP = b"\xe5"

    def _judge(self, data: bytearray) -> Verdict:
        """Judge L L 68, then wait for the frame, which checksum and stop octet prove."""
        if len(data) < self.LEAD:
            return MORE if len(data) <= 3 or data[3] == _START else FALSE_START
        if data[1] != data[2] or data[3] != _START:
            return FALSE_START
        length = _length(data)
        if length < _SMALLEST_BODY:
            return FALSE_START
        end = _HEAD + length + _TAIL
        if len(data) < end:
            return MORE
        body = data[_HEAD : _HEAD + length]
        whole = data[end - 2] == sum(body) & 0xFF and data[end - 1] == _STOP
        return end if whole else LinkError("checksum", end)

    def _join(self, frame: bytes) -> list[Outcome]:
        if not _is_segment(frame) or len(frame) <= _HEAD + _HEADER + _TAIL:
            return [LinkError("header", len(frame))]
        sender, number, last = frame[5:6] + frame[7:9], frame[6] & _NUMBER, bool(frame[6] & _FIN)
        results = self._order(sender, number, len(frame))
        if sender in self._open:
            results += self._add(sender, frame[_HEAD + _HEADER : -_TAIL], len(frame), last=last)
        return results

    def _order(self, sender: bytes, number: int, size: int) -> list[Outcome]:
        """Leave the message of the sender open only if this segment is its next one."""
        if number == 0:
            return self._begin(sender)
        if sender not in self._open:
            return [LinkError("segment_lost", size)]
        expected = self._open[sender].segments
        if number == expected:
            return []
        return self._drop(sender, "segment_lost" if number > expected else "segment_order")


def _is_segment(frame: bytes | bytearray) -> bool:
    return frame[4] in _CONTROLS and frame[6] <= _LARGEST_CI


def _length(data: bytearray) -> int:
    """Octets from C to the data."""
    return data[1] + 256 if data[1] < _HEADER + 1 and _is_segment(data) else data[1]
