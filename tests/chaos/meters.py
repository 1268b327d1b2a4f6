"""A simulated meter as a process: sends on a pseudo-terminal, obeys faults on stdin, writes the truth as it sends.

The oracle's source: each reading has a secret number, its import register, which no other reading of the meter has.
What was sent stands in the truth file before its last octet leaves, one JSON line for each telegram, never changed:
meter, id (Wh), sent (wall clock, s), sent_ns (monotonic), fault, arrives (True, False, None: nobody can know), readers,
possible (False: no meter can mean it), item (W and Wh). A fault is ordered by a line on stdin:
`{"kind": "truncated", "count": 3}`, `{"kind": "unplug", "seconds": 2.5}`; `{"kind": "end"}` ends the process.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from gateway.simulator import keys, p1
from gateway.simulator.meter import Meter
from gateway.simulator.port import PtyPort
from gateway.simulator.push_meter import PushMeter
from gateway.simulator.sml_meter import SmlMeter

#: what an impossible telegram says: more than any connection carries, or than can have flowed since the last one
ABSURD_W, ABSURD_WH = 99_000, 5_000_000
#: between the last telegram and the end of the line (s)
LAST_S = 3.0
#: pseudo-terminals that are kept and not used: a daemon that somebody left behind may wait for the number of its own
SPARE = 24
#: octets of a flood
FLOOD = 65_536


class Numbered(Meter):
    """A meter whose import register rises by `wh_step` with each telegram, so that it numbers them."""

    wh_base = 0
    wh_step = 1
    step_s = 1.0
    absurd: str | None = None

    def _measure(self, second: int) -> p1.State:
        number = int((second - self.start) // self.step_s)
        dice = Random(f"{self.seed} {number}")
        total = self.wh_base + number * self.wh_step + ABSURD_WH * (self.absurd == "energy")
        watts = int(self.wh_step * 3600 // self.step_s) + dice.randrange(600)
        export = dice.randrange(1, 5_000) if number % 7 == 3 else 0
        low = self.wh_base // 4
        return (
            super()
            ._measure(second)
            ._replace(
                a_import=p1.Energy(low, total - low, total),
                a_export=p1.Energy(1_200, 34_000, 35_200),
                p_import=ABSURD_W if self.absurd == "power" else 0 if export else watts,
                p_export=export if self.absurd != "power" else 0,
            )
        )

    def say_absurd(self, kind: str | None) -> None:
        """The next telegrams say what no meter can mean: `power` or `energy`; None ends it."""
        self.absurd, self._state = kind, None


class NumberedP1(Numbered): ...


class NumberedPush(Numbered, PushMeter): ...


class NumberedSml(Numbered, SmlMeter): ...


def make(variant: str, seed: int, start: datetime, interval_s: float, key_file: Path | None) -> Numbered:
    """The meter of a kind, its register far from those of other seeds."""
    meter: Numbered
    if key_file:
        meter = NumberedPush(seed, variant, start, keys=keys.read(key_file), interval_s=interval_s)
        meter.wh_step = 10
    elif variant.startswith("de-"):
        meter = NumberedSml(seed, variant, start)
    else:
        meter = NumberedP1(seed, variant, start)
    meter.step_s, meter.wh_base = interval_s, 100_000_000 * (seed % 10)
    return meter


class Fault:
    """What is to become of the next telegrams."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.kind: str = order["kind"]
        self.left = int(order.get("count", 1))
        self.seconds = float(order.get("seconds", 0))
        self.rng = Random(str(order.get("seed", 0)))


