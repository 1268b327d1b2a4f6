"""Where keys come from, in which order, and how the store keeps them."""

import os
import stat

import pytest

from gateway import keys
from gateway.key_material import KeyFileError, Material, Secret


def keep(path, octets, mode=0o400):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(octets.hex())
    path.chmod(mode)
    return str(path)


def found(held):
    return tuple(secret.reveal() if secret else None for secret in held.material)


def test_the_first_place_that_has_a_key_gives_it(home, tmp_path, monkeypatch):
    octets = [os.urandom(16) for _ in range(6)]
    keys.put("main", Material(Secret(octets[0]), Secret(octets[1])))
    assert found(keys.find("main")) == (octets[0], octets[1])
    files = [keep(tmp_path / "f.ek", octets[2]), keep(tmp_path / "f.ak", octets[3])]
    assert found(keys.find("main", *files)) == (octets[2], octets[3])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    keep(tmp_path / "credentials" / "main.ek", octets[4], 0o440)
    held = keys.find("main", *files)
    assert found(held) == (octets[4], octets[3])
    assert held.places == {
        "encryption": f"credential {tmp_path}/credentials/main.ek",
        "authentication": f"file {files[1]}",
    }
    keep(tmp_path / "credentials" / "main.ak", octets[5])
    assert found(keys.find("main", *files)) == (octets[4], octets[5])
    assert found(keys.find("other")) == (None, None)


def test_one_file_may_hold_both(home, tmp_path):
    ek, ak = os.urandom(16), os.urandom(16)
    held = keys.find("main", keep(tmp_path / "both", ek + ak))
    assert found(held) == (ek, ak)
    assert set(held.places.values()) == {f"file {tmp_path}/both"}


def test_a_file_that_cannot_be_used_is_told_and_nothing_fills_in(home, tmp_path):
    keys.put("main", Material(Secret(os.urandom(16))))
    held = keys.find("main", keep(tmp_path / "f", os.urandom(16), 0o644))
    assert found(held) == (None, None)
    assert "chmod 0400" in held.problems[0]
    held = keys.find("main", str(tmp_path / "absent"))
    assert (found(held), len(held.problems)) == ((None, None), 1)
    only = tmp_path / "ak"
    only.write_text("GAK " + os.urandom(16).hex())
    only.chmod(0o400)
    assert "no encryption key" in keys.find("main", str(only)).problems[0]


def test_the_store_is_private_and_files_are_whole(home):
    before = os.umask(0)
    try:
        first, second = Material(Secret(os.urandom(16)), Secret(os.urandom(16))), Material(Secret(os.urandom(16)))
        assert keys.put("main", first) == [home / "meterd/keys/main.ek", home / "meterd/keys/main.ak"]
        keys.put("main", second)
    finally:
        os.umask(before)
    assert stat.S_IMODE(keys.store().stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.store().iterdir()} == {0o400}
    assert sorted(path.name for path in keys.store().iterdir()) == ["main.ak", "main.ek"]
    assert found(keys.find("main"))[0] == second.encryption.reveal()
    assert keys.remove("main") == [home / "meterd/keys/main.ek", home / "meterd/keys/main.ak"]
    assert keys.remove("main") == []


def test_a_store_that_others_can_enter_is_refused(home):
    keys.store().mkdir(parents=True, mode=0o700)
    keys.store().chmod(0o750)
    with pytest.raises(KeyFileError, match=r"mode 0750\): chmod 0700"):
        keys.put("main", Material(Secret(os.urandom(16))))
    assert list(keys.store().iterdir()) == []


def test_a_store_that_is_a_file_is_refused(home):
    keys.store().parent.mkdir(parents=True)
    keys.store().write_text("")
    with pytest.raises(KeyFileError, match=r"must be a folder of your own|Not a directory"):
        keys.put("main", Material(Secret(os.urandom(16))))


def test_the_place_of_the_store(home, monkeypatch, tmp_path):
    assert keys.store() == home / "meterd" / "keys"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert keys.store() == tmp_path / ".config" / "meterd" / "keys"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert str(keys.store()) == "/etc/meterd/keys"
