"""`meterd reset --factory`: lists first, then removes everything that was stored, and nothing else."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.control import ControlServer

Terminal = Callable[..., None]


def reset(stores: Any, *more: str) -> int:
    return main(["reset", "--factory", "-c", str(stores.config), *more])


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())


def test_everything_that_was_stored_goes(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ledger.db", "ledger.db-wal", "ledger.db.lock", "journal.db.damaged-20260101T000000.000000Z"):
        (stores.journal.parent / name).write_bytes(b"x")
    (stores.journal.parent / "photo.jpg").write_bytes(b"mine")
    (stores.keys / "notes.txt").write_text("mine")
    assert reset(stores, "--yes") == 0
    out = capsys.readouterr().out
    for name in ("main.ek", "main.ak", "barn.ek", "ledger.db", "journal.db", "journal.db.damaged-20260101"):
        assert name in out
    assert "an SD card may keep old blocks" in out
    assert files(stores.folder) == ["data/photo.jpg", "meterd.toml", "xdg/meterd/keys/notes.txt"]


def test_the_configuration_goes_only_when_asked(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert reset(stores, "--yes", "--config-too", "--json") == 0
    assert str(stores.config) in json.loads(capsys.readouterr().out)["removed"]
    assert files(stores.folder) == []


def test_nothing_stored_is_fine(stores: Any) -> None:
    assert reset(stores, "--yes") == 0
    assert reset(stores, "--yes") == 0


def test_without_factory_nothing_happens(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["reset", "-c", str(stores.config), "--yes"])
    assert stores.journal.exists()


def test_a_running_daemon_is_in_the_way(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(stores.folder)
    kept = stores.opened()
    assert reset(stores, "--yes") == 1
    assert "another meterd writes the journal" in capsys.readouterr().err
    kept.close(60)
    assert files(stores.folder) == before


def test_a_daemon_without_a_journal_is_in_the_way_too(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(stores.folder)
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        server = ControlServer(stores.folder / "control", {"status": lambda _: {"version": "1"}})
        await server.start()
        ready.set()
        while not over.is_set():
            await asyncio.sleep(0.01)
        await server.close()

    daemon = threading.Thread(target=lambda: asyncio.run(serve()))
    daemon.start()
    assert ready.wait(60)
    assert reset(stores, "--yes") == 1
    over.set()
    daemon.join(60)
    assert "meterd runs: stop it" in capsys.readouterr().err
    assert files(stores.folder) == before


@pytest.mark.parametrize("answer", ["", "y", "yes"])
def test_only_the_word_is_a_yes(stores: Any, terminal: Terminal, answer: str) -> None:
    terminal(answer)
    assert reset(stores) == 1
    assert stores.journal.exists()
    terminal("reset")
    assert reset(stores) == 0
    assert not stores.journal.exists()


def test_ctrl_c_removes_nothing(stores: Any, terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(stores.folder)
    terminal(KeyboardInterrupt())
    assert reset(stores) == 130
    assert "nothing was removed" in capsys.readouterr().err
    assert files(stores.folder) == before


def test_what_cannot_be_removed_is_named_and_keeps_no_other(
    stores: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.name == "main.ek":
            raise PermissionError(1, "Operation not permitted", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert reset(stores, "--yes") == 1
    said = capsys.readouterr()
    assert f"{stores.keys}/main.ek is still there: Operation not permitted" in said.err
    assert files(stores.folder) == ["meterd.toml", "xdg/meterd/keys/main.ek"]
