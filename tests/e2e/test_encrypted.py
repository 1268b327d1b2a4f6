"""Simulated encrypted meters through the daemon, with the keys of an operator, to a subscriber over TLS."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json
import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.e2e

COUNT = 6
#: variant of the simulator -> profile, zone that the configuration adds, and what its telegrams prove
METERS = {
    "at-kaifa": ("at-netznoe", None, "unverified"),
    "lg-e450": ("at-steiermark-e450", "Europe/Vienna", "verified"),
    "dk-kamstrup": ("dk-kamstrup", "Europe/Copenhagen", "verified"),
    "lu-smarty": ("lu-smarty-encrypted", None, "verified"),
}
QUANTITIES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")


def rows(path):
    """The truth file: one object per push."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def configured(variant, **more):
    """Keys of [[meter]] for a variant of the simulator."""
    profile, zone, _ = METERS[variant]
    return {"profile": profile, "interval_s": 1} | ({"timezone": zone} if zone else {}) | more


@pytest.fixture
def pushing(simulator, tmp_path):
    """Let a simulated meter push each second; its port and the file of its keys."""

    def start(variant, *options):
        keys, port = tmp_path / "keys", tmp_path / "port-main"
        made = simulator("--variant", variant, "--link", str(port), "--interval", "1", "--key-out", str(keys),
                         "--truth", str(tmp_path / "truth.jsonl"), *options)  # fmt: skip
        assert json.loads(made.stdout.readline())["variant"] == variant
        return {"main": str(port)}, keys

    return start


@pytest.fixture
def other_key(tmp_path):
    """Copy the keys of a meter with one of them replaced."""

    def make(keys, line):
        both = keys.read_text().split()
        both[line] = os.urandom(16).hex()
        path = tmp_path / "other"
        path.touch(0o600)
        path.write_text("\n".join(both) + "\n")
        return path

    return make


def state(seen):
    """The newest line state, as an object."""
    payload = seen.last("main/state")
    return json.loads(payload) if payload else {}


@pytest.mark.parametrize("variant", METERS)
def test_every_value_and_its_proof_arrive(guarded, subscribe, daemon, pushing, until, tmp_path, variant):
    seen = subscribe(guarded.broker.port, guarded)
    ports, keys = pushing(variant)
    running = daemon(ports, guarded.mqtt, **configured(variant, key_file=str(keys))).start()
    until(lambda: len(seen.readings()) >= COUNT, "the readings")
    until(lambda: seen.states()[-1:] == ["ok"], "the state")
    assert running.stop() == 0
    truth = {row["item_p"]["t"]: row for row in rows(tmp_path / "truth.jsonl")}
    readings = seen.readings()
    for reading in readings:
        told = truth[reading["t"]]
        assert (reading["t_source"], reading["auth"], told["auth"]) == ("meter", METERS[variant][2], METERS[variant][2])
        assert reading["src"]["profile"] == METERS[variant][0]
        expected = told["item_p"]
        assert {key: reading.get(key) for key in QUANTITIES} == {key: expected.get(key) for key in QUANTITIES}
        assert reading["t_meter"] == expected["t_meter"]
        assert reading["reg_t"] == reading["t"]
    times = [reading["t"] for reading in readings]
    assert times == sorted(set(times))
    for key in QUANTITIES:
        assert [int(payload) for payload in seen.of(f"main/{key}")] == [reading[key] for reading in readings]
    # what came before the connection is in the journal, and late at the broker
    stored = [(row["seq"], row["auth"]) for row in running.export() if row["seq"] >= readings[0]["seq"]]
    assert stored == [(row["seq"], row["auth"]) for row in readings]
    spoken = b"".join(topic.encode() + payload for topic, payload in seen.messages) + running.log.read_bytes()
    for key in keys.read_text().split():
        assert key.encode().lower() not in spoken.lower()
        assert bytes.fromhex(key) not in spoken


