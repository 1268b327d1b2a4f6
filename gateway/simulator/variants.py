"""The kinds of P1 meter that can be simulated, as data: their lines with `{field:format}` in them, pace and clocks.

Written from DSMR P1 companion standard 2.2, 4.2.2 and 5.0.2, eMUCS-P1 1.7.1, the Swedish branch recommendation
SE-EFS2, and what such meters were seen to send. The fields are those of `p1.State`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of meter: its lines with `{field:format}` in them, its pace, its line and its clocks."""

    name: str
    lines: str
    #: zone of the household, and of the meter's clock (Swedish meters stay on standard time)
    home_zone: str
    clock_zone: str
    interval_s: float = 1
    baud: int = 115_200
    framing: str = "8N1"
    checksum: bool = True
    #: what a reader can find on these lines: energy registers, where they begin again, the step of power, gas, a clock
    tariffs: tuple[str, ...] = ("low", "normal")
    register_wh: int = 10**9
    power_step_w: int = 1
    gas: str | None = "gas_5min"
    clock: bool = True


DSMR5 = r"""/ISK5\2M550T-1012

1-3:0.2.8(50)
0-0:1.0.0({t:time})
0-0:96.1.1({serial:hex})
1-0:1.8.1({a_import.low:6.3}*kWh)
1-0:1.8.2({a_import.normal:6.3}*kWh)
1-0:2.8.1({a_export.low:6.3}*kWh)
1-0:2.8.2({a_export.normal:6.3}*kWh)
0-0:96.14.0({low_tariff:low-is-1})
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
0-0:96.7.21(00005)
0-0:96.7.9(00003)
1-0:99.97.0(1)(0-0:96.7.19)(180417201458S)(0000000236*s)
1-0:32.32.0(00001)
1-0:52.32.0(00001)
1-0:72.32.0(00001)
1-0:32.36.0(00001)
1-0:52.36.0(00001)
1-0:72.36.0(00001)
0-0:96.13.0()
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
!"""

DSMR42 = r"""/KFM5KAIFA-METER

1-3:0.2.8(42)
0-0:1.0.0({t:time})
0-0:96.1.1({serial:hex})
1-0:1.8.1({a_import.low:6.3}*kWh)
1-0:1.8.2({a_import.normal:6.3}*kWh)
1-0:2.8.1({a_export.low:6.3}*kWh)
1-0:2.8.2({a_export.normal:6.3}*kWh)
0-0:96.14.0({low_tariff:low-is-1})
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
0-0:96.7.21(00013)
0-0:96.7.9(00007)
1-0:99.97.0(1)(0-0:96.7.19)(000101000024W)(2147483647*s)
1-0:32.32.0(00000)
1-0:52.32.0(00000)
1-0:72.32.0(00000)
1-0:32.36.0(00000)
1-0:52.36.0(00000)
1-0:72.36.0(00000)
0-0:96.13.1()
0-0:96.13.0()
1-0:31.7.0({current.l1:3.0}*A)
1-0:51.7.0({current.l2:3.0}*A)
1-0:71.7.0({current.l3:3.0}*A)
1-0:21.7.0({p_import_by.l1:2.3}*kW)
1-0:22.7.0({p_export_by.l1:2.3}*kW)
1-0:41.7.0({p_import_by.l2:2.3}*kW)
1-0:42.7.0({p_export_by.l2:2.3}*kW)
1-0:61.7.0({p_import_by.l3:2.3}*kW)
1-0:62.7.0({p_export_by.l3:2.3}*kW)
0-1:24.1.0(003)
0-1:96.1.0({gas_serial:hex})
0-1:24.2.1({gas_hour.t:time})({gas_hour.litres:5.3}*m3)
!"""

DSMR22 = r"""/ISk5\2MT382-1003

0-0:96.1.1({serial:hex})
1-0:1.8.1({a_import.low:5.3}*kWh)
1-0:1.8.2({a_import.normal:5.3}*kWh)
1-0:2.8.1({a_export.low:5.3}*kWh)
1-0:2.8.2({a_export.normal:5.3}*kWh)
0-0:96.14.0({low_tariff:low-is-1})
1-0:1.7.0({p_import:4.2}*kW)
1-0:2.7.0({p_export:4.2}*kW)
0-0:17.0.0(0999.00*kW)
0-0:96.3.10(1)
0-0:96.13.1()
0-0:96.13.0()
0-1:24.1.0(3)
0-1:96.1.0({gas_serial:hex})
0-1:24.3.0({gas_hour.t:wall})(00)(60)(1)(0-1:24.2.1)(m3)
({gas_hour.litres:5.3})
0-1:24.4.0(1)
!"""

