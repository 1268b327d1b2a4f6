"""Link mbus-records: answers and pushes of wired M-Bus meters (EN 13757-2), the telegrams of one readout in one frame.

    68 | L | L | 68 | C | A | CI | data | checksum | 16        long frame, L octets from C to the data
    10 | C | A | checksum | 16                                 short frame: a master asks, or a meter looks for one
    E5                                                         acknowledgement

The checksum is the sum of what it covers, eight bits: every flipped bit changes it, but of other damage one in 256
keeps it. So the form has to hold too, here and in the grammar.

A meter whose records need several telegrams ends each but the last with DIF 1F and counts the access number up. Those
are one readout: they leave as one frame, each telegram behind its L, when one comes that does not end so. What is open
when another readout begins, octets are lost or the line falls silent leaves as it is: every record that came is true.

What a master sends to a meter is no data and passes without a word; a stream of nothing else is said to be that.
"""

import re

from decoders.errors import LinkError
from decoders.links.framing import FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.links.mbus_endings import ACCESS, Endings
from decoders.model import Frame

_LONG, _SHORT, _STOP = 0x68, 0x10, 0x16
#: octets before C, and behind the data; octets of a short frame
_HEAD, _TAIL, _SHORT_SIZE = 4, 2, 5
_SMALLEST_BODY = 3
#: C of an answer (RSP_UD) in any state of its flow bits, and of a message without request (SND_NR)
_ANSWERS = frozenset((0x08, 0x18, 0x28, 0x38, 0x44))
#: C of SND_UD, which a master sends; meters that push use it with the CI of a master's long or short header
_SENT = frozenset((0x53, 0x73))
_TELLING = _ANSWERS | _SENT
_PUSHED_CI = frozenset((0x5A, 0x5B))
#: CI of the transport layer of DLMS: link mbus
_LARGEST_DLMS_CI = 0x1F
#: C of what a master sends in short frames: SND_NKE, REQ_UD1, REQ_UD2, REQ_SKE
_REQUESTS = frozenset((0x40, 0x49, 0x5A, 0x5B, 0x69, 0x7A, 0x7B))
#: telegrams of one readout, octets of them together
TELEGRAMS, LIMIT = 16, 4_096
#: octets of C, A and CI
_LEAD = 3


class MbusRecordsLink(FramedLink):
    """Cuts M-Bus long frames from a stream and joins the telegrams of a readout."""

    START = re.compile(rb"[\x10\x68]")
    LEAD = _HEAD + _SMALLEST_BODY
    GAP = b"\xe5"

    def __init__(self) -> None:
        super().__init__()
        #: the telegrams of the open readout, and the octets of their frames
        self._open: list[bytes] = []
        self._size = 0
        self._endings = Endings()
        self._noise_before = 0
        #: octets of frames without data, and whether anything else came
        self._requests = 0
        self._answered = False

    @property
    def pending(self) -> int:
        """Octets of a frame, and of a readout, that are not complete yet."""
        return super().pending + self._size

    def close(self) -> list[Outcome]:
        """End of input: what is cut off becomes a LinkError, an open readout a frame."""
        results = self.expire()
        if self._requests and not self._answered:
            results.append(LinkError("no_data", self._requests))
        return results

    def expire(self) -> list[Outcome]:
        """The line was silent: nothing completes what is pending."""
        return [*super().close(), *self._release()]

    def _judge(self, data: bytearray) -> Verdict:
        return _short(data) if data[0] == _SHORT else _long(data)

    def _damaged(self, error: LinkError) -> list[Outcome]:
        self._answered = self._answered or error.code != "header"
        return [error, *self._release()]

    def _accept(self, frame: bytes) -> list[Outcome]:
        noise, self._noise_before = self.noise - self._noise_before, self.noise
        lost = self._release() if noise else []
        if frame[0] == _SHORT or (frame[_HEAD] in _SENT and frame[_HEAD + 2] not in _PUSHED_CI):
            self._requests += len(frame)
            return lost
        self._answered = True
        if frame[_HEAD] not in _TELLING or frame[_HEAD + 2] <= _LARGEST_DLMS_CI:
            return [*lost, LinkError("header", len(frame))]
        return lost + self._join(frame[_HEAD:-_TAIL], len(frame))

    def _join(self, body: bytes, size: int) -> list[Outcome]:
        """Add a telegram to the readout that it continues, or begin another; release it when it is the last."""
        results: list[Outcome] = []
        if self._open:
            if body == self._open[-1]:
                return []
            if not _continues(self._open[-1], body) or len(self._open) == TELEGRAMS or self._size > LIMIT - size:
                results = self._release()
        self._open.append(body)
        self._size += size
        return results if self._endings.more_follow(body) else results + self._release()

    def _release(self) -> list[Outcome]:
        """The open readout as a frame."""
        if not self._open:
            return []
        payload = b"".join(bytes([len(body)]) + body for body in self._open)
        frame = Frame(payload, "ok", self._size)
        self._open, self._size = [], 0
        return [frame]


def _short(data: bytearray) -> Verdict:
    if len(data) < _SHORT_SIZE:
        return MORE if len(data) == 1 or data[1] in _REQUESTS else FALSE_START
    whole = data[1] in _REQUESTS and data[3] == (data[1] + data[2]) & 0xFF and data[4] == _STOP
    return _SHORT_SIZE if whole else FALSE_START


def _long(data: bytearray) -> Verdict:
    """Judge L L 68, then wait for the frame, which checksum and stop octet prove."""
    if len(data) < _HEAD:
        return MORE if len(data) < 3 or data[1] == data[2] else FALSE_START
    length = data[1]
    if length != data[2] or data[3] != _LONG or length < _SMALLEST_BODY:
        return FALSE_START
    end = _HEAD + length + _TAIL
    if len(data) < end:
        return MORE
    whole = data[end - 2] == sum(data[_HEAD : end - _TAIL]) & 0xFF and data[end - 1] == _STOP
    return end if whole else LinkError("checksum", end)


def _continues(before: bytes, body: bytes) -> bool:
    """Whether a telegram is the next one of the same readout: same meter, and the access number is one more."""
    at = ACCESS.get(body[2], -1)
    if at < 0 or body[:_LEAD] != before[:_LEAD] or len(body) <= _LEAD + at or len(before) <= _LEAD + at:
        return False
    at += _LEAD
    return body[_LEAD:at] == before[_LEAD:at] and body[at] == (before[at] + 1) & 0xFF
