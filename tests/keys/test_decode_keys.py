"""`meterd decode` with keys: from files or standard input, in every class of authenticity, and as a corpus."""

import io
import json
import os
import sys

import pytest

from gateway.cli import main

PROFILE = ("--profile", "lu-smarty-encrypted")


@pytest.fixture
def decode(capsys, monkeypatch):
    def run(*arguments, text=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main(["decode", *map(str, arguments)])
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return run


@pytest.fixture
def capture(tmp_path, make, pair):
    def write(**how):
        path = tmp_path / "capture"
        path.write_bytes(make(*pair, 7, **how))
        return path

    return write


def kept(path, octets):
    path.write_text(octets.hex())
    return path


def test_keys_from_files_and_from_standard_input(decode, capture, pair, tmp_path):
    ek, ak = kept(tmp_path / "ek", pair[0]), kept(tmp_path / "ak", pair[1])
    path = capture()
    for arguments, text in (
        (["--key-file", ek, "--auth-key-file", ak], ""),
        (["--key-file", "-", "--auth-key-file", ak], pair[0].hex()),
        (["--key-file", "-"], f"EK {pair[0].hex(':')} AK {pair[1].hex(':')}"),
    ):
        code, readings, err = decode(*PROFILE, *arguments, path, text=text)
        assert (code, [reading["auth"] for reading in readings], err) == (0, ["verified"], "")
        assert readings[0]["p_import_w"] == 433


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (lambda ek, ak: None, "unwrap/key_missing"),
        (lambda ek, ak: ek, "unwrap/unauthenticated_refused"),
        (lambda ek, ak: ek + os.urandom(16), "unwrap/tag"),
        (lambda ek, ak: os.urandom(16) + ak, "unwrap/tag"),
    ],
)
def test_what_does_not_open_is_named_with_title_and_counter(decode, capture, pair, text, code):
    keys = text(*pair)
    arguments = ["--key-file", "-"] if keys else []
    result, readings, err = decode(*PROFILE, *arguments, capture(), text=keys.hex() if keys else "")
    assert (result, readings, err.count("\n")) == (1, [], 1)
    assert code in err
    assert "system title 5341476742000001, counter 7, security control 30" in err


@pytest.mark.parametrize(
    ("control", "least", "keys", "auth"),
    [
        (0x30, "unverified", 1, "unverified"),
        (0x30, "unverified", 2, "verified"),
        (0x30, "verified", 2, "verified"),
        (0x30, "verified", 1, None),
        (0x20, None, 1, "unverified"),
        (0x20, "unverified", 1, "unverified"),
        (0x20, "verified", 2, None),
        (0x30, "plain", 1, None),
    ],
)
def test_min_auth(decode, capture, pair, control, least, keys, auth):  # noqa: PLR0917  # the table
    arguments = ["--min-auth", least] if least else []
    text = b"".join(pair[:keys]).hex()
    _, readings, _ = decode(*PROFILE, *arguments, "--key-file", "-", capture(control=control), text=text)
    assert [reading["auth"] for reading in readings] == ([auth] if auth else [])


def test_the_system_title_of_the_options(decode, capture, pair):
    path, text = capture(shown=False), pair[0].hex() + pair[1].hex()
    code, _, err = decode(*PROFILE, "--key-file", "-", path, text=text)
    assert (code, "title_missing" in err) == (1, True)
    code, readings, _ = decode(*PROFILE, "--key-file", "-", "--system-title", "5341476742000001", path, text=text)
    assert (code, len(readings)) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--key-file", "-", "-"], "cannot both be standard input"),
        (["--cases", "x", "--key-file", "y"], "takes the keys from the cases"),
    ],
)
def test_options_that_contradict(decode, arguments, said):
    code, _, err = decode(*arguments)
    assert (code, said in err) == (2, True)


def test_a_system_title_of_another_length_is_refused(decode, capsys):
    with pytest.raises(SystemExit) as caught:
        decode("--system-title", "5341", "x")
    assert (caught.value.code, "16 hexadecimal digits" in capsys.readouterr().err) == (2, True)


def test_cases_bring_their_keys_and_say_what_is_missing(decode, make, pair, tmp_path):
    both = {"encryption": pair[0].hex(), "authentication": pair[1].hex()}
    cases = [
        {"id": "right", "keys": both},
        {"id": "one key", "keys": {"encryption": pair[0].hex()}},
        {"id": "no key", "keys": {}},
        {"id": "no keys"},
        {"id": "wrong", "keys": both | {"encryption": os.urandom(16).hex()}},
    ]
    path = tmp_path / "cases.jsonl"
    data = {"encoding": "hex", "data": make(*pair, 7).hex()}
    path.write_text("".join(json.dumps(case | data) + "\n" for case in cases))
    code, answers, _ = decode("--cases", path)
    assert code == 0
    assert [[reading["auth"] for reading in answer["readings"]] for answer in answers] == [
        ["verified"], ["unverified"], [], [], [],
    ]  # fmt: skip
    evidence = "system title 5341476742000001, counter 7, security control 30"
    missing = {"stage": "unwrap", "code": "key_missing", "evidence": evidence}
    assert answers[2]["faults"] == answers[3]["faults"] == [missing]
    assert answers[4]["faults"] == [missing | {"code": "tag"}]
