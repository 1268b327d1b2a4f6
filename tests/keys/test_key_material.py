"""Keys in every form in which people paste them, and in none that shows them."""

import base64
import copy
import os
import pickle

import pytest

from decoders.cipher import KeyTextError
from gateway.key_material import KeyFileError, Material, Secret, parse_keys, parse_one, read_file, read_material

EK = bytes.fromhex("C0FFEE00112233445566778899AABB01")
AK = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
UPPER, LOWER = EK.hex().upper(), EK.hex()


def revealed(material):
    return tuple(secret.reveal() if secret else None for secret in material)


@pytest.mark.parametrize(
    "text",
    [
        UPPER, LOWER, f"0x{UPPER}", f"  {LOWER}\r\n", EK.hex(" "), EK.hex(":"), EK.hex("-"), EK.hex(" ", 4),
        " ".join(f"0x{octet:02X}" for octet in EK), ", ".join(f"0x{octet:02x}" for octet in EK),
        base64.b64encode(EK).decode(), f"EK={base64.urlsafe_b64encode(EK).decode()}\n",
        f"GUEK: {UPPER}", f"Encryption key = {EK.hex(' ')}", f"Schlüssel\n{EK.hex(':')}\n",
    ],
)  # fmt: skip
def test_one_key(text):
    assert revealed(parse_keys(text)) == (EK, None)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(EK + AK).decode(), f"{base64.b64encode(EK).decode()} {base64.b64encode(AK).decode()}",
        f"AK: {base64.b64encode(AK).decode()}, EK: {UPPER}",
        f"{UPPER}{AK.hex()}", f"{UPPER} {AK.hex()}", f"{UPPER}\n{AK.hex()}\n", f"{EK.hex(' ')} {AK.hex(' ')}",
        f"{EK.hex(':')}\n{AK.hex(':')}", f"0x{LOWER}, 0x{AK.hex()}", f"GUEK: {UPPER}\nGAK: {AK.hex()}",
        f"GAK: {AK.hex(' ')}\nGUEK: {EK.hex(' ')}", f"Authentication key: {AK.hex()} Encryption key: {UPPER}",
        f"AK={AK.hex()}; EK={UPPER}", f"{UPPER} / {AK.hex()}", f"my keys are {UPPER} and GAK {AK.hex()}.",
    ],
)  # fmt: skip
def test_two_keys(text):
    assert revealed(parse_keys(text)) == (EK, AK)


def test_an_authentication_key_alone_is_known_by_its_name():
    assert revealed(parse_keys(f"GAK {AK.hex()}")) == (None, AK)
    assert parse_one(AK.hex(), "authentication").reveal() == AK


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 0"),
        (UPPER[:-1], "has 31"),
        (UPPER + "A", "has 33"),
        (f"{UPPER}{AK.hex()}A", "has 65"),
        (base64.b64encode(EK[:-1]).decode(), "hexadecimal digits"),
        (base64.b64encode(EK + b"!").decode(), "hexadecimal digits"),
        ("it is in the letter", "hexadecimal digits"),
        ("0" * 32, "zeros"),
        ("AB" * 16, "repeated"),
        ("00112233445566778899AABBCCDDEEFF", "sample"),
        (f"key1 {UPPER} key2 {AK.hex()} key3 {AK.hex()}", "3 keys"),
        (f"GAK {UPPER} GAK {AK.hex()}", "the same name"),
    ],
)
def test_what_is_no_key_is_refused_and_not_quoted(text, why):
    with pytest.raises(KeyTextError, match=why) as caught:
        parse_keys(text)
    assert not text or text not in str(caught.value)
    assert LOWER[:8] not in repr(caught.value).lower()


def test_the_sample_is_an_authentication_key_in_luxembourg():
    sample = "00112233445566778899AABBCCDDEEFF"
    assert revealed(parse_keys(f"{UPPER} {sample}")) == (EK, bytes.fromhex(sample))


def test_no_form_shows_a_key():
    secret = Secret(EK)
    material = Material(secret, Secret(AK))
    forms = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr(material),
        repr({1: material}),
    ]
    for form in forms:
        assert LOWER not in form.lower()
        assert secret.fingerprint in form
    for keep in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            keep(secret)
    with pytest.raises(TypeError):
        secret.__getstate__()
    assert not hasattr(secret, "__dict__")
    assert (secret == Secret(EK), secret == Secret(AK), hash(secret) == hash(Secret(EK))) == (True, False, True)
    assert EK not in bytes(repr(vars(Material)), "utf-8")


def test_files(tmp_path):
    ek, ak, two = tmp_path / "ek", tmp_path / "ak", tmp_path / "two"
    ek.write_text(UPPER)
    ak.write_text(AK.hex(" "))
    two.write_text(f"{UPPER}\n{AK.hex()}\n")
    for path in (ek, ak, two):
        path.chmod(0o400)
    assert revealed(read_material(ek, None)) == (EK, None)
    assert revealed(read_material(ek, ak)) == (EK, AK)
    assert revealed(read_material(two, None)) == (EK, AK)
    assert revealed(read_material(two, ak)) == (EK, AK)
    assert revealed(read_material(None, ak)) == (None, AK)
    other = tmp_path / "other"
    other.write_text(os.urandom(16).hex())
    other.chmod(0o400)
    with pytest.raises(KeyFileError, match="another authentication key"):
        read_material(two, other)


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o660, 0o644, 0o420])
def test_a_file_that_others_can_read_is_refused_with_what_to_do(tmp_path, mode):
    path = tmp_path / "ek"
    path.write_text(UPPER)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}\): chmod 0400 {path}"):
        read_file(path)
    assert read_file(path, private=False) == UPPER


def test_what_is_no_file_of_a_key(tmp_path):
    with pytest.raises(KeyFileError, match="No such file"):
        read_file(tmp_path / "absent")
    with pytest.raises(KeyFileError, match=r"not a file|Is a directory"):
        read_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyFileError, match="not a file"):
        read_file(tmp_path / "pipe")
    for name, data, why in (("large", b"A" * 5_000, "larger than 4096"), ("binary", EK + b"\xff", "no text")):
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o400)
        with pytest.raises(KeyFileError, match=why) as caught:
            read_file(tmp_path / name)
        assert "\\xff" not in repr(caught.value)
