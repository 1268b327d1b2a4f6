"""`meterd simulate` in its own process: where the port is, clean ends, the truth beside it, refusals in one line."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.simulator.meter import Meter

MAIN = """
import argparse, sys
from gateway.commands import simulate
parser = argparse.ArgumentParser(prog="meterd simulate")
simulate.add_arguments(parser)
sys.exit(simulate.run(parser.parse_args()))
"""
START = "2026-10-25T00:59:30+00:00"
T0 = datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC)
DEADLINE_S = 60


def simulate(*options):
    command = [sys.executable, "-c", MAIN, *options]
    return subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)


@contextmanager
def running(*options):
    command = [sys.executable, "-c", MAIN, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def telegrams(count, seed=1, variant="dsmr5"):
    meter = Meter(seed, variant, T0)
    return [meter.telegram_at(T0 + timedelta(seconds=n * meter.variant.interval_s)) for n in range(count)]


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return result


@pytest.mark.parametrize("variant", ["dsmr5", "emucs", "se-efs2", "dsmr42", "dsmr22"])
def test_a_file_and_its_truth(variant, tmp_path, oracle):
    out, record = tmp_path / "capture.p1", tmp_path / "truth.jsonl"
    done = simulate("--variant", variant, "--out", str(out), "--count", "100", "--start", START, "--seed", "7",
                    "--truth", str(record))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert str(out).encode() in done.stdout
    assert out.read_bytes() == b"".join(telegrams(100, 7, variant))
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(rows) == 100
    for row, telegram in zip(rows, telegrams(100, 7, variant), strict=True):
        assert row["arrives"] is True
        assert oracle.item_p(telegram, variant).items() <= row["item_p"].items()


def test_stdout_holds_nothing_but_telegrams():
    done = simulate("--out", "-", "--count", "20", "--start", START)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"".join(telegrams(20)), b"")


def test_a_naive_start_is_the_clock_of_the_house():
    done = simulate("--out", "-", "--count", "1", "--start", "2026-10-25T02:59:30")
    assert done.stdout == telegrams(1)[0]


def test_faults_are_in_the_truth(tmp_path):
    out, record = tmp_path / "capture.p1", tmp_path / "truth.jsonl"
    done = simulate("--out", str(out), "--count", "60", "--start", START, "--truth", str(record),
                    "--fault", "torn@3", "--fault", "merged@10", "--fault", "noise=0.2", "--fault", "unplug@30",
                    "--unplug-for", "4")  # fmt: skip
    assert done.returncode == 0
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    octets = out.read_bytes()
    assert [row["n"] for row in rows if not row["arrives"]] == [3, 10, 11, 30, 31, 32, 33]
    assert [telegram in octets for telegram in telegrams(60)] == [row["arrives"] for row in rows]
    assert any(row["fault"] == "noise" for row in rows)


def test_it_waits_for_a_reader(tmp_path):
    """Nothing is sent into the void: the first who reads gets the first telegram, and all others."""
    record = tmp_path / "truth.jsonl"
    with running("--tcp", "127.0.0.1:0", "--wait", "--speed", "50", "--start", START, "--count", "20", "--json",
                 "--truth", str(record)) as process:  # fmt: skip
        port = int(json.loads(process.stdout.readline())["port"].rpartition(":")[2])
        time.sleep(0.5)  # long enough for all of them
        assert record.read_text() == ""
        with socket.create_connection(("127.0.0.1", port), 30) as reader:
            octets = b"".join(iter(lambda: reader.recv(65_536), b""))
        assert process.wait(30) == 0
    assert octets == b"".join(telegrams(20))
    assert all(json.loads(line)["readers"] == 1 for line in record.read_text().splitlines())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_with_a_link_until_a_signal(ending, tmp_path):
    link = tmp_path / "meter"
    with running("--link", str(link), "--speed", "20", "--start", START, "--json") as process:
        facts = json.loads(process.stdout.readline())
        assert facts == {"port": str(link), "variant": "dsmr5", "baud": 115200, "framing": "8N1", "interval_s": 1,
                         "seed": 1}  # fmt: skip
        fd = os.open(link, os.O_RDONLY | os.O_NOCTTY)
        octets = b""
        while octets.count(b"!") < 5:
            octets += os.read(fd, 4096)
        os.close(fd)
        process.send_signal(ending)
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""
        assert process.stdout.read() == b""
    assert not link.is_symlink()
    first = octets[octets.index(b"/") :]
    assert any(first.startswith(telegram) for telegram in telegrams(2000))


def test_several_meters_over_tcp(tmp_path):
    record = tmp_path / "truth.jsonl"
    with running("--tcp", "127.0.0.1:0", "--meters", "3", "--speed", "20", "--json", "--truth", str(record)) as process:
        ports = [json.loads(process.stdout.readline())["port"] for _ in range(3)]
        assert len(set(ports)) == 3
        for port in ports:
            with socket.create_connection(("127.0.0.1", int(port.rpartition(":")[2])), DEADLINE_S) as client:
                octets = b""
                while octets.count(b"!") < 2:
                    octets += client.recv(4096)
                assert octets.startswith(b"/ISK5\\2M550T-1012\r\n")
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert {json.loads(line)["seed"] for line in record.read_text().splitlines()} == {1, 2, 3}


def test_without_a_start_the_meter_has_the_real_time():
    with running("--tcp", "127.0.0.1:0", "--count", "1000", "--json") as process:
        port = int(json.loads(process.stdout.readline())["port"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
            octets = b""
            while b"0-0:1.0.0" not in octets or not octets.endswith(b"\r\n"):
                octets += client.recv(4096)
        stamp = octets[octets.index(b"0-0:1.0.0(") + 10 :][:12].decode()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    amsterdam = ZoneInfo("Europe/Amsterdam")
    said = datetime.strptime(stamp, "%y%m%d%H%M%S").replace(tzinfo=amsterdam)
    assert abs((datetime.now(amsterdam) - said).total_seconds()) < DEADLINE_S


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x"], "--count"),
        (["--tcp", "127.0.0.1:0", "--link", "x"], "--link"),
        (["--meters", "2", "--link", "x"], "--meters"),
        (["--variant", "dsmr6"], "dsmr6"),
        (["--fault", "fire"], "noise, silence"),
        (["--fault", "noise=7"], "between 0 and 1"),
        (["--speed", "0"], "above 0"),
        (["--speed", "nan"], "above 0"),
        (["--count", "0"], "at least 1"),
        (["--interval", "-1"], "-1"),
        (["--start", "yesterday"], "2026-10-25T02:30:00"),
        (["--start", "1999-01-01"], "2000 to 2099"),
        (["--tcp", "2001"], "HOST:PORT"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(options, words):
    done = simulate(*options)
    assert done.returncode == 2
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("meterd simulate: ")
    assert words in last


def test_a_port_in_use_and_a_file_in_the_way_exit_1(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = simulate("--tcp", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    (tmp_path / "meter").write_text("precious")
    done = simulate("--link", str(tmp_path / "meter"))
    assert done.returncode == 1
    assert b"is no symbolic link" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = simulate("--out", str(tmp_path / "no" / "folder"), "--count", "1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_random_keys_are_written_for_others_and_shown_nowhere(tmp_path, wire):
    out, record, secret = tmp_path / "capture", tmp_path / "truth.jsonl", tmp_path / "keys"
    done = simulate("--variant", "dk-kamstrup", "--out", str(out), "--count", "30", "--start", START, "--seed", "7",
                    "--truth", str(record), "--key-out", str(secret), "--fault", "replay@9", "--fault", "tag@11",
                    "--json")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    lines = secret.read_text().splitlines()
    assert json.loads(done.stdout)["key_file"] == str(secret)
    for text in (done.stdout.decode(), record.read_text()):
        assert not any(line in text for line in lines)
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(row["n"], row["fault"]) for row in rows if row["fault"]] == [(9, "replay"), (11, "tag")]
    assert {row["counter"] - row["n"] for row in rows} == {rows[0]["counter"]}
    keys, octets = tuple(map(bytes.fromhex, lines)), out.read_bytes()
    for row in rows:
        push, octets = octets[: row["size"]], octets[row["size"] :]
        if row["fault"] is None:
            pushed = wire.read(push, keys)
            assert pushed.counter == row["counter"]
            assert {row["item_p"]["p_import_w"], row["item_p"]["a_import_wh"] // 10} <= set(pushed.values)
    assert octets == b""


def test_a_child_with_key_files_serves_a_terminal(tmp_path, wire):
    link, ek, ak = (tmp_path / name for name in ("meter", "ek", "ak"))
    ek.write_text("00" * 15 + "01\n")
    ak.write_text("00" * 15 + "02\n")
    with running("--variant", "lu-smarty", "--link", str(link), "--speed", "200", "--start", START,
                 "--key-file", str(ek), "--auth-key-file", str(ak)) as process:  # fmt: skip
        assert process.stdout.readline().decode().endswith(f", keys in {ek}\n")
        fd = os.open(link, os.O_RDONLY | os.O_NOCTTY)
        octets = b""
        while octets.count(b"\xdb\x08SAG\xfa\xce") < 3:
            octets += os.read(fd, 4096)
        os.close(fd)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    first, second = (found.start() for found in list(re.finditer(b"\xdb\x08SAG\xfa\xce", octets))[:2])
    plain = wire.read(octets[first:second], (bytes(15) + b"\1", bytes(15) + b"\2")).plain
    assert plain.startswith(b"/Lux5")


def test_a_restart_goes_on_with_higher_counters(tmp_path):
    counters = []
    for run in range(2):
        time.sleep(4 * run)
        record = tmp_path / f"{run}.jsonl"
        done = simulate("--variant", "at-est5", "--out", "-", "--count", "3", "--truth", str(record), "--speed", "inf")
        assert done.returncode == 0
        counters.append([json.loads(line)["counter"] for line in record.read_text().splitlines()])
    assert counters[1][0] > counters[0][-1]


def test_without_a_file_nobody_has_the_keys():
    with running("--variant", "at-kaifa", "--tcp", "127.0.0.1:0") as process:
        assert b"nobody has its keys: name a file with --key-out" in process.stdout.readline()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--variant", "no-aidon", "--key-out", "x"], 2, "no-aidon encrypts nothing"),
        (["--key-file", "x"], 2, "dsmr5 encrypts nothing"),
        (["--variant", "at-kaifa", "--key-out", "x", "--key-file", "y"], 2, "leave out one of them"),
        (["--variant", "at-kaifa", "--auth-key-file", "y"], 2, "name both"),
        (["--variant", "at-kaifa", "--fault", "tag"], 2, "at-kaifa cannot have the fault tag"),
        (["--fault", "replay"], 2, "dsmr5 cannot have the fault replay"),
        (["--variant", "at-kaifa", "--key-file", "no-such-file"], 1, "no-such-file"),
        (["--variant", "at-kaifa", "--key-file", "pyproject.toml"], 1, "pyproject.toml holds no key"),
    ],
)
def test_keys_and_faults_that_do_not_fit_are_named(options, code, words, checkout):
    command = [sys.executable, "-c", MAIN, *options, "--out", "-", "--count", "1"]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False, cwd=checkout)
    assert done.returncode == code
    assert words in done.stderr.decode().splitlines()[-1]


def test_a_reader_that_leaves_the_pipe_ends_it_in_one_line():
    with running("--out", "-", "--count", "1000000") as process:
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 1
        assert len(process.stderr.read().splitlines()) == 1
