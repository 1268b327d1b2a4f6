"""Item P as JSON: exactly the contract's form, valid by its schema, with the time that can be believed."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from decoders.model import Reading, SubReading, decimal
from decoders.obis import MEDIA
from gateway.item_p import QUANTITIES, is_zone_error, stamp, sub_to_dict, to_dict, to_json, utc
from tests.sizes import VALUES

T = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
HOUR = 3_600
READING = Reading(
    profile="lu-creos-smarty",
    interface="p1",
    auth="verified",
    quality="measured",
    t=T,
    t_meter="2026-11-21T23:20:05+01:00",
    p_import_w=132,
    p_export_w=0,
    p_net_w=132,
    a_import_wh=65238377,
    a_export_wh=1201,
    reg_t=T,
    registers=(("1-0:32.7.0", 2314, -1, "V"),),
    register_times=(),
    sub=(),
    identity="secret",
    interval_s=10,
    flags=(),
    size=1,
)
SUB = SubReading(1, "gas", "secret", T, "2026-11-21T23:20:05+01:00", 4381, -3, "m3", "measured")

Validator = Callable[[Any], None]


def stamped(reading: Reading = READING, *, late: float = 0.412, limit: int = HOUR) -> Any:
    received = T + timedelta(seconds=late)
    return stamp(reading, "main", seq=918273, t_rx=received, max_clock_offset_s=limit)


@pytest.fixture(scope="module")
def valid(checkout: Path) -> Validator:
    """Raise for what is not valid by docs/schemas."""
    item, sub = (json.loads((checkout / f"docs/schemas/{name}.schema.json").read_text()) for name in ("item-p", "sub"))
    for schema in (item, sub):
        jsonschema.Draft202012Validator.check_schema(schema)
    registry: Registry[Any] = Registry().with_resource(sub["$id"], Resource.from_contents(sub))
    validators = {
        schema["properties"]["schema"]["const"]: jsonschema.Draft202012Validator(schema, registry=registry)
        for schema in (item, sub)
    }
    return lambda value: validators[value["schema"]].validate(value)


def test_the_json_of_the_contract_exactly(valid: Validator) -> None:
    """Keys, their order, and every octet."""
    contract = (
        '{"schema":"meterd.item-p/1","meter":"main","t":"2026-11-21T22:20:05Z","t_source":"meter",'
        '"t_meter":"2026-11-21T23:20:05+01:00","t_rx":"2026-11-21T22:20:05.412Z","clock_offset_s":0.412,'
        '"p_import_w":132,"p_export_w":0,"p_net_w":132,"a_import_wh":65238377,"a_export_wh":1201,'
        '"reg_t":"2026-11-21T22:20:05Z","quality":"measured","auth":"verified","seq":918273,"valid_for_s":30,'
        '"src":{"interface":"p1","profile":"lu-creos-smarty"},'
        '"registers":[{"code":"1-0:32.7.0","value":"231.4","unit":"V"}]}'
    )
    assert to_json(stamped(), registers=True).decode() == contract
    valid(json.loads(contract))
    assert "registers" not in to_dict(stamped())


def test_identifications_stay_inside() -> None:
    assert b"secret" not in to_json(stamped(), registers=True)


def test_the_nine_attributes_of_item_p_are_annotated(checkout: Path) -> None:
    schema = json.loads((checkout / "docs/schemas/item-p.schema.json").read_text())
    attributes = [attribute for key in schema["properties"].values() for attribute in key.get("x-item-p", ())]
    quantities = [f"{quantity} {what}" for quantity in ("P+", "P-", "A+", "A-") for what in ("value", "unit")]
    assert attributes == ["timestamp", *quantities]
    units = {key: schema["properties"][key]["x-unit"] for key in QUANTITIES}
    assert units == {key: "Wh" if key.startswith("a_") else "W" for key in QUANTITIES}


def test_the_schema_describes_every_key_that_is_written(checkout: Path) -> None:
    schema = json.loads((checkout / "docs/schemas/item-p.schema.json").read_text())
    assert [*list(to_dict(stamped(), registers=True)), "id", "backfill", "sub"] == list(schema["properties"])
    sub = json.loads((checkout / "docs/schemas/sub.schema.json").read_text())
    assert list(sub_to_dict(SUB, meter="main", device="d", auth="plain", seq=1)) == list(sub["properties"])
    assert set(sub["properties"]["medium"]["enum"]) == set(MEDIA.values())


def test_a_late_reading_says_so_and_has_an_id(valid: Validator) -> None:
    late = json.loads(to_json(stamped(), late="0123456789abcdef-main-1"))
    valid(late)
    assert (late.pop("id"), late.pop("backfill")) == ("0123456789abcdef-main-1", True)
    assert late == json.loads(to_json(stamped()))


@pytest.mark.parametrize("key", [*QUANTITIES, "t", "t_meter", "reg_t"])
def test_absent_is_left_out(key: str, valid: Validator) -> None:
    absent = to_dict(stamped(replace(READING, **{key: None, "p_net_w": None})))  # type: ignore[arg-type]
    assert None not in absent.values()
    assert (key in absent) == (key == "t")
    if key not in ("p_net_w", "t_meter"):
        valid(absent | ({"p_net_w": 132} if {"p_import_w", "p_export_w"} <= absent.keys() else {}))


@pytest.mark.parametrize(
    "change",
    [
        {"p_import_w": -1},
        {"p_import_w": 1.5},
        {"p_import_w": None},
        {"p_import_w": "132"},
        {"a_import_wh": -1},
        {"meter": "Main Meter"},
        {"t": "2026-11-21T22:20:05+00:00"},
        {"t_source": "sun"},
        {"quality": "good"},
        {"auth": "none"},
        {"valid_for_s": 901},
        {"schema": "meterd.item-p/2"},
        {"identity": "1"},
        {"registers": [{"code": "1-0:1.7.0", "value": 1.5}]},
    ],
)
def test_the_schema_refuses_what_the_contract_does(change: dict[str, object], valid: Validator) -> None:
    good = to_dict(stamped())
    valid(good)
    with pytest.raises((jsonschema.ValidationError, KeyError)):
        valid(good | change)


@pytest.mark.parametrize(
    "key", ["schema", "meter", "t", "t_source", "t_meter", "p_net_w", "quality", "auth", "seq", "src"]
)
def test_the_schema_wants_what_the_contract_promises(key: str, valid: Validator) -> None:
    good = to_dict(stamped())
    del good[key]
    with pytest.raises((jsonschema.ValidationError, KeyError)):
        valid(good)


def test_a_believable_clock_is_the_meters() -> None:
    for late in (-1_600, -30, 0, 0.412, 119, 1_600):
        item = stamped(late=late)
        assert (item.t, item.t_source, item.clock_offset_s) == (T, "meter", late)


@pytest.mark.parametrize("late", [HOUR + 121, -HOUR - 121, 86_400 * 365, -86_400 * 365])
def test_a_clock_that_is_too_far_off_is_not_believed(late: float, valid: Validator) -> None:
    item = stamped(late=late)
    assert (item.t, item.t_source, item.clock_offset_s) == (T + timedelta(seconds=late), "gateway", late)
    assert to_dict(item)["t_meter"] == READING.t_meter
    valid(to_dict(item))


def test_the_limit_itself_is_believed() -> None:
    assert stamped(late=1_000, limit=1_000).t_source == "meter"
    assert stamped(late=1_000.001, limit=1_000).t_source == "gateway"
    assert stamped(late=-1_000.001, limit=1_000).t_source == "gateway"


@pytest.mark.parametrize("half_hours", [*range(-26, 0), *range(1, 29)])
@pytest.mark.parametrize("slow", [-120, 0, 0.4, 120])
def test_a_wrong_zone_is_not_believed_whatever_the_limit(half_hours: int, slow: float) -> None:
    late = half_hours * 1_800 + slow
    assert is_zone_error(late)
    assert stamped(late=late, limit=86_400).t_source == "gateway"


@pytest.mark.parametrize("late", [0, 119.9, -119.9, 121, 900, 1_679, 1_921, -1_679, 3_479])
def test_a_slow_clock_is_no_wrong_zone(late: float) -> None:
    assert not is_zone_error(late)


def test_without_a_clock_the_time_is_the_gateways(valid: Validator) -> None:
    item = stamped(replace(READING, t=None, t_meter=None, reg_t=None))
    shown = to_dict(item)
    assert shown["t"] == "2026-11-21T22:20:05.412000Z"
    assert (shown["t_source"], "clock_offset_s" in shown, "reg_t" in shown) == ("gateway", False, False)
    valid(shown)


def test_registers_older_than_their_reading_stay_older_by_any_clock() -> None:
    old = replace(READING, reg_t=T - timedelta(minutes=5))
    assert to_dict(stamped(old))["reg_t"] == "2026-11-21T22:15:05Z"
    received = T + timedelta(days=1)
    shown = to_dict(stamped(old, late=86_400))
    assert (shown["t"], shown["reg_t"]) == (utc(received), utc(received - timedelta(minutes=5)))


@pytest.mark.parametrize(("interval", "valid_for"), [(1, 3), (10, 30), (300, 900), (3_600, 900)])
def test_power_is_valid_for_three_intervals(interval: int, valid_for: int) -> None:
    assert stamped(replace(READING, interval_s=interval)).valid_for_s == valid_for
    assert stamp(READING, "m", seq=1, t_rx=T, max_clock_offset_s=1, interval_s=interval).valid_for_s == valid_for


def test_a_sub_meter_as_json(valid: Validator) -> None:
    shown = sub_to_dict(SUB, meter="main", device="gas-1a2b", auth="plain", seq=7)
    assert shown == {
        "schema": "meterd.sub/1",
        "meter": "main",
        "channel": 1,
        "device": "gas-1a2b",
        "medium": "gas",
        "t": "2026-11-21T22:20:05Z",
        "quantity": "4.381",
        "unit": "m3",
        "quality": "measured",
        "auth": "plain",
        "seq": 7,
    }
    valid(shown)
    valid(sub_to_dict(replace(SUB, t=None, quality="suspect"), meter="main", device=None, auth="plain", seq=None))


@settings(max_examples=VALUES, deadline=None)
@given(integer=st.integers(-(10**18), 10**18), exponent=st.integers(-18, 6))
def test_decimal_strings_are_exact(integer: int, exponent: int) -> None:
    shown = decimal(integer, exponent)
    assert Fraction(shown) == integer * Fraction(10) ** exponent
    assert "e" not in shown.lower()
    assert len(shown.partition(".")[2]) == max(0, -exponent)
    assert math.trunc(Fraction(shown)) == int(shown.partition(".")[0] or 0)


def test_a_register_that_names_the_meter_is_never_published() -> None:
    """M-Bus meters send their number as a record; `meterd decode` shows it to who has the capture anyway."""
    registers = (("mbus:0c78", 12345678, 0, ""), ("mbus:8410037f", 5, 0, "Wh"), ("mbus:0cfd10", 7, 0, ""))
    item = replace(stamped(), reading=replace(READING, registers=registers))
    assert [row["code"] for row in json.loads(to_json(item, registers=True))["registers"]] == ["mbus:8410037f"]
    assert len(to_dict(item, registers=True)["registers"]) == 3
    assert to_dict(item, registers=True)["registers"][1]["tariff"] == 1
