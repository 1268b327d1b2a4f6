"""The head of an M-Bus telegram behind its link (EN 13757-3, clause 6.2): whose it is, and where records begin."""

from typing import NamedTuple

from decoders.errors import GrammarError

#: CI -> octets of the header; the fixed structure has none of these
HEADERS = {0x72: 12, 0x76: 12, 0x5B: 12, 0x7A: 4, 0x7E: 4, 0x5A: 4, 0x78: 0, 0x7C: 0}
FIXED, FIXED_MSB = 0x73, 0x77
ERROR = 0x70
#: bit of CI 72 to 77 and of their short forms: mode 2, most significant octet first
_MODE_2 = 0x04
#: octets of C, A and CI
LEAD = 3
_LONG = 12


class Header(NamedTuple):
    """Who sent a telegram: `identification` (maker, type, version) for profiles, `device` is the secondary address."""

    address: int
    identification: str
    device: str | None
    device_type: int | None
    #: where the records begin
    end: int
    msb_first: bool
    fixed: bool


def header_of(body: bytes) -> Header:
    """Read the header of a telegram, which begins with C; raises GrammarError."""
    ci, address = body[2], body[1]
    if ci in (FIXED, FIXED_MSB):
        return Header(address, "", None, None, LEAD, msb_first=ci == FIXED_MSB, fixed=True)
    size = HEADERS.get(ci)
    if size is None:
        raise GrammarError("control_information", len(body))
    if len(body) < LEAD + size:
        raise GrammarError("length", len(body))
    msb_first = 0x70 < ci < 0x80 and bool(ci & _MODE_2)
    if size != _LONG:
        return Header(address, "", None, None, LEAD + size, msb_first=msb_first, fixed=False)
    number, maker, version, device_type = body[3:7], body[7:9], body[9], body[10]
    if not msb_first:
        number, maker = number[::-1], maker[::-1]
    name = f"{manufacturer(int.from_bytes(maker, 'big'))} {device_type:02X} v{version}"
    device = f"{number.hex()}{maker.hex()}{version:02x}{device_type:02x}"
    return Header(address, name, device, device_type, LEAD + size, msb_first=msb_first, fixed=False)


def manufacturer(number: int) -> str:
    """Three letters of five bits each (EN 13757-3, clause 6.3.1; the FLAG association gives them out)."""
    return "".join(chr(64 + (number >> shift & 0x1F)) for shift in (10, 5, 0))