EMUCS = r"""/FLU5\253769484_A

0-0:96.1.4(50217)
0-0:96.1.1({serial:hex})
0-0:1.0.0({t:time})
1-0:1.8.1({a_import.normal:6.3}*kWh)
1-0:1.8.2({a_import.low:6.3}*kWh)
1-0:2.8.1({a_export.normal:6.3}*kWh)
1-0:2.8.2({a_export.low:6.3}*kWh)
1-0:1.4.0({demand:2.3}*kW)
1-0:1.6.0({peak.t:time})({peak.watts:2.3}*kW)
0-0:98.1.0{peaks:peaks}
0-0:96.14.0({low_tariff:low-is-2})
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
1-0:21.7.0({p_import_by.l1:2.3}*kW)
1-0:41.7.0({p_import_by.l2:2.3}*kW)
1-0:61.7.0({p_import_by.l3:2.3}*kW)
1-0:22.7.0({p_export_by.l1:2.3}*kW)
1-0:42.7.0({p_export_by.l2:2.3}*kW)
1-0:62.7.0({p_export_by.l3:2.3}*kW)
1-0:32.7.0({voltage.l1:3.1}*V)
1-0:52.7.0({voltage.l2:3.1}*V)
1-0:72.7.0({voltage.l3:3.1}*V)
1-0:31.7.0({current.l1:3.2}*A)
1-0:51.7.0({current.l2:3.2}*A)
1-0:71.7.0({current.l3:3.2}*A)
0-0:96.3.10(1)
0-0:17.0.0(999.9*kW)
1-0:31.4.0(999*A)
0-0:96.13.0()
0-1:24.1.0(003)
0-1:96.1.1({gas_serial:hex})
0-1:24.4.0(1)
0-1:24.2.3({gas_5min.t:time})({gas_5min.litres:5.3}*m3)
!"""

SE_EFS2 = r"""/LGF5E360

0-0:1.0.0({t:time})
1-0:1.8.0({a_import.total:8.3}*kWh)
1-0:2.8.0({a_export.total:8.3}*kWh)
1-0:3.8.0({r_import:8.3}*kVArh)
1-0:4.8.0({r_export:8.3}*kVArh)
1-0:1.7.0({p_import:4.3}*kW)
1-0:2.7.0({p_export:4.3}*kW)
1-0:3.7.0({q_import:4.3}*kVAr)
1-0:4.7.0({q_export:4.3}*kVAr)
1-0:21.7.0({p_import_by.l1:4.3}*kW)
1-0:22.7.0({p_export_by.l1:4.3}*kW)
1-0:41.7.0({p_import_by.l2:4.3}*kW)
1-0:42.7.0({p_export_by.l2:4.3}*kW)
1-0:61.7.0({p_import_by.l3:4.3}*kW)
1-0:62.7.0({p_export_by.l3:4.3}*kW)
1-0:23.7.0({q_import_by.l1:4.3}*kVAr)
1-0:24.7.0({q_export_by.l1:4.3}*kVAr)
1-0:43.7.0({q_import_by.l2:4.3}*kVAr)
1-0:44.7.0({q_export_by.l2:4.3}*kVAr)
1-0:63.7.0({q_import_by.l3:4.3}*kVAr)
1-0:64.7.0({q_export_by.l3:4.3}*kVAr)
1-0:32.7.0({voltage.l1:3.1}*V)
1-0:52.7.0({voltage.l2:3.1}*V)
1-0:72.7.0({voltage.l3:3.1}*V)
1-0:31.7.0({current.l1:3.1}*A)
1-0:51.7.0({current.l2:3.1}*A)
1-0:71.7.0({current.l3:3.1}*A)
!"""

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("dsmr5", DSMR5, "Europe/Amsterdam", "Europe/Amsterdam"),
        Variant("emucs", EMUCS, "Europe/Brussels", "Europe/Brussels"),
        Variant(
            "se-efs2",
            SE_EFS2,
            "Europe/Stockholm",
            "Etc/GMT-1",
            interval_s=10,
            tariffs=("total",),
            register_wh=10**11,
            gas=None,
        ),
        Variant("dsmr42", DSMR42, "Europe/Amsterdam", "Europe/Amsterdam", interval_s=10, gas="gas_hour"),
        Variant(
            "dsmr22",
            DSMR22,
            "Europe/Amsterdam",
            "Europe/Amsterdam",
            interval_s=10,
            baud=9600,
            framing="7E1",
            checksum=False,
            register_wh=10**8,
            power_step_w=10,
            gas="gas_hour",
            clock=False,
        ),
    )
}
