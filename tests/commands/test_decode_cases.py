"""`meterd decode --cases` on the pushes of the corpus: every asserted value, no reading where there is none."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from decoders.errors import CODES
from gateway import cli

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
FAMILIES = (
    "apdu",
    "hdlc-push",
    "hdlc-push-encrypted",
    "llc-apdu",
    "mbus-link-push-encrypted",
    "p1-encrypted",
    "wrapper-push-encrypted",
)
ITEM_P = ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "auth")
Judge = Callable[[Path], Counter[str]]


@pytest.fixture
def judge(capfdbinary: pytest.CaptureFixture[bytes]) -> Judge:
    """Hold the answer to each case of a file to what the case says; how many there were of each kind."""

    def run(path: Path) -> Counter[str]:
        assert cli.main(["decode", "--cases", str(path)]) == 0
        out, err = capfdbinary.readouterr()
        assert err == b""
        cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        answers = [json.loads(line) for line in out.splitlines()]
        assert [answer["id"] for answer in answers] == [case["id"] for case in cases]
        return Counter(kind(case, answer) for case, answer in zip(cases, answers, strict=True))

    return run


def kind(case: dict[str, Any], answer: dict[str, Any]) -> str:
    readings, faults = answer["readings"], answer["faults"]
    assert all((fault["stage"], fault["code"]) in CODES for fault in faults), case["id"]
    if not case["valid"]:
        assert readings == [], case["id"]
        assert faults, case["id"]
        assert {fault["stage"] for fault in faults} <= {"link", "unwrap", "grammar"}, case["id"]
        return "invalid"
    if not case["item_p"]:
        sealed(case, readings, faults)
        return "keyless"
    assert len(readings) == 1, case["id"]
    right(case["id"], case["item_p"], readings[0])
    return "right"


def sealed(case: dict[str, Any], readings: list[Any], faults: list[dict[str, str]]) -> None:
    """Without a key: whose telegram it was, and its counter, are told."""
    assert readings == [], case["id"]
    apdus = [apdu for apdu in case["structure"]["apdus"] if apdu["tag"] == "db"]
    assert len(faults) == len(apdus) > 0, case["id"]
    for fault, apdu in zip(faults, apdus, strict=True):
        assert (fault["stage"], fault["code"]) == ("unwrap", "key_missing"), case["id"]
        assert f"system title {apdu['st'].upper()}" in fault["evidence"], case["id"]
        assert f"counter {apdu['fc']}," in fault["evidence"], case["id"]


def right(name: str, asserted: dict[str, Any], reading: dict[str, Any]) -> None:
    for key in ITEM_P:
        if key in asserted:
            assert reading.get(key) == asserted[key], (name, key)
    if "timestamp" not in asserted:
        return
    said = asserted["timestamp"]
    if said is None:
        assert "t_meter" not in reading, name
    elif datetime.fromisoformat(said).tzinfo:
        assert datetime.fromisoformat(reading["t"]) == datetime.fromisoformat(said), name
    else:
        assert reading["t_meter"][:19] == said, name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_shipped_case(family: str, judge: Judge) -> None:
    assert sum(judge(CORPUS / f"{family}.jsonl").values()) >= 2


def test_the_shipped_cases_are_of_every_kind(judge: Judge) -> None:
    found = sum((judge(CORPUS / f"{family}.jsonl") for family in FAMILIES), Counter[str]())
    assert found == {"right": 23, "invalid": 3, "keyless": 3}


@pytest.mark.corpus
def test_every_case_of_the_shared_corpus(corpus: Path, judge: Judge) -> None:
    paths = [corpus / part / f"{family}.jsonl" for part in ("open", "reference") for family in FAMILIES]
    found = sum((judge(path) for path in paths if path.is_file()), Counter[str]())
    assert found["right"] >= 40
    assert found["invalid"] >= 7
    assert found["keyless"] >= 6
