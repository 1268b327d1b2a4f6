"""`make test` itself: what did not run, was skipped without a reason or fell below its number is a failure."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import check
import suites
from suites import Suite

EXPECTED: dict[str, Any] = {
    "skips": {"allowed": ["no shared corpus"]},
    "coverage": {"floor": 90.0},
    "ran": {"lint": 10, "tests/area": 3, "shared corpus": 5, "coverage": 1},
}


def whole() -> dict[str, Suite]:
    """The results of a run that holds."""
    return {
        "lint": Suite("lint", 12),
        "area": Suite("tests/area", 3),
        "corpus": Suite("shared corpus", 5),
        "coverage": Suite("coverage", 1, percent=91.0),
    }


def complaints(**changed: Suite | None) -> list[str]:
    results = [suite for suite in (whole() | changed).values() if suite is not None]
    return list(check.complaints(results, EXPECTED, whole=True))


def test_a_run_that_holds_has_no_complaint() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"area": Suite("tests/area", 3, ["tests/area/test_a.py::test_b"])},
            "tests/area: tests/area/test_a.py::test_b",
        ),
        ({"lint": Suite("lint", 9)}, "lint: 9 ran and 0 skipped, at least 10 must"),
        ({"area": None}, "tests/area: did not run at all, at least 3 must"),
        ({"new": Suite("tests/new", 1)}, "tests/new: has no number in expected-counts.toml; 1 ran: make counts"),
        (
            {"area": Suite("tests/area", 3, [], Counter(["slow"]))},
            "tests/area: skipped without an allowed reason: slow",
        ),
        ({"coverage": Suite("coverage", 1, percent=89.99)}, "coverage: 89.99 % is below the floor of 90.0 %"),
        ({"corpus": Suite("shared corpus", 4)}, "shared corpus: 4 ran and 0 skipped, at least 5 must"),
    ],
)
def test_what_is_missing_is_a_failure(changed: dict[str, Suite | None], said: str) -> None:
    assert complaints(**changed) == [said]


def test_an_absent_corpus_is_allowed_and_its_reason_shown() -> None:
    reason = "no shared corpus beside the checkout"
    absent = Suite("shared corpus", 0, [], Counter([reason]))
    assert complaints(corpus=absent) == []
    assert check.reasons(absent.skipped) == f"1 ({reason})"


def test_the_closing_line_counts_what_did_not_run() -> None:
    results = [Suite("lint", 12, ["a.py: 1 findings"]), Suite("shared corpus", 0, [], Counter(["no shared corpus"]))]
    problems = list(check.complaints(results, EXPECTED, whole=True))
    assert check.closing_line(results, problems) == "11 passed, 3 failed, 1 skipped"


def test_counts_are_raised_and_never_lowered() -> None:
    results = [Suite("lint", 12), Suite("tests/area", 2), Suite("tests/new", 4)]
    assert check.raised(EXPECTED["ran"], results) == {
        "coverage": 1,
        "lint": 12,
        "shared corpus": 5,
        "tests/area": 3,
        "tests/new": 4,
    }


AREA = """
import pytest

def test_passes(): pass
def test_fails(): assert False
def test_hangs():
    while True: pass
@pytest.mark.skip(reason="because")
def test_is_skipped(): pass
@pytest.mark.xfail(reason="known", strict=False)
def test_is_expected_to_fail(): assert False
@pytest.fixture
def leaves():
    yield
    raise RuntimeError
def test_fails_when_it_ends(leaves): pass
@pytest.mark.corpus
def test_on_corpus(corpus): pass
@pytest.mark.corpus
def test_without_corpus(): pytest.skip("no shared corpus beside the checkout")
"""


#: a test that takes its process with it
CRASH = "import os\ndef test_crashes(): os._exit(3)\n"


@pytest.fixture(params=[(), ("--numprocesses", "2", "--dist", "loadfile", "tests")], ids=["one process", "two"])
def record(request: pytest.FixtureRequest, checkout: Path, tmp_path: Path) -> Path:
    """The record of a real pytest run over tests that end in every way there is."""
    area = tmp_path / "tests" / "area"
    area.mkdir(parents=True)
    for name in ("conftest.py", "ports.py"):
        (tmp_path / "tests" / name).write_text((checkout / "tests" / name).read_text())
    (tmp_path / "pyproject.toml").write_text((checkout / "pyproject.toml").read_text())
    (area / "test_all.py").write_text(AREA)
    (area / "test_broken.py").write_text("import nothing_of_that_name\n")
    if request.param:
        (area / "test_crash.py").write_text(CRASH)
    (tmp_path / "shared").mkdir()
    written = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "2", "--continue-on-collection-errors"]
    done = subprocess.run(
        [*command, "--record", str(written), *request.param],
        cwd=tmp_path,
        env={"METERD_CORPUS": str(tmp_path / "shared"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return written


def test_every_outcome_of_pytest_is_counted(request: pytest.FixtureRequest, record: Path) -> None:
    corpus, area = suites.by_area(record)
    assert (corpus.name, corpus.ran, corpus.failed) == ("shared corpus", 1, [])
    assert corpus.skipped == {"no shared corpus beside the checkout": 1}
    crashed = {"tests/area/test_crash.py::test_crashes"} if "two" in request.node.name else set()
    assert (area.name, area.ran) == ("tests/area", 5 + len(crashed))
    assert set(area.failed) == crashed | {
        "tests/area/test_broken.py",
        "tests/area/test_all.py::test_fails",
        "tests/area/test_all.py::test_hangs",
        "tests/area/test_all.py::test_fails_when_it_ends",
    }
    assert area.skipped == {"because": 1, "expected to fail: known": 1}


def test_a_run_that_crashed_leaves_what_it_did(tmp_path: Path) -> None:
    row = {"id": "tests/area/test_a.py::test_b", "suite": "tests/area", "outcome": "passed", "reason": ""}
    record = tmp_path / "record.jsonl"
    record.write_text(json.dumps(row) + "\n")
    (area,) = suites.by_area(record)
    assert area == Suite("tests/area", 1)
    assert suites.last_of(record) == row["id"]
    assert suites.by_area(tmp_path / "none.jsonl") == []


def test_a_tool_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "HANGS_AFTER_S", 1)
    code, out = suites.run("python", "-c", "print('begun', flush=True)\nwhile True: pass")
    assert (code, out) == (-9, "begun\n")


def test_what_a_tool_leaves_running_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "LINGERS_S", 1)
    leaves = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    code, out = suites.run("python", "-c", leaves)
    assert code == 0
    os.kill(int(out), signal.SIGKILL)


@pytest.mark.parametrize(("code", "failed"), [(0, []), (1, ["ended with 1; what it said stands above"])])
def test_a_tool_that_fails_without_a_name_failed(code: int, failed: list[str]) -> None:
    assert suites.verdict("types", 5, code, []) == Suite("types", 5, failed)
