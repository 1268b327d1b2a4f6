"""Link iec62056-21: data blocks (IEC 62056-21:2002 clauses 5 and 6), read out by somebody else or pushed by the meter.

    / identification CR LF | STX | data sets | ! CR LF ETX BCC     modes A, B and C; a recorded line may show the
                                                                   reader's ACK between identification and STX
    / identification CR LF | CR LF | data sets | ! CR LF           mode D, and what is pushed without a checksum

BCC is the exclusive or of all octets behind STX up to and with ETX. Where STX was sent, BCC is expected: the block
counts without it only where nothing at all follows its end. The request of a reader and the frames of the programming
mode (SOH, R1, W1) are no data blocks. Octets may have the parity bit of 7E1 in them.

P1 telegrams begin alike. They are known by their CRC or, where they have none, by the complete code of their first data
set, `A-B:C.D.E(`; meters of this link send reduced codes, or a storage group such as `*255`. Link p1 decides by the
same rule, so each telegram belongs to one of the two.

A meter that pushes data sets only, without identification and end, shows at the end of a capture: where it held nothing
else but one torn line, and nothing that could belong to a P1 telegram, its whole lines are a block.
"""

import re
from functools import reduce
from operator import xor

from decoders.errors import LinkError
from decoders.links.framing import FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.links.identification import DSMR_CODE
from decoders.links.seven_bits import characters
from decoders.links.stray import Stray
from decoders.model import Frame

#: octets of a block: a year of monthly values of a three phase meter has about 12,000
LIMIT = 32_768
#: octets of lines without identification that are kept
_FRAGMENT_LIMIT = 4_096
#: octets between identification and first data set: empty lines and an acknowledgement
_LEAD_LIMIT = 32

_LETTER = rb"[A-Za-z\xc1-\xda\xe1-\xfa]"
_HEAD = re.compile(rb"[/\xaf]" + _LETTER + rb"{3}[^\r\n\x8d\x00/\xaf!\x01-\x06]{0,72}[\r\x8d]?\n")
#: the octets so far may become a head
_BEGUN = re.compile(
    rb"[/\xaf](?:" + _LETTER + rb"{0,2}|" + _LETTER + rb"{3}[^\r\n\x8d\x00/\xaf!\x01-\x06]{0,72}[\r\x8d]?)\Z"
)
#: a reader asks again
_REQUEST = re.compile(rb"[/\xaf]\?")
#: empty lines and the reader's ACK (clause 6.3.3), then STX where there is one
_LEAD = re.compile(rb"(?:[\r\x8d]?\n|\x06[^\r\n\x8d]{3}[\r\x8d]?\n){0,4}([\x02\x82])?")
_DSMR = re.compile(DSMR_CODE)
#: a P1 telegram with parity bits in it is none of this link's either
_WITHOUT_PARITY = bytes(octet & 0x7F for octet in range(256))
#: what a data set begins with; SOH begins the programming mode
_PRINTABLE = re.compile(rb"[!-~\xa0-\xff]")
_END = re.compile(rb"(?<=[\n)\xa9])!(?:[ \xa0]{0,4}[\r\x8d]?\n|([0-9A-Fa-f]{1,4})[ \t]{0,4}\r?\n)|\x03")
_END_OF_INPUT = re.compile(rb"(?<=[\n)\xa9])![\r\x8d]?\Z")
#: an identification inside a block: the block was torn there
_AGAIN = re.compile(rb"[/\xaf]" + _LETTER + rb"{3}[^\r\n\x8d\x00/\xaf!()\xa8\xa9]{0,72}[\r\x8d]?\n")
_HEAD_LIMIT = 80
_ETX = 0x03
_FRAGMENT = re.compile(
    rb"[^\n]{0,255}\n((?:(?!1-0:|0-\d)\d{1,3}-\d{1,3}:[0-9.*]{5,16}\([^()\r\n]{1,64}\)\r?\n){4,})", re.DOTALL
)


