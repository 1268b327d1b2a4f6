"""A short run of the fleet: three hubs, every fault, kills and an operator; `make hubs` is the long one."""

from pathlib import Path

import pytest

from tests.hubfleet.change import WEIGHTS_SHORT
from tests.hubfleet.fleet import Size, run
from tests.hubfleet.points import run as run_points
from tests.sizes import HUB_KILLS, HUB_MESSAGES


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_one_effect_for_each_version(tmp_path: Path) -> None:
    size = Size(HUB_MESSAGES[1], HUB_KILLS[1], 4, 1.2, WEIGHTS_SHORT, (1.5, 7.0), 8.0, 240)
    found = run(tmp_path, size, 240, 3)
    print(f"{found.messages} messages, {found.kills} kills, {found.corrections} corrections, {dict(found.faults)}")
    print(f"{found.bundles} bundles, orderly ends (s): {found.ends}, {dict(found.changes)}")
    assert found.violations == []
    assert found.messages >= HUB_MESSAGES[1]
    assert found.kills >= HUB_KILLS[1]
    assert found.corrections
    assert found.faults.total() >= 5
    assert found.bundles >= 5
    assert found.ends
    assert found.closed, "points without a ground were looked at"
    assert {"permissions granted", "permissions revoked", "points added", "re-read"} <= found.changes.keys()


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_day_of_many_points_in_bundles(tmp_path: Path) -> None:
    figures, violations = run_points(tmp_path, 300, 120)
    assert violations == []
    assert all(figure.reached for figure in figures if figure.limit is not None)
