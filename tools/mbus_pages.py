"""The parts of a profile's page that only M-Bus records have: the packet, octet group by octet group, and the records.

The frames are read with the decoders themselves, so a page cannot name a record that meterd does not find.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from decoders.cipher import Keys  # noqa: E402
from decoders.dib import PREFIX  # noqa: E402
from decoders.grammars.mbus_records import MbusRecordsGrammar  # noqa: E402
from decoders.links.mbus_records import MbusRecordsLink  # noqa: E402
from decoders.meaning import choices, words  # noqa: E402
from decoders.mode5 import Mode5  # noqa: E402
from decoders.model import Frame, Telegram, decimal  # noqa: E402
from decoders.profile import Profile, load  # noqa: E402

PACKET = """## The packet

| part | octets |
| --- | --- |
| start | `68`, L, L, `68`: L octets follow up to the checksum |
| C, A, CI | `08` answer or `53`/`73` push; primary address; `72` or `5B`: a long header follows |
| header | identification 4, manufacturer 2, version, device type, access number, status, configuration 2 |
| records | each: DIF and DIFEs, VIF and VIFEs, data; the table below |
| end of records | `0F` and manufacturer data; `1F` when another telegram continues the readout; `2F` is a filler |
| checksum, stop | sum of the octets from C on, 8 bits; `16` |
"""
QUANTITIES = ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh")
#: data field of a float, the second digit of a code
_FLOAT = 5


def packet() -> str:
    """The packet, which is the same for all meters."""
    return PACKET


def objects(folder: Path, name: str) -> str:
    """Every record of the frames of a profile."""
    profile = load((folder / f"{name}.toml").read_text(encoding="utf-8"), name)
    rows: dict[str, str] = {}
    for telegram in _telegrams(profile, folder):
        for code, row in _rows(profile, telegram):
            rows.setdefault(code, row)
    head = "| record | step | unit | meaning | goes to |\n| --- | --- | --- | --- | --- |\n"
    lines = "".join(f"| `{code}` | {row} |\n" for code, row in rows.items())
    return (
        "## The records\n\nEvery record of the readouts that the profile ships, by its head (DIF, DIFE, VIF, VIFE); a"
        f" value counts steps of its unit. Further records are read by their heads.\n\n{head}{lines}"
    )


def _telegrams(profile: Profile, folder: Path) -> Iterator[Telegram]:
    for note in profile.frame:
        link, keys = MbusRecordsLink(), note.keys.get("encryption")
        opened = Mode5(Keys(bytes.fromhex(keys)) if keys else None)
        for frame in link.feed((folder / note.file).read_bytes()) + link.close():
            if not isinstance(frame, Frame):
                sys.exit(f"{note.file}: {frame}")
            yield MbusRecordsGrammar().parse(opened.unwrap(frame)[0])


def _rows(profile: Profile, telegram: Telegram) -> Iterator[tuple[str, str]]:
    registers = telegram.registers
    goes_to: dict[int, list[str]] = {}
    if profile.records:
        for quantity, choice in zip(QUANTITIES, choices(profile.records, telegram, registers), strict=True):
            for place in choice.places:
                goes_to.setdefault(place, []).append(f"`{quantity}`")
    for code in telegram.texts:
        yield code, f" |  | {words(code)} | read, not published"
    for place, (code, _, exponent, unit) in enumerate(registers):
        scale = profile.scales.get(code)
        step, of = (decimal(1, scale.exponent), scale.unit) if scale and not unit else (decimal(1, exponent), unit)
        step = "float" if int(code[len(PREFIX) + 1], 16) == _FLOAT else step
        yield code, f"{step} | {of} | {words(code)} | {', '.join([*goes_to.get(place, []), '`registers`'])}"
