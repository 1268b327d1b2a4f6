"""The suites of `make test`: each runs one tool and tells what it counted, by what the tool writes for machines."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SCRATCH = ROOT / ".make"
CORPUS = "shared corpus"
#: seconds after which a tool hangs; single tests end long before (pyproject.toml, timeout)
HANGS_AFTER_S = 4_800
LINGERS_S = 10
#: how tests are shared out: one process more than there are cores, for many wait; a file's tests stay together, for
#: they share what is dear to set up. `tests` names the folder whose conftest.py knows --record in every process.
SHARED_OUT = ("--numprocesses", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "tests")


@dataclass
class Suite:
    """How many checks ran, which of them failed, and how many were skipped for which reason."""

    name: str
    ran: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    #: coverage only
    percent: float | None = None

    @property
    def skips(self) -> int:
        """How many were skipped, for whatever reason."""
        return self.skipped.total()


def formatting() -> list[Suite]:
    """Hold every Python file to `ruff format`."""
    code, out = run("ruff", "format", "--check", ".")
    wrong = re.findall(r"^Would reformat: (.+)$", out, re.MULTILINE)
    return [verdict("format", len(python_files()), code, [f"{path} is not formatted: ruff format" for path in wrong])]


def lint() -> list[Suite]:
    """Hold every Python file to the rules of pyproject.toml."""
    code, out = run("ruff", "check", "--output-format", "json", ".", show=False)
    found: list[dict[str, object]] = json.loads(out) if out.startswith("[") else []
    rows = Counter(str(Path(str(row["filename"])).relative_to(ROOT)) for row in found)
    if found:
        run("ruff", "check", "--output-format", "concise", ".")
    return [verdict("lint", len(python_files()), code, [f"{path}: {n} findings" for path, n in rows.items()])]


def types() -> list[Suite]:
    """Hold the packages and the tools to `mypy --strict`."""
    code, out = run("mypy")
    count = re.search(r"(?:no issues found in|\(checked) (\d+) source files?", out)
    wrong = Counter(re.findall(r"^([^:\n]+):\d+:.* error: ", out, re.MULTILINE))
    return [verdict("types", int(count[1]) if count else 0, code, [f"{path}: {n} errors" for path, n in wrong.items()])]


def imports() -> list[Suite]:
    """Hold the packages to the import contracts of pyproject.toml."""
    code, out = run("lint-imports")
    count = re.search(r"Contracts: (\d+) kept, (\d+) broken", out)
    broken = re.findall(r"^(.+) BROKEN", out, re.MULTILINE)
    return [verdict("imports", int(count[1]) + int(count[2]) if count else 0, code, broken)]


def tests() -> list[Suite]:
    """Run every test once, under coverage; one suite per area, and one for all that needs the shared corpus."""
    record = SCRATCH / "outcomes.jsonl"
    shutil.rmtree(SCRATCH / "coverage", ignore_errors=True)
    (SCRATCH / "coverage").mkdir(parents=True)
    code, _ = run("coverage", "run", "-m", "pytest", "--record", str(record), *SHARED_OUT)
    found = by_area(record)
    # 0: all passed, 1: some failed; anything else is pytest itself.
    if code not in (0, 1) or (code == 1 and not any(suite.failed for suite in found)):
        found.append(Suite("pytest", 1, [f"ended with {code}; the last that ran: {last_of(record)}"]))
    return found


def by_area(record: Path) -> list[Suite]:
    """Count a record: a test that failed in any phase failed, whatever its other phases said."""
    last: dict[str, dict[str, str]] = {}
    for row in map(json.loads, record.read_text().splitlines() if record.is_file() else []):
        if row["id"] not in last or row["outcome"] == "failed":
            last[row["id"]] = row
    areas: dict[str, Suite] = {}
    for row in last.values():
        suite = areas.setdefault(row["suite"], Suite(row["suite"]))
        if row["outcome"] == "skipped":
            suite.skipped[row["reason"]] += 1
            continue
        suite.ran += 1
        if row["outcome"] == "failed":
            suite.failed.append(row["id"])
    return sorted(areas.values(), key=lambda suite: suite.name)


def last_of(record: Path) -> str:
    """Name the last test that left a record."""
    lines = record.read_text().splitlines() if record.is_file() else []
    return str(json.loads(lines[-1])["id"]) if lines else "none"


def coverage() -> list[Suite]:
    """Measure how much of the packages the tests ran, branches and child processes included."""
    run("coverage", "combine", "--quiet")
    code, _ = run("coverage", "json", "--quiet", "-o", str(SCRATCH / "coverage.json"))
    run("coverage", "report", "--skip-covered", "--sort=cover")
    if code:
        return [Suite("coverage", 0, ["there is nothing to measure: the tests left no data"])]
    totals = json.loads((SCRATCH / "coverage.json").read_text())["totals"]
    return [Suite("coverage", 1, percent=float(totals["percent_covered"]))]


def python_files() -> list[str]:
    """List what ruff looks at: every Python file that git does not ignore."""
    _, out = run("ruff", "check", "--show-files", ".", show=False)
    return [line for line in out.splitlines() if line.endswith((".py", ".pyi"))]


def verdict(name: str, ran: int, code: int, failed: list[str]) -> Suite:
    """Make a suite of it; a tool that fails without naming anything failed as a whole."""
    if code and not failed:
        failed = [f"ended with {code}; what it said stands above"]
    return Suite(name, max(ran, len(failed)), failed)


def run(tool: str, *arguments: str, show: bool = True) -> tuple[int, str]:
    """Run a tool of this environment to its end, showing what it prints; a tool that hangs is killed, its code -9."""
    process = subprocess.Popen(
        [BIN / tool, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    reader = threading.Thread(target=forward, args=(process.stdout, lines, show), daemon=True)
    reader.start()
    try:
        process.wait(HANGS_AFTER_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # What the tool left running may hold its output open for ever: that is not waited for.
    reader.join(LINGERS_S)
    return process.returncode, "".join(lines)


def forward(stream: TextIO, lines: list[str], show: bool) -> None:
    """Collect lines as they come, and print them."""
    with stream:
        for line in stream:
            lines.append(line)
            if show:
                print(line, end="", flush=True)
