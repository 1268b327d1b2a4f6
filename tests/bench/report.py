"""What a benchmark says: figures with what they must be, what was measured and the verdict, as a table and a file."""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

PEERS = ("dsmr-parser", "gurux-dlms", "paho-mqtt", "pyserial")


@dataclass(frozen=True)
class Figure:
    """One measured figure. `limit` is what it must reach, None where it is only printed; `detail` is the raw output."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    #: a higher value is better
    rises: bool = False
    detail: Sequence[str] = field(default=())

    @property
    def reached(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.rises else self.value <= self.limit

    @property
    def must(self) -> str:
        """The limit as a person reads it."""
        return "-" if self.limit is None else f"{'>=' if self.rises else '<='} {self.limit:g} {self.unit}".rstrip()

    @property
    def measured(self) -> str:
        """The value as a person reads it."""
        return f"{self.value:.3g} {self.unit}".rstrip() if abs(self.value) < 100 else f"{self.value:.0f} {self.unit}"


VERDICT = {None: "", True: "reached", False: "MISSED"}


def table(figures: Sequence[Figure]) -> list[str]:
    """A table of all figures in Markdown, which is readable as plain text too."""
    rows = [("figure", "must", "measured", "verdict")]
    rows += [(figure.name, figure.must, figure.measured, VERDICT[figure.reached]) for figure in figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def page(figures: Sequence[Figure], command: str, peers: Sequence[str] = PEERS) -> str:
    """The page that goes to docs/measured: command, date, machine, peers, table, raw output."""
    raw = [f"{figure.name}: {line}" for figure in figures for line in figure.detail]
    return "\n".join(
        [
            "# Measured",
            "",
            f"- command: `{command}`",
            f"- date: {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
            f"- machine: {machine()}",
            *([f"- peers: {', '.join(f'{name} {version(name)}' for name in peers)}"] if peers else []),
            "",
            *table(figures),
            "",
            "```",
            *raw,
            "```",
            "",
        ]
    )


def machine() -> str:
    """Processor, cores, memory, kernel and Python; never a host name or a path."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    system = f"Linux {platform.release().partition('-')[0]}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    processor = models[0] if models else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {system}, {python}, load {load:.1f} at the end"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie; raises ValueError for none."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
