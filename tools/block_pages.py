"""The parts of a profile's page that only data blocks of IEC 62056-21 and teleinfo have: the packet, and the objects.

The frames are read with the decoders themselves, so a page cannot name an object that meterd does not find.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from decoders.decoder import GRAMMARS, LINKS  # noqa: E402
from decoders.model import Frame, Telegram, decimal  # noqa: E402
from decoders.profile import Profile, load  # noqa: E402

Objects = Mapping[str, list[str]]

_BLOCK = """## The packet

| part | octets |
| --- | --- |
| start | `/` |
| identification | three letters of the manufacturer (FLAG), a character for the baud rate, the type; then CR LF |
| begin of data | STX where a BCC follows; else an empty line, which some meters leave out |
| data sets | `code(value*unit)`, one or more on a line, then CR LF |
| end | `!` CR LF |
| checksum | ETX and BCC, the exclusive or of everything behind STX up to ETX; none where there was no STX |

A reduced code such as `1.8.0` stands for `1-0:1.8.0`. `*01` or `&01` behind a code is a stored value.
"""
_TELEINFO = """## The packet

| part | octets |
| --- | --- |
| start | STX |
| groups | LF, label, {separator}{horodate}value, {separator}checksum, CR |
| end | ETX; EOT where the meter interrupts the frame |
| checksum | of each group: the low six bits of the sum of its octets, plus 20h |
"""
PACKETS = {
    "iec62056-21": _BLOCK,
    "historique": _TELEINFO.format(separator="SP, ", horodate=""),
    "standard": _TELEINFO.format(separator="HT, ", horodate="time and HT where it has one, "),
}
KINDS = {
    "identity": "tells a meter exchange; never published",
    "clock": "`t`, `t_meter`",
    "text": "read, not published",
}
_STORED = re.compile(r"\*\d+$")


def packet(name: str, folder: Path) -> str:
    """The packet of a profile's frames."""
    profile = _load(name, folder)
    mode = next(_telegrams(profile, folder)).identification.removeprefix("teleinfo ")
    return PACKETS.get(mode, _BLOCK)


def objects(name: str, folder: Path, meanings: Objects, goes_to: Mapping[str, str]) -> str:
    """Every object of the frames of a profile."""
    rows: dict[str, str] = {}
    for telegram in _telegrams(_load(name, folder), folder):
        for code, row in _rows(telegram, meanings, goes_to):
            rows.setdefault(code, row)
    head = "| object | form | unit | meaning | goes to |\n| --- | --- | --- | --- | --- |\n"
    lines = "".join(f"| `{code}` | {row} |\n" for code, row in rows.items())
    return (
        "## The objects\n\nEvery object of the frames that the profile ships. Each 0 of the form stands for any digit."
        f" Further objects are read by their code and unit.\n\n{head}{lines}"
    )


def _rows(telegram: Telegram, meanings: Objects, goes_to: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for code, integer, exponent, unit in telegram.registers:
        stem, stored = _STORED.subn("", code)
        form = re.sub(r"\d", "0", decimal(integer, exponent))
        meaning = _meaning(stem, meanings)[1] + (", stored" if stored else "")
        target = goes_to.get(code, "`registers`")
        yield stem + ("*n" if stored else ""), f"`{form}` | {unit or 'none sent'} | {meaning} | {target}"
    for code in telegram.texts:
        kind, meaning = _meaning(_STORED.sub("", code), meanings)
        yield _STORED.sub("*n", code), f"`…` |  | {meaning} | {KINDS.get(kind, KINDS['text'])}"
    if telegram.clock is not None:
        code = "DATE" if telegram.identification.startswith("teleinfo") else "1-0:0.9.2"
        yield code, f"`{re.sub(r'[0-9]', '0', telegram.clock)}` |  | {_meaning(code, meanings)[1]} | {KINDS['clock']}"


def _meaning(code: str, meanings: Objects) -> list[str]:
    if code not in meanings:
        sys.exit(f"config/objects.toml does not say what {code} is")
    return meanings[code]


def _load(name: str, folder: Path) -> Profile:
    return load((folder / f"{name}.toml").read_text(encoding="utf-8"), name)


def _telegrams(profile: Profile, folder: Path) -> Iterator[Telegram]:
    for note in profile.frame:
        link = LINKS[profile.link]()
        for outcome in [*link.feed((folder / note.file).read_bytes()), *link.close()]:
            if isinstance(outcome, Frame):
                yield GRAMMARS[profile.grammar]().parse(outcome)
