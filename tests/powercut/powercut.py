"""`make powercut`: kills and power cuts, and what a day writes to the medium; SECONDS= bounds the time.

Power cuts and the figures of the medium need root, for a loop device: elsewhere they are printed as NOT RUN, and the
command ends with 1.
"""

import argparse
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import report
from tests.powercut import loop
from tests.powercut.trials import GROUP, Outcome, cuts, kills
from tests.powercut.written import DAY_S, day
from tests.sizes import KILLS, POWER_CUTS, WRITTEN_GROUPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measured" / "powercut.md"
SEED = 20_261_122
#: what a day may write (MB), at telegrams each second and each 10 s
MB_PER_DAY = {1: 130.0, 10: 65.0}
#: the same at telegrams each 10 s, when meterd is to spare the medium
SAVER_MB = 25.0
#: groups at the pace of the daemon, one in 10 s
PACED_GROUPS = 18


def main() -> int:
    """Try, print, write the page; 1 when a figure is missed or could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_800.0, help="the longest time for each kind of trial (1800)")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"so many ({KILLS})")
    parser.add_argument("--cuts", type=int, default=POWER_CUTS, help=f"so many ({POWER_CUTS})")
    parser.add_argument(
        "--groups", type=int, default=WRITTEN_GROUPS, help=f"commits that are weighed ({WRITTEN_GROUPS})"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    figures = _trials("kill -9", kills(args.kills, random.Random(args.seed), _deadline(args)), args.kills)
    obstacle = loop.obstacle()
    if obstacle is None:
        found = cuts(args.cuts, random.Random(args.seed), _deadline(args))
        figures += _trials("power cut", found, args.cuts)
        figures += _written(args.groups)
    else:
        print(f"NOT RUN: {obstacle}")
    print("\n".join(f"{figure.name}: {line}" for figure in figures for line in figure.detail))
    print("\n" + "\n".join(report.table(figures)) + "\n")
    if obstacle is None:
        args.out.write_text(report.page(figures, "make powercut", peers=()))
        print(f"written to {args.out.name}")
    return 1 if obstacle or any(figure.reached is False for figure in figures) else 0


def _deadline(args: argparse.Namespace) -> float:
    return time.monotonic() + float(args.seconds)


def _trials(name: str, found: Outcome, wanted: int) -> list[report.Figure]:
    """The figures of one kind of trial."""
    told = [
        (
            f"{found.trials} in {found.seconds:.0f} s; {found.ledger_reported} entries of the ledger and"
            f" {found.stored_reported} readings were reported as committed; {found.taken} readings were taken in all"
        ),
        *found.wrong,
    ]
    return [
        report.Figure(f"{name}: trials", found.trials, "", wanted, rises=True, detail=told),
        report.Figure(f"{name}: rows of the ledger lost", found.ledger_lost, "", 0),
        report.Figure(f"{name}: readings lost that were reported as committed", found.stored_lost, "", 0),
        report.Figure(f"{name}: readings lost in one trial, the most", found.worst, "", GROUP),
        report.Figure(f"{name}: the same in time, at telegrams each second", found.worst, "s", GROUP),
        report.Figure(f"{name}: files that are not what was written", found.trials - found.whole, "", 0),
        report.Figure(f"{name}: starts that did not go on from there", found.trials - found.went_on, "", 0),
    ]


def _written(groups: int) -> list[report.Figure]:
    """The figures of the medium: with a limit those that meterd alone decides, then those with the kernel's part."""
    figures = []
    for interval_s, limit in MB_PER_DAY.items():
        found = day(interval_s, groups)
        figures.append(report.Figure(_name(interval_s), found.mb, "MB", limit, detail=found.told()))
    saver = day(10, groups // 6, group_s=60)
    figures.append(report.Figure(f"{_name(10)}, mode saver", saver.mb, "MB", SAVER_MB, detail=saver.told()))
    full = day(1, groups, max_mib=8, warm=DAY_S // GROUP)
    figures.append(report.Figure(f"{_name(1)}, the oldest give way", full.mb, "MB", detail=full.told()))
    return figures + _paced()


def _paced() -> list[report.Figure]:
    """What a medium gets at the pace of the daemon, side by side."""
    runs = [(interval_s, mount) for mount in ("defaults", "commit=60") for interval_s in MB_PER_DAY]
    with ThreadPoolExecutor(len(runs)) as pool:
        found = list(pool.map(lambda run: day(run[0], PACED_GROUPS, paced=True, mount=run[1]), runs))
    return [
        report.Figure(f"{_name(interval_s)}, with the kernel's part, ext4 {mount}", one.mb, "MB", detail=one.told())
        for (interval_s, mount), one in zip(runs, found, strict=True)
    ]


def _name(interval_s: int) -> str:
    return "written in a day, telegrams each " + ("second" if interval_s == 1 else f"{interval_s} s")


if __name__ == "__main__":
    sys.exit(main())
