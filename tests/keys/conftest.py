"""Encrypted telegrams made here, and a configuration with a store of its own."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TITLE = bytes.fromhex("5341476742000001")
CAPTURE = Path(__file__).resolve().parents[2] / "config/profiles/frames/nl-dsmr5-iskra.p1"


def push(encryption, authentication, counter, *, control=0x30, title=TITLE, shown=True):
    """One P1 telegram inside general-glo-ciphering; `shown`: whether the telegram says its system title."""
    aad = bytes([control]) + authentication if control & 0x10 else b""
    sealed = AESGCM(encryption).encrypt(title + counter.to_bytes(4, "big"), CAPTURE.read_bytes(), aad)
    content = bytes([control]) + counter.to_bytes(4, "big") + (sealed[:-4] if control & 0x10 else sealed[:-16])
    head = b"\xdb\x08" + title if shown else b"\xdb\x00"
    return head + b"\x82" + len(content).to_bytes(2, "big") + content


@pytest.fixture
def pair():
    return os.urandom(16), os.urandom(16)


@pytest.fixture
def make():
    return push


@pytest.fixture
def home(tmp_path, monkeypatch):
    """XDG_CONFIG_HOME of this test; the store is below it."""
    folder = tmp_path / "xdg"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return folder


@pytest.fixture
def config(tmp_path, home):
    """Write a configuration with the meters main and garage; more lines go to main."""

    def write(more=""):
        path = tmp_path / "meterd.toml"
        path.write_text(
            f'[[meter]]\nname = "main"\nport = "{tmp_path}/port"\n{more}\n'
            '[[meter]]\nname = "garage"\nport = "/dev/zero"\n'
            f'[control]\nsocket = "{tmp_path}/control"\n[journal]\npath = "{tmp_path}/journal.db"\n'
        )
        return path

    return write
