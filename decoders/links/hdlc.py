"""Link hdlc: frames of format type 3 (IEC 62056-46, clause 6.4; ISO/IEC 13239, annex H.4) with the APDUs in them.

    7E | format 1010 S LLLLLLLLLLL | destination | source | control | HCS | information | FCS | 7E

There is no octet stuffing: 7E and 7D occur inside, and the length field alone says where a frame ends. It counts from
the format to the FCS. An address has 1, 2 or 4 octets, and its last one has bit 0 set. HCS and FCS are CRC-16/X-25,
sent with the low octet first; without information there is no HCS. One flag may close a frame and open the next, so a
frame is complete with its FCS and nothing is waited for.

S says that the message goes on in the next frame of this pair of addresses. Only its first frame has the LLC header.
Meters push in UI frames, and some in I frames.
"""

import re

from fastcrc.crc16 import ibm_sdlc

from decoders.errors import LinkError
from decoders.links.apdus import LLC, begins
from decoders.links.framing import FALSE_START, MORE, Outcome, Verdict
from decoders.links.segments import SegmentedLink

#: control fields without their poll bit: I frames have bit 0 clear
_POLL = 0x10
_UI = 0x03

_ODD = b"[" + b"".join(b"\\x%02x" % octet for octet in range(1, 256, 2)) + b"]"
_EVEN = b"[^" + _ODD[1:]
_ADDRESS = b"(?:" + _EVEN + b"{3}|" + _EVEN + b")?" + _ODD
#: flag, format and addresses, up to the control field
_ADDRESSED = re.compile(b"\x7e[\xa0-\xaf](?s:.)" + _ADDRESS + _ADDRESS)
#: octets of flag, format, the longest addresses and control
_LONGEST = 12
#: octets of HCS and FCS
_CHECK = 2


class HdlcLink(SegmentedLink):
    """Cuts HDLC frames from a stream and joins their segments."""

    START = re.compile(rb"\x7e(?:[\xa0-\xaf]|\Z)")
    LEAD = _LONGEST + _CHECK
    GAP = b"\x7e"
    FALSE_CODE = "checksum"

    def _judge(self, data: bytearray) -> Verdict:
        """Judge the header by its HCS, then wait for the frame; a header without information is judged by the FCS."""
        addressed = _ADDRESSED.match(data)
        if not addressed:
            return MORE if len(data) < _LONGEST else FALSE_START
        header = addressed.end() + 1 + _CHECK
        end = 1 + (int.from_bytes(data[1:3], "big") & 0x7FF)
        if len(data) >= header and not (end >= header and _checks(data[1:header])):
            return FALSE_START
        if len(data) < max(header, end):
            return MORE
        return end if _checks(data[1:end]) else LinkError("checksum", end)

    def _join(self, frame: bytes) -> list[Outcome]:
        addressed = _ADDRESSED.match(frame)
        control = addressed.end() if addressed else 0
        information = frame[control + 1 + _CHECK : -_CHECK]
        kind = frame[control] & ~_POLL
        if not information or (kind != _UI and kind & 1):
            return [LinkError("header", len(frame))]
        sender, last = frame[3:control], not frame[1] & 0x08
        if sender in self._open and information[:3] not in LLC:
            return self._add(sender, information, len(frame), last=last)
        if not begins(information):
            return [LinkError("segment_lost", len(frame))]
        return [*self._begin(sender), *self._add(sender, information, len(frame), last=last)]


def _checks(octets: bytes | bytearray) -> bool:
    return bool(ibm_sdlc(bytes(octets[:-_CHECK])) == int.from_bytes(octets[-_CHECK:], "little"))
