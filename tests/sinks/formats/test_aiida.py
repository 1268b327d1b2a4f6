"""The JSON of AIIDA's CIM data source against a strict copy of the facts of its schema, RealTimeData v1.12."""

import json
from decimal import Decimal

import jsonschema
import pytest

from gateway.sinks.formats import KINDS

UUID = "7d2b2547-27dd-4fe0-9516-707540e1184f"
TOPIC = f"aiida/{UUID}/data"
#: TimeSeries: AIIDA refuses unknown names (FAIL_ON_UNKNOWN_PROPERTIES); kinds are those of its QuantityTypeKind
SCHEMA = {
    "type": "object",
    "required": ["version", "registeredResource.mRID", "dateAndOrTime.dateTime", "Quantity"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "1.0"},
        "registeredResource.mRID": {
            "type": "object",
            "required": ["value", "codingScheme"],
            "additionalProperties": False,
            "properties": {
                "value": {"type": "string", "maxLength": 60},
                "codingScheme": {"type": "string", "pattern": "^N[A-Z]{2}$"},
            },
        },
        "dateAndOrTime.dateTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "Quantity": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["quantity", "type", "quality"],
                "additionalProperties": False,
                "properties": {
                    "quantity": {"type": "number"},
                    "type": {"enum": [str(kind) for kind in range(36)]},
                    "quality": {
                        "enum": ["ADJUSTED", "NOT_AVAILABLE", "ESTIMATED", "AS_PROVIDED", "INCOMPLETE", "CALCULATED"]
                    },
                },
            },
        },
    },
}


@pytest.fixture
def give(table):
    return KINDS["aiida-cim"](table("aiida-cim", host="aiida", country="AT"))


def read(payload: bytes) -> dict[str, Decimal]:
    jsonschema.validate(json.loads(payload), SCHEMA)
    series = json.loads(payload, parse_float=Decimal, parse_int=Decimal)
    kinds = [row["type"] for row in series["Quantity"]]
    assert len(set(kinds)) == len(kinds), "AIIDA keeps one value for each kind"
    return {row["type"]: row["quantity"] for row in series["Quantity"]}


def test_item_p_as_the_data_source_page_shows_it(give, make_item):
    [message] = give(make_item(registers=(), p_export_w=None, a_export_wh=None))
    assert (message.topic, message.qos, message.retain, message.expires) == (TOPIC, 0, False, True)
    assert json.loads(message.payload) == {
        "version": "1.0",
        "registeredResource.mRID": {"value": UUID, "codingScheme": "NAT"},
        "dateAndOrTime.dateTime": "2026-11-21T22:20:05Z",
        "Quantity": [
            {"quantity": 0.132, "type": "2", "quality": "AS_PROVIDED"},
            {"quantity": 65238.377, "type": "0", "quality": "AS_PROVIDED"},
        ],
    }


def test_registers_have_their_kinds_and_units(give, make_item, three_phases):
    found = read(give(make_item(registers=three_phases))[0].payload)
    assert found == {
        kind: Decimal(value)
        for kind, value in {
            "2": "0.132", "3": "0", "0": "65238.377", "1": "0.005",
            "4": "231.4", "5": "230.9", "6": "233.1", "7": "1", "8": "2.5", "9": "0",
            "17": "0.132", "18": "0.070", "19": "0", "35": "50.02",
        }.items()
    }  # fmt: skip


def test_absent_is_absent_and_nothing_at_all_is_not_sent(give, make_item):
    nothing = dict.fromkeys(("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh"))
    assert give(make_item(registers=(), **nothing)) == []
    assert read(give(make_item(registers=(), **(nothing | {"a_import_wh": 5})))[0].payload) == {"0": Decimal("0.005")}


@pytest.mark.parametrize("quality", ["estimated", "substituted", "suspect"])
def test_what_was_not_measured_stays_here(give, make_item, quality):
    assert give(make_item(quality=quality)) == [], "AIIDA would call it AS_PROVIDED"


def test_large_registers_lose_no_digit(give, make_item):
    found = read(give(make_item(registers=(), a_import_wh=9_007_199_254_740_993))[0].payload)
    assert found["0"] == Decimal("9007199254740.993"), "more than a float holds"
