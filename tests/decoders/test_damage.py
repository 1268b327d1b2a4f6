"""Damage on the line: flipped bits, bursts, noise. With a checksum nothing damaged is accepted."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from decoders.model import Reading, Result
from tests.sizes import AFTER_NOISE, FLIPS, FLIPS_UNCHECKED, NOISE_GROWTH, NOISE_OCTETS

Decode = Callable[..., list[Result]]
Captures = list[tuple[str, bytes]]

DIGITS = bytes.maketrans(b"123456789", b"000000000")


def flipped(octets: bytes, bits: list[int]) -> bytes:
    """The octets with some bits the other way round; bit 0 is the first on the line (serial: LSB first)."""
    changed = bytearray(octets)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damages(octets: bytes, dice: random.Random) -> list[int]:
    """One to three bits anywhere, or a burst of up to 16 bits."""
    length = 8 * len(octets)
    if dice.random() < 0.75:
        return dice.sample(range(length), dice.randint(1, 3))
    span = dice.randint(2, 16)
    start = dice.randrange(length - span)
    return [start, *(bit for bit in range(start + 1, start + span - 1) if dice.random() < 0.5), start + span - 1]


def readings(results: list[Result]) -> list[Reading]:
    """The readings alone; damage of the last line end changes their sizes."""
    return [replace(result, size=0) for result in results if isinstance(result, Reading)]


def check(name: str, octets: bytes, bits: list[int], whole: list[Reading], decode: Decode) -> None:
    """No reading from damage between `/` and `!`; where only what follows `!` differs, none or the right one."""
    damaged = flipped(octets, bits)
    end = octets.rindex(b"!") + 1
    found = readings(decode(damaged))
    assert found in ([], whole), (name, bits)
    assert not found or damaged[:end] == octets[:end], (name, bits)


def test_no_flips_and_no_bursts_pass_a_checksum(every_checked: Captures, decode: Decode) -> None:
    dice = random.Random(20231162)
    wholes = [readings(decode(octets)) for _, octets in every_checked]
    assert all(wholes)
    for _ in range(FLIPS):
        place = dice.randrange(len(every_checked))
        name, octets = every_checked[place]
        check(name, octets, damages(octets, dice), wholes[place], decode)


@pytest.mark.untraced
def test_no_single_flip_passes_a_checksum(checked: tuple[str, bytes], decode: Decode) -> None:
    """Every bit of every telegram, once."""
    name, octets = checked
    whole = readings(decode(octets))
    for bit in range(8 * len(octets)):
        check(name, octets, [bit], whole, decode)


@pytest.mark.untraced
def test_no_burst_passes_a_checksum(checked: tuple[str, bytes], decode: Decode) -> None:
    """Sixteen bits in a row the other way round, at every bit."""
    name, octets = checked
    whole = readings(decode(octets))
    for bit in range(8 * octets.rindex(b"!") - 16):
        check(name, octets, list(range(bit, bit + 16)), whole, decode)


def test_without_checksum_only_a_digit_can_pass_for_another(
    every_unchecked: Captures, decode: Decode, record_property: Callable[[str, object], None]
) -> None:
    """A digit for a digit cannot be noticed; all else is, or takes away. The share is reported, not promised."""
    dice = random.Random(56)
    wholes = [readings(decode(octets)) for _, octets in every_unchecked]
    wrong = 0
    for _ in range(FLIPS_UNCHECKED):
        place = dice.randrange(len(every_unchecked))
        name, octets = every_unchecked[place]
        bit = dice.randrange(8 * len(octets))
        damaged = flipped(octets, [bit])
        right = item_p(wholes[place][0])
        for reading in readings(decode(damaged)):
            if any(said not in (None, meant) for said, meant in zip(item_p(reading), right, strict=True)):
                wrong += 1
                assert damaged.translate(DIGITS) == octets.translate(DIGITS), (name, bit)
    share = wrong / FLIPS_UNCHECKED
    record_property("share of single flips that give another item P without checksum", share)
    print(f"{wrong} of {FLIPS_UNCHECKED} single flips without checksum give another item P ({share:.1%})")
    assert 0 < wrong < FLIPS_UNCHECKED / 4


def item_p(reading: Reading) -> tuple[object, ...]:
    power = reading.p_import_w, reading.p_export_w, reading.p_net_w
    return reading.t_meter, *power, reading.a_import_wh, reading.a_export_wh


NOISE = """
import random, resource, sys
from pathlib import Path
from zoneinfo import ZoneInfo
from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles

kind, octets, after = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
good = profiles.shipped().joinpath("frames/nl-dsmr5-iskra.p1").read_bytes()
dice = random.Random(7)
noise = {
    "any octets": lambda n: dice.randbytes(n),
    "printable": lambda n: bytes(dice.choices(range(32, 127), k=n)),
    "of telegrams": lambda n: bytes(dice.choices(good, k=n)),
    "starts": lambda n: (b"/ABC5\\n" * n)[:n],
    "zeros": lambda n: bytes(n),
}[kind]

def fed(pieces):
    for piece in pieces:
        for result in decoder.feed(piece):
            yield isinstance(result, Reading)

decoder = Decoder(profiles.load_auto(), ZoneInfo)
warm = sum(fed([good] * 50 + [noise(4096)] * 20))
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
in_noise = sum(fed(noise(4096) for _ in range(octets // 4096)))
pending = decoder.pending
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used) * 1024
print(warm, in_noise, pending, sum(fed([b"\\r\\n"] + [good] * after)), grown)
"""


@pytest.mark.parametrize("kind", ["any octets", "printable", "of telegrams", "starts", "zeros"])
def test_no_telegram_after_noise_is_lost_and_nothing_grows(kind: str, checkout: Path) -> None:
    command = [sys.executable, "-c", NOISE, kind, str(NOISE_OCTETS), str(AFTER_NOISE)]
    # untraced, as the tests with that mark
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=250, check=True
    )
    warm, in_noise, pending, after, grown = map(int, done.stdout.split())
    assert (warm, in_noise, after) == (50, 0, AFTER_NOISE)
    assert pending < 16_384
    assert grown <= NOISE_GROWTH


def test_noise_between_telegrams_costs_none_of_them(every_checked: Captures, decode: Decode) -> None:
    dice = random.Random(11)

    def stream() -> Iterator[bytes]:
        for _, octets in every_checked * 3:
            yield dice.randbytes(dice.randrange(3_000)).replace(b"/", b"?") + b"\n"
            yield octets

    assert len(readings(decode(*stream()))) == 3 * len(every_checked)