@pytest.mark.parametrize("variant", ["at-kaifa", "dk-kamstrup", "lu-smarty"])
def test_auto_finds_link_and_profile(broker, subscribe, daemon, pushing, until, tmp_path, variant):
    mqtt = broker()
    seen = subscribe(mqtt.port)
    ports, keys = pushing(variant)
    settings = configured(variant, key_file=str(keys)) | {"profile": "auto"}
    running = daemon(ports, f'host = "127.0.0.1"\nport = {mqtt.port}', **settings).start()
    until(lambda: len(seen.readings()) >= 3, "the readings")
    assert running.stop() == 0
    truth = {row["item_p"]["t"]: row for row in rows(tmp_path / "truth.jsonl")}
    for reading in seen.readings():
        told = truth[reading["t"]]
        assert (reading["src"]["profile"], reading["auth"]) == (METERS[variant][0], told["auth"])
        assert reading["a_import_wh"] == told["item_p"]["a_import_wh"]


@pytest.mark.parametrize(
    ("variant", "line", "wanted"),
    [
        ("at-kaifa", 0, "key_rejected"),
        ("lg-e450", 0, "key_rejected"),
        ("lu-smarty", 0, "key_rejected"),
        ("dk-kamstrup", 0, "key_rejected"),
        ("lg-e450", 1, "auth_key_rejected"),
        ("lu-smarty", 1, "auth_key_rejected"),
        ("dk-kamstrup", 1, "auth_key_rejected"),
    ],
)
def test_a_wrong_key_is_named_within_a_minute(
    guarded, subscribe, daemon, pushing, other_key, until, variant, line, wanted
):
    seen = subscribe(guarded.broker.port, guarded)
    ports, keys = pushing(variant)
    daemon(ports, guarded.mqtt, **configured(variant, key_file=str(other_key(keys, line)))).start()
    until(lambda: state(seen).get("state") == wanted, wanted, 60)
    time.sleep(2)
    assert seen.readings() == []
    assert seen.states()[-1] == wanted
    assert seen.last("main/availability") == b"offline"


def test_without_a_key_the_meter_is_named_and_a_key_that_is_set_starts_the_readings(
    guarded, subscribe, daemon, pushing, until, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    seen = subscribe(guarded.broker.port, guarded)
    ports, keys = pushing("lg-e450")
    running = daemon(ports, guarded.mqtt, **configured("lg-e450")).start()
    until(lambda: state(seen).get("state") == "key_missing", "key_missing")
    until((tmp_path / "truth.jsonl").exists, "the truth")
    assert rows(tmp_path / "truth.jsonl")[0]["system_title"] in state(seen)["evidence"]
    assert seen.readings() == []
    command = [sys.executable, "-m", "gateway.cli", "key", "set", "main", "-c", str(running.config), "--key-file", "-"]
    done = subprocess.run(command, input=keys.read_bytes(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    until(lambda: len(seen.readings()) >= 2, "readings")
    assert {reading["auth"] for reading in seen.readings()} == {"verified"}
    until(lambda: seen.states()[-1] == "ok", "ok")
    assert running.stop() == 0


@pytest.mark.parametrize("variant", ["at-kaifa", "lu-smarty"])
def test_pushes_that_come_again_give_nothing_and_are_counted(
    broker, subscribe, daemon, pushing, until, tmp_path, variant
):
    mqtt = broker()
    seen = subscribe(mqtt.port)
    ports, keys = pushing(variant, "--fault", "replay@5,7-8,10")
    running = daemon(
        ports, f'host = "127.0.0.1"\nport = {mqtt.port}', **configured(variant, key_file=str(keys))
    ).start()
    record = tmp_path / "truth.jsonl"
    until(lambda: record.exists() and len(rows(record)) > 11, "the pushes")
    last = rows(record)[11]["item_p"]["t"]
    until(lambda: any(reading["t"] >= last for reading in seen.readings()), "the push behind the last replay")
    command = [sys.executable, "-m", "gateway.cli", "status", "--json", "--socket", str(tmp_path / "control")]
    status = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=False).stdout)
    assert running.stop() == 0
    truth = rows(record)
    replayed = {row["item_p"]["t"] for row in truth if row["fault"] == "replay" and row["readers"]}
    assert replayed
    times = [reading["t"] for reading in seen.readings()]
    assert len(times) == len(set(times))
    assert not replayed & set(times)
    assert set(times) <= {row["item_p"]["t"] for row in truth if row["arrives"]}
    counters = status["meters"][0]["counters"]
    assert counters["fault.unwrap.replayed"] == len(replayed)
