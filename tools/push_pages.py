"""The parts of a profile's page that only pushes and encrypted telegrams have: packet, per octet group, and objects.

The frames are read with the decoders themselves, so a page cannot name an object that meterd does not find.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from decoders.apdu import Unwrapper  # noqa: E402
from decoders.cipher import Keys  # noqa: E402
from decoders.decoder import LINKS, TITLES  # noqa: E402
from decoders.grammars.cosem import AxdrGrammar  # noqa: E402
from decoders.lists import named  # noqa: E402
from decoders.model import Frame, Telegram, decimal  # noqa: E402
from decoders.profile import FrameNote, Item, Profile, load  # noqa: E402

#: what a page calls the types of A-XDR
TYPES = {
    "bool": "boolean", "enum": "enum", "i8": "integer", "i16": "long", "i32": "double-long", "i64": "long64",
    "u8": "unsigned", "u16": "long-unsigned", "u32": "double-long-unsigned", "u64": "long64-unsigned",
}  # fmt: skip
KINDS = {
    "clock": "`t`, `t_meter`, unless the header of the push has a time",
    "identity": "tells a meter exchange; never published",
}

Objects = Mapping[str, list[str]]

HDLC = (
    ("flag", "`7E`"),
    ("frame format", "2 octets: type 3 (`A`), bit 11 set when a segment follows, 11 bits length from here to the FCS"),
    ("destination, source", "1, 2 or 4 octets each; bit 0 is set in the last one: {addresses}"),
    ("control", "UI (`03`, `13`)"),
    ("HCS", "2 octets, CRC-16/X-25 of format to control, low octet first"),
    ("LLC header", "`E6 E7 00`, in the first segment only"),
    ("information", "the APDU, or a segment of it; no octet is stuffed"),
    ("FCS", "2 octets, CRC-16/X-25 of format to information, low octet first"),
    ("flag", "`7E`; it may open the next frame too"),
)
MBUS = (
    ("start", "`68`, length, length again, `68`; the length counts from C to the data"),
    ("C, A", "`53` or `73` (SND_UD), address `FF`"),
    ("CI", "`00` to `1F`: bit 4 marks the last segment, bits 0 to 3 number it from 0"),
    ("STSAP, DTSAP", "`01`, `67`"),
    ("data", "the APDU, or a segment of it"),
    ("checksum, stop", "sum of C to data modulo 256, `16`"),
)
WRAPPER = (
    ("version", "`00 01`"),
    ("source port, destination port", "2 octets each"),
    ("length", "2 octets, those of the APDU"),
)
BARE = (("no link", "one APDU after the other, without delimiter and checksum"),)
SEALED = (
    ("identification", "`/`, three letters of the manufacturer (FLAG), the type; CR LF; in clear"),
    ("empty line", "CR LF"),
    ("block", "the ciphered octets below, without tag; their length ends them, not the next `!`"),
    ("end", "`!`"),
    ("checksum", "four hexadecimal digits, CRC-16/ARC over `/` to `!`, the ciphered octets included; then CR LF"),
)
CIPHERED = (
    ("tag", "`DB`: general-glo-ciphering; or `E0`, with it in numbered blocks (general-block-transfer)"),
    ("system title", "length `08`, 8 octets: manufacturer (3) and number"),
    ("length", "1 to 3 octets, those that follow"),
    ("security control", "1 octet: `20` or `21` encrypted; `30` or `31` encrypted with a tag"),
    ("invocation counter", "4 octets; system title and counter are the IV"),
    ("ciphertext", "AES-128-GCM"),
    ("tag of authentication", "12 octets behind `30` and `31`, over security control and authentication key too"),
)
CIPHERED_UNTITLED = (
    ("system title", "length `00`: eight zero octets are meant"),
    ("length", "`82` and 2 octets, those that follow"),
    *CIPHERED[-4:],
)
DATE_TIME = (
    "year (2), month, day, weekday, hour, minute, second, hundredths, deviation in minutes (2; `8000`: none), status"
)
NOTIFICATION = (
    ("tag", "`0F`: data-notification"),
    ("long-invoke-id-and-priority", "4 octets"),
    ("date-time", f"length `00`, or `0C` and 12 octets: {DATE_TIME}"),
    ("body", "A-XDR data: {body}"),
)
P1_LINES = (("telegram", "the data lines of a P1 telegram, then `!` and a CRC of its own, which is not needed"),)
P1_TEXT = (("telegram", "a P1 telegram, from `/` to its CRC, as on a plain P1 port"),)
PACKETS = {"hdlc": HDLC, "mbus": MBUS, "wrapper": WRAPPER, "bare": BARE, "p1-sealed": SEALED}


class Read(NamedTuple):
    """A frame file as read: its plain APDU or P1 text, and the octets on the wire."""

    plain: bytes
    wire: bytes


def read(folder: Path, name: str) -> tuple[Profile, list[Read]]:
    """A profile and its frames, opened with the test keys that were published with them."""
    profile = load((folder / f"{name}.toml").read_text(encoding="utf-8"), name)
    return profile, [_open(profile, note, (folder / note.file).read_bytes()) for note in profile.frame]


def packet(profile: Profile, frames: list[Read]) -> str:
    """The packet, layer by layer, one row for each group of octets."""
    addresses = sorted({_addresses(frame.wire) for frame in frames}) if profile.link == "hdlc" else []
    layers = {f"Link: {profile.link}": PACKETS[profile.link]}
    if profile.cipher:
        layers["Ciphering"] = CIPHERED_UNTITLED if profile.link in TITLES else CIPHERED
    text_of = P1_LINES if profile.link in TITLES else P1_TEXT
    layers["Content"] = text_of if profile.grammar == "p1" else NOTIFICATION
    text = "## The packet\n"
    for title, rows in layers.items():
        filled = "".join(f"| {part} | {octets.format(addresses=', '.join(addresses), body=_body(profile))} |\n"
                         for part, octets in rows)  # fmt: skip
        text += f"\n{title}\n\n| part | octets |\n| --- | --- |\n{filled}"
    return text


def objects(profile: Profile, frames: list[Read], meanings: Objects, goes_to: Mapping[str, str]) -> str:
    """Every object of the frames; one table for each positional list, with its places."""
    if profile.list:
        return "## The objects\n" + "".join(_list(list_.items, meanings, goes_to) for list_ in profile.list)
    telegrams = [AxdrGrammar().parse(Frame(frame.plain, "ok", len(frame.wire))) for frame in frames]
    rows = dict(chain.from_iterable(_rows(named(profile, telegram), meanings, goes_to) for telegram in telegrams))
    head = "| object | step | unit | meaning | goes to |\n| --- | --- | --- | --- | --- |\n"
    lines = "".join(f"| `{code}` | {row} |\n" for code, row in rows.items())
    return (
        "## The objects\n\nEvery object of the pushes that the profile ships; a value counts steps of its unit."
        f" Further objects are read by their code and unit.\n\n{head}{lines}"
    )


def _open(profile: Profile, note: FrameNote, wire: bytes) -> Read:
    keys = [bytes.fromhex(note.keys.get(name, "")) for name in ("encryption", "authentication")]
    pair = Keys(keys[0], keys[1] or None) if keys[0] else None
    unwrapper = Unwrapper(pair, system_title=TITLES.get(profile.link), unverified_by_person=True)
    link = LINKS[profile.link]()
    plain = [unwrapper.unwrap(frame) for frame in link.feed(wire) + link.close() if isinstance(frame, Frame)]
    if len(plain) != 1 or plain[0] is None:
        sys.exit(f"{note.file}: not one whole push")
    return Read(plain[0].payload, wire)


def _addresses(wire: bytes) -> str:
    """Destination and source of an HDLC frame, as `41 0883`."""
    ends = [place for place in range(3, 12) if wire[place] & 1][:2]
    return f"`{wire[3 : ends[0] + 1].hex().upper()} {wire[ends[0] + 1 : ends[1] + 1].hex().upper()}`"


def _body(profile: Profile) -> str:
    if profile.list:
        return "a structure of values in the order of the table, without codes"
    if profile.scales:
        return "values with codes, but without units; the codes stand before each value or come as a list before all"
    return "for each register its code, its value, and a structure of scaler and unit"


def _rows(telegram: Telegram, meanings: Objects, goes_to: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if telegram.clock is not None:
        yield "0-0:1.0.0", " |  | time of the push, or of its values | `t`, `t_meter`"
    for code in telegram.texts:
        kind, meaning = _meaning(code, meanings)
        yield code, f" |  | {meaning} | {KINDS.get(kind, 'read, not published')}"
    for code, _, exponent, unit in telegram.registers:
        meaning = _meaning(code, meanings)[1]
        yield code, f"{decimal(1, exponent)} | {unit or 'none sent'} | {meaning} | {goes_to.get(code, '`registers`')}"


def _list(items: tuple[Item, ...], meanings: Objects, goes_to: Mapping[str, str]) -> str:
    head = "| place | object | type | step | unit | meaning | goes to |\n| --- | --- | --- | --- | --- | --- | --- |\n"
    rows = "".join(f"| {place} | {_place(item, meanings, goes_to)} |\n" for place, item in enumerate(items, 1))
    return f"\nThe list of {len(items)} value{'s' if len(items) > 1 else ''}:\n\n{head}{rows}"


def _place(item: Item, meanings: Objects, goes_to: Mapping[str, str]) -> str:
    kind, meaning = _meaning(item.code, meanings)
    if item.code == "0-0:1.0.0":
        return f"`{item.code}` | octet-string |  |  | time of the values | {KINDS['clock']}"
    if item.unit == "skip":
        return f"`{item.code}` | {TYPES.get(item.type or '', 'octet-string')} |  |  | {meaning} | passed over"
    if item.unit == "text":
        return f"`{item.code}` | octet-string |  |  | {meaning} | {KINDS.get(kind, 'read, not published')}"
    unit = "" if item.unit == "none" else item.unit
    step, goes = decimal(1, item.exponent), goes_to.get(item.code, "`registers`")
    return f"`{item.code}` | {TYPES.get(item.type or '', 'integer')} | {step} | {unit} | {meaning} | {goes}"


def _meaning(code: str, meanings: Objects) -> list[str]:
    known = code if code in meanings else re.sub(r"^0-[1-9]:", "0-n:", code)
    if known not in meanings:
        sys.exit(f"config/objects.toml does not say what {code} is")
    return meanings[known]
