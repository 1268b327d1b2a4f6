"""The kinds of push meter that can be simulated, as data: lists, framing, ciphering, and encrypted P1 telegrams.

Written from IEC 62056-5-3, the descriptions that operators publish of these interfaces, and what such meters were seen
to send. Every list has the layout, the types and the order of its meter; names and numbers in it are invented.
"""

from dataclasses import dataclass, replace
from typing import Literal

from gateway.simulator.apdu import AUTHENTICATED
from gateway.simulator.axdr import TimeForm
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


KAIFA_AT = """
- clock t
1-0:1.8.0 u32 a_import.total 0 Wh
1-0:2.8.0 u32 a_export.total 0 Wh
1-0:1.7.0 u32 p_import 0 W
1-0:2.7.0 u32 p_export 0 W
1-0:32.7.0 u16 voltage.l1 -1 V
1-0:52.7.0 u16 voltage.l2 -1 V
1-0:72.7.0 u16 voltage.l3 -1 V
1-0:31.7.0 u16 current.l1 -2 A
1-0:51.7.0 u16 current.l2 -2 A
1-0:71.7.0 u16 current.l3 -2 A
1-0:13.7.0 u16 power_factor -3 1
- octets.12 serial
"""
TINETZ = """
- code =0-0:1.0.0
- clock t
0-0:96.1.0 octets.14.1KFM serial
0-0:42.0.0 octets.16.KFM serial
1-0:32.7.0 u16 voltage.l1 -1 V
1-0:31.7.0 u16 current.l1 -2 A
1-0:1.7.0 u32 p_import 0 W
1-0:2.7.0 u32 p_export 0 W
1-0:1.8.0 u32 a_import.total 0 Wh
1-0:2.8.0 u32 a_export.total 0 Wh
1-0:3.8.0 u32 r_import 0 varh
1-0:4.8.0 u32 r_export 0 varh
"""
E450 = """
- clock t
1-0:1.8.0 u32 a_import.total 0 Wh
1-0:1.8.1 u32 a_import.normal 0 Wh
1-0:1.8.2 u32 a_import.low 0 Wh
1-0:1.7.0 u32 p_import 0 W
1-0:2.8.0 u32 a_export.total 0 Wh
1-0:2.8.1 u32 a_export.normal 0 Wh
1-0:2.8.2 u32 a_export.low 0 Wh
1-0:2.7.0 u32 p_export 0 W
1-0:3.8.0 u32 r_import 0 varh
1-0:3.8.1 u32 r_import 0 varh
1-0:3.8.2 u32 =0
1-0:3.7.0 u32 q_import 0 var
1-0:4.8.0 u32 r_export 0 varh
1-0:4.8.1 u32 r_export 0 varh
1-0:4.8.2 u32 =0
1-0:4.7.0 u32 q_export 0 var
"""
KAMSTRUP_DK = """
- visible =Kamstrup_V0001
1-1:1.8.0 u32 a_import.total 1 Wh
1-1:2.8.0 u32 a_export.total 1 Wh
1-1:3.8.0 u32 r_import 1 varh
1-1:4.8.0 u32 r_export 1 varh
1-1:0.0.1 u32 =99999999
1-1:1.7.0 u32 p_import 0 W
1-1:2.7.0 u32 p_export 0 W
1-1:3.7.0 u32 q_import 0 var
1-1:4.7.0 u32 q_export 0 var
0-1:1.0.0 clock t
1-1:32.7.0 u16 voltage.l1 0 V
1-1:52.7.0 u16 voltage.l2 0 V
1-1:72.7.0 u16 voltage.l3 0 V
1-1:31.7.0 u32 current.l1 -2 A
1-1:51.7.0 u32 current.l2 -2 A
1-1:71.7.0 u32 current.l3 -2 A
1-1:21.7.0 u32 p_import_by.l1 0 W
1-1:41.7.0 u32 p_import_by.l2 0 W
1-1:61.7.0 u32 p_import_by.l3 0 W
1-1:33.7.0 u16 power_factor_by.l1 -2 1
1-1:53.7.0 u16 power_factor_by.l2 -2 1
1-1:73.7.0 u16 power_factor_by.l3 -2 1
1-1:13.7.0 u16 power_factor -2 1
1-1:22.7.0 u32 p_export_by.l1 0 W
1-1:42.7.0 u32 p_export_by.l2 0 W
1-1:62.7.0 u32 p_export_by.l3 0 W
1-1:22.8.0 u32 a_export_by.l1 1 Wh
1-1:42.8.0 u32 a_export_by.l2 1 Wh
1-1:62.8.0 u32 a_export_by.l3 1 Wh
1-1:21.8.0 u32 a_import_by.l1 1 Wh
1-1:41.8.0 u32 a_import_by.l2 1 Wh
1-1:61.8.0 u32 a_import_by.l3 1 Wh
"""
AIDON_1 = """
1-0:1.7.0 u32 p_import 0 W
"""
AIDON_2 = """
1-1:0.2.129 visible =AIDON_V0001
0-0:96.1.0 visible.16 serial
0-0:96.1.7 visible =6525
1-0:1.7.0 u32 p_import 0 W
1-0:2.7.0 u32 p_export 0 W
1-0:3.7.0 u32 q_import 0 var
1-0:4.7.0 u32 q_export 0 var
1-0:31.7.0 i16 current.l1 -1 A
1-0:71.7.0 i16 current.l3 -1 A
1-0:32.7.0 u16 voltage.l1 -1 V
1-0:52.7.0 u16 voltage.l2 -1 V
1-0:72.7.0 u16 voltage.l3 -1 V
"""
AIDON_3 = (
    AIDON_2
    + """0-0:1.0.0 clock t
1-0:1.8.0 u32 a_import.total 1 Wh
1-0:2.8.0 u32 a_export.total 1 Wh
1-0:3.8.0 u32 r_import 1 varh
1-0:4.8.0 u32 r_export 1 varh
"""
)
KAIFA_1 = """
- u32 p_import 0 W
"""
KAIFA_2 = """
- octets =KFM_001
- octets.16 serial
- octets =MA304H3E
- u32 p_import 0 W
- u32 p_export 0 W
- u32 q_import 0 var
- u32 q_export 0 var
- u32 current.l1 -3 A
- u32 current.l2 -3 A
- u32 current.l3 -3 A
- u32 voltage.l1 -1 V
- u32 voltage.l2 -1 V
- u32 voltage.l3 -1 V
"""
KAIFA_3 = (
    KAIFA_2
    + """- clock t
- u32 a_import.total 0 Wh
- u32 a_export.total 0 Wh
- u32 r_import 0 varh
- u32 r_export 0 varh
"""
)
ISKRA_POWER = """
- octets.16.ISK serial
- octets.11.ISK serial
- u32 p_import 0 W
- u32 p_export 0 W
- u32 q_import 0 var
- u32 q_export 0 var
- u16 voltage.l1 -1 V
- u16 voltage.l2 -1 V
- u16 voltage.l3 -1 V
- u16 current.l1 -2 A
- u16 current.l2 -2 A
- u16 current.l3 -2 A
- u32 p_import_by.l1 0 W
- u32 p_import_by.l2 0 W
- u32 p_import_by.l3 0 W
- u32 p_export_by.l1 0 W
- u32 p_export_by.l2 0 W
- u32 p_export_by.l3 0 W
"""
ISKRA_ENERGY = """
- octets.16.ISK serial
- octets =
- bool =1
- hex =0002
- u32 a_import.total 0 Wh
- u32 a_import.normal 0 Wh
- u32 a_import.low 0 Wh
- u32 a_export.total 0 Wh
- u32 a_export.normal 0 Wh
- u32 a_export.low 0 Wh
- u32 r_import 0 varh
- u32 r_export 0 varh
"""
AM550_CH = """
0-0:96.1.0 octets.11.ISK serial
0-0:96.1.1 octets.8 serial
1-0:1.7.0 u32 p_import 0 W
1-0:2.7.0 u32 p_export 0 W
1-0:1.8.0 u32 a_import.total 0 Wh
1-0:2.8.0 u32 a_export.total 0 Wh
1-0:32.7.0 u16 voltage.l1 -1 V
1-0:52.7.0 u16 voltage.l2 -1 V
1-0:72.7.0 u16 voltage.l3 -1 V
1-0:31.7.0 u16 current.l1 -2 A
1-0:51.7.0 u16 current.l2 -2 A
1-0:71.7.0 u16 current.l3 -2 A
1-0:1.8.1 u32 a_import.normal 0 Wh
1-0:1.8.2 u32 a_import.low 0 Wh
1-0:2.8.1 u32 a_export.normal 0 Wh
1-0:2.8.2 u32 a_export.low 0 Wh
"""
E570 = """
0-8:25.9.0 code =0-8:25.9.0
0-0:42.0.0 octets.16.LGZ serial
0-0:1.0.0 clock t
1-0:1.7.0 i64 p_import 0 W
1-0:2.7.0 i64 p_export 0 W
1-0:3.7.0 i64 q_import 0 var
1-0:4.7.0 i64 q_export 0 var
1-1:1.8.0 u64 a_import.total 0 Wh
1-1:2.8.0 u64 a_export.total 0 Wh
1-1:5.8.0 u64 r_import 0 varh
1-1:6.8.0 u64 =0 0 varh
1-1:7.8.0 u64 =0 0 varh
1-1:8.8.0 u64 r_export 0 varh
1-0:31.7.0 i64 current.l1 0 A
1-0:51.7.0 i64 current.l2 0 A
1-0:71.7.0 i64 current.l3 0 A
1-0:13.7.0 i16 power_factor -3 1
"""
SMARTY = r"""/Lux5\253999999_D

1-3:0.2.8(42)
0-0:1.0.0({t:time})
0-0:42.0.0({serial:hex})
1-0:1.8.0({a_import.total:6.3}*kWh)
1-0:2.8.0({a_export.total:6.3}*kWh)
1-0:3.8.0({r_import:6.3}*kvarh)
1-0:4.8.0({r_export:6.3}*kvarh)
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
1-0:3.7.0({q_import:2.3}*kvar)
1-0:4.7.0({q_export:2.3}*kvar)
0-0:17.0.0(077.3*kVA)
1-1:31.4.0(100*A)(-063*A)
0-0:96.3.10(1)
0-0:96.7.21(00069)
1-0:32.32.0(00044)
1-0:52.32.0(00003)
1-0:72.32.0(00002)
1-0:32.36.0(00000)
1-0:52.36.0(00000)
1-0:72.36.0(00000)
0-0:96.13.0()
0-0:96.13.2()
0-0:96.13.3()
0-0:96.13.4()
0-0:96.13.5()
1-0:32.7.0({voltage.l1:3.1}*V)
1-0:52.7.0({voltage.l2:3.1}*V)
1-0:72.7.0({voltage.l3:3.1}*V)
1-0:31.7.0({current.l1:3.0}*A)
1-0:51.7.0({current.l2:3.0}*A)
1-0:71.7.0({current.l3:3.0}*A)
1-0:21.7.0({p_import_by.l1:2.3}*kW)
1-0:41.7.0({p_import_by.l2:2.3}*kW)
1-0:61.7.0({p_import_by.l3:2.3}*kW)
1-0:22.7.0({p_export_by.l1:2.3}*kW)
1-0:42.7.0({p_export_by.l2:2.3}*kW)
1-0:62.7.0({p_export_by.l3:2.3}*kW)
0-1:24.1.0(003)
0-1:96.1.0({gas_serial:hex})
0-1:24.2.1({gas_5min.t:time})({gas_5min.litres:5.3}*m3)
0-1:24.4.0(0)
0-2:24.1.0(007)
0-2:96.1.0()
0-2:24.2.1(632525252525S)(00000.000)
0-2:24.4.0(1)
!"""
EST5 = r"""/EST5\253999999_A

1-3:0.2.8(50)
0-0:1.0.0({t:time})
1-0:1.8.0({a_import.total:9-digits}*Wh)
1-0:1.8.1({a_import.normal:9-digits}*Wh)
1-0:1.8.2({a_import.low:9-digits}*Wh)
1-0:1.7.0({p_import:9-digits}*W)
1-0:2.8.0({a_export.total:9-digits}*Wh)
1-0:2.8.1({a_export.normal:9-digits}*Wh)
1-0:2.8.2({a_export.low:9-digits}*Wh)
1-0:2.7.0({p_export:9-digits}*W)
1-0:3.8.0({r_import:9-digits}*varh)
1-0:3.8.1({r_import:9-digits}*varh)
1-0:3.8.2(000000000*varh)
1-0:3.7.0({q_import:9-digits}*var)
1-0:4.8.0({r_export:9-digits}*varh)
1-0:4.8.1({r_export:9-digits}*varh)
1-0:4.8.2(000000000*varh)
1-0:4.7.0({q_export:9-digits}*var)
!"""

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
