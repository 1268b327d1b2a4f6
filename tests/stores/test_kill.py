"""kill -9 at any instant: what was reported stored is there, no number comes twice, counters fit their readings."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.stores.journal import Journal
from gateway.stores.reader import Reader

MakeJournal = Callable[..., Journal]

#: runs that end by SIGKILL; the journal goes on from one to the next
KILLS = 20
#: what a run says at most before it is killed: some 400 numbers
OCTETS = 4_000

#: appends as fast as it can, and prints numbers given out (g) and readings reported stored (s)
CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests/stores")
from conftest import START, reading
from gateway.item_p import stamp
from gateway.stores.journal import Journal
counters = {"decoded": 0}
kept = Journal(
    Path(sys.argv[1]), max_bytes=64 << 20, max_age_s=10**9, group_s=10, meters=("main",),
    save_counters=lambda: {"main": counters},
)
kept.start()
counters |= {name: n for name, n in kept.counters("main").items() if name == "decoded"}
os.write(1, b"s %d\\n" % kept.stored("main"))
while True:
    for _ in range(7):
        counters["decoded"] += 1
        seq = kept.next_seq("main")
        os.write(1, b"g %d\\n" % seq)
        kept.append(stamp(reading(seq % 86_400), "main", seq=seq, t_rx=START, max_clock_offset_s=10**9))
    kept.cut()
    os.write(1, b"s %d\\n" % kept.stored("main"))
"""


def run_and_kill(path: Path, checkout: Path, octets: int, after_s: float) -> tuple[list[int], list[int]]:
    """Run a child until it said so much and a moment longer, kill it; the numbers it gave out and tallies it reported.

    How far it comes is no matter of time: a fast machine has no more to read afterwards than a slow one.
    """
    out = path.with_name("out")
    with out.open("wb") as file:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=checkout, stdout=file)
        try:
            deadline = time.monotonic() + 100
            while out.stat().st_size < octets:
                assert time.monotonic() < deadline, "the child is silent"
                assert child.poll() is None, "the child ended by itself"
                time.sleep(0.001)
            time.sleep(after_s)
        finally:
            child.kill()
            ended = child.wait(60)
    assert ended == -signal.SIGKILL
    lines = [line.split() for line in out.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [int(n) for kind, n in lines if kind == "g"], [int(n) for kind, n in lines if kind == "s"]


@pytest.mark.timeout(400)
def test_kill_at_any_instant(journal: MakeJournal, tmp_path: Path, checkout: Path) -> None:
    path = tmp_path / "journal.db"
    dice = random.Random(44)
    given: list[int] = []
    for _ in range(KILLS):
        numbers, reported = run_and_kill(path, checkout, dice.randrange(1, OCTETS), dice.uniform(0, 0.02))
        assert not given or not numbers or numbers[0] > given[-1], "a number came twice"
        given += numbers
        reader = Reader(path)
        found = [one.seq for one in reader]
        reader.close()
        assert reader.damaged == 0
        assert len(found) >= max(reported), "a reading that was reported stored is gone"
        assert found == sorted(set(found) & set(given)), "a reading came twice, or from nowhere"
        after = journal(path)
        saved = after.counters("main")
        assert saved.get("decoded", 0) == saved.get("stored", 0) == len(found) == after.stored("main")
        assert after.status()["notices"] == []
        given.append(after.next_seq("main"))
        assert after.close(60)
    assert len(given) > 1_000
