"""Trials: a writer that is killed, or whose power goes, a judge, and a start that goes on from what is left.

Nothing of meterd runs in this process.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.powercut import loop

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: of reading: what a group has
GROUP = 10
#: power cuts on one file system, of a writer that goes on: then both begin anew
CUTS_PER_DISK = 20
#: kills of writers that go on from each other's files
KILLS_IN_A_ROW = 20
#: the longest time between two cuts, or from start to kill (s)
LONGEST_S = 0.35
DEADLINE_S = 60.0


@dataclass
class Outcome:
    """What the trials of one kind found."""

    trials: int = 0
    #: entries of the ledger that were reported and are gone or not what was reported; how many were reported
    ledger_lost: int = 0
    ledger_reported: int = 0
    #: readings that were reported as committed and are gone; how many were reported
    stored_lost: int = 0
    stored_reported: int = 0
    #: the most readings that one trial took, and how many all took
    worst: int = 0
    taken: int = 0
    #: trials in which both files were in order, and after which both went on
    whole: int = 0
    went_on: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Reported:
    """What a writer said."""

    appended: int = -1
    stored: int = -1
    entries: dict[int, str] = field(default_factory=dict)


def read(out: Path, into: Reported) -> Reported:
    """Take up what a writer said; a line that is not whole was not said."""
    for line in out.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            kind, number, *rest = line.split()
            if kind == "a":
                into.appended = max(into.appended, int(number))
            elif kind == "s":
                into.stored = max(into.stored, int(number))
            else:
                into.entries[int(number)] = rest[0]
    return into


@contextmanager
def writing(folder: Path, out: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A writer in a folder, until the end of the block."""
    with out.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.powercut.writer", str(folder), *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=file,
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdin
        child.stdin.close()


def wait_for_word(child: "subprocess.Popen[bytes]", out: Path) -> None:
    """Wait until a writer has said something."""
    deadline = time.monotonic() + DEADLINE_S
    while not out.stat().st_size:
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the writer does not begin")
        time.sleep(0.002)


def judge(folder: Path, interval_s: int = 1) -> dict[str, Any]:
    """What the files of a folder hold."""
    command = [sys.executable, "-I", str(HERE / "judge.py"), str(folder), str(interval_s)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def goes_on(folder: Path, before: dict[str, Any], home: Path) -> str | None:
    """Start on what is left and write a group more: what is wrong then, or None."""
    out = home / "more"
    options = ("--first", str(before["journal"]["readings"]), "--groups", "1")
    with writing(folder, out, *options) as child:
        if child.wait(DEADLINE_S):
            return f"a start on what was left ended with {child.returncode}"
    said, after = read(out, Reported()), judge(folder)
    compared = Outcome()
    compare(said, after, compared)
    if compared.wrong or compared.ledger_lost or compared.stored_lost or compared.taken:
        return f"after a start on what was left: {compared.wrong or 'something is missing'}"
    grown = after["journal"]["readings"] - before["journal"]["readings"], after["ledger"]["entries"]
    if grown[0] != GROUP or grown[1] <= before["ledger"]["entries"] or list(folder.glob("*.damaged-*")):
        return f"a start on what was left did not go on from it: {grown}"
    return None


def compare(said: Reported, found: dict[str, Any], outcome: Outcome) -> None:
    """Compare what was said with what is there."""
    outcome.trials += 1
    outcome.ledger_reported += len(said.entries)
    hashes = found["ledger"].get("hashes", {})
    outcome.ledger_lost += sum(hashes.get(str(number)) != chain for number, chain in said.entries.items())
    readings = found["journal"]["readings"]
    outcome.stored_reported += said.stored + 1
    outcome.stored_lost += max(0, said.stored + 1 - readings)
    taken = max(0, said.appended + 1 - readings)
    outcome.taken += taken
    outcome.worst = max(outcome.worst, taken)
    wrong = [f"{name}: {one}" for name in ("ledger", "journal") for one in found[name]["wrong"]]
    if found["journal"]["first"]:
        wrong.append(f"journal: the first reading is {found['journal']['first']}")
    states = {found[name]["integrity"] for name in ("ledger", "journal")}
    if states - {"ok", "absent"}:
        wrong.append(f"integrity_check says {sorted(states)}")
    outcome.whole += not wrong
    outcome.wrong += wrong


def conclude(outcome: Outcome, folder: Path, found: dict[str, Any], home: Path) -> None:
    """Start on what is left, as after every trial."""
    trouble = goes_on(folder, found, home)
    outcome.went_on += trouble is None
    outcome.wrong += [trouble] if trouble else []


def kills(number: int, dice: random.Random, deadline: float) -> Outcome:
    """SIGKILL at any instant; the next writer goes on from the files of the last, now and then from none."""
    outcome, began = Outcome(), time.monotonic()
    while outcome.trials < number and time.monotonic() < deadline:
        with tempfile.TemporaryDirectory() as name:
            _kill_in_a_row(Path(name), min(KILLS_IN_A_ROW, number - outcome.trials), dice, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _kill_in_a_row(home: Path, number: int, dice: random.Random, outcome: Outcome) -> None:
    """Kill one writer after the other, on the same files: that the next one begins shows that it goes on from there."""
    folder, out, said, next_one = home / "kept", home / "out", Reported(), 0
    folder.mkdir()
    for trial in range(number):
        with writing(folder, out, "--first", str(next_one)) as child:
            wait_for_word(child, out)
            outcome.went_on += trial > 0
            time.sleep(dice.uniform(0, LONGEST_S))
            child.send_signal(signal.SIGKILL)
            child.wait()
        found = judge(folder)
        # what an earlier kill took does not come back, and is counted once
        said.appended = said.stored = next_one - 1
        compare(read(out, said), found, outcome)
        next_one = found["journal"]["readings"]
        if list(folder.glob("*.damaged-*")):
            outcome.wrong.append("a file was set aside")
    conclude(outcome, folder, found, home)


def cuts(number: int, dice: random.Random, deadline: float) -> Outcome:
    """Power cuts: the writer stands still, what its disk holds is mounted elsewhere, the writer goes on."""
    outcome, began = Outcome(), time.monotonic()
    while outcome.trials < number and time.monotonic() < deadline:
        with tempfile.TemporaryDirectory() as name, loop.disk() as disk:
            home = Path(name)
            said, out = Reported(), home / "out"
            with writing(disk.folder, out) as child:
                if dice.random() < 0.5:
                    wait_for_word(child, out)  # else the first cut may come while the files are created
                for _ in range(min(CUTS_PER_DISK, number - outcome.trials)):
                    time.sleep(dice.uniform(0, LONGEST_S))
                    stand_still(child)
                    with loop.after_the_cut(disk.image) as folder:
                        found = judge(folder)
                        compare(read(out, said), found, outcome)
                        conclude(outcome, folder, found, home)
                    child.send_signal(signal.SIGCONT)
                    if time.monotonic() > deadline:
                        break
    outcome.seconds = time.monotonic() - began
    return outcome


def stand_still(child: "subprocess.Popen[bytes]") -> None:
    """Stop a process, and wait until every thread of it stands."""
    child.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        raise RuntimeError(f"the writer ended by itself with {os.waitstatus_to_exitcode(status)}")
