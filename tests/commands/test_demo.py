"""`meterd demo`: live readings of an encrypted meter, nothing to install, right to the watt, nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.commands.demo import CONFIG, ENDS, _line, _uninterrupted

pytestmark = pytest.mark.e2e
LINE = re.compile(r"\d\d:\d\d:\d\d   P\+ +\d+ W   P- +\d+ W   A\+ +\d+\.\d{3} kWh   A- +\d+\.\d{3} kWh   auth verified")


def demo(tmp_path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "gateway.cli", "demo", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip


def nothing_is_left(tmp_path):
    assert list(tmp_path.iterdir()) == []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:
            continue
        assert str(tmp_path).encode() not in command


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_ends_by_itself_and_was_right(tmp_path, broker):
    with demo(tmp_path, "--seconds", "8", "--broker", broker) as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, out + err
    readings = [line for line in out.splitlines() if LINE.fullmatch(line)]
    assert len(readings) >= 2
    assert f"broker   {broker} on 127.0.0.1:" in out
    assert f"{len(readings)} readings arrived over MQTT and were right, 0 were not" in out
    way = [line.split()[1] for line in out.splitlines() if line.startswith("hub ")]
    assert [way[0][:8], *way[1:]] == ["https://", "refused", "its", "confirmed"]
    assert re.search(r"confirmed message 2: (92|96|100) quarter-hours, .* Wh: what the meter counted", out)
    assert "the day before is at the hub, to the Wh" in out
    nothing_is_left(tmp_path)


def test_ctrl_c_ends_everything(tmp_path):
    with demo(tmp_path) as process:
        while not LINE.fullmatch(process.stdout.readline().rstrip("\n")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert err == ""
    assert "were right, 0 were not" in out
    nothing_is_left(tmp_path)


def test_without_readings_it_is_no_success(tmp_path):
    with demo(tmp_path) as process:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("*/*")):  # its parts are being started
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == (0 if LINE.search(out) else 1)
    nothing_is_left(tmp_path)


@pytest.mark.parametrize("number", ENDS)
def test_an_end_between_a_start_and_the_note_of_it_waits(number):
    def interrupt(*_):
        raise KeyboardInterrupt

    before, notes = signal.signal(number, interrupt), []
    try:
        with pytest.raises(KeyboardInterrupt), _uninterrupted():  # noqa: PT012 - what the block still does is the subject
            signal.raise_signal(number)
            notes.append("taken down")
        assert notes == ["taken down"]
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("arguments", "said"), [(("--seconds", "0"), "no number"), (("--port", "0"), "no TCP port")])
def test_usage(tmp_path, arguments, said):
    with demo(tmp_path, *arguments) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in err


def test_absent_values_are_dashes():
    line = _line({"t": "2026-11-21T22:20:05Z", "p_import_w": 0, "a_import_wh": 65_238_377, "auth": "plain"})
    assert line.endswith("P+      0 W   P-      - W   A+  65238.377 kWh   A-          - kWh   auth plain")


def test_its_configuration_is_one_that_loads(tmp_path):
    from gateway.settings import load

    path = tmp_path / "meterd.toml"
    (tmp_path / "keys").touch(0o600)
    (tmp_path / "keys").write_text(f"{'C0FFEE01' * 4}\n{'C0FFEE02' * 4}\n")
    path.write_text(CONFIG.format(folder=tmp_path, port=1883, version="auto"))
    meter = load(path).meter[0]
    assert (meter.name, meter.key_file) == ("main", f"{tmp_path}/keys")
