"""`make bench`: the figures that meterd claims, each against its peer in the same run; SECONDS= bounds the time."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import decoding
import detection
import drain
import drain_mqtt
import first_entity
import intervals
import latency
import many
import mbus
import pushes
import report
import resources
import sml_files
import throughput
import virtual

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "measured" / "bench.md"

#: part -> what it measures, and its share of the time
PARTS: dict[str, tuple[Callable[[float], list[report.Figure]], float]] = {
    "decoding": (decoding.figures, 0.10),
    "pushes": (pushes.figures, 0.10),
    "mbus": (mbus.figures, 0.05),
    "sml": (sml_files.figures, 0.05),
    "latency": (latency.figures, 0.15),
    "virtual": (virtual.figures, 0.10),
    "resources": (resources.figures, 0.10),
    "detection": (detection.figures, 0.10),
    "intervals": (intervals.figures, 0.05),
    "drain_mqtt": (drain_mqtt.figures, 0.10),
    "entity": (first_entity.figures, 0.10),
    "throughput": (throughput.figures, 0.10),
    "many": (many.figures, 0.15),
    "drain": (drain.figures, 0.10),
}


def main() -> int:
    """Measure, print, write the page; 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="about how long to measure (150)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only some of {', '.join(PARTS)}")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    found: list[report.Figure] = []
    for name, (measure, share) in PARTS.items():
        if name in (args.parts or PARTS):
            began = time.monotonic()
            print(f"== {name}", flush=True)
            found += measure(args.seconds * share)
            print(f"   {time.monotonic() - began:.0f} s", flush=True)
    print("\n".join(f"{figure.name}: {line}" for figure in found for line in figure.detail))
    print("\n" + "\n".join(report.table(found)) + "\n")
    if not args.parts or args.out != PAGE:
        args.out.write_text(report.page(found, f"make bench SECONDS={args.seconds:g}"))
        print(f"written to {args.out.name}")
    return 1 if any(figure.reached is False for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
