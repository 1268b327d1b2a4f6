"""Real pushes through `auto`: those in tests/corpus, and those of the shared corpus that may not be copied."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from decoders.model import Fault, Reading, Result
from decoders.profile import Profile

SHIPPED = Path(__file__).resolve().parent.parent / "corpus"
FAMILIES = (
    "apdu",
    "hdlc-push",
    "hdlc-push-encrypted",
    "llc-apdu",
    "mbus-link-push-encrypted",
    "p1-encrypted",
    "wrapper-push-encrypted",
)
#: cases that this folder's tests do not decide, and why
ELSEWHERE = {
    "ams-kamstrup-gh350-2": "nothing in the telegram tells it from Denmark, only that it comes without a link",
    "nodedsmr-dsmr-luxembourgh-spec-example-without-aad": "its tag has no associated data: the keys of the case decide",
    "scs-lg-e450-unencrypted-extended-register": "holds sub-meters only, without unit and kind",
}

Decode = Callable[..., list[Result]]
Case = dict[str, Any]


def cases(path: Path) -> list[Case]:
    """A family without cases of one kind has no file of that kind."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [case for case in map(json.loads, lines) if case["id"] not in ELSEWHERE]


def check(case: Case, results: list[Result]) -> None:
    readings = [result for result in results if isinstance(result, Reading)]
    asserted = case["item_p"]
    if not case["valid"]:
        assert readings == []
    elif not asserted:
        assert {result.code for result in results if isinstance(result, Fault)} == {"key_missing"}
        assert readings == []
    else:
        (reading,) = readings
        keys = {"p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "auth"} & asserted.keys()
        assert {key: getattr(reading, key) for key in keys} == {key: asserted[key] for key in keys}
        check_time(reading, asserted["timestamp"])


def check_time(reading: Reading, said: str | None) -> None:
    """An offset gives the instant; without one it is the wall clock that the meter shows."""
    if said is None:
        assert (reading.t, reading.t_meter) == (None, None)
    elif (t := datetime.fromisoformat(said)).tzinfo:
        assert reading.t == t
    else:
        assert (reading.t, reading.t_meter) == (None, said)


@pytest.mark.parametrize("family", FAMILIES)
def test_shipped_pushes(family: str, everything: list[Profile], decode: Decode) -> None:
    found = cases(SHIPPED / f"{family}.jsonl")
    assert found
    for case in found:
        check(case, decode(everything, bytes.fromhex(case["data"]), case["keys"]))


@pytest.mark.corpus
@pytest.mark.parametrize("family", FAMILIES)
def test_pushes_of_the_shared_corpus(family: str, corpus: Path, everything: list[Profile], decode: Decode) -> None:
    found = [case for part in ("open", "reference") for case in cases(corpus / part / f"{family}.jsonl")]
    assert found
    for case in found:
        check(case, decode(everything, bytes.fromhex(case["data"]), case["keys"]))
