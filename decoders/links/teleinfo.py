"""Link teleinfo: frames of the customer's output of French meters (Enedis-NOI-CPT_54E and NOI-CPT_02E).

    STX | groups | ETX      a group: LF label SP value SP checksum CR            historique, 1200 Bd 7E1
                            LF label HT (horodate HT) value HT checksum CR       standard, 9600 Bd 7E1

The checksum of a group is the low six bits of the sum of its octets, plus 20h: over label to value (mode 1), or with
the separator behind them too (mode 2). All groups of a frame use the same mode. Six bits are few: one group that is
wrong makes the line suspect, and none of its frame is used.

EOT says that the meter was interrupted by its own reading; everything up to the next ETX is void. Octets may have the
parity bit of 7E1 in them; CR or LF may be missing or doubled. Groups that were published without STX and ETX are a
frame at the end of a capture that holds nothing else and begins with the meter's address.
"""

import re
from typing import NamedTuple

from decoders.errors import LinkError
from decoders.links.framing import FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.links.seven_bits import characters
from decoders.links.stray import Stray
from decoders.model import Frame

#: octets of a frame: a three phase producer in standard mode sends about 1,500
LIMIT = 4_096
MIN_GROUPS = 2
_ETX = b"\x03"

_LABEL = rb"[A-Z0-9+_\-\xc1-\xda\xb0-\xb9\xab\xad\xdf]"
_HEAD = re.compile(rb"[\x02\x82][\r\x8d\n]{1,4}" + _LABEL + rb"{2,12}[ \xa0\t]")
#: the octets so far may become a head
_BEGUN = re.compile(rb"[\x02\x82](?:[\r\x8d\n]{1,4}" + _LABEL + rb"{0,12})?\Z")
_STX = re.compile(rb"[\x02\x82]")
_EOT = re.compile(rb"[\x04\x84]")
_LINE_END = re.compile(rb"[\r\n]+")
#: meters of enterprises (PME-PMI) have small letters: `EA_s`
_NAME = re.compile(rb"[A-Z][A-Za-z0-9+_-]{1,11}")
_TIME = re.compile(rb"(?:[EHeh ][0-9]{12})?")
_TEXT = re.compile(rb"[ -~]*")
_ADDRESS = (b"ADCO", b"ADSC")
_STRAY_GROUPS = 5


class Group(NamedTuple):
    """A group as sent: its fields, and whether its checksum is right by each of the two modes."""

    fields: tuple[bytes, ...]
    mode_1: bool
    mode_2: bool


class TeleinfoLink(FramedLink):
    """Cuts frames from a stream; gives a line `historique` or `standard`, then one with the fields of each group.

    The fields have HT between them, and are three: label, horodate, value.
    """

    START = _STX
    LEAD = 8
    GAP = b"\r\n\x00"

    def __init__(self) -> None:
        super().__init__()
        self._stray = Stray(b"\x02\x82\x03\x04\x84", LIMIT)

    def feed(self, data: bytes) -> list[Outcome]:
        """Take the next octets of the stream and give every frame that they complete."""
        self._stray.feed(data)
        return super().feed(data)

    def close(self) -> list[Outcome]:
        """End of input: what is cut off becomes a LinkError; groups without STX and ETX count, see above."""
        alone = self._stray.take()
        frame = _frame(alone, len(alone)) if alone.isascii() and alone.startswith(_ADDRESS) else None
        whole = frame is not None and frame.payload.count(b"\n") >= _STRAY_GROUPS
        return [*super().close(), *([frame] if whole and frame else [])]

    def expire(self) -> list[Outcome]:
        """The line was silent: what is open will not be completed."""
        return super().close()

    def _judge(self, data: bytearray) -> Verdict:
        if not _HEAD.match(data):
            return MORE if _BEGUN.match(data) else FALSE_START
        end = data.find(_ETX, self._buffer.searched)
        stop = end if end >= 0 else len(data)
        again = _STX.search(data, 1, stop)
        interrupted = _EOT.search(data, 1, stop)
        if again and not interrupted:
            return LinkError("truncated", again.start())
        if end < 0:
            self._buffer.searched = len(data)
            return LinkError("oversized", LIMIT) if len(data) >= LIMIT else MORE
        if interrupted:
            return LinkError("interrupted", end + 1)
        text = characters(data[:end])
        return end + 1 if text and _frame(text[1:], 0) else LinkError("checksum", end + 1)

    def _at_end(self, data: bytearray) -> Verdict:
        return super()._at_end(data) if _HEAD.match(data) else FALSE_START

    def _damaged(self, error: LinkError) -> list[Outcome]:
        if error.code == "interrupted":
            self._buffer.skip(error.size - 1)
        return [error]

    def _accept(self, frame: bytes) -> list[Outcome]:
        text = characters(frame)
        accepted = _frame(text[1:-1], len(frame)) if text else None
        return [accepted] if accepted else []


def _frame(text: bytes, size: int) -> Frame | None:
    """The frame of some groups; None unless each is whole and right, all in one form and one mode of checksum."""
    standard = b"\t" in text
    groups = [_group(line, standard=standard) for line in _LINE_END.split(text) if line]
    found = [group for group in groups if group]
    if len(found) < max(MIN_GROUPS, len(groups)):
        return None
    if not (all(group.mode_1 for group in found) or all(group.mode_2 for group in found)):
        return None
    lines = [b"standard" if standard else b"historique", *(b"\t".join(group.fields) for group in found)]
    return Frame(b"\n".join(lines), "ok", size)


def _group(line: bytes, *, standard: bool) -> Group | None:
    """Label, horodate (empty where there is none) and value of a group; None where the line is no group."""
    separator = b"\t" if standard else b" "
    if len(line) < 4 or line[-2:-1] != separator:
        return None
    fields = line[:-2].split(separator, -1 if standard else 1)
    if len(fields) == 2:
        fields.insert(1, b"")
    if len(fields) != 3 or not (
        _NAME.fullmatch(fields[0]) and _TIME.fullmatch(fields[1]) and _TEXT.fullmatch(fields[2])
    ):
        return None
    return Group(tuple(fields), _checksum(line[:-2]) == line[-1], _checksum(line[:-1]) == line[-1])


def _checksum(octets: bytes) -> int:
    return (sum(octets) & 0x3F) + 0x20
