"""Decoding M-Bus records: meterd against pyMeterBus, turn by turn in one process, both reading every value.

Every record is walked over in every telegram: there is no template. Values, access number and checksum change.
"""

import random
import time
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from statistics import median
from zoneinfo import ZoneInfo

from decoding import timed
from report import Figure

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import meterbus

PROFILE, FRAME = "mbus-emu-professional", "frames/mbus-emu-professional.mbus"
FRAMES, TURN = 1_000, 100
MUST = 15.0
#: octets before C, and the place of the access number
HEAD, ACCESS = 4, 15
#: heads of records of 32 bits whose values change
ENERGY, POWER = bytes.fromhex("841003"), bytes.fromhex("042b")


def figures(seconds: float) -> list[Figure]:
    """Ratios with a decoder that keeps what it learned of heads, and with one that never read a telegram."""
    stream = telegrams()
    agree(stream[:20])
    return [
        ratio("M-Bus records vs pyMeterBus, with values", stream, seconds / 2, must=MUST),
        ratio("M-Bus records vs pyMeterBus, nothing remembered", stream, seconds / 2, fresh=True),
    ]


def telegrams() -> list[bytes]:
    """The captured telegram of 32 records with other values in it."""
    rng, captured = random.Random(1), profiles.shipped().joinpath(FRAME).read_bytes()
    places = [captured.index(head) + len(head) for head in (ENERGY, POWER)]
    made = []
    for number in range(FRAMES):
        telegram = bytearray(captured)
        telegram[ACCESS] = number & 0xFF
        for place in places:
            telegram[place : place + 2] = rng.randbytes(2)
        telegram[-2] = sum(telegram[HEAD:-2]) & 0xFF
        made.append(bytes(telegram))
    return made


def ratio(
    name: str, stream: Sequence[bytes], seconds: float, *, must: float | None = None, fresh: bool = False
) -> Figure:
    """Let both decode the same telegrams in turns; the ratio is the median over the turns."""
    decode = ours(fresh=fresh)
    turns = [stream[start : start + TURN] for start in range(0, FRAMES, TURN)]
    mine, peer = [], []
    end = time.perf_counter() + seconds
    while len(mine) < 5 or time.perf_counter() < end:
        turn = turns[len(mine) % len(turns)]
        mine.append(timed(decode, turn))
        peer.append(timed(theirs, turn))
    ratios = [b / a for a, b in zip(mine, peer, strict=True)]
    detail = [
        f"{len(mine)} turns of {TURN} telegrams of {len(stream[0])} octets, 32 records",
        f"meterd us per telegram: min {min(mine):.1f}, median {median(mine):.1f}",
        f"pyMeterBus us per telegram: min {min(peer):.1f}, median {median(peer):.1f}",
        f"ratio: of the minima {min(peer) / min(mine):.1f}, median of the turns {median(ratios):.1f}",
    ]
    return Figure(name, median(ratios), "x", must, rises=True, detail=detail)


def ours(*, fresh: bool) -> Callable[[Sequence[bytes]], object]:
    """What decodes telegrams to item P and all registers."""
    known = [profiles.load(PROFILE)]
    decoder = Decoder(known, ZoneInfo)

    def decode(stream: Sequence[bytes]) -> int:
        total = 0
        for telegram in stream:
            (reading,) = (Decoder(known, ZoneInfo) if fresh else decoder).feed(telegram)
            assert isinstance(reading, Reading)
            total += sum([integer for _, integer, _, _ in reading.registers])
        return total

    return decode


def theirs(stream: Sequence[bytes]) -> int:
    """Every value of every record."""
    return sum(len([record.value for record in meterbus.load(telegram).records]) for telegram in stream)


def agree(stream: Sequence[bytes]) -> None:
    """Make sure that both read the same numbers."""
    decoder = Decoder([profiles.load(PROFILE)], ZoneInfo)
    for telegram in stream:
        (reading,) = decoder.feed(telegram)
        assert isinstance(reading, Reading)
        mine = [Decimal(integer).scaleb(exponent) for _, integer, exponent, _ in reading.registers]
        peer = [Decimal(str(record.value)) for record in meterbus.load(telegram).records]
        assert len(mine) == len(peer) == 32
        assert all(abs(a - b) <= abs(a) * Decimal("1e-9") for a, b in zip(mine, peer, strict=True))