class Iec62056Link(FramedLink):
    """Cuts data blocks from a stream; gives the identification line and the data sets, without what is between."""

    #: a reader's request `/?...!` is skipped as if it were not there
    START = re.compile(rb"[/\xaf](?!\?)")
    LEAD = 12
    GAP = b"\r\n\x00\x7f"

    def __init__(self) -> None:
        super().__init__()
        self._stray = Stray(b"/\xaf!", _FRAGMENT_LIMIT)

    def feed(self, data: bytes) -> list[Outcome]:
        """Take the next octets of the stream and give every block that they complete."""
        self._stray.feed(data)
        return super().feed(data)

    def close(self) -> list[Outcome]:
        """End of input: a block counts whose end is there; so do lines that had none, see above."""
        whole = _FRAGMENT.fullmatch(self._stray.take())
        return [*super().close(), *([Frame(whole[1], "absent", len(whole[1]))] if whole else [])]

    def expire(self) -> list[Outcome]:
        """The line was silent: a block counts whose end is there."""
        return super().close()

    def _judge(self, data: bytearray) -> Verdict:
        head = _HEAD.match(data)
        if head is None:
            return MORE if _BEGUN.match(data) else FALSE_START
        if characters(data[: head.end()]) is None:
            return FALSE_START
        lead = _LEAD.match(data, head.end())
        assert lead is not None  # noqa: S101  # it matches nothing, too
        if lead.end() == len(data) or (not lead[1] and lead.end() + _LEAD_LIMIT > len(data) and b"(" not in data):
            return MORE
        code = data[lead.end() : lead.end() + _LEAD_LIMIT].translate(_WITHOUT_PARITY)
        if not lead[1] and (_DSMR.match(code) or not _PRINTABLE.match(data, lead.end())):
            return FALSE_START
        return self._block(data, lead.end(), has_bcc=bool(lead[1]))

    def _block(self, data: bytearray, start: int, *, has_bcc: bool) -> Verdict:
        """Look for the end of the block whose data sets begin at `start`."""
        unsearched = max(start, self._buffer.searched - _HEAD_LIMIT)
        again = _AGAIN.search(data, unsearched)
        end = _END.search(data, unsearched, again.start() if again else len(data))
        if end is None and again:
            return LinkError("truncated", again.start())
        if end is None:
            self._buffer.searched = len(data)
            return LinkError("oversized", LIMIT) if len(data) >= LIMIT else MORE
        if end[1]:
            return FALSE_START
        if has_bcc:
            return _checked(data, start, end)
        return LinkError("checksum", end.end()) if data[end.start()] == _ETX else end.end()

    def _at_end(self, data: bytearray) -> Verdict:
        """No more will follow: an end counts without the octets behind it."""
        if not _HEAD.match(data):
            return FALSE_START
        end = _END.search(data) or _END_OF_INPUT.search(data)
        if end and end.end() == len(data) and data[end.start()] != _ETX:
            return len(data)
        return super()._at_end(data)

    def _accept(self, frame: bytes) -> list[Outcome]:
        text = characters(frame)
        head = _HEAD.match(text or b"")
        if text is None or head is None:
            return [LinkError("checksum", len(frame))]
        lead = _LEAD.match(text, head.end())
        assert lead is not None  # noqa: S101  # it matches nothing, too
        end = _END.search(text, lead.end()) or _END_OF_INPUT.search(text)
        assert end is not None  # noqa: S101  # `_judge` or `_at_end` has found it
        proved = bool(lead[1]) and text[-2] == _ETX
        return [Frame(head[0] + text[lead.end() : end.start()], "ok" if proved else "absent", len(frame))]


def _checked(data: bytearray, start: int, end: re.Match[bytes]) -> Verdict:
    """A block behind STX: ETX and BCC must follow its end, unless nothing does but the next block."""
    etx = end.start() if data[end.start()] == _ETX else end.end()
    if len(data) <= etx or (data[etx] == _ETX and len(data) <= etx + 1):
        return MORE
    if data[etx] != _ETX:
        if _BEGUN.match(data, etx):
            return MORE
        return etx if _HEAD.match(data, etx) or _REQUEST.match(data, etx) else LinkError("checksum", etx)
    text = characters(data[: etx + 2])
    right = text is not None and reduce(xor, text[start : etx + 1], 0) == text[etx + 1]
    return etx + 2 if right else LinkError("checksum", etx + 2)
