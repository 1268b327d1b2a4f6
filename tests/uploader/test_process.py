"""The real process against the test hub over TLS: killed, ended, reloaded; what it says of a wrong configuration."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.stores.hubs import HubReader
from tests.uploader.lying import POINT
from tests.uploader.processes import Sandbox, Uploader, until

pytestmark = pytest.mark.e2e

#: it ends within 5 s, also where a hub is silent for 60 s; a machine that is five times slower is no failure
STOPS_S = 25.0


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    made: list[Sandbox] = []

    def make(*options: str) -> Sandbox:
        made.append(Sandbox(tmp_path, *options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def uploader(tmp_path: Path) -> Iterator[Callable[..., Uploader]]:
    made: list[Uploader] = []

    def make(*arguments: Any, **more: Any) -> Uploader:
        made.append(Uploader(tmp_path, *arguments, **more))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


def test_killed_at_any_moment_each_version_takes_effect_once(sandbox: Any, uploader: Any) -> None:
    """A hub that commits and drops its answer, an uploader that is killed again and again."""
    hub = sandbox("--fault", "drop_response=0.2", "--fault", "slow=0.2:0.2", "--seed", "4")
    one = uploader(hub.port, hub.place, days=4)
    for n in range(5):
        one.start()
        time.sleep(0.7 + 0.15 * n)
        one.kill()
    one.start()
    until(lambda: one.done(4), f"four confirmed days: {one.log}", 90)
    one.fill(2)
    time.sleep(0.5)
    one.kill()
    one.start()
    until(lambda: one.done(8), f"their corrections: {one.counts()} {one.log}", 40)
    assert one.end() < STOPS_S
    effects = hub.effects()
    seen = [(effect["start"], effect["values"][0][1]) for effect in effects]
    assert len(seen) == len(set(seen)) == 8
    assert len({effect["transaction"] for effect in effects}) == 8
    newest = {effect["start"]: effect["values"] for effect in effects}
    assert all(values[0][1].startswith("2") for values in newest.values())
    reader = HubReader(one.ledger)
    try:
        assert not reader.audit.verify()
    finally:
        reader.close()


def test_it_ends_within_five_seconds_while_the_hub_is_silent(sandbox: Any, uploader: Any) -> None:
    hub = sandbox("--fault", "slow=1:60")
    one = uploader(hub.port, hub.place, days=1)
    one.start()
    until(lambda: "uploader_started" in one.log, "the start")
    time.sleep(2)  # it waits for the token now, in drops
    assert one.end() < STOPS_S
    assert not hub.effects()


def test_a_reload_takes_over_what_is_right_and_refuses_what_is_wrong(sandbox: Any, uploader: Any) -> None:
    hub = sandbox()
    one = uploader(hub.port, hub.place, days=1)
    right = one.config.read_text()
    one.config.write_text(right.replace(f'points = ["{POINT}"]', "points = []"))
    one.start()
    until(lambda: "uploader_started" in one.log, "the start")
    time.sleep(1)
    one.config.write_text(right.replace("bundle = 1", "bundle = 0"))
    refused = told(one)
    assert refused.returncode == 1
    assert "bundle" in refused.stderr
    until(lambda: "reload_refused" in one.log, "the refusal")
    assert "bundle" in one.log
    assert not hub.effects()
    one.config.write_text(right)
    taken = told(one)
    assert (taken.returncode, taken.stderr) == (0, "")
    until(lambda: one.done(1), f"the day: {one.log}")


def told(one: Uploader) -> subprocess.CompletedProcess[str]:
    """The uploader is told to read its configuration anew, as the unit does it."""
    assert one.process
    command = [sys.executable, "-m", "gateway.cli", "uploader", "--reload", str(one.process.pid), "-c", str(one.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_a_hub_it_waits_for_one(sandbox: Any, uploader: Any) -> None:
    hub = sandbox()
    one = uploader(hub.port, hub.place, days=1)
    right = one.config.read_text()
    one.config.write_text(right[: right.index("[[hub]]")])
    one.start()
    until(lambda: "uploader_started" in one.log, f"the start: {one.log}")
    one.config.write_text(right)
    assert told(one).returncode == 0
    until(lambda: one.done(1), f"the day of a hub that came: {one.log}")
    one.config.write_text(right[: right.index("[[hub]]")])
    assert told(one).returncode == 0
    until(lambda: one.log.count("event=reloaded") == 2, f"the last hub goes: {one.log}")
    one.end()


def test_nobody_is_told_where_there_is_no_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    assert main(["uploader", "--reload", str(done.pid), "-c", str(tmp_path / "none")]) == 1
    assert "cannot be told" in capsys.readouterr().err
    for text in ("0", "1", "-1", "x"):
        with pytest.raises(SystemExit):
            main(["uploader", f"--reload={text}"])


def test_one_uploader_for_each_ledger(sandbox: Any, uploader: Any) -> None:
    hub = sandbox()
    one = uploader(hub.port, hub.place, days=1)
    one.start()
    until(lambda: "uploader_started" in one.log, "the start")
    by_link, linked = one.folder / "linked.toml", one.folder / "linked.db"
    linked.symlink_to(one.ledger)
    by_link.write_text(one.config.read_text().replace(str(one.ledger), str(linked)))
    for config, ledger in ((one.config, one.ledger), (by_link, linked)):
        command = [sys.executable, "-m", "gateway.cli", "uploader", "-c", config]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1].endswith(f"another uploader runs with the ledger {ledger}: end it first")


def test_each_problem_of_a_configuration_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "{tmp_path}/none"\n[[point]]\nmeter = "main"\nid = "{POINT}"\n'
        '[[hub]]\nname = "dk"\nkind = "dk-datahub3"\nenvironment = "production"\n'
        f'points = ["{POINT}", "571313000000002001"]\nparty = "5799999933319"\n'
    )
    for command in ("uploader", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", command, "-c", config],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # EX_CONFIG, which the unit does not try again
        assert done.returncode == (78 if command == "uploader" else 1)
        found = [line for line in done.stderr.splitlines() if "[[hub]] no. 1" in line]
        for key in ("url", "role", "legal_basis", "party", "points"):
            assert any(f"no. 1 {key}" in line for line in found), (key, done.stderr)


def test_a_missing_extra_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "{tmp_path}/none"\n'
        '[[hub]]\nname = "dk"\nkind = "dk-datahub3"\nurl = "https://hub.example"\n'
    )
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("httpx", "lxml") else find(name))
    assert main(["uploader", "-c", str(config)]) == 78
    said = capsys.readouterr().err.splitlines()
    missing = "the extra `hubs` is not installed (httpx, lxml): pip install 'meterd[hubs]'"
    assert said == [f"meterd uploader: {config}: [[hub]]: {missing}"]
