"""The real daemon under a service manager of our own: what hangs is started anew, what waits is left alone."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlError, ask
from gateway.simulator.meter import Meter
from gateway.telemetry import EVENTS
from tests.ports import free_port

pytestmark = pytest.mark.e2e

#: what a child does before it becomes `meterd run`: names beside gateway.cli that a test may replace
PRELUDE = """
import asyncio, sys, time, threading
from pathlib import Path
from gateway import beats
from gateway.cli import main
"""


#: Parts that come round more often, and are late sooner; a busy machine lets none of them wait for so long.
QUICK = """
beats.LIMIT_S = 5.0
from gateway.sources import link
from gateway.stores import groups, ledger
import gateway.opening
link.IDLE_S = groups.IDLE_S = ledger.IDLE_S = 0.5
gateway.opening.GROUP_S = {"normal": 0.5}
"""


@pytest.fixture
def port(tmp_path: Path) -> Any:
    """The master of a pseudo-terminal whose other end is the port of the meter."""
    master, slave = os.openpty()
    (tmp_path / "port").symlink_to(os.ttyname(slave))
    yield master
    os.close(master)
    os.close(slave)


@pytest.fixture
def config(tmp_path: Path, port: int) -> Path:
    path = tmp_path / "meterd.toml"
    path.write_text(
        f'[[meter]]\nname = "main"\nport = "{tmp_path}/port"\nprofile = "nl-dsmr5"\nframing = "8N1"\n'
        f'[journal]\npath = "{tmp_path}/journal.db"\n[ledger]\npath = "{tmp_path}/ledger.db"\n'
        f'[control]\nsocket = "{tmp_path}/control"\n[metrics]\nlisten = "127.0.0.1:{free_port()}"\n'
    )
    return path


def code(config: Path, hook: str = "") -> str:
    return f"{PRELUDE}\n{textwrap.dedent(hook)}\nsys.exit(main(['run', '-c', {str(config)!r}]))"


def status(config: Path) -> dict[str, Any] | None:
    try:
        return ask(config.parent / "control", "status")
    except ControlError:
        return None


def telegrams(seed: int = 3) -> Callable[[int], bytes]:
    from datetime import UTC, datetime, timedelta

    start = datetime.now(UTC)
    meter = Meter(seed=seed, variant="dsmr5", start=start)
    return lambda n: meter.telegram_at(start + timedelta(seconds=n))


def test_ready_comes_after_ports_and_outlets_and_every_part_feeds(manager, config, until) -> None:
    running = manager(code(config), 3.0)
    until(lambda: running.words("READY=1"), "READY")
    shown = until(lambda: status(config), "the control socket")
    assert shown["meters"][0]["counters"]["opens"] == 1, "the port was tried before READY"
    until(lambda: len(running.words("WATCHDOG=1")) > 5, "signs of life")
    watched = set(status(config)["tasks"]["watched"])
    assert {"meter main", "watch main", "journal", "ledger", "control", "metrics"} <= watched
    assert status(config)["tasks"]["late"] == []
    assert len(running.happened("start")) == 1


def test_a_loop_that_does_not_turn_is_started_anew(manager, config, tmp_path, until) -> None:
    """A blocking call in the loop, once: the watchdog is not fed, and systemd starts the daemon anew."""
    hook = f"""
        from gateway.meter import Meter
        mark = Path({str(tmp_path / "hung")!r})
        judge = Meter.judge
        def hangs(self, now):
            if time.monotonic() - began > 2 and not mark.exists():
                mark.touch()
                time.sleep(3_600)
            return judge(self, now)
        began = time.monotonic()
        Meter.judge = hangs
    """
    running = manager(code(config, hook), 2.0)
    until(lambda: running.happened("watchdog"), "the watchdog")
    hung = (tmp_path / "hung").stat()
    until(lambda: len(running.words("READY=1")) == 2, "the second start")
    assert hung
    assert running.words("READY=1")[1] - running.happened("watchdog")[0] < 30


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        (
            "meter main",
            """
            from gateway.sources.serial import SerialSource
            chunks = SerialSource.chunks
            async def hangs(self):
                async for item in chunks(self):
                    yield item
                    if octets(item) and first():
                        await asyncio.Event().wait()
            SerialSource.chunks = hangs
            """,
        ),
        (
            "sink hangs",
            """
            from gateway.sinks import registry
            class Sink:
                delivery = "LATEST"
                async def run(self):
                    beats.alive()
                    if first():
                        await asyncio.Event().wait()
                    while True:
                        beats.alive()
                        await asyncio.sleep(0.1)
                def deliver(self, item): pass
                def report(self, meter, state, *, available): pass
                def status(self): return {"works": True, "text": "hangs"}
            create = registry.create
            registry.create = lambda *a, **k: create(*a, **k) | {"hangs": Sink()}
            """,
        ),
        (
            "journal",
            """
            from gateway.stores.groups import GroupQueue
            take = GroupQueue.take
            def hangs(self, **k):
                group = take(self, **k)
                if group and group.rows and first():
                    beats.alive()
                    threading.Event().wait()
                return group
            GroupQueue.take = hangs
            """,
        ),
        (
            "ledger",
            """
            from gateway.stores.ledger import Ledger
            await_work = Ledger._await_work
            def hangs(self, failures):
                ending = await_work(self, failures)
                if first():
                    threading.Event().wait()
                return ending
            Ledger._await_work = hangs
            """,
        ),
    ],
)
def test_one_part_that_hangs_is_named_and_the_daemon_started_anew(  # noqa: PLR0917 - fixtures
    manager, config, port, tmp_path, until, name: str, hook: str
) -> None:
    """Everything else lives on meanwhile, and the journal has what came before."""
    prelude = f"""
        mark = Path({str(tmp_path / "hung")!r})
        def first():
            if mark.exists():
                return False
            mark.touch()
            return True
        def octets(item):
            return hasattr(item, "data")
    """
    running = manager(code(config, QUICK + textwrap.dedent(prelude) + textwrap.dedent(hook)), 30.0)
    until(lambda: running.words("READY=1"), "READY")
    make = telegrams()
    os.write(port, make(1))
    until((tmp_path / "hung").exists, "the hang")
    hung = time.monotonic()
    until(lambda: running.happened("trigger"), "the order to start anew")
    assert not running.happened("watchdog"), "it did not wait for the watchdog to run out"
    assert f'event=task_stalled task="{name}"' in running.log.read_text() or f"task={name}" in running.log.read_text()
    until(lambda: len(running.words("READY=1")) == 2, "the second start")
    assert running.words("READY=1")[1] - hung < 35
    os.write(port, make(60))
    until(lambda: (shown := status(config)) and shown["meters"][0]["counters"]["decoded"] >= 1, "a reading again")
    fed = [at for at in running.words("WATCHDOG=1") if at > running.words("READY=1")[1]]
    until(lambda: fed or running.words("WATCHDOG=1")[-1] > running.words("READY=1")[1], "signs of life again")


def test_a_disk_that_hangs_starts_nothing_anew(manager, config, port, tmp_path, until) -> None:
    """fsync takes longer than a part may: readings go on, nobody is late, and the journal says what it waits for."""
    hook = f"""
        from gateway.stores import journal
        journal.SILENT_S = 1.0
        from gateway.stores.database import Database
        commit = Database.commit
        def slow(self, group, *a):
            while group.rows and not Path({str(tmp_path / "answers")!r}).exists():
                time.sleep(0.05)
            return commit(self, group, *a)
        Database.commit = slow
    """
    running = manager(code(config, QUICK + textwrap.dedent(hook)), 10.0)
    until(lambda: running.words("READY=1"), "READY")
    make = telegrams()
    os.write(port, make(1))
    until(lambda: (shown := status(config)) and "not answered" in (shown["journal"]["trouble"] or ""), "the trouble")
    os.write(port, make(2))
    until(lambda: status(config)["meters"][0]["counters"]["decoded"] == 2, "a reading meanwhile")
    fed = len(running.words("WATCHDOG=1"))
    until(lambda: len(running.words("WATCHDOG=1")) > fed + 7, "signs of life all the time, for longer than the limit")
    assert status(config)["tasks"]["late"] == []
    assert len(running.happened("start")) == 1
    (tmp_path / "answers").touch()
    until(lambda: status(config)["meters"][0]["counters"]["stored"] == 2, "the readings to be stored")
    until(lambda: status(config)["journal"]["trouble"] is None, "the trouble to end")


def test_a_process_that_stood_still_blames_nobody(manager, config, until) -> None:
    running = manager(code(config, QUICK + "beats.LIMIT_S = 6.0\n"), 60.0)
    until(lambda: running.words("WATCHDOG=1"), "signs of life")
    until(lambda: len(running.words("WATCHDOG=1")) > 1, "two looks")
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(7)
    running.process.send_signal(signal.SIGCONT)
    fed = len(running.words("WATCHDOG=1"))
    until(lambda: len(running.words("WATCHDOG=1")) > fed + 3, "signs of life again")
    assert "task_stalled" not in running.log.read_text()
    assert not running.happened("trigger")


def test_a_reload_is_told(manager, config, until) -> None:
    running = manager(code(config), 30.0)
    until(lambda: status(config), "the control socket")
    assert ask(config.parent / "control", "reload", 30)["reloaded"]
    text = until(lambda: [t for _, t in running.told if t.startswith("RELOADING=1")], "RELOADING")[0]
    began = int(text.split("\n")[1].removeprefix("MONOTONIC_USEC=")) / 1e6
    assert 0 < time.monotonic() - began < 60
    until(lambda: len(running.words("READY=1")) == 2, "READY again")
    config.write_text(config.read_text() + "[[[")
    assert not ask(config.parent / "control", "reload", 30)["reloaded"]
    until(lambda: len(running.words("READY=1")) == 3, "READY, although it was refused")
    assert any("configuration on disk is refused" in text for _, text in running.told)


def test_credentials_are_used_under_every_name(config, tmp_path, checkout) -> None:
    """`LoadCredential=main.ek`, and the name that systemd gives to a file of a folder."""
    from gateway import keys

    rng = random.Random(9)
    folder = tmp_path / "credentials"
    folder.mkdir()
    text = rng.randbytes(16).hex()
    (folder / "meterd_main.ek").write_text(text)
    command = [sys.executable, "-m", "gateway.cli", "key", "list", "--json", "-c", str(config)]
    environment = os.environ | {"CREDENTIALS_DIRECTORY": str(folder), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    shown = json.loads(done.stdout)["meters"][0]
    assert shown["encryption"]
    assert shown["places"]["encryption"] == f"credential {folder / 'meterd_main.ek'}"
    assert text not in done.stdout
    (folder / "main.ek").write_text(rng.randbytes(16).hex())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    other = json.loads(done.stdout)["meters"][0]
    assert other["encryption"] != shown["encryption"], "the name without a folder comes first"
    unit = (checkout / "systemd/meterd.service").read_text()
    folders = re.findall(r"^LoadCredential(?:Encrypted)?=(\w+):", unit, re.MULTILINE)
    assert {"", *(f"{folder}_" for folder in folders)} == set(keys.PREFIXES)
    assert len(folders) == len(set(folders)), "systemd keeps one of two folders of the same name"
    assert {"task_stalled", "task_moves"} <= EVENTS.keys()
