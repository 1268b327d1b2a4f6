import asyncio
import errno
import fcntl
import grp
import os
import random
import subprocess
import sys
import termios
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import serial

from gateway.sources import Chunk, PortEvent
from gateway.sources import serial as module
from gateway.sources.serial import SerialSource, open_port

SOON = (0.01,)
IS_ROOT = os.geteuid() == 0


def source(path: str, **options: Any) -> SerialSource:
    return SerialSource(path, **{"baud": 115_200, "framing": "8N1", "back_off_s": SOON} | options)


def test_a_mebibyte_arrives_exactly(new_pty: Any, tapping: Any) -> None:
    sent = random.Random(1).randbytes(1 << 20)

    async def main() -> None:
        pty = new_pty()
        async with tapping(source(pty.path)) as tap:
            assert (await tap.state("open")).detail == f"{pty.path} is open ({pty.path}, 115200 Bd, 8N1)"
            await pty.write(sent)
            await tap.until(lambda: len(tap.data) >= len(sent))
            assert tap.data == sent
            stamps = [item.monotonic for item in tap.items if isinstance(item, Chunk)]
            assert stamps == sorted(stamps)
            assert all(item.received_at.utcoffset() is not None for item in tap.items if isinstance(item, Chunk))

    asyncio.run(main())


def test_each_octet_is_handed_over_without_waiting_for_another(new_pty: Any, tapping: Any) -> None:
    async def main() -> None:
        pty = new_pty()
        async with tapping(source(pty.path)) as tap:
            await tap.state("open")
            for n in range(1, 20):
                await pty.write(b"x")
                await tap.until(lambda n=n: len(tap.data) == n)
            assert [item.data for item in tap.items[1:]] == [b"x"] * 19

    asyncio.run(main())


def test_an_absent_port_is_reported_once_and_found_when_it_comes(new_pty: Any, link: Any, tapping: Any) -> None:
    async def main() -> None:
        pty = new_pty()
        name = link(pty)
        Path(name).unlink()
        reader = source(name)
        async with tapping(reader) as tap:
            event = await tap.state("no_port")
            assert event.detail == f"{name} is not there: is the cable plugged in? (see /dev/serial/by-id)"
            reader.reopen()
            await asyncio.sleep(0.1)
            assert tap.states == ["no_port"]
            link(pty)
            await tap.state("open")
            await pty.write(b"/ISK5")
            await tap.until(lambda: tap.data == b"/ISK5")

    asyncio.run(main())


def test_a_hundred_replugs_leak_nothing(new_pty: Any, link: Any, tapping: Any, resources: Any) -> None:
    async def cycle(tap: Any, n: int) -> None:
        pty = new_pty()
        name = link(pty)
        await tap.until(lambda: tap.states.count("open") == n)
        await pty.write(b"%d;" % n)
        await tap.until(lambda: tap.data.endswith(b"%d;" % n))
        pty.unplug()
        await tap.until(lambda: tap.states.count("closed") == n)
        assert f"{name} vanished" in [event.detail for event in tap.events if event.state == "closed"][-1]

    async def main() -> None:
        first = new_pty()
        name = link(first)
        first.unplug()
        async with tapping(source(name)) as tap:
            for n in range(1, 11):
                await cycle(tap, n)
            before = resources()
            for n in range(11, 111):
                await cycle(tap, n)
            assert resources()[0] <= before[0]
            assert resources()[1] <= before[1] + 1  # the executor may start a thread late, once
        assert tap.data == b"".join(b"%d;" % n for n in range(1, 111))

    asyncio.run(main())


def test_closing_the_iterator_releases_the_port(new_pty: Any, tapping: Any, resources: Any) -> None:
    async def main() -> None:
        pty = new_pty()
        before = resources()[0]
        async with tapping(source(pty.path)) as tap:
            await tap.state("open")
            assert resources()[0] > before
        assert resources()[0] == before
        iterator = source(pty.path).chunks()
        async with asyncio.timeout(30):
            assert (await anext(iterator)).state == "open"
            await iterator.aclose()  # at a yield, without a task that is cancelled
        assert resources()[0] == before

    asyncio.run(main())


def test_a_silent_line_gives_nothing_and_reopens_when_told(new_pty: Any, tapping: Any) -> None:
    async def main() -> None:
        pty = new_pty()
        reader = source(pty.path)
        async with tapping(reader) as tap:
            await tap.state("open")
            await asyncio.sleep(0.2)
            assert len(tap.items) == 1
            reader.reopen()
            reader.reopen()
            await tap.until(lambda: tap.states == ["open", "closed", "open"])
            assert tap.events[1].detail == f"{pty.path} is closed to be opened again"
            await pty.write(b"back")
            await tap.until(lambda: tap.data == b"back")

    asyncio.run(main())


