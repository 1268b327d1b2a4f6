"""The oracle has nothing against a good run, and finds every error that is planted into its evidence."""

import base64
import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import canary
from tests.chaos.evidence import Evidence
from tests.chaos.oracle import CHECKS, judge
from tests.chaos.planted import PLANTED

KEY = "000f1e2d3c4b5a69788796a5b4c3d2e1"


def test_a_good_run_is_good(seen: Evidence) -> None:
    assert judge(seen) == {}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_error_is_found(seen: Evidence, plant: Callable[[Evidence], None]) -> None:
    spoiled = copy.deepcopy(seen)
    plant(spoiled)
    assert PLANTED[plant] in judge(spoiled)


def test_every_check_has_an_error_that_only_it_needs_to_find() -> None:
    assert set(PLANTED.values()) == set(CHECKS)


def test_a_lost_group_is_no_violation_and_one_reading_before_it_is(seen: Evidence) -> None:
    first = next(row for row in seen.journal if row["meter"] == "p1" and row["a_import_wh"] == 1_000_000 + 5)
    seen.journal.remove(first)
    assert "kept" in judge(seen)


def test_a_damaged_neighbour_excuses_and_a_far_one_does_not(seen: Evidence) -> None:
    rows = seen.truth["p1"]
    rows[50]["fault"], rows[50]["arrives"] = "bits", False
    excused, owed = rows[51]["id"], rows[60]["id"]
    seen.journal[:] = [row for row in seen.journal if row["a_import_wh"] not in (excused, owed)]
    assert [sentence.split()[2] for sentence in judge(seen)["kept"]] == [str(owed)]


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY.upper(),
        ":".join(f"{octet:02X}" for octet in bytes.fromhex(KEY)),
        base64.b64encode(bytes.fromhex(KEY)).decode(),
        str(list(bytes.fromhex(KEY))),
    ],
)
def test_a_planted_key_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ek").write_text(KEY + "\n")
    (tmp_path / "daemon.log").write_text("nothing here")
    assert canary.search(tmp_path) == []
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.db").write_text(f"before {text} behind")
    assert canary.search(tmp_path)
    assert all(KEY not in found for found in canary.search(tmp_path))
