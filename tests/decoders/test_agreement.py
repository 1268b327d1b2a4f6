"""dsmr-parser, an independent reader, says the same of every register that both read; where not, why is here."""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser

from decoders.model import Reading, Result, decimal
from gateway import profiles

Decode = Callable[..., list[Result]]
Captures = list[tuple[str, bytes]]

#: dsmr-parser reads the data blocks of EasyMeter, too
BOTH = profiles.load_auto() + profiles.load_auto("iec62056-21")

#: profile -> the specification of dsmr-parser for the same meters
SPECIFICATIONS = {
    "nl-dsmr2": "V3",
    "nl-dsmr4": "V4",
    "nl-dsmr5": "V5",
    "nl-lg-e350": "V4",
    "nl-warmtelink": "V5",
    "p1-dsmr": "V5",
    "be-fluvius-emucs": "BELGIUM_FLUVIUS",
    "be-emucs": "BELGIUM_FLUVIUS",
    "be-iskra-ie5": "ISKRA_IE",
    "nl-iskra-ie7": "ISKRA_IE",
    "at-steiermark-est5": "AUSTRIA_ENERGIENETZE_STEIERMARK",
    "hu-p1": "EON_HUNGARY",
    "lu-smarty": "LUXEMBOURG_SMARTY",
    "lt-eso": "SWEDEN",
    "se-efs2": "SWEDEN",
    "se-iskra-am550": "SWEDEN",
    "fi-sk13-1": "SWEDEN",
    "fi-aidon-74xx": "SWEDEN",
    "de-easymeter-q3d": "Q3D",
    "de-easymeter-q3da": "Q3D",
}

W_IN_SUMMER = "dsmr-parser ignores the flag: W in July is standard time, and it takes the summer offset"
ANOTHER_ZONE = "dsmr-parser takes every wall clock for one of Amsterdam, whatever the country"
S_IN_WINTER = "dsmr-parser ignores the flag: S in February is summer time, and it takes the standard offset"
NO_ZONE = "the profile knows no zone, so we give no instant; dsmr-parser takes Amsterdam"
TORN = "with its checksum switched off dsmr-parser takes the first, torn telegram; we read the whole one behind it"
#: (capture, what) -> why dsmr-parser says another thing
DISAGREEMENTS = {
    ("be-iskra-ie5-3ph", "time"): S_IN_WINTER,
    ("fi-aidon-74xx-7442", "time"): NO_ZONE,
    ("lt-eso-maximal", "time"): ANOTHER_ZONE,
    ("lt-eso-standard", "time"): ANOTHER_ZONE,
    ("se-efs2-kaifa", "time"): W_IN_SUMMER,
    ("se-efs2-kamstrup", "time"): W_IN_SUMMER,
    ("se-efs2-sagemcom", "time"): W_IN_SUMMER,
    ("p1-amshan-c", "time"): W_IN_SUMMER,
    ("p1-basjes-bad-1", "time"): TORN,
    ("p1-basjes-bad-1", "1-0:2.8.1"): TORN,
    ("p1-basjes-bad-1", "1-0:2.7.0"): TORN,
}


def compared(octets: bytes, reading: Reading) -> Iterator[tuple[str, object, object]]:
    """What both read of a telegram: (object, what dsmr-parser says, what we say)."""
    text = octets.decode("latin-1")
    specification = dict(getattr(telegram_specifications, SPECIFICATIONS[reading.profile]), general_global_cipher=False)
    parsed = TelegramParser(specification, apply_checksum_validation=False).parse(text)
    ours: dict[str, list[tuple[Decimal, str]]] = {}
    for code, integer, exponent, unit in reading.registers:
        ours.setdefault(code, []).append((Decimal(decimal(integer, exponent)), unit.lower()))
    for pattern, read in parsed.items():
        line = re.search(pattern, text, re.DOTALL | re.MULTILINE)
        code = line[0].partition("(")[0].removesuffix("*255") if line else ""
        value = getattr(read, "value", None)
        if code == "0-0:1.0.0":
            yield "time", value, reading.t
        elif code in ours and value is not None and re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
            yield code, (Decimal(str(value)), (read.unit or "").lower()), ours[code][0]


def differences(
    captures: Captures, decode: Decode
) -> tuple[Counter[str], dict[tuple[str, str], tuple[object, object]]]:
    """How often both agree, by specification; and where they do not."""
    agreed: Counter[str] = Counter()
    differ = {}
    for name, octets in captures:
        readings = [result for result in decode(octets, by=BOTH) if isinstance(result, Reading)]
        if len(readings) != 1 or readings[0].profile not in SPECIFICATIONS:
            continue
        for what, theirs, mine in compared(octets, readings[0]):
            if theirs == mine:
                agreed[SPECIFICATIONS[readings[0].profile]] += 1
            else:
                differ[name, what] = theirs, mine
    return agreed, differ


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """dsmr-parser logs what it skips."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_register_that_both_read(every_capture: Captures, decode: Decode) -> None:
    agreed, differ = differences(every_capture, decode)
    assert {key: value for key, value in differ.items() if key not in DISAGREEMENTS} == {}
    assert DISAGREEMENTS.keys() - differ.keys() == set(), "explained, but no longer so"
    assert agreed.total() > 1_000
    assert all(agreed[specification] >= 5 for specification in SPECIFICATIONS.values()), agreed


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_register_of_the_shared_corpus_that_both_read(corpus: Path, decode: Decode) -> None:
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (corpus / "reference" / "p1-ascii.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    octets = [
        bytes.fromhex(row["data"]) if row["encoding"] == "hex" else row["data"].encode("latin-1")
        for row in rows
        if row["valid"]
    ]
    agreed, differ = differences([(str(i), data) for i, data in enumerate(octets)], decode)
    hour = timedelta(hours=1)  # W_IN_SUMMER
    assert [key for key, (theirs, mine) in differ.items() if key[1] != "time" or mine - theirs != hour] == []  # type: ignore[operator]
    assert len(differ) <= 1
    assert agreed.total() > 200
