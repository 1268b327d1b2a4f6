"""A short run of the fleet: three hubs, every fault, kills and an operator; `make hubs` is the long one."""

from pathlib import Path

import pytest

from tests.hubfleet.fleet import run
from tests.hubfleet.points import run as run_points
from tests.sizes import HUB_KILLS, HUB_MESSAGES


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_one_effect_for_each_version(tmp_path: Path) -> None:
    found = run(tmp_path, HUB_MESSAGES[1], 60, 3, HUB_KILLS[1])
    print(f"{found.messages} messages, {found.kills} kills, {found.corrections} corrections, {dict(found.faults)}")
    assert found.violations == []
    assert found.messages >= HUB_MESSAGES[1]
    assert found.kills >= HUB_KILLS[1]
    assert found.corrections
    assert found.faults.total() >= 5


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_day_of_many_points_in_bundles(tmp_path: Path) -> None:
    figures, violations = run_points(tmp_path, 300, 120)
    assert violations == []
    assert all(figure.reached for figure in figures if figure.limit is not None)
