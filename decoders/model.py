"""What decoding yields: Frame, Telegram, Reading (item P), SubReading and Fault; frozen, slotted, integers only.

Item P is the minimum of interpretable near-real-time meter data in Regulation (EU) 2023/1162, annex, table III: time
of collection, P+ and P- in W, A+ and A- in Wh. None means absent: never 0, never invented.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from msgspec import Struct

#: (OBIS code `A-B:C.D.E`, integer, exponent, unit): the value is integer * 10**exponent, exact as the meter sent it.
Register: TypeAlias = tuple[str, int, int, str]

#: (A-XDR tag, value): integers as int, strings as octets
Leaf: TypeAlias = tuple[int, Any]

Quality: TypeAlias = Literal["measured", "estimated", "substituted", "suspect"]
Auth: TypeAlias = Literal["verified", "unverified", "plain"]
Checksum: TypeAlias = Literal["ok", "absent"]
Stage: TypeAlias = Literal["link", "unwrap", "grammar", "profile"]


class Frame(NamedTuple):
    """One whole frame as a link cut it from the stream; `checksum` is never "bad": that is a Fault."""

    payload: bytes
    checksum: Checksum
    size: int
    #: text of the telegram inside that stood in clear before the payload, a ciphered APDU
    head: bytes = b""
    #: which checksums fit, as bits, where a protocol is met with several
    variant: int = 0


class MeterTime(NamedTuple):
    """A time as the meter said it: a naive wall clock, and its summer flag (True = summer time) where it has one."""

    wall: datetime
    summer: bool | None = None
    #: minutes that the meter adds to its wall clock to get UTC (COSEM deviation: -60 is UTC+1)
    deviation: int | None = None


class SubTelegram(NamedTuple):
    """What one sub-meter channel said: M-Bus device type (EN 13757-3), raw identification, value and its time."""

    channel: int
    device_type: int | None
    device: str | None
    value: Register | None
    time: MeterTime | None
    #: the sub-meter speaks itself, now: a value without a time is one of this moment
    present: bool = False


class Telegram(Struct, frozen=True):
    """A telegram by its grammar, before a profile gives it meaning: numeric registers in wire order, texts apart."""

    identification: str
    #: the clock object 0-0:1.0.0, and as sent: None where the telegram has none
    time: MeterTime | None
    clock: str | None
    registers: tuple[Register, ...]
    #: times of single registers, by index into `registers` (month peaks)
    register_times: Mapping[int, MeterTime]
    #: objects that are no measurement (identifications, messages, event logs): value as sent, inner brackets included
    texts: Mapping[str, str]
    sub: tuple[SubTelegram, ...]
    #: lines that are no data object (only where a checksum proves that the meter sent them so)
    unread: int = 0
    #: the same object as that of another telegram only if both have the same objects in the same places
    layout: object = None
    #: False where the meter itself calls its clock invalid
    clock_valid: bool = True
    #: every value in order, as (A-XDR tag, value): for meters that send no codes
    values: tuple[Leaf, ...] = ()
    #: identification of the meter that stands outside its objects (SML server id, M-Bus address), hexadecimal digits
    device: str | None = None
    #: status words by the code of their register
    status: Mapping[str, int] | None = None
    #: octets of each register that was sent as a signed number, 0 of others; empty where the grammar does not tell
    widths: tuple[int, ...] = ()
    #: M-Bus: device type (EN 13757-3, table 13) and primary address of the meter that speaks itself
    device_type: int | None = None
    address: int | None = None
    #: M-Bus: the meter said that more records follow, and they did not come
    partial: bool = False


@dataclass(frozen=True, slots=True)
class SubReading:
    """A reading of gas, water, heat or a slave electricity meter on a channel of the main meter."""

    channel: int
    medium: str
    #: identification as sent: personal data, replaced by a pseudonym before it leaves the gateway
    device: str | None
    t: datetime | None
    t_meter: str | None
    integer: int
    exponent: int
    unit: str
    quality: Quality


@dataclass(frozen=True, slots=True)
class Reading:
    """Item P of one telegram: W and Wh as integers cut toward zero, `t` in UTC or None when the meter gave no time."""

    profile: str
    interface: str
    auth: Auth
    quality: Quality
    t: datetime | None
    t_meter: str | None
    p_import_w: int | None
    p_export_w: int | None
    p_net_w: int | None
    a_import_wh: int | None
    a_export_wh: int | None
    #: time of the energy registers; None when it is unknown, or when they are absent
    reg_t: datetime | None
    registers: tuple[Register, ...]
    register_times: tuple[tuple[int, str], ...]
    sub: tuple[SubReading, ...]
    #: identification of the meter as sent: tells a meter exchange; personal data, never published or logged
    identity: str | None
    #: seconds between telegrams, from the profile
    interval_s: int
    #: `clock_invalid` (the telegram has a time that is none), `zone_unknown` (a wall clock without a zone)
    flags: tuple[str, ...]
    #: octets of the frame
    size: int
    #: what the rules of the receive counter judge (counters.Seen); None for a telegram outside every cipher
    seen: Any = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure as data: stage and code from `errors.CODES`, size in octets; no payload and no key."""

    stage: Stage
    code: str
    size: int
    #: what the security header said (system title, counter); no payload and no key
    evidence: str = ""


Result: TypeAlias = Reading | Fault


def decimal(integer: int, exponent: int) -> str:
    """Show integer * 10**exponent as a decimal string without float: (2314, -1) is "231.4", (5, 3) is "5000"."""
    if exponent >= 0:
        return str(integer * 10**exponent)
    digits = str(abs(integer)).rjust(1 - exponent, "0")
    return f"{'-' if integer < 0 else ''}{digits[:exponent]}.{digits[exponent:]}"
