"""The commands of a checkout: what a stranger types first, and what it says when something is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import env
import servers


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_make_alone_lists_every_target(checkout: Path) -> None:
    done = run(["make"], checkout)
    targets = set(re.findall(r"^([a-z-]+):", (checkout / "Makefile").read_text(), re.MULTILINE))
    assert done.returncode == 0, done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines()} == targets
    assert targets >= {"demo", "test"}


def test_a_python_that_fits_is_found(checkout: Path) -> None:
    done = run(["tools/find-python", sys.executable], checkout)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


def test_without_a_python_that_fits_it_says_what_to_do(checkout: Path, tmp_path: Path) -> None:
    old = script(tmp_path / "old", '#!/bin/sh\ncase "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac\n')
    done = run(["tools/find-python", f"{old} {tmp_path / 'none'}"], checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"3.11 or newer with venv; tried: {old} (Python 3.9.2) {tmp_path / 'none'} (absent)." in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr


def test_an_environment_that_fits_its_lock_is_left_alone(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("")
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / "made-from").write_text(env.fingerprint(lock))
    assert env.main([str(environment), str(lock)]) == 0
    assert sorted(path.name for path in environment.iterdir()) == ["made-from"]


def test_an_environment_depends_on_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1")
    first = env.fingerprint(lock)
    lock.write_text("a==2")
    assert env.fingerprint(lock) != first


def test_a_lock_whose_hashes_do_not_fit_makes_no_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "ROOT", tmp_path)
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"altered on its way")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"a @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")

    assert env.main(["--bare", "environment", "lock.txt"]) == 1

    assert "run make again" in capfd.readouterr().err
    assert not (tmp_path / "environment" / "made-from").exists()


def test_servers_that_are_here_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SERVERS", {"sh": "dash"})
    monkeypatch.setattr(servers, "install", lambda _: pytest.fail("nothing is absent"))
    assert servers.main() == 0


def test_without_root_the_one_line_to_run_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "SERVERS", {"no-such-broker": "a-broker", "no-such-store": "a-store"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert servers.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("sudo apt-get install --yes --no-install-recommends a-broker a-store")


@pytest.mark.parametrize(
    ("recipe", "code", "closing"),
    [
        ("@echo 12 passed, 0 failed, 1 skipped", 0, "12 passed, 0 failed, 1 skipped"),
        ("@echo 11 passed, 1 failed, 1 skipped; exit 1", 2, "11 passed, 1 failed, 1 skipped"),
        ("@exit 3", 2, "0 passed, 1 failed, 0 skipped"),
        (
            '@test "$$CI" = true && ! read line && echo 1 passed, 0 failed, 0 skipped',
            0,
            "1 passed, 0 failed, 0 skipped",
        ),
    ],
)
def test_ci_ends_with_the_counts(checkout: Path, tmp_path: Path, recipe: str, code: int, closing: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(checkout / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "Makefile").write_text(f"test:\n\t{recipe}\n")
    done = run([str(tmp_path / ".ci" / "run")], tmp_path.parent)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, closing)
