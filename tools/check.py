"""Run every check of the checkout and count what really ran, by suite; `python tools/check.py [--raise] [SUITE...]`.

A check that did not run is a failure: each suite has a least number of checks in tests/expected-counts.toml, a skip
needs a reason that is allowed there, and coverage has a floor there. `--raise` lifts the numbers to what ran.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import suites
from suites import ROOT, Suite

EXPECTED = ROOT / "tests" / "expected-counts.toml"

#: what `make test` runs, in this order; each gives one suite or several
CHECKS: dict[str, Callable[[], list[Suite]]] = {
    "format": suites.formatting,
    "lint": suites.lint,
    "types": suites.types,
    "imports": suites.imports,
    "tests": suites.tests,
    "coverage": suites.coverage,
}


def main(arguments: Sequence[str]) -> int:
    """Run the checks that the arguments name, or all; 0 only if every one of them ran and passed."""
    chosen = [argument for argument in arguments if argument != "--raise"]
    if unknown := set(chosen) - set(CHECKS):
        print(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    expected = tomllib.loads(EXPECTED.read_text())
    results = [
        suite for name, check in CHECKS.items() if name in (chosen or CHECKS) for suite in announced(name, check)
    ]
    if "--raise" in arguments:
        expected["ran"] = raised(expected["ran"], results)
        write_counts(expected["ran"])
    problems = complaints(results, expected, whole=not chosen)
    print_table(results)
    for problem in problems:
        print(f"FAILED: {problem}")
    print(closing_line(results, problems))
    return 1 if problems else 0


def announced(name: str, check: Callable[[], list[Suite]]) -> list[Suite]:
    """Say what runs now, then run it."""
    print(f"== {name}", flush=True)
    return check()


def complaints(results: Sequence[Suite], expected: Mapping[str, Any], *, whole: bool) -> list[str]:
    """List everything that makes the run a failure, one sentence each; a `whole` run must hold every known suite."""
    found = [f"{suite.name}: {problem}" for suite in results for problem in problems_of(suite, expected)]
    if whole:
        missing = sorted(set(expected["ran"]) - {suite.name for suite in results})
        found += [f"{name}: did not run at all, at least {expected['ran'][name]} must" for name in missing]
    return found


def problems_of(suite: Suite, expected: Mapping[str, Any]) -> Iterator[str]:
    """Name what is wrong with one suite: failures, skips, its number, its floor."""
    yield from suite.failed
    allowed, floor = tuple(expected["skips"]["allowed"]), expected["coverage"]["floor"]
    yield from (f"skipped without an allowed reason: {r}" for r in suite.skipped if not r.startswith(allowed))
    least = expected["ran"].get(suite.name)
    if least is None:
        yield f"has no number in {EXPECTED.name}; {suite.ran} ran: make counts"
    elif suite.ran + suite.skips < least and not corpus_is_absent(suite):
        yield f"{suite.ran} ran and {suite.skips} skipped, at least {least} must"
    if suite.percent is not None and suite.percent < floor:
        yield f"{suite.percent:.2f} % is below the floor of {floor} %"


def corpus_is_absent(suite: Suite) -> bool:
    """Tell whether this is the suite of the shared corpus where there is none: its cases cannot even be listed."""
    return suite.name == suites.CORPUS and suite.skips > 0


def closing_line(results: Sequence[Suite], problems: Sequence[str]) -> str:
    """Count everything in one line; what should have run and did not counts as one failure for each complaint."""
    passed = sum(suite.ran - len(suite.failed) for suite in results)
    return f"{passed} passed, {len(problems)} failed, {sum(suite.skips for suite in results)} skipped"


def raised(least: Mapping[str, int], results: Sequence[Suite]) -> dict[str, int]:
    """Lift every number to what ran; none is lowered."""
    ran = {suite.name: suite.ran for suite in results}
    return {name: max(least.get(name, 0), ran.get(name, 0)) for name in sorted({*least, *ran})}


def write_counts(ran: Mapping[str, int]) -> None:
    """Replace the table [ran], which is the last of the file; what stands above it stays as it is."""
    above = EXPECTED.read_text().partition("[ran]\n")[0]
    EXPECTED.write_text(above + "[ran]\n" + "".join(f'"{name}" = {count}\n' for name, count in ran.items()))


def print_table(results: Sequence[Suite]) -> None:
    """Print suite, ran, skipped (reason), failed."""
    width = max(len(suite.name) for suite in results)
    print(f"\n{'suite':<{width}} | {'ran':>5} | {'failed':>6} | skipped (reason)")
    print(f"{'-' * width}-|-{'-' * 5}-|-{'-' * 6}-|-{'-' * 16}")
    for suite in results:
        note = f" at {suite.percent:.2f} %" if suite.percent is not None else ""
        print(f"{suite.name:<{width}} | {suite.ran:>5} | {len(suite.failed):>6} | {reasons(suite.skipped)}{note}")
    print()


def reasons(skipped: Counter[str]) -> str:
    """Show `3 (no shared corpus beside the checkout)`, or 0."""
    return ", ".join(f"{count} ({reason})" for reason, count in skipped.items()) or "0"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
