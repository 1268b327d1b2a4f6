"""Decoding SML: meterd against smllib, turn by turn, both reading code, value and unit of all entries of equal files.

The files have the structure of an ISKRA MT175 (13 entries) with other values in each. Nothing is remembered between
them but the meanings of codes and of the forms of entries: every file is walked. meterd checks the checksum of the
transport and of each message, smllib that of the transport.
"""

import random
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from decoding import timed
from report import Figure
from smllib import SmlStreamReader

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT / "tests" / "profiles" / "sml" / "de-iskra-mt175-export.txt"
PROFILE = "de-iskra-mt175"
FILES = 500
#: files of one turn: short, so that both meet the same machine
TURN = 50
MUST = 5.0
_TARIFF = re.compile(r"(?<=i64:)\d{6,}|(?<=i32:)-?\d+")


def figures(seconds: float) -> list[Figure]:
    """The ratio on files whose values change."""
    made = files(FILES)
    agree(made[:20])
    decode = meterd()
    mine, peer, ratios = [], [], []
    left = seconds * 1e6
    while len(mine) < 5 or left > 0:
        first = len(mine) * TURN % FILES
        mine.append(timed(decode, made[first : first + TURN]))
        peer.append(timed(smllib_sum, made[first : first + TURN]))
        ratios.append(peer[-1] / mine[-1])
        left -= (mine[-1] + peer[-1]) * TURN
    detail = [
        f"{len(mine)} turns of {TURN} files of {len(made[0])} octets",
        f"meterd us per file: min {min(mine):.1f}, median {median(mine):.1f}",
        f"smllib us per file: min {min(peer):.1f}, median {median(peer):.1f}",
        f"ratio: of the minima {min(peer) / min(mine):.1f}, median of the turns {median(ratios):.1f}",
    ]
    return [Figure("SML, 13 entries, plain walk, against smllib", median(ratios), "x", MUST, rises=True, detail=detail)]


def files(count: int) -> list[bytes]:
    """Files that differ in every number, and in their transaction numbers."""
    make: Callable[[str], bytes] = runpy.run_path(str(ROOT / "tools" / "make_sml.py"))["files"]
    rng, text = random.Random(6), TEXT.read_text(encoding="utf-8")
    return [
        make(_TARIFF.sub(lambda number: str(rng.randrange(1, 10 ** len(number[0].strip("-")))), text))
        for _ in range(count)
    ]


def meterd() -> Callable[[Sequence[bytes]], int]:
    """What decodes files and sums all registers, with one decoder."""
    decoder = Decoder([profiles.load(PROFILE)], ZoneInfo)

    def decode(data: Sequence[bytes]) -> int:
        total = 0
        for one in data:
            (reading,) = decoder.feed(one)
            assert isinstance(reading, Reading)
            total += sum([integer for _, integer, _, _ in reading.registers])
        return total

    return decode


def smllib_sum(data: Sequence[bytes]) -> float:
    """The same with smllib."""
    total, reader = 0.0, SmlStreamReader()
    for one in data:
        reader.add(one)
        total += sum([value for _, value, _ in entries(reader) if isinstance(value, int | float)])
    return total


def entries(reader: SmlStreamReader) -> list[tuple[str, float | str | None, int | None]]:
    """Code, value and unit of every entry of the next file."""
    frame = reader.get_frame()
    assert frame is not None
    listed = frame.parse_frame()[1].message_body.val_list
    return [(entry.obis.obis_code, entry.get_value(), entry.unit) for entry in listed]


def agree(data: Sequence[bytes]) -> None:
    """Make sure that both read the same numbers."""
    decoder, reader = Decoder([profiles.load(PROFILE)], ZoneInfo), SmlStreamReader()
    for one in data:
        reader.add(one)
        (reading,) = decoder.feed(one)
        assert isinstance(reading, Reading)
        theirs = [round(float(value), 6) for _, value, _ in entries(reader) if isinstance(value, int | float)]
        assert theirs == [round(integer * 10.0**exponent, 6) for _, integer, exponent, _ in reading.registers]
