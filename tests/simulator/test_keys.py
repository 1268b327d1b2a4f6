"""Test keys are in files that only their owner reads, come back from them, and are shown nowhere."""

import pickle
import stat

import pytest

from gateway.simulator import keys
from gateway.simulator.keys import KeyFileError, MeterKeys

EK, AK = "000102030405060708090A0B0C0D0E0F", "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"


def test_written_keys_are_private_and_read_again(tmp_path):
    made = keys.generate()
    path = tmp_path / "keys"
    path.write_text("something else")
    path.chmod(0o644)
    keys.write(made, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{made.encryption.hex()}\n{made.authentication.hex()}\n"
    again = keys.read(path)
    assert (again.encryption, again.authentication) == (made.encryption, made.authentication)
    assert list(tmp_path.iterdir()) == [path]


def test_keys_that_cannot_be_written_leave_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        keys.write(keys.generate(), tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_keys_are_random_and_shown_nowhere():
    one, other = keys.generate(), keys.generate()
    assert len({one.encryption, one.authentication, other.encryption, other.authentication}) == 4
    for shown in (repr(one), str(one), f"{one}"):
        assert shown == "MeterKeys(hidden)"
    with pytest.raises(TypeError):
        pickle.dumps(one)


def test_the_authentication_key_may_be_elsewhere(tmp_path):
    for name, text in (("ek", EK), ("ak", f"{AK}\r\n"), ("both", f"{EK}\n{AK}\n")):
        (tmp_path / name).write_text(text)
    ek, ak = bytes.fromhex(EK), bytes.fromhex(AK)
    public = bytes(range(16, 32))
    read = lambda *names: keys.read(*(name and tmp_path / name for name in names), public)  # noqa: E731
    assert (read("ek", "ak").encryption, read("ek", "ak").authentication) == (ek, ak)
    assert read("both", None).authentication == ak
    assert read("ek", None).authentication == public
    with pytest.raises(KeyFileError, match=r"ek holds no authentication key: .*--auth-key-file"):
        keys.read(tmp_path / "ek")


@pytest.mark.parametrize("text", ["", EK[:-2], f"{EK}{AK}", f"{EK}\n{AK}\n{EK}", "x" * 32, "\xff" * 16, "\n" * 5000])
def test_what_is_no_key_file_is_named_and_not_repeated(text, tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(KeyFileError) as raised:
        keys.read(path)
    assert str(raised.value) == f"{path} holds no key: one or two lines of 32 hexadecimal digits"
    with pytest.raises(ValueError, match="16 octets"):
        MeterKeys(b"short", bytes(16))
