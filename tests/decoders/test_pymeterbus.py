"""Records as pyMeterBus reads them: the same values in the same order, and each disagreement explained."""

import json
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decoders.grammars.mbus_records import MbusRecordsGrammar
from decoders.links.mbus_records import MbusRecordsLink
from decoders.model import Frame, Telegram
from gateway import profiles

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import meterbus

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "mbus-wired.jsonl"


def ours(data: bytes) -> Telegram:
    link = MbusRecordsLink()
    (frame,) = link.feed(data) + link.close()
    assert isinstance(frame, Frame)
    return MbusRecordsGrammar().parse(frame)


def theirs(data: bytes) -> list[Decimal]:
    """Their numbers in wire order; texts, dates, not-a-number and what they call no value left out."""
    values = [record.value for record in meterbus.load(data).records]
    numbers = [Decimal(str(value)) for value in values if isinstance(value, int | float | Decimal)]
    return [number for number in numbers if number.is_finite()]


def telegrams() -> list[tuple[str, bytes]]:
    """Every telegram with records that may be shipped, one by one."""
    cases: list[dict[str, Any]] = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    return [
        (case["id"].removeprefix("mbus-wired-"), bytes.fromhex(case["data"]))
        for case in cases
        if case["valid"] and case["expected"].get("records") and case["data"][12:14] != "73"
    ]


def shipped() -> list[tuple[str, bytes]]:
    """The telegrams of the profiles' frames, those in clear."""
    found = []
    for profile in map(profiles.load, profiles.names()):
        for note in profile.frame if profile.link == "mbus-records" else ():
            if not note.keys:
                data = profiles.shipped().joinpath(note.file).read_bytes()
                found += [(f"{note.file} {at}", data[at : at + 6 + data[at + 1]]) for at in starts(data)]
    return found


def starts(data: bytes) -> list[int]:
    """Where the long frames of a file begin."""
    at, found = 0, []
    while at < len(data):
        found.append(at)
        at += 6 + data[at + 1]
    return found


#: case -> their numbers that we do not have, and why
DISAGREEMENTS: dict[str, tuple[list[str], str]] = {
    "libmbus-els-elster-f96-plus": (["13131113", "131.113"], "hexadecimal digits in BCD are no value"),
    "libmbus-abb-f95": (["1311041.3", "11.0413"], "hexadecimal digits in BCD are no value"),
    "pymeterbus-hydrometer-bad-bcd": (["131.113", "13131113"], "hexadecimal digits in BCD are no value"),
    "libmbus-example-binary16-lvar": (["67076981401386"], "LVAR F0 is 16 octets of binary data, no number of 6"),
}
#: cases that they cannot read: VIF 7B, reserved, is taken for one of a table and raises
UNREAD = {"libmbus-sen-pollutherm": KeyError}


def near(value: Decimal, other: Decimal) -> bool:
    return abs(value - other) <= abs(value) * Decimal("1e-6")


def extra(name: str, data: bytes) -> list[Decimal]:
    """Their numbers beyond ours; each of ours has to be among theirs, in order."""
    registers = ours(data).registers
    mine, left = [Decimal(integer).scaleb(exponent) for _, integer, exponent, _ in registers], []
    for value in theirs(data):
        if mine and near(mine[0], value):
            mine.pop(0)
        else:
            left.append(value)
    assert mine == [], name
    return left


@pytest.mark.parametrize(
    ("name", "data"), [*telegrams(), *shipped()], ids=lambda value: value if type(value) is str else ""
)
def test_every_number_that_both_read(name: str, data: bytes) -> None:
    if name in UNREAD:
        with pytest.raises(UNREAD[name]):
            theirs(data)
        assert ours(data).registers
        return
    expected, _ = DISAGREEMENTS.get(name, ([], ""))
    left = extra(name, data)
    assert len(left) == len(expected)
    assert all(near(Decimal(wanted), value) for wanted, value in zip(expected, left, strict=True))


def test_the_disagreements_are_all_met() -> None:
    assert DISAGREEMENTS.keys() | UNREAD.keys() <= {name for name, _ in telegrams()}
    assert len(telegrams()) >= 50
