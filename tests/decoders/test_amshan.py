"""amshan, an independent reader of Nordic meters, and meterd give the same values for every Nordic capture.

Its one disagreement is about time: an Aidon list 3 has deviation 0 and local time, which amshan reads as UTC.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from han.autodecoder import AutoDecoder

from decoders.decoder import Decoder
from decoders.model import Reading, decimal
from gateway import profiles

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
LLC = bytes.fromhex("e6e700")
#: name in amshan -> groups C.D.E of the object; both in the basic unit
OBJECTS = {
    f"{kind}_power_{way}{phase}{total}": f"{c + step}.{8 if total else 7}.0"
    for kind, way, c in (
        ("active", "import", 1),
        ("active", "export", 2),
        ("reactive", "import", 3),
        ("reactive", "export", 4),
    )
    for phase, step in (("", 0), ("_l1", 20), ("_l2", 40), ("_l3", 60))
    for total in ("", "_total")
} | {
    f"{name}_l{phase}": f"{c + 20 * phase}.7.0" for name, c in (("voltage", 12), ("current", 11)) for phase in (1, 2, 3)
}
#: meters that amshan does not know
UNKNOWN = {"nodedsmr-slovenia-list-1", "nodedsmr-slovenia-list-2"}


def cases() -> list[dict[str, Any]]:
    texts = [(CORPUS / f"{name}.jsonl").read_text(encoding="utf-8") for name in ("llc-apdu", "hdlc-push")]
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    return [row for row in rows if row["valid"] and row["id"] not in UNKNOWN]


def amshan(row: dict[str, Any]) -> dict[str, Any]:
    octets = bytes.fromhex(row["data"])
    payload = octets[octets.index(LLC) :]
    read = AutoDecoder().decode_message_payload(payload if row["family"] == "llc-apdu" else payload[:-3])
    assert read is not None
    return dict(read)


def meterd(row: dict[str, Any]) -> Reading:
    decoder = Decoder(profiles.load_auto(None), ZoneInfo)
    (reading,) = decoder.feed(bytes.fromhex(row["data"])) + decoder.close()
    assert isinstance(reading, Reading)
    return reading


@pytest.mark.parametrize("row", cases(), ids=lambda row: row["id"])
def test_every_value_that_both_read_is_the_same(row: dict[str, Any]) -> None:
    theirs, reading = amshan(row), meterd(row)
    ours = {code.split(":")[1]: Decimal(decimal(integer, exponent)) for code, integer, exponent, _ in reading.registers}
    known = {OBJECTS[name]: Decimal(str(value)) for name, value in theirs.items() if name in OBJECTS}
    assert known
    assert {code: ours.get(code) for code in known} == known
    wall = theirs.get("meter_datetime")
    if wall is not None:
        assert (reading.t_meter or "")[:19] == wall.replace(tzinfo=None).isoformat()