def test_a_slow_consumer_loses_nothing_and_the_kernel_holds_the_rest(new_pty: Any) -> None:
    sent = random.Random(2).randbytes(200_000)

    async def main() -> None:
        pty = new_pty()
        items = source(pty.path).chunks()
        assert (await anext(items)).state == "open"
        await pty.write(b"first")
        received = (await anext(items)).data
        writing = asyncio.create_task(pty.write(sent))
        await asyncio.sleep(0.2)
        assert not writing.done(), "somebody has taken 200 kB that the consumer did not ask for"
        while len(received) < len(sent) + 5:
            received += (await anext(items)).data
            await asyncio.sleep(0)
        await writing
        assert received == b"first" + sent
        await items.aclose()

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()

    asyncio.run(bounded())


HOLDER = """
    import fcntl, os, sys, termios, time
    fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    if sys.argv[2] == "flock":
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if sys.argv[2] == "TIOCEXCL":
        fcntl.ioctl(fd, termios.TIOCEXCL)
    print("held", flush=True)
    sys.stdin.read()
    if sys.argv[2] == "TIOCEXCL":
        fcntl.ioctl(fd, termios.TIOCNXCL)
"""


def holder(path: str, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), path, how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("how", ["flock", "TIOCEXCL", "only open"])
def test_a_port_in_use_names_its_holder_until_it_ends(
    how: str, new_pty: Any, tapping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "only open":  # a program that locks nothing is looked for on real lines only
        monkeypatch.setattr(module, "_is_pty", lambda _path: False)

    async def main() -> None:
        pty = new_pty()
        with holder(pty.path, how) as process:
            async with tapping(source(pty.path)) as tap:
                detail = (await tap.state("port_busy")).detail
                assert detail.startswith(f"{pty.path} is held by python")
                assert f"(pid {process.pid}): end it" in detail
                process.communicate("")
                await tap.state("open")
                await pty.write(b"ours")
                await tap.until(lambda: tap.data == b"ours")

    asyncio.run(main())


def test_two_meters_on_one_port_are_told_apart_from_another_program(new_pty: Any, tapping: Any) -> None:
    async def main() -> None:
        pty = new_pty()
        async with tapping(source(pty.path)) as first:
            await first.state("open")
            async with tapping(source(pty.path)) as second:
                event = await second.state("port_busy")
                assert "another meter of this configuration" in event.detail
                await pty.write(b"first only")
                await first.until(lambda: first.data == b"first only")
                assert second.data == b""

    asyncio.run(main())


AS_NOBODY = """
    import os, sys
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        os.close(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))
        print("a plain open succeeds")
    except OSError as error:
        print(f"a plain open fails: {error.strerror}")
    port = gateway.sources.serial.open_port(sys.argv[1], 115200, "8N1")
    print(getattr(port, "state", "opened"), getattr(port, "detail", ""))
"""


def as_nobody(path: str) -> list[str]:
    """What a plain open says to a user without rights, and what ours says."""
    if not IS_ROOT:
        pytest.skip("only root can become another user")
    root = Path(__file__).parents[2]
    script = f"import sys; sys.path.insert(0, {str(root)!r})\nimport gateway.sources.serial\n" + textwrap.dedent(
        AS_NOBODY
    )
    command = [sys.executable, "-c", script, path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def test_denied_access_names_the_group_that_helps(new_pty: Any) -> None:
    pty = new_pty()
    dialout = next((group for group in grp.getgrall() if group.gr_name in ("dialout", "uucp")), grp.getgrall()[-1])
    if IS_ROOT:
        os.chown(pty.path, 0, dialout.gr_gid)
        os.chmod(pty.path, 0o660)  # noqa: PTH101
    plain, said = as_nobody(pty.path)
    assert plain == "a plain open fails: Permission denied"
    assert said.startswith(f"no_port {pty.path} may not be opened: add the user nobody to the group {dialout.gr_name}")
    assert f"usermod -aG {dialout.gr_name} nobody" in said


def test_denied_access_to_a_private_port_says_its_mode(new_pty: Any) -> None:
    pty = new_pty()
    if IS_ROOT:
        os.chmod(pty.path, 0o600)  # noqa: PTH101
    _, said = as_nobody(pty.path)
    assert said.startswith(f"no_port {pty.path} may not be opened: its mode 0600")
    assert "nobody" in said


def test_a_real_line_is_exclusive_against_programs_that_lock_nothing(
    new_pty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_is_pty", lambda _path: False)
    pty = new_pty()
    if IS_ROOT:
        os.chmod(pty.path, 0o666)  # noqa: PTH101
    port = open_port(pty.path, 115_200, "8N1")
    assert isinstance(port, serial.Serial)
    try:
        plain, said = as_nobody(pty.path)
    finally:
        fcntl.ioctl(port.fileno(), termios.TIOCNXCL)
        port.close()
    assert plain == "a plain open fails: Device or resource busy"
    assert said.startswith(f"port_busy {pty.path} is held by another program: `sudo fuser -v {pty.path}`")
    assert [line.strip() for line in as_nobody(pty.path)] == ["a plain open succeeds", "opened"]


def test_an_empty_read_is_told_from_a_hang_up(new_pty: Any) -> None:
    pty = new_pty()
    port = open_port(pty.path, 115_200, "8N1")
    assert isinstance(port, serial.Serial)
    with pytest.raises(BlockingIOError):
        os.read(port.fileno(), 1)
    pty.unplug()
    assert os.read(port.fileno(), 1) == b""
    port.close()


@pytest.mark.parametrize("path", ["/dev/null", __file__, "/dev"])
def test_what_is_no_serial_port_is_named(path: str) -> None:
    event = open_port(path, 115_200, "8N1")
    assert isinstance(event, PortEvent)
    assert event.state == "no_port"
    assert path in event.detail
    assert "no serial port" in event.detail or path == "/dev/null"


@pytest.mark.parametrize("framing", ["8N1", "8E1", "7E1"])
def test_a_pty_opens_again_and_again_with_any_framing(framing: str, new_pty: Any, tapping: Any) -> None:
    async def main() -> None:
        pty = new_pty()
        reader = source(pty.path, framing=framing, baud=9600)
        async with tapping(reader) as tap:
            for n in range(1, 4):
                await tap.until(lambda n=n: tap.states.count("open") == n)
                await pty.write(b"\xff")
                await tap.until(lambda n=n: tap.data == b"\xff" * n)
                reader.reopen()
                await tap.until(lambda n=n: tap.states.count("closed") == n)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("framing", "line"),
    [("8N1", (8, "N", 1)), ("8E1", (8, "E", 1)), ("7E1", (7, "E", 1))],
)
def test_line_parameters_reach_the_port(
    framing: str, line: tuple[int, str, int], new_pty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Recorder(serial.Serial):
        opened: dict[str, Any]

        def open(self) -> None:
            type(self).opened = self.get_settings() | {"exclusive": self.exclusive, "lines": (self.dtr, self.rts)}
            self.bytesize, self.parity = 8, "N"  # all that a pty can do
            super().open()

    monkeypatch.setattr(module, "_is_pty", lambda _path: False)
    monkeypatch.setattr(serial, "Serial", Recorder)
    port = open_port(new_pty().path, 9600, framing)
    assert isinstance(port, Recorder)
    port.close()
    opened = Recorder.opened
    assert (opened["bytesize"], opened["parity"], opened["stopbits"]) == line
    assert opened["baudrate"] == 9600
    assert opened["exclusive"] is True
    assert opened["lines"] == (True, True)
    assert [opened[name] for name in ("xonxoff", "rtscts", "dsrdtr")] == [False] * 3


@pytest.mark.parametrize(
    "error",
    [
        termios.error(errno.EINVAL, "Invalid argument"),
        ValueError("Failed to set custom baud rate (123456)"),
        serial.SerialException(errno.EIO, "could not open port"),
        OSError(errno.EPROTO, "Protocol error"),
    ],
)
def test_whatever_a_driver_refuses_is_an_event(error: Exception, new_pty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(serial, "Serial", refuse)
    path = new_pty().path
    event = open_port(path, 115_200, "8N1")
    assert isinstance(event, PortEvent)
    assert event.state == "no_port"
    assert event.detail.startswith(f"{path} cannot be opened with its line parameters: ")
    assert len(event.detail.split("parameters: ")[1]) > 5


def test_a_port_that_cannot_be_claimed_is_closed(new_pty: Any, resources: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    pty = new_pty()
    before = resources()
    monkeypatch.setattr(module, "_claim", fail)
    event = open_port(pty.path, 115_200, "8N1")
    assert isinstance(event, PortEvent)
    assert event.state == "no_port"
    assert resources() == before


def test_an_adapter_that_hangs_is_reported_and_never_opened_twice(
    new_pty: Any, tapping: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replugged = threading.Event()
    openings: list[str] = []
    really = open_port

    def hang(path: str, baud: int, framing: str) -> object:
        openings.append(path)
        replugged.wait(30)
        return really(path, baud, framing)

    monkeypatch.setattr(module, "open_port", hang)
    monkeypatch.setattr(module, "OPEN_TIMEOUT_S", 0.02)

    async def main() -> None:
        pty = new_pty()
        async with tapping(source(pty.path)) as tap:
            assert "does not open within" in (await tap.state("no_port")).detail
            await asyncio.sleep(0.2)
            assert len(openings) == 1
            replugged.set()
            await tap.state("open")
            assert len(openings) == 1

    asyncio.run(main())


def test_a_port_that_opens_after_the_end_is_closed(
    new_pty: Any, tapping: Any, resources: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    really = open_port

    def late(path: str, baud: int, framing: str) -> object:
        ended.wait(30)
        return really(path, baud, framing)

    monkeypatch.setattr(module, "open_port", late)
    pty = new_pty()
    before = resources()[0]

    async def main() -> None:
        async with tapping(source(pty.path)):
            await asyncio.sleep(0.05)
        ended.set()

    asyncio.run(main())
    assert resources()[0] == before
