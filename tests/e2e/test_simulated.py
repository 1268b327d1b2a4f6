"""The simulator with each of its faults: what its truth file says arrives does arrive, with the values of the truth."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json
import random

import pytest

pytestmark = pytest.mark.e2e

KINDS = ("noise", "silence", "unplug", "damaged", "truncated", "merged", "torn")
#: telegrams, the first of them while the daemon starts, and simulated seconds per second
COUNT, SPEED = 90, 30


def rows(path):
    """The truth file: one object per telegram."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(reading, truth):
    """Whether a reading says what is true, in every quantity."""
    return {key: reading.get(key) for key in truth if key != "sub"} == {k: v for k, v in truth.items() if k != "sub"}


def opened(truth):
    """Telegrams that found a new reader: its first octets fall between its opening and its flush now and then."""
    return {row["n"] for before, row in zip([{"readers": 0}, *truth], truth, strict=False)
            if row["readers"] and not before["readers"]}  # fmt: skip


def numbers(readings):
    """Which readings these are."""
    return [(reading["seq"], reading["t"]) for reading in readings]


def judge(readings, truth):
    """What is stored are exactly the telegrams that must arrive, each with its values."""
    due = {row["item_p"]["t"]: row for row in truth if row["arrives"] and row["readers"]}
    got = {reading["t"]: reading for reading in readings}
    assert len(got) == len(readings), "a telegram arrived twice"
    assert got.keys() <= due.keys(), "a telegram arrived that must not"
    lost = {due[t]["n"] for t in due.keys() - got.keys()}
    assert lost <= opened(truth), f"telegrams {sorted(lost)} did not arrive"
    assert [t for t, reading in got.items() if not same(reading, due[t]["item_p"])] == []
    assert [reading["t"] for reading in readings] == sorted(got)


def assert_live(published, stored):
    """Live is the newest, never a queue: what came while the broker was busy is in the journal alone, the last is live.

    What is live is stored, once and in order.
    """
    left = iter(numbers(stored))
    assert all(number in left for number in numbers(published))
    assert numbers(published)[-1:] == numbers(stored)[-1:]


@pytest.mark.parametrize(
    ("where", "kind"), [*(("pty", kind) for kind in KINDS), ("tcp", "unplug"), ("tcp", "torn"), ("tcp", "noise")]
)
def test_a_fault_takes_what_it_must_and_nothing_else(
    broker, subscribe, daemon, simulator, until, tmp_path, where, kind
):
    mqtt, record, link = broker(), tmp_path / "truth.jsonl", tmp_path / "port-main"
    seen = subscribe(mqtt.port)
    place = ["--link", str(link)] if where == "pty" else ["--tcp", "127.0.0.1:0"]
    meter = simulator(*place, "--wait", "--count", str(COUNT), "--speed", str(SPEED), "--truth", str(record),
                      "--seed", "3", "--fault", f"{kind}@50-53,60,74", "--unplug-for", "15")  # fmt: skip
    port = json.loads(meter.stdout.readline())["port"]
    running = daemon({"main": port}, f'host = "127.0.0.1"\nport = {mqtt.port}').start()
    assert meter.wait(60) == 0, meter.stderr.read()
    truth = rows(record)
    assert len(truth) == COUNT
    assert [row["n"] for row in truth if row["fault"] and row["since"] == row["n"]], "no fault struck"
    last = max(row["item_p"]["t"] for row in truth if row["arrives"] and row["readers"])
    until(lambda: any(reading["t"] == last for reading in seen.readings()), "the last telegram")
    assert running.stop() == 0
    stored = running.export()
    judge(stored, truth)
    published = seen.readings()
    assert_live(published, stored)
    assert len(published) >= COUNT // 9, "a busy machine needs half of the time to start"


def test_each_meter_is_isolated(broker, subscribe, cable, daemon, simulator, until, tmp_path):
    mqtt, record = broker(), tmp_path / "truth.jsonl"
    seen, noisy, silent = subscribe(mqtt.port), cable("noisy"), cable("silent")
    good = simulator("--tcp", "127.0.0.1:0", "--wait", "--count", str(COUNT), "--speed", str(SPEED),
                     "--truth", str(record))  # fmt: skip
    ports = {
        "good": json.loads(good.stdout.readline())["port"],
        "noisy": str(noisy.link),
        "silent": str(silent.link),
        "absent": str(tmp_path / "no-such-port"),
        "refused": "socket://127.0.0.1:1",
    }
    running = daemon(ports, f'host = "127.0.0.1"\nport = {mqtt.port}').start()
    until(lambda: noisy.is_read, "the noisy port to be open")
    dice = random.Random(9)
    while good.poll() is None:
        noisy.send(dice.randbytes(32_768), paced=False)
    last = rows(record)[-1]["item_p"]["t"]
    until(lambda: any(reading["t"] == last for reading in seen.readings("good")), "the last telegram")
    published = seen.readings("good")
    states = {name: seen.states(name)[-1] for name in ports}
    assert states["good"] == "ok"
    assert states["absent"] == states["refused"] == "no_port"
    assert {seen.last(f"{name}/availability") for name in ports if name != "good"} == {b"offline"}
    assert not any(seen.readings(name) for name in ports if name != "good")
    assert running.stop() == 0
    stored = running.export()
    assert {row["meter"] for row in stored} == {"good"}
    judge(stored, rows(record))
    assert_live(published, stored)
