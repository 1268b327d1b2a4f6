"""Two other implementations open what is opened here, and the one that checks tags refuses what is refused here.

They run in a child with a deadline: gurux-dlms can hang on damaged octets, and prints. It does not check tags, so only
its content counts; dlms-cosem always takes the last 12 octets for a tag, so it is asked for tagged APDUs only.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from decoders.apdu import Unwrapper
from decoders.cipher import Keys
from decoders.errors import UnwrapError
from decoders.model import Frame

CHILD = r"""
import json, sys

def gurux(apdu, ek, ak):
    from gurux_dlms.AesGcmParameter import AesGcmParameter
    from gurux_dlms.GXByteBuffer import GXByteBuffer
    from gurux_dlms.GXDLMSChippering import GXDLMSChippering
    parameter = AesGcmParameter(0, None, bytearray(ek), bytearray(ak))
    return GXDLMSChippering.decryptAesGcm(None, parameter, GXByteBuffer(bytearray(apdu)))

def cosem(apdu, ek, ak):
    from dlms_cosem.protocol.xdlms.general_global_cipher import GeneralGlobalCipher
    from dlms_cosem.security import decrypt
    parsed = GeneralGlobalCipher.from_bytes(apdu)
    return decrypt(parsed.security_control, bytes(parsed.system_title), parsed.invocation_counter, ek,
                   parsed.ciphered_text, ak)

peer = {"gurux": gurux, "cosem": cosem}[sys.argv[1]]
results = []
for case in json.load(open(sys.argv[2])):
    try:
        results.append(bytes(peer(*map(bytes.fromhex, case))).hex())
    except Exception as error:  # whatever it raises, it did not open it
        results.append(None)
json.dump(results, open(sys.argv[3], "w"))
"""

Case = tuple[bytes, bytes, bytes]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[[str, list[Case]], list[bytes | None]]:
    """What a peer makes of some (APDU, encryption key, authentication key)."""

    def run(peer: str, cases: list[Case]) -> list[bytes | None]:
        questions, answers = tmp_path / "questions", tmp_path / "answers"
        questions.write_text(json.dumps([[part.hex() for part in case] for case in cases]))
        command = [sys.executable, "-c", CHILD, peer, str(questions), str(answers)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        said: list[Any] = json.loads(answers.read_text())
        return [None if one is None else bytes.fromhex(one) for one in said]

    return run


def ours(apdu: bytes, ek: bytes, ak: bytes) -> bytes | None:
    try:
        plain = Unwrapper(Keys(ek, ak)).unwrap(Frame(apdu, "ok", len(apdu)))
    except UnwrapError:
        return None
    return plain.payload if plain else None


def meters(count: int, *controls: int) -> list[Case]:
    """APDUs of random meters, sealed by the definition of the standard."""
    chance = random.Random(count)
    cases = []
    for at in range(count):
        control, ek, ak, nonce = controls[at % len(controls)], *map(chance.randbytes, (16, 16, 12))
        content = b"\x0f" + chance.randbytes(4) + b"\0\x02" + chance.randbytes(chance.randrange(60))
        sealed = AESGCM(ek).encrypt(nonce, content, bytes([control]) + ak)[: -16 if control == 0x20 else -4]
        body = bytes([control]) + nonce[8:] + sealed
        cases.append((b"\xdb\x08" + nonce[:8] + bytes([len(body)]) + body, ek, ak))
    return cases


def captures(corpus: Path) -> list[Case]:
    """The APDUs of the corpus that stand whole behind an HDLC header, an M-Bus header or nothing."""
    cases = []
    for family in ("hdlc-push-encrypted", "p1-encrypted"):
        for folder in ("open", "reference"):
            for line in (corpus / folder / f"{family}.jsonl").read_text().splitlines():
                case = json.loads(line)
                data, keys = bytes.fromhex(case["data"]), case["keys"]
                start, end = (data.find(b"\xdb\x08"), -3) if family.startswith("hdlc") else (0, len(data))
                if case["valid"] and "authentication" in keys and data[start - 3 : start] in (b"\xe6\xe7\0", b""):
                    apdu = data[start:end]
                    cases.append((apdu, bytes.fromhex(keys["encryption"]), bytes.fromhex(keys["authentication"])))
    return cases


@pytest.mark.parametrize("peer", ["gurux", "cosem"])
def test_peers_open_the_same_content(ask: Callable[[str, list[Case]], list[bytes | None]], peer: str) -> None:
    cases = meters(60, 0x30) if peer == "cosem" else meters(60, 0x30, 0x20)
    mine = [ours(*case) for case in cases]
    assert None not in mine
    assert ask(peer, cases) == mine


@pytest.mark.corpus
@pytest.mark.parametrize("peer", ["gurux", "cosem"])
def test_peers_open_the_same_captures(
    ask: Callable[[str, list[Case]], list[bytes | None]], peer: str, corpus: Path
) -> None:
    cases = captures(corpus)
    assert len(cases) >= 4
    mine = [ours(*case) for case in cases]
    assert None not in mine
    assert ask(peer, cases) == mine


def test_the_peer_that_checks_tags_refuses_what_is_refused_here(
    ask: Callable[[str, list[Case]], list[bytes | None]],
) -> None:
    [(apdu, ek, ak)] = meters(1, 0x30)
    damaged = []
    for at in range(2, len(apdu)):
        if at not in (10, 11):  # the length, and the control that dlms-cosem takes for tagged in any case
            damaged.append((apdu[:at] + bytes([apdu[at] ^ 1]) + apdu[at + 1 :], ek, ak))
    damaged += [(apdu, ak, ak), (apdu, ek, ek), (apdu, ak, ek)]
    assert {ours(*case) for case in damaged} == {None}
    assert set(ask("cosem", damaged)) == {None}
    assert ask("cosem", [(apdu, ek, ak)]) == [ours(apdu, ek, ak)]


def test_gurux_opens_what_has_a_wrong_tag_and_this_does_not(
    ask: Callable[[str, list[Case]], list[bytes | None]],
) -> None:
    [(apdu, ek, ak)] = meters(1, 0x30)
    forged = (apdu[:-1] + bytes([apdu[-1] ^ 1]), ek, ak)
    assert ours(*forged) is None
    assert ask("gurux", [forged]) == [ours(apdu, ek, ak)]
