"""The writer of a trial, a process of its own: the real journal and ledger, and what they acknowledged.

    a N        readings up to N were handed to the journal
    s N        the journal reported readings up to N as committed
    l N HASH   the ledger reported entry N of its metrology log as committed, with this hash of the chain

Reading N has the time START + N s, so that whoever reads the file knows it again. A group is what meterd commits at
once: ten readings at telegrams each second, one at telegrams each 10 s. Two sinks work off their outboxes beside it.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from decoders.counters import Chain, Identity, State, export
from decoders.model import Reading
from gateway.item_p import ItemP, stamp
from gateway.stores.journal import Journal
from gateway.stores.ledger_rows import Note
from gateway.stores.ledger_salvage import open_ledger
from gateway.telemetry import MeterCounters
from gateway.trust import Saved

#: of reading 0
START = datetime(2026, 1, 1, tzinfo=UTC)
METER = "main"
SINKS = ("influx", "mqtt")
#: of readings that meterd commits at once, unless it is to spare the medium
GROUP_S = 10
#: between two copies of the receive counters (s)
COPY_S = 3_600
REGISTERS = (
    ("1-0:1.8.1", 65_238_377, -3, "kWh"),
    ("1-0:1.8.2", 41_118_202, -3, "kWh"),
    ("1-0:2.8.1", 1_201, -3, "kWh"),
    ("1-0:2.8.2", 887, -3, "kWh"),
    ("0-0:96.14.0", 2, 0, ""),
    ("1-0:1.7.0", 132, -3, "kW"),
    ("1-0:2.7.0", 0, -3, "kW"),
    ("1-0:32.7.0", 2_314, -1, "V"),
    ("1-0:52.7.0", 2_309, -1, "V"),
    ("1-0:72.7.0", 2_311, -1, "V"),
    ("1-0:31.7.0", 1, 0, "A"),
    ("1-0:51.7.0", 0, 0, "A"),
    ("1-0:71.7.0", 2, 0, "A"),
    ("1-0:21.7.0", 132, -3, "kW"),
)


def main() -> None:
    """Write until killed, or `--groups` groups."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help="number of the first reading")
    parser.add_argument("--groups", type=int, help="end after so many, in order")
    parser.add_argument("--interval", type=int, default=1, help="seconds between two readings")
    parser.add_argument("--group-s", type=int, default=GROUP_S, help="seconds of readings that are committed at once")
    parser.add_argument("--max-mib", type=int, default=64)
    parser.add_argument("--warm", type=int, help="as the daemon does over a day, and so many groups before it counts")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two groups that count")
    args = parser.parse_args()
    home = Home(args.folder, args.max_mib)
    count = args.group_s // args.interval
    first = max(args.first, home.stored)
    if args.warm is not None:
        day(home, first, count, args)
    else:
        for number in range(args.groups if args.groups is not None else 1 << 40):
            home.group(first + number * count, count, args.interval)
            home.note(first + number * count)
    home.close()


def day(home: "Home", first: int, count: int, args: argparse.Namespace) -> None:
    """Write the groups that do not count, then those that do; before and after these a line is waited for."""
    for number in range(args.warm + args.groups):
        if number == args.warm:
            hand_shake()
        home.group(first + number * count, count, args.interval)
        home.attend(number * args.group_s)
        time.sleep(args.pace if number >= args.warm else 0)
    hand_shake()


def hand_shake() -> None:
    """Say that a part is done, and wait until that was weighed."""
    say("w 0")
    sys.stdin.readline()


class Home:
    """A journal with two sinks, and a ledger."""

    def __init__(self, folder: Path, max_mib: int) -> None:
        self.folder = folder
        self.counters = MeterCounters()
        self.seen = 0
        self.journal = Journal(
            folder / "journal.db",
            max_bytes=max_mib << 20,
            max_age_s=10**10,
            group_s=10,
            meters=(METER,),
            save_counters=lambda: {METER: self.counters.as_dict()},
            save_trust=self.trust,
        )
        self.journal.start()
        self.counters.restore(self.journal.counters(METER))
        self.stored = self.journal.stored(METER)
        self.ledger = open_ledger(folder / "ledger.db").file
        self.outboxes = [self.journal.outbox(name) for name in SINKS]

    def trust(self) -> Mapping[str, bytes]:
        """What admitted the last telegram, of a meter that encrypts: it changes with each."""
        chain = Chain(Identity("4B414D4501234567", "9f86d081"), self.seen, self.seen)
        saved = Saved(export(State((chain,), ("verified",) * 3)), "verified", "pinned", self.seen)
        return {METER: msgspec.json.encode(saved)}

    def group(self, first: int, count: int, interval_s: int) -> None:
        """Hand a group over, let the sinks confirm the one before it, wait until it is committed."""
        for n in range(first, first + count):
            self.seen = n
            for name in ("bytes", "frames", "checksum_ok", "received", "decoded"):
                self.counters.add(name)
            seq = self.journal.next_seq(METER)
            self.journal.append(item(n, seq, interval_s))
        say(f"a {first + count - 1}")
        for outbox in self.outboxes:
            page = outbox.page()
            if page:
                outbox.settle(page[-1].id, delivered={METER: len(page)})
        if not self.journal.flush(600):
            raise SystemExit("the journal does not commit")
        say(f"s {first + count - 1}")

    def note(self, n: int) -> None:
        """Put an entry into the metrology log."""
        position = self.ledger.note([Note("min_auth_changed", METER, START + timedelta(seconds=n), {"n": n})])
        chain = self.ledger.db.execute("SELECT chain FROM event WHERE id = ?", (position,)).fetchone()[0]
        say(f"l {position} {chain.hex()}")

    def attend(self, seconds: int) -> None:
        """Do what is due once an hour."""
        if seconds % COPY_S == 0:
            self.ledger.copy_counters(self.trust())

    def close(self) -> None:
        """End in order."""
        if not self.journal.close(600):
            raise SystemExit("the journal does not end")
        self.ledger.close()


def item(n: int, seq: int, interval_s: int) -> ItemP:
    """Reading N: a telegram with 14 registers that change as a household's do."""
    t = START + timedelta(seconds=n * interval_s)
    moving = tuple(
        (code, integer + (n if unit == "kWh" else n % 7), exponent, unit) for code, integer, exponent, unit in REGISTERS
    )
    reading = Reading(
        profile="nl-dsmr5", interface="p1", auth="verified", quality="measured", t=t,
        t_meter=(t + timedelta(hours=1)).isoformat()[:19] + "+01:00",
        p_import_w=132 + n % 100, p_export_w=0, p_net_w=132 + n % 100, a_import_wh=106_356_579 + n, a_export_wh=2_088,
        reg_t=t, registers=moving, register_times=(), sub=(), identity="4530303434303037313331363530363137",
        interval_s=interval_s, flags=(), size=848,
    )  # fmt: skip
    t_rx = t + timedelta(milliseconds=412)
    return stamp(reading, METER, seq=seq, t_rx=t_rx, max_clock_offset_s=3_600)


def say(line: str) -> None:
    """Print a line at once, whole."""
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main()
