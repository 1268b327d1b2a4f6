"""What a link must know of the APDUs in its frames: their tags, the LLC header, and where one ends by its own length.

Tags: DLMS UA 1000-2 (Green Book), clause 9.5; LLC header: IEC 62056-46, clause 6.3; lengths: A-XDR, IEC 61334-6.
"""

from decoders.errors import LinkError
from decoders.links.framing import APDU_LIMIT, FALSE_START, MORE, Verdict

#: what a meter pushes: data-notification, general-glo-, general-ded-, general-ciphering, general-signing,
#: general-block-transfer
TAGS = b"\x0f\xdb\xdc\xdd\xdf\xe0"
#: those with a system title
CIPHERED = b"\xdb\xdc"
_BLOCK = 0xE0

#: destination and source LSAP and quality: of a response, and of a command
LLC = (b"\xe6\xe7\x00", b"\xe6\xe6\x00")
#: title lengths of general-glo- and general-ded-ciphering, whose title may be left out
_TITLES = (0, 8)
#: octets of general-block-transfer before its length: tag, control, block number, number acknowledged
_BLOCK_HEAD = 6


def begins(data: bytes) -> bool:
    """Whether the information of a frame is the beginning of a message, and not its continuation."""
    return data[:3] in LLC or (data != b"" and data[0] in TAGS)


def strip_llc(data: bytes) -> bytes:
    """The APDU of a message."""
    return data[3:] if data[:3] in LLC else data


def delimited(tag: int) -> bool:
    """Whether an APDU says its own length near its beginning."""
    return tag in CIPHERED or tag == _BLOCK


def length_of(data: bytearray, at: int) -> Verdict:
    """Octets from the first one to the end of the delimited APDU whose tag stands at `at`."""
    if len(data) < at + 2:
        return MORE
    if data[at] == _BLOCK:
        return _end(data, at + _BLOCK_HEAD)
    return _end(data, at + 2 + data[at + 1]) if data[at + 1] in _TITLES else FALSE_START


def _end(data: bytearray, at: int) -> Verdict:
    """Where the octets end whose length stands at `at`; not always in its shortest form."""
    if len(data) <= at:
        return MORE
    more = data[at] & 0x7F if data[at] & 0x80 else 0
    if more > 4 or data[at] == 0x80:
        return FALSE_START
    if len(data) <= at + more:
        return MORE
    content = int.from_bytes(data[at + 1 : at + 1 + more], "big") if more else data[at]
    end = at + 1 + more + content
    return LinkError("oversized", end) if end > APDU_LIMIT else end
