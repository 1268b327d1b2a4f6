"""systemd's notification socket: a datagram per call, and nothing without one."""

import os
import socket
from pathlib import Path

import pytest

from gateway import sd_notify


def test_sends_one_datagram(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        sd_notify.notify(READY="1", STATUS="2 of 2 meters ok")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=2 of 2 meters ok"


def test_knows_abstract_sockets(monkeypatch):
    name = f"meterd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        sd_notify.notify(WATCHDOG="1")
        assert systemd.recv(1000) == b"WATCHDOG=1"


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/notify"])
def test_nobody_to_tell_is_no_error(monkeypatch, path):
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    sd_notify.notify(READY="1")
    assert not Path("relative").exists()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", None, 30.0), ("30000000", "1", None), ("", None, None), ("soon", None, None)],
)
def test_watchdog_is_for_this_process_only(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert sd_notify.watchdog_s() == seconds
