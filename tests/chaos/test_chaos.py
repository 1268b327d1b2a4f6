"""A short chaos run against real servers: no violation; and errors planted into what it left are found there, too."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos import canary
from tests.chaos.evidence import Evidence, load
from tests.chaos.oracle import judge
from tests.chaos.planted import PLANTED
from tests.sizes import CHAOS_KINDS, CHAOS_SHORT_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

#: the schedule of `make test`; `make chaos` draws one for each run
SEED = 20


class Ran(NamedTuple):
    """A run as `make chaos` has it, and what it left."""

    code: int
    said: str
    folder: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Ran:
    folder = tmp_path_factory.mktemp("chaos")
    options = ["--seconds", str(CHAOS_SHORT_S), "--seed", str(SEED), "--keep", str(folder / "run")]
    command = [sys.executable, "-m", "tests.chaos.chaos", *options, "--out", str(folder / "page.md")]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=400, check=False)
    return Ran(done.returncode, done.stdout + done.stderr, folder / "run")


def test_nothing_is_violated(ran: Ran) -> None:
    assert ran.code == 0, f"{ran.said}\n{log_of(ran)}"
    assert f"seed {SEED}: " in ran.said
    seen = load(ran.folder)
    kinds = {span.kind for span in seen.faults}
    assert len(kinds) >= CHAOS_KINDS
    assert "kill" in kinds
    assert len(seen.journal) > CHAOS_SHORT_S
    assert seen.late
    assert seen.points["influxdb"]
    assert seen.points["victoria-metrics"]


def test_the_search_for_secrets_finds_one_in_what_the_run_left(ran: Ran) -> None:
    planted = ran.folder / "planted.log"
    planted.write_text((ran.folder / "secrets" / "ak").read_text().upper())
    try:
        assert canary.search(ran.folder) == ["planted.log holds ak as text"]
    finally:
        planted.unlink()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_an_error_planted_into_it_is_found(ran: Ran, plant: Callable[[Evidence], None]) -> None:
    seen = load(ran.folder)
    plant(seen)
    assert PLANTED[plant] in judge(seen)


def log_of(ran: Ran) -> str:
    log = ran.folder / "daemon.log"
    return log.read_text(errors="replace")[-6_000:] if log.exists() else "the daemon was never started"
