"""The kinds of push meter that can be simulated, as data: what they say, how it is framed and ciphered, and how often.

Written from IEC 62056-5-3, the descriptions that operators publish of these interfaces, and what such meters were seen
to send; what they say is in `layouts`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from gateway.simulator.apdu import AUTHENTICATED
from gateway.simulator.axdr import TimeForm
from gateway.simulator.layouts import (
    AIDON_1,
    AIDON_2,
    AIDON_3,
    AM550_CH,
    E450,
    E570,
    EST5,
    ISKRA_ENERGY,
    ISKRA_POWER,
    KAIFA_1,
    KAIFA_2,
    KAIFA_3,
    KAIFA_AT,
    KAMSTRUP_DK,
    SMARTY,
    TINETZ,
)
from gateway.simulator.lists import PushList
from gateway.simulator.variants import Variant

#: Luxembourg: the authentication key of every meter (Luxmetering E-Meter P1 specification 1.1.3)
PUBLIC_KEY = bytes.fromhex("00112233445566778899AABBCCDDEEFF")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a notification is put into: link, ciphering, blocks; the sizes are in octets."""

    link: Literal["hdlc", "mbus", "bare"]
    #: HDLC: destination, source and control; M-Bus: nothing
    address: str = ""
    #: HDLC: information of a message's first frame, its LLC header included, and of the others; M-Bus: their bodies;
    #: 0: a message is one frame
    first_size: int = 0
    size: int = 0
    #: general-block-transfer, one block in each frame
    in_blocks: bool = False
    #: security control; None where nothing is ciphered
    control: int | None = None
    #: manufacturer in the system title
    manufacturer: bytes = b"SIM"
    #: authentication key that all meters of a kind share
    public_authentication: bytes | None = None
    #: bits of the long-invoke-id that stay, and whether the low ones follow the invocation counter
    invoke_id: int = 0
    invoke_counts: bool = False


_UNSAID = TimeForm()


@dataclass(frozen=True, slots=True)
class PushVariant(Variant):
    """One kind of push meter: a P1 telegram in its `lines`, or lists of a data-notification, rarest first."""

    envelope: Envelope = Envelope("bare")
    lists: tuple[PushList, ...] = ()
    time: TimeForm = _UNSAID

    @property
    def encrypts(self) -> bool:
        """Whether its telegrams are ciphered, so that it has keys and a counter."""
        return self.envelope.control is not None

    @property
    def authenticates(self) -> bool:
        """Whether its telegrams carry a tag, so that the authentication key matters."""
        return bool((self.envelope.control or 0) & AUTHENTICATED)


_MBUS = Envelope("mbus", "", 250, 250, control=0x20, manufacturer=b"KFM", invoke_id=0x80000000, invoke_counts=True)
_SAID = TimeForm(hundredths=0, deviation="said")

PUSHES = {
    variant.name: variant
    for variant in (
        PushVariant(
            "at-kaifa",
            "",
            "Europe/Vienna",
            "Europe/Vienna",
            interval_s=5,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=_MBUS,
            lists=(PushList(KAIFA_AT, "triples"),),
            time=_SAID,
        ),
        PushVariant(
            "at-kaifa-21",
            "",
            "Europe/Vienna",
            "Europe/Vienna",
            interval_s=5,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=replace(_MBUS, control=0x21, invoke_id=0),
            lists=(PushList(TINETZ, "objects"),),
            time=_SAID,
        ),
        PushVariant(
            "at-sagemcom",
            "",
            "Europe/Vienna",
            "Europe/Vienna",
            interval_s=5,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=replace(_MBUS, first_size=257, size=257, manufacturer=b"SAG"),
            lists=(PushList(KAIFA_AT.replace("13.7.0 u16", "13.7.0 i16"), "triples"),),
            time=_SAID,
        ),
        PushVariant(
            "lg-e450",
            "",
            "Europe/Vienna",
            "Europe/Vienna",
            interval_s=10,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=Envelope("hdlc", "ceff 03 13", 129, 129, True, 0x30, b"LGZ", invoke_counts=True),
            lists=(PushList(E450, "pairs"),),
        ),
        PushVariant(
            "ch-lg-e570",
            "",
            "Europe/Zurich",
            "Europe/Zurich",
            interval_s=5,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=Envelope("hdlc", "ce9b 03 13", 126, 123, True, 0x20, b"LGZ", invoke_counts=True),
            lists=(PushList(E570, "descriptors"),),
        ),
        PushVariant(
            "dk-kamstrup",
            "",
            "Europe/Copenhagen",
            "Europe/Copenhagen",
            interval_s=10,
            baud=2400,
            gas=None,
            envelope=Envelope("hdlc", "41 03 13", control=0x30, manufacturer=b"KAM"),
            lists=(PushList(KAMSTRUP_DK, "pairs"),),
        ),
        PushVariant(
            "ch-am550",
            "",
            "Europe/Zurich",
            "Europe/Zurich",
            interval_s=10,
            gas=None,
            envelope=Envelope("hdlc", "cf 0223 13", 154, 154, control=0x20, manufacturer=b"ISK", invoke_counts=True),
            lists=(PushList(AM550_CH, "objects"),),
            time=_SAID,
        ),
        PushVariant(
            "no-aidon",
            "",
            "Europe/Oslo",
            "Europe/Oslo",
            interval_s=2.5,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=Envelope("hdlc", "41 0883 13", invoke_id=0x40000000),
            lists=(
                PushList(AIDON_3, "objects", 3600, is_array=True, header="none"),
                PushList(AIDON_2, "objects", 10, is_array=True, header="none"),
                PushList(AIDON_1, "objects", is_array=True, header="none"),
            ),
            time=TimeForm(deviation="zero"),
        ),
        PushVariant(
            "no-kaifa",
            "",
            "Europe/Oslo",
            "Europe/Oslo",
            interval_s=2,
            baud=2400,
            framing="8E1",
            gas=None,
            envelope=Envelope("hdlc", "01 0201 10", invoke_id=0x40000000),
            lists=(
                PushList(KAIFA_3, "values", 3600, 10, header="tagged"),
                PushList(KAIFA_2, "values", 10, header="tagged"),
                PushList(KAIFA_1, "values", header="tagged"),
            ),
        ),
        PushVariant(
            "si-iskra",
            "",
            "Europe/Ljubljana",
            "Europe/Ljubljana",
            interval_s=5,
            baud=38_400,
            gas=None,
            envelope=Envelope("hdlc", "cf 0223 13", invoke_counts=True),
            lists=(PushList(ISKRA_ENERGY, "values", 900), PushList(ISKRA_POWER, "values")),
            time=_SAID,
        ),
        PushVariant(
            "lu-smarty",
            SMARTY,
            "Europe/Luxembourg",
            "Europe/Luxembourg",
            interval_s=10,
            tariffs=("total",),
            envelope=Envelope("bare", control=0x30, manufacturer=b"SAG", public_authentication=PUBLIC_KEY),
        ),
        PushVariant(
            "at-est5",
            EST5,
            "Europe/Vienna",
            "Europe/Vienna",
            interval_s=10,
            tariffs=("total",),
            gas=None,
            envelope=Envelope("bare", control=0x30, manufacturer=b"SAG"),
        ),
    )
}
