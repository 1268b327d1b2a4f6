"""`make hub-points`: a day of 10,000 points in quarter-hours, built, validated, sent within the hub's bundle rules."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.bench.report import Figure, page, table
from tests.chaos.plant import ROOT
from tests.hubfleet.fill import Filler
from tests.hubfleet.oracle import judge
from tests.hubfleet.plant import Plant, Table
from tests.hubfleet.truth import Fleet, last_day
from tests.sizes import HUB_POINTS, HUB_POINTS_MIB, HUB_POINTS_S

PAGE = ROOT / "docs" / "measured" / "hub-points.md"


def run(folder: Path, points: int, limit_s: float) -> tuple[list[Figure], list[str]]:
    """Send one day of so many points to the Danish hub; figures and violations."""
    fleet = Fleet(10, points, last_day(), 1, "PT15M", ("dk",))
    plant = Plant(folder, fleet)
    filler = Filler(plant.ledger, fleet)
    try:
        filler.fill(range(points))
        filler.close()
        plant.start_hub()
        plant.configure({"dk": Table(set(range(points)))}, timeout_s=120, confirm_after_s=1, inbox_s=1)
        began = time.monotonic()
        plant.start_uploader()
        peak, seconds = _watch(plant, points, began, limit_s)
        effects = list(plant.effects())
        messages = plant.status()["hubs"][0]["messages"]
        verdict = judge(fleet, "dk", effects)
        largest = max(Counter(one["document"] for one in effects).values())
    finally:
        plant.close()
    detail = [
        f"{len(effects)} series of {points} points in {sum(messages.values())} messages ({dict(messages)})",
        f"largest bundle: {largest} series",
        *verdict.violations[:10],
        *verdict.overdue[:10],
    ]
    return [
        Figure(f"{points} points x 96 intervals built, validated and sent", seconds, "s", HUB_POINTS_S, detail=detail),
        Figure("memory of the uploader at its peak", peak, "MiB", HUB_POINTS_MIB),
        Figure("violations: lost, doubled, invented", len(verdict.violations + verdict.overdue), "", 0),
    ], [*verdict.violations, *verdict.overdue]


def _watch(plant: Plant, points: int, began: float, limit_s: float) -> tuple[float, float]:
    """Wait until all is taken over: the uploader's peak (MiB) and the time that it took (s)."""
    peak = 0.0
    while True:
        time.sleep(1)
        peak = max(peak, plant.peak_mib())
        taken = sum(1 for _ in plant.effects())
        if taken >= points or time.monotonic() - began > limit_s:
            return peak, time.monotonic() - began


def main() -> int:
    """Run, print, write the page; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=HUB_POINTS)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meterd-points-"))
    try:
        found, violations = run(folder, args.points, 2 * HUB_POINTS_S)
    finally:
        shutil.rmtree(folder)
    print("\n".join([*(line for figure in found for line in figure.detail), *violations[:10], "", *table(found)]))
    if args.points == HUB_POINTS:
        PAGE.write_text(page(found, "make hub-points", ("httpx", "fastjsonschema", "aiohttp")))
    return int(any(figure.reached is False for figure in found))


if __name__ == "__main__":
    sys.exit(main())
