#!/usr/bin/env python3
"""Write the table of figures in README.md from the pages of docs/measured: what must be, what was measured, and how.

Nothing is typed: a figure that no page has is an error. `--check` writes nothing, and answers 1 when the table is not
up to date.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MEASURED = ROOT / "docs" / "measured"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
#: page -> beginnings of the names of its figures, in the order of the table
CHOSEN: dict[str, tuple[str, ...]] = {
    "bench": (
        "P1 v5, a day's telegrams, against dsmr-parser",
        "Aidon, 27 objects, plain walk, against gurux-dlms",
        "Kamstrup push, encrypted, tag checked, against gurux-dlms",
        "pty to subscriber, p50",
        "pty to subscriber, p99",
        "memory with serial, journal, MQTT",
        "3,000 readings/s: not in the journal",
        "3,000 readings/s: not at the subscriber",
        "MQTT history: backlog of 1 s readings against real time",
        "a day's backlog to InfluxDB 1.6, against real time",
        "readings folded per minute (million)",
    ),
    "chaos": (
        "faults",
        "violations",
        "replug: next reading",
        "broker back: next reading",
        "process hangs: next reading",
        "sent to read, p99, every sink dead",
    ),
    "powercut": (
        "kill -9: rows of the ledger lost",
        "power cut: rows of the ledger lost",
        "power cut: the same in time",
        "written in a day, telegrams each second",
        "written in a day, telegrams each 10 s",
        "written in a day, telegrams each second, with the kernel's part, ext4 defaults",
    ),
    "soak": ("simulated days", "memory, slope per simulated day"),
    "hubs": ("messages", "kills of the uploader", "violations: lost, doubled, out of order, invented"),
    "hub-points": ("10000 points x 96 intervals built, validated and sent", "memory of the uploader at its peak"),
}


class Figure(NamedTuple):
    """A row of a page."""

    name: str
    must: str
    measured: str


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when README.md is not up to date")
    args = parser.parse_args()
    text = README.read_text("utf-8")
    wanted = f"{text[: text.index(BEGIN)]}{BEGIN}\n{table()}\n{text[text.index(END) :]}"
    if wanted == text:
        return 0
    if args.check:
        print("README.md: the table of figures is not up to date: run tools/figures.py", file=sys.stderr)
        return 1
    README.write_text(wanted, "utf-8")
    return 0


def table() -> str:
    """The table in Markdown; raises LookupError for a figure that no page has."""
    lines = ["| figure | must | measured | how |", "| --- | --- | --- | --- |"]
    for page, names in CHOSEN.items():
        text = (MEASURED / f"{page}.md").read_text("utf-8")
        command, figures = command_of(text), figures_of(text)
        for name in names:
            found = next((one for one in figures if one.name == name), None)
            found = found or next((one for one in figures if one.name.startswith(f"{name},")), None)
            if found is None:
                raise LookupError(f"docs/measured/{page}.md has no figure {name!r}")
            how = f"[`{command}`](docs/measured/{page}.md)"
            lines.append(f"| {found.name} | {found.must} | {found.measured} | {how} |")
    return "\n".join(lines)


def command_of(page: str) -> str:
    """The command that a page was written by; raises LookupError."""
    found = re.search(r"^- command: `([^`]+)`", page, re.MULTILINE)
    if found is None:
        raise LookupError("a page of docs/measured names no command")
    return found[1]


def figures_of(page: str) -> list[Figure]:
    """The rows of a page's table of figures."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    return [Figure(*row[:3]) for row in rows if len(row) == 4 and row[0] != "figure" and not row[0].startswith("-")]


if __name__ == "__main__":
    sys.exit(main())
