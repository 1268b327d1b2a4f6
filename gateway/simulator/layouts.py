"""What push meters say: the rows of their lists (see `lists`), and P1 telegrams with `{field:format}` in their lines.

Written from the descriptions that operators publish of these interfaces, and from what such meters were seen to send:
layout, types and order are those of the meter; names and numbers in it are invented.
"""

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
