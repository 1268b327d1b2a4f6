import os
import subprocess
import sys
from typing import Any

from gateway.sources.holders import MOST_NAMED, held_by_itself, other_holders

HOLD = """
import os, sys
open("/proc/self/comm", "w").write(sys.argv[2])
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
print("held", flush=True)
sys.stdin.read()
"""


def hold(path: str, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_holder_is_found_by_pid_and_name_through_a_link(new_pty: Any, link: Any) -> None:
    pty = new_pty()
    name = link(pty)
    assert other_holders(name) == []
    with hold(pty.path, "minicom") as process:
        assert other_holders(name) == [(process.pid, "minicom")]
        process.communicate("")
    assert other_holders(name) == []


def test_a_name_that_a_process_gave_itself_is_made_printable(new_pty: Any) -> None:
    pty = new_pty()
    with hold(pty.path, "a\x1b[31m\nb") as process:
        ((pid, name),) = other_holders(pty.path)
        assert pid == process.pid
        assert name == "a?[31m?b"
        process.communicate("")


def test_not_more_are_named_than_a_person_reads(new_pty: Any) -> None:
    pty = new_pty()
    processes = [hold(pty.path, f"p{n}") for n in range(MOST_NAMED + 1)]
    assert len(other_holders(pty.path)) == MOST_NAMED
    for process in processes:
        process.communicate("")


def test_this_process_is_no_other_holder(new_pty: Any) -> None:
    pty = new_pty()
    assert not held_by_itself(pty.path)
    fd = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
    try:
        assert held_by_itself(pty.path)
        assert other_holders(pty.path) == []
    finally:
        os.close(fd)


def test_a_device_that_is_not_there_has_no_holder() -> None:
    assert other_holders("/dev/serial/by-id/none") == []
