"""`meterd replay`: the octets of a capture, at a pace, with the present time where that is asked for."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.simulator.meter import Meter

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@pytest.fixture
def capture(tmp_path):
    meter = Meter(seed=3, start=datetime(2024, 6, 1, 12, tzinfo=AMSTERDAM))
    telegrams = [meter.telegram_at(datetime(2024, 6, 1, 12, 0, second, tzinfo=AMSTERDAM)) for second in (1, 2, 3)]
    path = tmp_path / "capture.p1"
    path.write_bytes(telegrams[0][300:] + b"".join(telegrams))
    return path


@pytest.fixture
def replay():
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "replay", *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, process.stdout.readline().split(": repeats ")[0]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def read_tcp(address, size=None):
    host, port = address.removeprefix("socket://").split(":")
    data = b""
    with socket.create_connection((host, int(port)), timeout=30) as client:
        while size is None or len(data) < size:
            part = client.recv(65_536)
            if not part:
                break
            data += part
    return data


def read_pty(path, size):
    reader = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    data, end = b"", time.monotonic() + 30
    while len(data) < size and time.monotonic() < end:
        data += os.read(reader, 65_536)
    os.close(reader)
    return data


@pytest.mark.parametrize("pace", ["fast", "line", "0.05"])
def test_every_octet_arrives(replay, capture, pace):
    process, address = replay(capture, "--tcp", "127.0.0.1:0", "--pace", pace)
    assert read_tcp(address) == capture.read_bytes()
    assert process.wait(30) == 0
    assert "3 telegrams sent" in process.stdout.read()


def test_a_pty_behind_a_link(replay, capture, tmp_path):
    process, address = replay(capture, "--link", tmp_path / "port", "--pace", "fast")
    assert address == str(tmp_path / "port")
    assert read_pty(address, len(capture.read_bytes())) == capture.read_bytes()
    assert process.wait(30) == 0


def test_line_pace_takes_the_time_of_the_line(replay, capture):
    _, address = replay(capture, "--tcp", "127.0.0.1:0", "--baud", "38400")
    began = time.monotonic()
    size = len(read_tcp(address))
    assert time.monotonic() - began >= size * 10 / 38_400 * 0.9


def test_repeats_until_it_is_ended(replay, capture):
    process, address = replay(capture, "--tcp", "127.0.0.1:0", "--pace", "fast", "--repeat")
    size = len(capture.read_bytes())
    data = read_tcp(address, 5 * size)
    assert data[:size] == data[size : 2 * size] == capture.read_bytes()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_the_present_time_is_put_in_and_the_checksum_is_right(replay, capture):
    before = datetime.now(AMSTERDAM).replace(microsecond=0)
    _, address = replay(capture, "--tcp", "127.0.0.1:0", "--pace", "fast", "--rewrite-time")
    data, original = read_tcp(address), capture.read_bytes()
    assert len(data) == len(original)
    telegrams = re.findall(rb"/[^!]+![0-9A-F]{4}", data)
    assert len(telegrams) == 3
    for telegram, old in zip(telegrams, re.findall(rb"/[^!]+![0-9A-F]{4}", original), strict=True):
        t = re.search(rb"0-0:1\.0\.0\((\d{12})[SW]\)", telegram)[1].decode()
        assert before <= datetime.strptime(t, "%y%m%d%H%M%S").replace(tzinfo=AMSTERDAM) <= datetime.now(AMSTERDAM)
        assert int(telegram[-4:], 16) == crc(telegram[:-4])
        assert re.sub(rb"0-0:1\.0\.0\(\w+\)|!\w+", b"", telegram) == re.sub(rb"0-0:1\.0\.0\(\w+\)|!\w+", b"", old)


def crc(data):
    """CRC-16/ARC by the book: polynomial 0xA001 reversed, bit by bit."""
    value = 0
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


def test_a_damaged_telegram_stays_damaged(replay, capture):
    data = bytearray(capture.read_bytes())
    data[-200] ^= 1
    capture.write_bytes(data)
    _, address = replay(capture, "--tcp", "127.0.0.1:0", "--pace", "fast", "--rewrite-time")
    last = read_tcp(address).split(b"/")[-1]
    assert last == bytes(data).split(b"/")[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--pace", "0"], 2, "'0' is neither line nor fast nor a number of seconds above 0"),
        (["--pace", "nan"], 2, "'nan' is neither"),
        (["--tcp", "nowhere"], 2, "'nowhere' is not HOST:PORT"),
        (["--tz", "Europe/Amsterdm"], 2, "is not a time zone"),
        (["--baud", "12"], 2, "'12' is no speed"),
        (["--tcp", "127.0.0.1:0", "--link", "x"], 2, "--link names a pseudo-terminal"),
        (["--tcp", "192.0.2.1:1"], 1, ""),
    ],
)
def test_what_cannot_be_done_is_one_line(capture, arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "replay", str(capture), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_capture_is_refused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "replay", str(tmp_path / "empty")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"meterd replay: {tmp_path}/empty is empty\n"
