"""The parts of a profile's page that only SML has: the packet, octet group by octet group, and the objects.

The frames are read with the decoders themselves, so a page cannot name an object that meterd does not find.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from decoders.grammars.sml import SmlGrammar  # noqa: E402
from decoders.links.sml import SmlLink  # noqa: E402
from decoders.model import Frame, Telegram, decimal  # noqa: E402
from decoders.profile import Profile, load  # noqa: E402

Objects = Mapping[str, list[str]]

PACKET = """## The packet

| part | octets |
| --- | --- |
| start | `1B 1B 1B 1B`, `01 01 01 01` |
| open response | message with the tag `0101`: number of the file, server id |
| get-list response | message with the tag `0701`: server id, name of the list, time, the entries, signature |
| close response | message with the tag `0201` |
| fill | `00`, up to a multiple of 4 octets |
| end | `1B 1B 1B 1B`, `1A`, number of fill octets |
| checksum | 2 octets over all before: CRC-16/X-25, low octet first, or CRC-16/KERMIT, high octet first |

Each message is `76`, transaction id, group, abort on error, `72`, tag, body, its own checksum of the same kind, `00`.
An entry is `77`, code, status word, time, unit, scaler, value, signature. `1B 1B 1B 1B` in the messages is sent twice.
"""
KINDS = {"identity": "tells a meter exchange; never published"}


def packet() -> str:
    """The packet, which is the same for all meters."""
    return PACKET


def objects(folder: Path, name: str, meanings: Objects, goes_to: Mapping[str, str]) -> str:
    """Every object of the frames of a profile."""
    profile = load((folder / f"{name}.toml").read_text(encoding="utf-8"), name)
    rows: dict[str, str] = {}
    for telegram in _telegrams(profile, folder):
        for code, row in _rows(telegram, meanings, goes_to):
            rows.setdefault(code, row)
    head = "| object | step | unit | meaning | goes to |\n| --- | --- | --- | --- | --- |\n"
    lines = "".join(f"| `{code}` | {row} |\n" for code, row in rows.items())
    return (
        "## The objects\n\nEvery object of the files that the profile ships; a value counts steps of its unit."
        f" Further objects are read by their code and unit.\n\n{head}{lines}"
    )


def _telegrams(profile: Profile, folder: Path) -> Iterator[Telegram]:
    for note in profile.frame:
        link = SmlLink()
        for frame in link.feed((folder / note.file).read_bytes()) + link.close():
            if not isinstance(frame, Frame):
                sys.exit(f"{note.file}: {frame}")
            yield SmlGrammar().parse(frame)


def _rows(telegram: Telegram, meanings: Objects, goes_to: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for code, text in telegram.texts.items():
        kind, meaning = _meaning(code, meanings)
        shown = f"`{text}`" if meaning == "manufacturer" else ""
        yield code, f"{shown} |  | {meaning} | {KINDS.get(kind, 'read, not published')}"
    for code, _, exponent, unit in telegram.registers:
        meaning = _meaning(code, meanings)[1]
        yield code, f"{decimal(1, exponent)} | {unit} | {meaning} | {goes_to.get(code, '`registers`')}"


def _meaning(code: str, meanings: Objects) -> list[str]:
    if code not in meanings:
        sys.exit(f"config/objects.toml does not say what {code} is")
    return meanings[code]
