"""Whether more telegrams of a readout follow: whether the records of one end with DIF 1F (EN 13757-3, clause 6.3).

Only a walk over all records tells, because the octet 1F stands in data too. A meter repeats itself, so the walk leaves
a mask of the octets that led it, the heads of records: a telegram in which all of these are the same ends the same way.
"""

from decoders.dib import FILLER, HEAD, LENGTHS, MANUFACTURER, MORE_FOLLOW, PLAIN_TEXT, variable_size

#: CI -> octets of identification and what else stays the same in one readout, up to the access number
ACCESS = {0x72: 8, 0x76: 8, 0x5B: 8, 0x7A: 0, 0x7E: 0, 0x5A: 0}
#: octets of C, A and CI; of access number, status and configuration
_LEAD, _STATE = 3, 4
_MORE = bytes((MORE_FOLLOW,))
#: telegrams whose structure is remembered: a few of each meter on a bus
_KEPT = 256
#: mask and value of a structure that no telegram has
_NONE = (0, 1, False)


class Endings:
    """Tells how telegrams end, and remembers the structure of those that it walked over."""

    def __init__(self) -> None:
        #: by length and header: mask and value of the octets of structure, and how the telegram ends
        self._known: dict[tuple[int, bytes], tuple[int, int, bool]] = {}

    def more_follow(self, body: bytes) -> bool:
        """Whether a telegram, from C on, ends with DIF 1F; what does not hold together is for the grammar to name."""
        access = ACCESS.get(body[2], -1)
        if access < 0 or _MORE not in body:
            return False
        key, octets = (len(body), body[: _LEAD + access]), int.from_bytes(body, "big")
        mask, value, more = self._known.get(key, _NONE)
        if octets & mask == value:
            return more
        more, structure = _walk(body, _LEAD + access + _STATE)
        if len(self._known) >= _KEPT:
            self._known.clear()
        mask = int.from_bytes(structure, "big")
        self._known[key] = (mask, octets & mask, more)
        return more


def _walk(body: bytes, at: int) -> tuple[bool, bytearray]:
    """How the records from `at` on end, and FF in the place of each octet that led there."""
    structure, end = bytearray(len(body)), len(body)
    while at < end and body[at] not in (MANUFACTURER, MORE_FOLLOW):
        data, following = _record(body, at)
        structure[at:data] = b"\xff" * (min(data, end) - at)
        at = following
    structure[at : at + 1] = b"\xff" if at < end else b""
    return at < end and body[at] == MORE_FOLLOW, structure


def _record(body: bytes, at: int) -> tuple[int, int]:
    """Where the data of the record at `at` begin, and where they end; the end of the telegram where it is broken."""
    if body[at] == FILLER:
        return at + 1, at + 1
    head, size = HEAD.match(body, at), LENGTHS.get(body[at] & 0x0F)
    if head is None or size is None:
        return len(body), len(body)
    data = _behind_text(body, head.end(1)) if head[2][0] & 0x7F == PLAIN_TEXT else head.end()
    if size < 0:
        size = variable_size(body[data]) if data < len(body) else None
        data += 1
    return (len(body), len(body)) if size is None else (data, data + size)


def _behind_text(body: bytes, vif_at: int) -> int:
    """Where the data begin behind a unit in plain text: VIF, length, text, VIFEs if the VIF has more."""
    at = vif_at + 2 + (body[vif_at + 1] if vif_at + 1 < len(body) else 0)
    if body[vif_at] & 0x80:
        while at < len(body) and body[at] & 0x80:
            at += 1
        at += 1
    return at
