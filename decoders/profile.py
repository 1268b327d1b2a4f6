"""Profiles: a meter as data; `load` reads one, `fits` tells whether a telegram is of such a meter.

A profile has no conditions and no expressions: names of objects, units, sums of tariffs, the zone of the clock. Its
form is docs/profiles.md. Registers are matched by meaning (OBIS, IEC 62056-6-1), never by position.
"""

import tomllib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from decoders.model import Leaf, Telegram
from decoders.obis import CLOCK

Text = Annotated[str, Meta(min_length=1)]
#: an OBIS code, a label of teleinfo, or the head of an M-Bus record
Code = Annotated[
    str,
    Meta(
        pattern=r"^(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}(\*\d{1,3})?|[A-Z][A-Z0-9+-]{1,11}|mbus:([0-9a-f]{2})+)$"
    ),
]


class ProfileSyntaxError(ValueError):
    """A profile that cannot be used; says which key of which profile, and what it may hold."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of a profile: a key that it does not know is an error."""


class Line(_Strict, frozen=True):
    """`[line]`: the port and how to open it."""

    baud: Annotated[int, Meta(ge=300, le=4_000_000)]
    framing: Literal["8N1", "8E1", "7E1"]
    connector: str = ""
    activation: str = ""


class Condition(_Strict, frozen=True):
    """What `auto` asks of a telegram; all that is given must hold."""

    identification: tuple[Text, ...] = ()
    has: tuple[Code, ...] = ()
    has_not: tuple[Code, ...] = ()
    texts: dict[Code, str] = {}
    #: the value of a text is one of these or lies between them, and has their length
    between: dict[Code, tuple[Text, Text]] = {}
    #: how many values a notification without codes has
    values: tuple[Annotated[int, Meta(ge=1, le=255)], ...] = ()


class Match(Condition, frozen=True, kw_only=True):
    """`[match]`: the conditions, and others for the other lists of the same meter; the highest priority wins."""

    priority: Annotated[int, Meta(ge=0, le=100)]
    other: tuple[Condition, ...] = ()


class Clock(_Strict, frozen=True):
    """`[clock]`: the object of the meter's time (or of date and time apart), and its zone where that is known."""

    object: Code | None = None
    date: Code | None = None
    time: Code | None = None
    zone: Text | None = None
    #: sign of the deviation in a COSEM date-time: `standard` is -60 for UTC+1; `ignore` where it says nothing true
    deviation: Literal["standard", "inverted", "ignore"] = "standard"


class Scale(_Strict, frozen=True, array_like=True):
    """`[scales]`: unit and power of ten of a register that comes with neither: `["Wh", 1]`."""

    unit: Text
    exponent: Annotated[int, Meta(ge=-9, le=9)] = 0


#: integers and strings by their A-XDR tags (IEC 62056-6-2, clause 4.1.5)
TYPES = {"i32": 5, "u32": 6, "i8": 15, "i16": 16, "u8": 17, "u16": 18, "i64": 20, "u64": 21, "enum": 22, "bool": 3}
_INTEGERS = frozenset(TYPES.values()) - {3, 22}
_STRINGS = frozenset((9, 10, 12))


