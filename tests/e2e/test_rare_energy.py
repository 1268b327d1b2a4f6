"""A simulated meter that sends energy less often than power: what a subscriber sees of it, and what is kept."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.e2e

ENERGY = ("a_import_wh", "a_export_wh")
QUARTER_S = 900


def test_energy_goes_on_with_its_own_time_and_is_stored_once(
    guarded, subscribe, daemon, simulator, until, tmp_path
):  # fmt: skip
    """Some pushes of power, then the one with energy of the nearest quarter of an hour, then power again."""
    seen, port, record = subscribe(guarded.broker.port, guarded), tmp_path / "port-main", tmp_path / "truth.jsonl"
    quarter = datetime.fromtimestamp(round(datetime.now(UTC).timestamp() / QUARTER_S) * QUARTER_S, UTC)
    meter = simulator("--variant", "si-iskra", "--link", str(port), "--interval", "1", "--truth", str(record),
                      "--start", (quarter - timedelta(seconds=12)).isoformat())  # fmt: skip
    assert json.loads(meter.stdout.readline())["port"] == str(port)
    running = daemon({"main": str(port)}, guarded.mqtt, profile="si-iskra-am550-dlms", interval_s=1).start()
    last = (quarter + timedelta(seconds=4)).isoformat().replace("+00:00", "Z")
    until(lambda: any(reading["t"] >= last for reading in seen.readings()), "readings behind the quarter")
    assert running.stop() == 0
    due = quarter.isoformat().replace("+00:00", "Z")
    truth = {row["item_p"]["t"]: row["item_p"] for row in map(json.loads, record.read_text().splitlines())}
    assert [t for t, told in truth.items() if "a_import_wh" in told] == [due]
    energy = {key: truth[due][key] for key in ENERGY if key in truth[due]}
    before, after = [], []
    for reading in seen.readings():
        (before if reading["t"] < due else after).append(reading)
        assert reading.get("p_import_w") == truth[reading["t"]].get("p_import_w")
    assert before
    assert not any(key in reading for reading in before for key in (*ENERGY, "reg_t"))
    assert len(after) >= 4
    assert [{key: reading[key] for key in energy} | {"reg_t": reading["reg_t"]} for reading in after] == [
        energy | {"reg_t": due}
    ] * len(after)
    for key, value in energy.items():
        assert seen.of(f"main/{key}") == [str(value).encode()]
    assert [row["t"] for row in running.export() if "a_import_wh" in row or "reg_t" in row] == [due]
