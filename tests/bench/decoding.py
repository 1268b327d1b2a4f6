"""Decoding P1: meterd against dsmr-parser, turn by turn in one process, both reading every value."""

import gc
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from report import Figure
from streams import captured, day

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dsmr_parser import telegram_specifications
    from dsmr_parser.parsers import TelegramParser

STREAM = 3_000
#: telegrams of one turn: short, so that both meet the same machine
TURN = 100
MUST = 15.0

Work = Callable[[Sequence[bytes]], object]


def figures(seconds: float) -> list[Figure]:
    """Ratios on the stream, on one repeated telegram, and with a cold decoder, each within a third of the time."""
    profile = [profiles.load("nl-dsmr5")]
    stream = day(STREAM)
    agree(stream[:200], profile)
    parser = TelegramParser(telegram_specifications.V5)
    warm = Decoder(profile, ZoneInfo)

    def ours(telegrams: Sequence[bytes]) -> None:
        for telegram in telegrams:
            (reading,) = warm.feed(telegram)
            take(reading)

    def cold(telegrams: Sequence[bytes]) -> None:
        for telegram in telegrams:
            (reading,) = Decoder(profile, ZoneInfo).feed(telegram)
            take(reading)

    def theirs(telegrams: Sequence[bytes]) -> None:
        for telegram in telegrams:
            list(values(parser.parse(telegram.decode())))

    third = seconds / 3
    return [
        ratio("P1 v5, a day's telegrams", ours, theirs, stream, seconds=third, must=MUST),
        ratio("P1 v5, one captured telegram repeated", ours, theirs, [captured()] * STREAM, seconds=third),
        ratio("P1 v5, first telegram of a decoder", cold, theirs, stream, seconds=third),
    ]


def ratio(
    name: str, ours: Work, theirs: Work, telegrams: Sequence[bytes], *, seconds: float, must: float | None = None
) -> Figure:
    """Let both decode the same telegrams in turns; the ratio is the median over the turns."""
    turns = [telegrams[start : start + TURN] for start in range(0, len(telegrams) - TURN + 1, TURN)]
    mine, peer = [], []
    end = time.perf_counter() + seconds
    while len(mine) < 5 or time.perf_counter() < end:
        turn = turns[len(mine) % len(turns)]
        mine.append(timed(ours, turn))
        peer.append(timed(theirs, turn))
    ratios = [b / a for a, b in zip(mine, peer, strict=True)]
    detail = [
        f"{len(mine)} turns of {TURN} telegrams of {len(telegrams[0])} octets",
        f"meterd us per telegram: min {min(mine):.1f}, median {median(mine):.1f}",
        f"dsmr-parser us per telegram: min {min(peer):.1f}, median {median(peer):.1f}",
        f"ratio: of the minima {min(peer) / min(mine):.1f}, median of the turns {median(ratios):.1f}",
    ]
    return Figure(f"{name}, against dsmr-parser", median(ratios), "x", must, rises=True, detail=detail)


def timed(work: Work, telegrams: Sequence[bytes]) -> float:
    """Microseconds per telegram, without the collector's rounds, which strike whoever is at work."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    work(telegrams)
    spent = time.perf_counter() - began
    gc.enable()
    return spent / len(telegrams) * 1e6


def take(reading: Any) -> list[tuple[int, int]]:
    """Read item P and every register as integer and exponent."""
    assert reading.t is not None
    assert reading.p_import_w is not None
    assert reading.p_export_w is not None
    assert reading.a_import_wh is not None
    assert reading.a_export_wh is not None
    return [(integer, exponent) for _, integer, exponent, _ in reading.registers]


def values(parsed: Iterable[tuple[str, Any]]) -> Iterable[Any]:
    """Every value of a telegram of dsmr-parser, those of its sub-meters included."""
    for _, item in parsed:
        if isinstance(item, list):
            for device in item:
                yield from values(device)
        elif hasattr(item, "value"):
            yield item.value


def agree(telegrams: Sequence[bytes], profile: Sequence[Any]) -> None:
    """Make sure that both read the same numbers: every register of ours is among their values, and the time is."""
    decoder, parser = Decoder(profile, ZoneInfo), TelegramParser(telegram_specifications.V5)
    for telegram in telegrams:
        (reading,) = decoder.feed(telegram)
        theirs = list(values(parser.parse(telegram.decode(), throw_ex=True)))
        numbers = {value for value in theirs if isinstance(value, (Decimal, int))}
        assert isinstance(reading, Reading)
        assert reading.t in theirs
        assert len(reading.registers) >= 25
        assert {Decimal(integer).scaleb(exponent) for _, integer, exponent, _ in reading.registers} <= numbers