class Item(_Strict, frozen=True, array_like=True):
    """One place of a positional list: `[code, unit, power of ten, type]`.

    Unit "text" is a string, "none" a number without unit, "skip" a value that is passed over.
    """

    code: Code
    unit: Text
    exponent: Annotated[int, Meta(ge=-9, le=9)] = 0
    type: Literal["bool", "enum", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"] | None = None


class PositionalList(_Strict, frozen=True):
    """`[[list]]`: what the values of a notification without codes mean, one item for each."""

    items: Annotated[tuple[Item, ...], Meta(min_length=1, max_length=255)]


class Cipher(_Strict, frozen=True):
    """`[cipher]`: how the telegrams of this meter are ciphered; `aad = "empty"` for a tag over no associated data."""

    aad: Literal["key", "empty"] = "key"
    key_source: str = ""


class ItemPMap(_Strict, frozen=True):
    """`[item_p]`: the registers of item P. Tariffs are summed only when the total is absent, and only when complete."""

    p_import: Code | None = None
    p_export: Code | None = None
    a_import: Code | None = None
    a_export: Code | None = None
    a_import_tariffs: tuple[Code, ...] = ()
    a_export_tariffs: tuple[Code, ...] = ()
    #: text that names the household's contract, and the registers of import by what it begins with: instead of a total
    contract: Code | None = None
    a_import_by_contract: dict[Text, tuple[Code, ...]] = {}
    power: Literal["two registers", "signed", "net", "import only"] = "two registers"
    #: energy in steps of 10 to this power Wh, and no power: the meter keeps its values back until its PIN is entered
    pin_step: Annotated[int, Meta(ge=0, le=6)] | None = None
    #: registers hold what they were at the last full so many seconds, and are sent up to a minute later; 0: they do not
    latched_s: Annotated[int, Meta(ge=0, le=3_600)] = 0


class Direction(_Strict, frozen=True):
    """`[direction]`: a bit of a register's status word that is set while the meter exports.

    The power of import is then a magnitude of either direction, or has too few octets for its sign ("wrapped").
    """

    register: Code
    mask: Annotated[int, Meta(ge=1)]
    power: Literal["magnitude", "wrapped"]


#: a record by its meaning: quantity, VIFEs behind `/`, subunit, tariff; or by its head
Selector = Annotated[
    str, Meta(pattern=r"^((energy|power)(/([0-9a-f]{2})+)?( u\d{1,3})?( t\d{1,3})?|mbus:([0-9a-f]{2})+)$")
]


class Records(_Strict, frozen=True):
    """`[records]`: which M-Bus records (EN 13757-3) are item P, the first selector that finds any decides.

    Only present values count: storage 0, function instantaneous. A total wins over its tariffs.
    """

    p_import: tuple[Selector, ...] = ()
    p_export: tuple[Selector, ...] = ()
    a_import: tuple[Selector, ...] = ()
    a_export: tuple[Selector, ...] = ()
    #: VIFEs of the phases: the one that there is, where there is one only, is the total of a single-phase meter
    phases: tuple[Annotated[str, Meta(pattern=r"^([0-9a-f]{2})+$")], ...] = ()
    tariffs: Literal["sum", "never"] = "sum"
    #: device types whose records are those of an electricity meter
    device_types: tuple[Annotated[int, Meta(ge=0, le=255)], ...] = (2,)
    #: what energy that comes as a float is in, whatever its VIF says
    float_energy: Literal["Wh", "kWh"] | None = None


class FrameNote(_Strict, frozen=True):
    """`[[frame]]`: a telegram of this meter as a file beside the profiles, where it is from, and what it says."""

    file: Text
    provenance: Literal["captured", "constructed", "specification"]
    source: Text
    licence: Text
    expect: dict[str, int | str]
    #: keys of an encrypted telegram, published with it for tests: never those of a customer's meter
    keys: dict[Literal["encryption", "authentication"], Annotated[str, Meta(pattern=r"^[0-9A-F]{32}$")]] = {}


class Profile(_Strict, frozen=True):
    """One profile file, whole."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$")]
    title: Text
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    operators: tuple[Text, ...]
    meters: Annotated[tuple[Text, ...], Meta(min_length=1)]
    interface: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,16}$")]
    link: Literal[
        "p1", "hdlc", "mbus", "wrapper", "bare", "p1-sealed", "sml", "mbus-records", "iec62056-21", "teleinfo"
    ]
    grammar: Literal["p1", "axdr", "sml", "mbus-records", "iec62056-21", "teleinfo"]
    checksum: Literal["required", "optional", "none"]
    interval_s: Annotated[int, Meta(ge=1, le=3_600)]
    min_auth: Literal["verified", "unverified", "plain"]
    sources: Annotated[tuple[Text, ...], Meta(min_length=1)]
    line: Line
    match: Match
    clock: Clock
    item_p: ItemPMap
    frame: Annotated[tuple[FrameNote, ...], Meta(min_length=1)]
    units: dict[Code, Text] = {}
    scales: dict[Code, Scale] = {}
    list: tuple[PositionalList, ...] = ()
    cipher: Cipher | None = None
    direction: Direction | None = None
    records: Records | None = None
    notes: tuple[Text, ...] = ()


def load(text: str, name: str) -> Profile:
    """Read a profile from the text of its TOML file; `name` is the file's stem. Raises ProfileSyntaxError."""
    try:
        profile = msgspec.convert(tomllib.loads(text), Profile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileSyntaxError(f"profile {name}: {error}") from None
    if profile.name != name:
        raise ProfileSyntaxError(f"profile {name}: name is {profile.name!r}, but its file is called {name}.toml")
    return profile


def fits(profile: Profile, telegram: Telegram) -> bool:
    """Tell whether one set of conditions holds for a telegram, and one of the lists where the profile has any."""
    if profile.list and not any(agrees(list_, telegram.values) for list_ in profile.list):
        return False
    return any(_holds(condition, telegram) for condition in (profile.match, *profile.match.other))


def agrees(list_: PositionalList, values: tuple[Leaf, ...]) -> bool:
    """Tell whether a positional list has as many places as there are values, and each of its value's type."""
    return len(list_.items) == len(values) and all(map(_agrees, list_.items, values))


def _agrees(item: Item, leaf: Leaf) -> bool:
    """A value may be null, as absent phases are; otherwise its type is that of the place."""
    tag = leaf[0]
    if item.type:
        return tag in (0, TYPES[item.type])
    if item.unit == "skip":
        return True
    return tag == 0 or tag in (_STRINGS if item.unit == "text" else _INTEGERS)


def _holds(match: Condition, telegram: Telegram) -> bool:
    if match.identification and not telegram.identification.startswith(match.identification):
        return False
    if match.values and len(telegram.values) not in match.values:
        return False
    if not (match.has or match.has_not or match.texts or match.between):
        return True
    texts = telegram.texts
    codes = texts.keys() | {register[0] for register in telegram.registers}
    if telegram.clock is not None:
        codes.add(CLOCK)
    return (
        codes.issuperset(match.has)
        and codes.isdisjoint(match.has_not)
        and all(texts.get(code, "\n").startswith(start) for code, start in match.texts.items())
        and all(
            first <= texts.get(code, "") <= last and len(texts[code]) == len(first)
            for code, (first, last) in match.between.items()
        )
    )
