"""What a day of readings writes to the medium: octets at the block device, with the commits that a day has.

The writer does what the daemon does in a day, 8,640 groups, each committed, two sinks that move on, the ledger once an
hour: without pause, or at the pace of the daemon. At that pace the kernel adds what it writes by itself: ext4 commits
the time of the last change of a file five seconds after each group (mount option commit=), for every program alike.
"""

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.powercut import loop
from tests.powercut.trials import GROUP, judge, writing

DAY_S = 86_400
#: until the log of the journal has its size (2,048 pages), also where a group has one reading
WARM_GROUPS = 1_100
MB = 1_000_000


@dataclass
class Day:
    """What was written, brought to a day."""

    groups: int
    group_s: int
    readings: int
    octets: int
    #: of the two files at the end, without their logs
    kept: int

    @property
    def mb(self) -> float:
        """Megabytes a day."""
        return self.octets * DAY_S / (self.groups * self.group_s) / MB

    def told(self) -> list[str]:
        """The raw figures."""
        return [
            (
                f"{self.groups} groups of {self.readings // self.groups} readings, {self.octets} octets at the device,"
                f" {self.octets / self.groups:.0f} for each group, {self.kept} octets of files"
            )
        ]


def day(
    interval_s: int,
    groups: int,
    *,
    max_mib: int = 64,
    warm: int = WARM_GROUPS,
    group_s: int = GROUP,
    paced: bool = False,
    mount: str = "defaults",
) -> Day:
    """Write so many groups of telegrams at an interval, on a file system of its own, and weigh them.

    The `warm` groups before them let the log of the journal reach its size, as it has it for days after a start.
    `group_s`: what is committed at once (s). `paced`: as long as it takes the daemon, to see what the kernel writes by
    itself. `mount`: options of the file system.
    """
    with tempfile.TemporaryDirectory() as name, loop.disk(mount) as disk:
        out = Path(name) / "out"
        options = ("--warm", str(warm), "--groups", str(groups), "--interval", str(interval_s))
        options = (*options, "--max-mib", str(max_mib), "--group-s", str(group_s))
        options = (*options, "--pace", str(group_s if paced else 0))
        with writing(disk.folder, out, *options) as child:
            before = _weigh(child, out, disk, 1)
            octets = _weigh(child, out, disk, 2) - before
            if child.wait(600):
                raise RuntimeError(f"the writer ended with {child.returncode}")
        found = judge(disk.folder, interval_s)
        if found["journal"]["wrong"] or found["ledger"]["wrong"]:
            raise RuntimeError(f"{found['journal']['wrong']} {found['ledger']['wrong']}")
        kept = sum(path.stat().st_size for path in disk.folder.glob("*.db"))
        return Day(groups, group_s, groups * (group_s // interval_s), octets, kept)


def _weigh(child: "subprocess.Popen[bytes]", out: Path, disk: loop.Disk, part: int) -> int:
    """Wait until a part is done, let the kernel write what it holds, and read what went to the device."""
    while out.read_bytes().count(b"w 0\n") < part:
        if child.poll() is not None:
            raise RuntimeError(f"the writer ended with {child.returncode}")
        time.sleep(0.05)
    disk.sync()
    octets = disk.written()
    assert child.stdin
    child.stdin.write(b"\n")
    child.stdin.flush()
    return octets
