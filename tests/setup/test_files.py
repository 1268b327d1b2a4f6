"""Several files as one step: all, or none, whatever happens on the way."""

import os
import signal

import pytest

from gateway.setup.files import all_or_nothing


def tree(folder):
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def change(folder, old=None):
    with all_or_nothing() as changes:
        changes.folder(folder / "a" / "b")
        changes.write(folder / "secret", b"fresh", 0o600)
        changes.write(folder / ".new", b"text", 0o644)
        changes.replace(folder / "file", folder / ".new", old)
        return changes.written


def test_all(tmp_path):
    written = change(tmp_path)
    assert tree(tmp_path) == {"a": None, "a/b": None, "secret": "fresh", "file": "text"}
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert written == [tmp_path / "secret", tmp_path / "file"]


def test_or_nothing(tmp_path):
    (tmp_path / "secret").write_text("old")
    (tmp_path / "file").write_text("somebody was quicker")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError):
        change(tmp_path)
    assert tree(tmp_path) == before


def test_an_older_file_is_kept_beside_it(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file").chmod(0o640)
    change(tmp_path, tmp_path / "file.old")
    assert (tmp_path / "file.old").read_text() == "mine"
    assert (tmp_path / "file.old").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "file").read_text() == "text"


def test_an_interrupt_comes_too_late():
    came = []
    before = signal.signal(signal.SIGHUP, lambda *_: came.append("hup"))
    try:
        with all_or_nothing():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert came == ["hup"]
