"""Two other implementations read the same values from the notifications of the corpus, where they can decode them.

They run in a child with a deadline, because gurux-dlms can hang. Neither reads Sagemcom's descriptors without tags nor
Kaifa's header with a tag, and dlms-cosem knows no visible strings: what they refuse is not compared.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decoders.errors import GrammarError
from decoders.grammars.axdr import Data

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
CHILD = r"""
import json, sys

def flat(value):
    if isinstance(value, (list, tuple)):
        return [leaf for one in value for leaf in flat(one)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []

def gurux(body):
    from gurux_dlms.GXByteBuffer import GXByteBuffer
    from gurux_dlms.internal._GXCommon import _GXCommon
    from gurux_dlms.internal._GXDataInfo import _GXDataInfo
    return flat(_GXCommon.getData(None, GXByteBuffer(bytearray(body)), _GXDataInfo()))

def cosem(body):
    from dlms_cosem.utils import parse_as_dlms_data
    return flat(parse_as_dlms_data(body))

answers = []
for body in json.load(open(sys.argv[2])):
    try:
        answers.append({"gurux": gurux, "cosem": cosem}[sys.argv[1]](bytes.fromhex(body)))
    except Exception:  # whatever it raises, it did not read it
        answers.append(None)
json.dump(answers, open(sys.argv[3], "w"))
"""


def bodies() -> list[bytes]:
    """What stands behind the header of the plain notifications."""
    found = []
    for family in ("llc-apdu", "apdu"):
        for line in (CORPUS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines():
            apdu = bytes.fromhex(json.loads(line)["data"]).removeprefix(b"\xe6\xe7\x00")
            at = 6 if apdu[5:7] == b"\x09\x0c" else 5
            found.append(apdu[at + 1 + apdu[at] :])
    return found


def numbers(value: Any) -> list[int]:
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value[1]] if isinstance(value[1], int) and not isinstance(value[1], bool) else []


def ours(body: bytes) -> list[int] | None:
    try:
        return numbers(Data(body).value())
    except GrammarError:
        return None


@pytest.mark.parametrize(("peer", "least"), [("gurux", 6), ("cosem", 3)])
def test_peers_read_the_same_numbers(peer: str, least: int, tmp_path: Path) -> None:
    questions, answers = tmp_path / "questions", tmp_path / "answers"
    asked = bodies()
    questions.write_text(json.dumps([body.hex() for body in asked]))
    command = [sys.executable, "-c", CHILD, peer, str(questions), str(answers)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    said = json.loads(answers.read_text())
    compared = [(theirs, ours(body)) for theirs, body in zip(said, asked, strict=True) if theirs]
    assert len(compared) >= least
    assert all(theirs == mine for theirs, mine in compared)
