"""Decoding DLMS pushes: meterd against gurux-dlms, turn by turn, both reading every value of the same frames.

gurux-dlms has a process of its own. It does not check the tag of an authenticated push; meterd does.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from decoding import timed
from push_frames import Stream, aidon, kamstrup
from report import Figure

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.model import Reading
from gateway import profiles

PEER = Path(__file__).with_name("gurux_peer.py")
FRAMES = 1_000
#: frames of one turn: short, so that both meet the same machine
TURN = 100
MUST_PLAIN, MUST_ENCRYPTED = 8.0, 50.0

Ask = Callable[[int, int], tuple[float, int]]


def figures(seconds: float) -> list[Figure]:
    """Ratios on frames whose values change, each within a quarter of the time."""
    share = seconds / 4
    plain, encrypted = aidon(FRAMES), kamstrup(FRAMES)
    return [
        ratio("Aidon push of 27 objects", plain, "se-aidon-efs", share, must=MUST_PLAIN),
        ratio("Aidon, 27 objects, plain walk", aidon(FRAMES, unlike=True), "se-aidon-efs", share, must=MUST_PLAIN),
        ratio("Aidon push of 27 objects, nothing remembered", plain, "se-aidon-efs", share, fresh=True),
        ratio("Kamstrup push, encrypted, tag checked", encrypted, "dk-kamstrup", share, must=MUST_ENCRYPTED),
    ]


def ratio(
    name: str, stream: Stream, profile: str, seconds: float, *, must: float | None = None, fresh: bool = False
) -> Figure:
    """Let both decode the same frames in turns; the ratio is the median over the turns."""
    decode = decoding(stream, profile, fresh=fresh)
    turns = [(start, start + TURN) for start in range(0, FRAMES, TURN)]
    mine, peer, ratios = [], [], []
    with gurux(stream) as ask:
        agree(stream, decode, ask)
        left = seconds * 1e6
        while len(mine) < 5 or left > 0:
            first, last = turns[len(mine) % len(turns)]
            mine.append(timed(decode, stream.frames[first:last]))
            peer.append(ask(first, last)[0] / TURN * 1e6)
            ratios.append(peer[-1] / mine[-1])
            left -= (mine[-1] + peer[-1]) * TURN
    detail = [
        f"{len(mine)} turns of {TURN} frames of {len(stream.frames[0])} octets",
        f"meterd us per frame: min {min(mine):.1f}, median {median(mine):.1f}",
        f"gurux-dlms us per frame: min {min(peer):.1f}, median {median(peer):.1f}",
        f"ratio: of the minima {min(peer) / min(mine):.1f}, median of the turns {median(ratios):.1f}",
    ]
    return Figure(f"{name}, against gurux-dlms", median(ratios), "x", must, rises=True, detail=detail)


def decoding(stream: Stream, profile: str, *, fresh: bool) -> Callable[[Sequence[bytes]], int]:
    """What decodes frames and sums all registers, with one decoder, or `fresh`: with one that never read a frame."""
    keys = Keys(stream.encryption, stream.authentication) if stream.encryption else None
    known, security = [profiles.load(profile)], Security(keys, min_auth="verified" if keys else "plain")
    decoder = Decoder(known, ZoneInfo, security=security)

    def decode(frames: Sequence[bytes]) -> int:
        total = 0
        for frame in frames:
            reader = Decoder(known, ZoneInfo, security=security) if fresh else decoder
            (reading,) = reader.feed(frame)
            assert isinstance(reading, Reading)
            total += sum([integer for _, integer, _, _ in reading.registers])
        return total

    return decode


def agree(stream: Stream, decode: Callable[[Sequence[bytes]], int], ask: Ask) -> None:
    """Make sure that both read the same numbers: the sums differ by the same scalers and units in every frame."""
    rest = {ask(n, n + 1)[1] - decode(stream.frames[n : n + 1]) for n in range(20)}
    assert len(rest) == 1, "the numbers differ"


@contextmanager
def gurux(stream: Stream) -> Iterator[Ask]:
    """The peer's process: seconds and sum for a range of frames."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        said = {"frames": [frame.hex() for frame in stream.frames]}
        said |= {"encryption": stream.encryption.hex(), "authentication": stream.authentication.hex()}
        json.dump(said, file)
        file.flush()
        command = [sys.executable, str(PEER), file.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
            assert child.stdin is not None
            assert child.stdout is not None

            def ask(first: int, last: int) -> tuple[float, int]:
                print(first, last, file=child.stdin)
                spent, total = child.stdout.readline().split()
                return float(spent), int(total)

            try:
                yield ask
            finally:
                child.kill()