class Line:
    """One meter on its line."""

    def __init__(self, name: str, meter: Numbered, port: PtyPort, truth: Path, interval_s: float) -> None:
        self._name, self._meter, self._port, self._interval_s = name, meter, port, interval_s
        self._truth = truth.open("a", buffering=1)
        self._faults: list[Fault] = []
        self._earlier: list[bytes] = []
        self._ended = False
        self._out_until = 0.0

    def order(self, line: bytes) -> None:
        """Take an order."""
        order = json.loads(line)
        if order["kind"] == "end":
            self._ended = True
        else:
            self._faults.append(Fault(order))

    async def run(self, start: datetime) -> None:
        """Send until told to end."""
        await self._port.open()
        number = 0
        while not self._ended:
            t = start + timedelta(seconds=number * self._interval_s)
            await asyncio.sleep(max(0.0, t.timestamp() - time.time()))
            if self._out_until and time.monotonic() >= self._out_until:
                await self._port.open()
                self._out_until = 0.0
            await self._send(t)
            number += 1
        # a reader that is busy shall have the last telegram, too
        await asyncio.sleep(LAST_S)
        await self._port.close()

    async def _send(self, t: datetime) -> None:
        fault = self._faults[0] if self._faults else None
        kind = fault.kind if fault else None
        absurd = fault.rng.choice(["power", "energy"]) if fault and kind == "implausible" else None
        self._meter.say_absurd(absurd)
        telegram = self._meter.telegram_at(t)
        octets, arrives = self._spoiled(fault, telegram)
        said = self._meter.truth_at(t)
        readers = 0 if self._out_until else self._port.ready()
        is_whole = arrives and not self._out_until
        self._write(t, said, fault=kind, arrives=is_whole, readers=readers, possible=absurd is None)
        if readers and octets and not await self._port.put(octets):
            self._write(t, said, fault="not_taken", arrives=None, readers=0, possible=absurd is None)
        elif arrives and readers:
            self._earlier = [*self._earlier[-9:], telegram]
        self._meter.say_absurd(None)
        if fault is not None:
            await self._after(fault)

    def _spoiled(self, fault: Fault | None, telegram: bytes) -> tuple[bytes, bool | None]:
        """What leaves in place of a telegram, and whether a reader must have it."""
        if fault is None or fault.kind == "implausible":
            return telegram, True
        rng = fault.rng
        if fault.kind == "noise":
            return rng.randbytes(rng.randint(1, 2_000)) + telegram, None
        spoilt: dict[str, Callable[[], bytes]] = {
            "flood": lambda: rng.randbytes(FLOOD),
            "bits": lambda: _flipped(telegram, rng),
            "truncated": lambda: telegram[: rng.randint(1, len(telegram) - 4)],
            "replay": lambda: b"".join(rng.sample(self._earlier, min(3, len(self._earlier)))),
        }
        return spoilt.get(fault.kind, bytes)(), False

    async def _after(self, fault: Fault) -> None:
        fault.left -= 1
        if fault.left <= 0:
            self._faults.remove(fault)
        if fault.kind == "unplug":
            await self._port.close()
            self._out_until = time.monotonic() + fault.seconds

    def _write(self, t: datetime, said: dict[str, Any], **facts: Any) -> None:
        """A line of truth; `facts`: fault, arrives, readers, possible."""
        values = {name: said[name] for name in VALUES if name in said}
        row = {
            "meter": self._name, "id": said["a_import_wh"], "t": f"{t:%Y-%m-%dT%H:%M:%S}Z", "sent": time.time(),
            "sent_ns": time.monotonic_ns(), **facts, "item": values,
        }  # fmt: skip
        self._truth.write(json.dumps(row) + "\n")


#: what of item P is true
VALUES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "t", "t_meter")


def _flipped(telegram: bytes, rng: Random) -> bytes:
    """One to three bits wrong, within what the checksum covers."""
    octets = bytearray(telegram)
    for at in rng.sample(range(8 * (len(octets) - 6)), rng.randint(1, 3)):
        octets[at // 8] ^= 1 << at % 8
    return bytes(octets)


async def main() -> None:
    """Run one meter."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("name", "variant", "link", "truth"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--key-file", type=Path)
    args = parser.parse_args()
    spare = [os.openpty() for _ in range(SPARE)]
    start = datetime.fromtimestamp(int(time.time()) + 1, UTC)
    meter = make(args.variant, args.seed, start, args.interval, args.key_file)
    line = Line(args.name, meter, PtyPort(Path(args.link)), Path(args.truth), args.interval)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def obey() -> None:
        while order := await reader.readline():
            line.order(order)
        line.order(b'{"kind": "end"}')

    task = asyncio.create_task(obey())
    await line.run(start)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    for pair in spare:
        os.close(pair[0])
        os.close(pair[1])


if __name__ == "__main__":
    asyncio.run(main())
