"""A meter, the daemon, a database that is away, kill -9: all that the journal has arrives, with the meter's values."""

import json
import signal
from datetime import datetime

import pytest

from gateway.control import ControlError, ask
from tests.databases import VictoriaMetrics

# ruff: noqa: PLR0917 - fixtures are arguments

pytestmark = pytest.mark.e2e

#: telegrams, and simulated seconds per second
COUNT, SPEED = 160, 10
QUANTITIES = ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh")


@pytest.fixture
def database(tmp_path_factory):
    made = VictoriaMetrics(tmp_path_factory.mktemp("victoria"))
    yield made
    made.stop()


def status(running):
    """The sink as `meterd status` shows it; None while nobody answers."""
    try:
        answer = ask(running.config.parent / "control", "status")
    except ControlError:
        return None
    return next(output for output in answer["outputs"] if output["name"] == "influx")


def test_nothing_is_lost_by_an_outage_and_a_kill(broker, daemon, simulator, until, tmp_path, database):
    record = tmp_path / "truth.jsonl"
    meter = simulator("--tcp", "127.0.0.1:0", "--count", str(COUNT), "--speed", str(SPEED), "--truth", str(record))
    port = json.loads(meter.stdout.readline())["port"]
    token = tmp_path / "token"
    token.write_text("a-token-of-this-test\n")
    table = f'host = "127.0.0.1"\nport = {broker().port}\n[influx]\nurl = "{database.url}"\norg = "o"\nbucket = "b"\n'
    running = daemon({"main": port}, f'{table}token_file = "{token}"').start()

    away = until(lambda: (shown := status(running)) and shown["outbox"]["pending"] and shown, "stored readings")
    assert away["outbox"]["delivered"] == 0
    until(lambda: "refused the connection" in (status(running) or {}).get("text", ""), "the trouble in the status")
    running.stop(signal.SIGKILL)
    database.start()
    running.start()
    until(lambda: (shown := status(running)) and shown["outbox"]["delivered"], "the first readings")
    assert meter.wait(60) == 0, meter.stderr.read()
    assert running.stop() == 0
    # what the last group brought is delivered by the next start
    running.start()
    until(lambda: (shown := status(running)) and shown["works"] and not shown["outbox"]["pending"], "all readings")
    assert running.stop() == 0

    truth = {row["item_p"]["t"]: row["item_p"] for row in map(json.loads, record.read_text().splitlines())}
    stored = {reading["t"]: reading for reading in running.export()}
    assert len(stored) > COUNT // 4
    assert stored.keys() <= truth.keys()
    points = database.points()
    for name in QUANTITIES:
        wanted = {_ms(t): truth[t][name] for t in stored if name in truth[t]}
        assert points.get((f"item_p_{name}", "main", ""), {}) == wanted
    registers = {key[2] for key in points if key[0] == "register_value"}
    assert registers == {row["code"] for reading in stored.values() for row in reading["registers"]}
    assert "a-token-of-this-test" not in running.log.read_text()


def _ms(t):
    return int(datetime.fromisoformat(t).timestamp()) * 1_000
