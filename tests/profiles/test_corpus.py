"""Real telegrams through `auto`: those in tests/corpus, and those of the shared corpus that may not be copied."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from decoders.model import Reading, Result
from decoders.profile import Profile

SHIPPED = Path(__file__).resolve().parent.parent / "corpus" / "p1-ascii.jsonl"
#: the one case whose second half is a whole telegram with its own checksum: that one is not lost
WHOLE_INSIDE = {"p1-basjes-bad-1": "2022-05-28T15:02:45+02:00"}

Decode = Callable[[list[Profile], bytes], list[Result]]
Case = dict[str, Any]


def cases(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def octets(case: Case) -> bytes:
    return bytes.fromhex(case["data"]) if case["encoding"] == "hex" else case["data"].encode("latin-1")


def check(case: Case, results: list[Result]) -> None:
    readings = [result for result in results if isinstance(result, Reading)]
    if not case["valid"]:
        whole = WHOLE_INSIDE.get(case["id"])
        assert [reading.t_meter for reading in readings] == ([whole] if whole else [])
        return
    (reading,) = readings
    asserted = case["item_p"]
    for key in ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh"):
        assert getattr(reading, key) == asserted[key], key
    assert reading.auth == asserted["auth"]
    if asserted["timestamp"] is None:
        assert (reading.t, reading.t_meter) == (None, None)
    elif (said := datetime.fromisoformat(asserted["timestamp"])).tzinfo:
        assert reading.t == said
    else:
        assert (reading.t, reading.t_meter) == (None, asserted["timestamp"])


@pytest.mark.parametrize("case", cases(SHIPPED), ids=lambda case: case["id"])
def test_shipped_telegram(case: Case, auto: list[Profile], decode: Decode) -> None:
    check(case, decode(auto, octets(case)))


@pytest.mark.corpus
@pytest.mark.parametrize("part", ["open", "reference"])
def test_telegrams_of_the_shared_corpus(part: str, corpus: Path, auto: list[Profile], decode: Decode) -> None:
    found = cases(corpus / part / "p1-ascii.jsonl")
    assert found
    for case in found:
        check(case, decode(auto, octets(case)))


@pytest.mark.corpus
def test_the_shipped_telegrams_are_those_of_the_shared_corpus(corpus: Path) -> None:
    shared = {case["id"]: case["data"] for case in cases(corpus / "open" / "p1-ascii.jsonl")}
    assert {case["id"]: case["data"] for case in cases(SHIPPED)} == shared


def test_every_shipped_telegram_names_a_licence_that_permits_it() -> None:
    notices = SHIPPED.with_name("README.md").read_text(encoding="utf-8")
    for case in cases(SHIPPED):
        assert case["licence"] in {"MIT", "ISC", "Apache-2.0", "MIT/Apache-2.0"}, case["id"]
        assert f"| {case['source'].split(':')[0]} |" in notices, case["id"]
