"""`meterd forget`: nothing of the meter is left, everything of the others is, and the account still adds up."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.stores.database import Database
from gateway.stores.reader import Reader
from gateway.stores.schema import StorageFault
from tests.stores.account import Account, check

Terminal = Callable[..., None]


def forget(stores: Any, *more: str) -> int:
    return main(["forget", "-c", str(stores.config), *more])


def test_nothing_of_it_is_left(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = Reader(stores.journal)
    others = [one for one in before if one.meter == "barn"]
    before.close()
    assert b"profile-of-main" in stores.journal.read_bytes(), "the search finds what is there"
    aside = stores.journal.with_name("journal.db.damaged-20260101T000000.000000Z")
    shutil.copy(stores.journal, aside)
    assert forget(stores, "main", "--yes", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["readings"], said["quarantined"], said["dead_letters"]) == (54, 6, 0)
    assert said["files"] == [aside.name]
    assert sorted(Path(file).name for file in said["keys"]) == ["main.ak", "main.ek"]
    assert [file.name for file in stores.keys.iterdir()] == ["barn.ek"]
    assert sorted(file.name for file in stores.journal.parent.iterdir()) == ["journal.db", "journal.db.lock"]
    data = stores.journal.read_bytes()
    for trace in (b"main", b"profile-of-main", b"pseudonym-of-main"):
        assert trace not in data
    assert b"pseudonym-of-barn" in data
    reader = Reader(stores.journal)
    assert list(reader) == others
    assert reader.meters == ["barn"]
    reader.close()
    assert list(check(stores.journal)) == ["barn"]
    assert Account(stores.journal).sinks["influx"][1] == {"barn": (20, 0, 0)}


def test_a_meter_that_comes_back_repeats_no_number(stores: Any) -> None:
    kept = stores.opened()
    last = kept.next_seq("main")
    kept.close(60)
    assert forget(stores, "main", "--yes") == 0
    again = stores.opened()
    assert again.next_seq("main") > last
    assert again.next_seq("barn") == 61
    assert again.trust("main") is None
    assert again.trust("barn") == b"trust of barn"
    assert again.counters("main") == {}
    assert again.conservation()["sinks"]["influx"]["barn"]["pending"] == 34
    assert again.close(60)
    check(stores.journal)


def test_a_running_daemon_is_in_the_way(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kept = stores.opened()
    before = (stores.keys / "main.ek").read_bytes()
    assert forget(stores, "main", "--yes") == 1
    assert "another meterd writes the journal" in capsys.readouterr().err
    assert (stores.keys / "main.ek").read_bytes() == before
    assert kept.stored("main") == 54
    kept.close(60)


def test_a_wrong_name_names_what_there_is(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert forget(stores, "cellar", "--yes") == 1
    assert "nothing is kept of a meter 'cellar'; something is kept of: barn, main" in capsys.readouterr().err


def test_keys_alone_are_forgotten_too(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stores.journal.unlink()
    assert forget(stores, "main", "--yes") == 0
    assert not (stores.keys / "main.ek").exists()
    assert not stores.journal.exists(), "no journal is begun for it"
    assert "main: 0 readings" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["", "yes", "barn"])
def test_only_the_name_itself_is_a_yes(
    stores: Any, terminal: Terminal, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(answer)
    assert forget(stores, "main") == 1
    assert "nothing was removed" in capsys.readouterr().err
    assert "main" in check(stores.journal)


def test_the_name_is_a_yes(stores: Any, terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal("main")
    assert forget(stores, "main") == 0
    out = capsys.readouterr().out
    assert "main: it is still in the configuration, and begins anew" in out
    assert "an SD card may keep old blocks" in out
    assert "main" not in check(stores.journal)


def test_ctrl_c_removes_nothing(stores: Any, terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(KeyboardInterrupt())
    assert forget(stores, "main") == 130
    assert "nothing was removed" in capsys.readouterr().err
    assert "main" in check(stores.journal)
    assert (stores.keys / "main.ek").exists()


def test_without_a_terminal_yes_must_be_said(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert forget(stores, "main") == 1
    assert "say --yes" in capsys.readouterr().err


def test_no_room_to_write_the_file_anew(
    stores: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_self: Database) -> None:
        raise StorageFault("the disk is full")

    monkeypatch.setattr(Database, "rebuild", full)
    assert forget(stores, "main", "--yes") == 1
    assert "removed, but the file is as large as before: the disk is full" in capsys.readouterr().out
    assert b"pseudonym-of-main" not in stores.journal.read_bytes(), "what was removed is overwritten all the same"
    assert "main" not in check(stores.journal)


def test_a_failure_in_the_middle_removes_nothing(
    stores: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise StorageFault("the medium reports an input/output error")

    monkeypatch.setattr("gateway.stores.forget._remove_layouts", broken)
    assert forget(stores, "main", "--yes") == 1
    assert "input/output error; nothing was removed" in capsys.readouterr().err
    monkeypatch.undo()
    assert Account(stores.journal).meters["main"]["stored"] == 54


def test_a_damaged_journal_is_salvaged_first(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(stores.journal.read_bytes())
    data[100:400] = os.urandom(300)
    stores.journal.write_bytes(data)
    assert forget(stores, "main", "--yes") == 1
    assert "nothing was removed" in capsys.readouterr().err
