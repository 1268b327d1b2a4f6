"""A reading taken apart: registers, powers and sub-meters, each as the fold takes it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from decoders.model import Reading, SubReading
from gateway.interval_keeper import latch_of
from gateway.interval_series import Part, Splitter
from gateway.item_p import ItemP, stamp
from gateway.settings import PointSettings

T = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)


def item(t_source: str = "meter", **changes: object) -> ItemP:
    fields: dict[str, object] = {
        "profile": "nl-dsmr5", "interface": "p1", "auth": "unverified", "quality": "measured", "t": T, "t_meter": "",
        "p_import_w": 132, "p_export_w": 0, "p_net_w": 132, "a_import_wh": 65_238_377, "a_export_wh": 1_201,
        "reg_t": T, "registers": (), "register_times": (), "sub": (), "identity": "4530", "interval_s": 1, "flags": (),
        "size": 848,
    }  # fmt: skip
    reading = Reading(**(fields | changes))  # type: ignore[arg-type]
    made = stamp(reading, "main", seq=1, t_rx=T + timedelta(seconds=1), max_clock_offset_s=3_600)
    return replace(made, t_source=t_source)


def taken(one: ItemP, *, synchronised: bool = True, factor: str | None = None) -> list[Part]:
    point = PointSettings(meter="main", channel=1, gas_kwh_per_m3=factor)
    return list(Splitter(b"s" * 16, lambda _meter, _channel: point).take(one, synchronised=synchronised))


def sub(integer: int, exponent: int, unit: str, medium: str = "gas", **changes: object) -> SubReading:
    t = T - timedelta(minutes=20)
    return replace(SubReading(1, medium, "4730", t, "", integer, exponent, unit, "measured"), **changes)


def test_both_directions_with_their_power():
    imported, exported = taken(item())
    assert imported.series.key == ("main", 0, "active", "import")
    assert (imported.t, imported.value, imported.power) == (int(T.timestamp()), 65_238_377, 132)
    assert (exported.value, exported.power) == (1_201, 0)
    assert imported.origin.auth == "unverified"
    assert imported.origin.device != "4530"
    assert "4530" not in repr(imported)


def test_absent_is_absent():
    assert taken(item(a_import_wh=None, a_export_wh=None, p_import_w=None, p_export_w=None, reg_t=None)) == []
    (only,) = taken(item(a_import_wh=None, a_export_wh=None, p_export_w=None, reg_t=None))
    assert (only.value, only.power) == (None, 132)


def test_registers_of_an_earlier_time():
    hour = T.replace(minute=0, second=0)
    register, power, *_ = taken(item(reg_t=hour))
    assert (register.t, register.value, register.power) == (int(hour.timestamp()), 65_238_377, None)
    assert (power.t, power.value, power.power) == (int(T.timestamp()), None, 132)


@pytest.mark.parametrize(("second", "latched"), [(0, True), (10, True), (60, True), (61, False), (1_200, False)])
def test_registers_that_are_latched_at_the_hour(second, latched):
    """List 3 of Norwegian meters: values of XX:00:00, sent at XX:00:10."""
    hour = T.replace(minute=0, second=0)
    sent = hour + timedelta(seconds=second)
    splitter = Splitter(b"s" * 16, lambda meter, channel: PointSettings(meter=meter, channel=channel), latch_of)
    one = item(profile="no-kaifa", t=sent, reg_t=sent)
    found = [part for part in splitter.take(replace(one, t=sent), synchronised=True) if part.value is not None]
    assert {part.t for part in found} == {int((hour if latched else sent).timestamp())}
    usual = [part for part in taken(replace(one, t=sent)) if part.value is not None]
    assert {part.t for part in usual} == {int(sent.timestamp())}


def test_a_suspect_register_makes_no_bound():
    imported, _ = taken(item(quality="suspect"))
    assert (imported.value, imported.power) == (None, 132)


@pytest.mark.parametrize("value", [-1, 10**15, 10**30])
def test_what_no_customer_has(value):
    imported, _ = taken(item(a_import_wh=value))
    assert imported.value is None


def test_a_clock_that_is_not_synchronised_says_nothing():
    assert taken(item("gateway"), synchronised=False) == []
    assert {part.origin.clock for part in taken(item("gateway"))} == {"gateway"}
    assert taken(replace(item(), t=None)) == []


@pytest.mark.parametrize(
    ("registers", "step"),
    [
        ((("1-0:1.8.0", 65_238_377, -3, "kWh"),), 1),
        ((("1-0:1.8.0", 65_238, 0, "kWh"),), 1_000),
        ((("1-0:1.8.1", 652, 1, "Wh"), ("1-0:1.8.2", 10, 0, "kWh")), 1_000),
        ((("1-0:1.8.0", 6_523_837_712, -2, "Wh"),), 1),
    ],
)
def test_the_step_of_the_register(registers, step):
    assert taken(item(registers=registers))[0].origin.step == step


def test_reactive_energy_of_tariffs_and_in_all():
    tariffs = (("1-0:3.8.1", 10_005, -4, "kvarh"), ("1-0:3.8.2", 20_006, -4, "kvarh"))
    (imported,) = [part for part in taken(item(registers=tariffs)) if part.series.kind == "reactive"]
    assert (imported.value, imported.series.unit, imported.series.direction) == (3_001, "varh", "import")
    both = (*tariffs, ("1-0:3.8.0", 7, 0, "kvarh"), ("1-0:4.8.0", 5, 0, "varh"), ("1-0:3.8.0*255", 9, 0, "kvarh"))
    found = [part for part in taken(item(registers=both)) if part.series.kind == "reactive"]
    assert [(part.value, part.series.direction) for part in found] == [(7_000, "import"), (5, "export")]


@pytest.mark.parametrize(
    ("reading", "kind", "unit", "value"),
    [
        (sub(12_785_123, -3, "m3"), "volume", ("m3", -3), 12_785_123),
        (sub(42, 0, "l", "water"), "volume", ("m3", -3), 42),
        (sub(512, -2, "GJ", "heat"), "heat", ("GJ", -2), 512),
        (sub(1_234_567, -4, "kWh", "heat"), "heat", ("Wh", 0), 123_456),
        (sub(99, 0, "kWh", "electricity"), "active", ("Wh", 0), 99_000),
    ],
)
def test_sub_meters_in_their_own_step(reading, kind, unit, value):
    (part,) = [part for part in taken(item(sub=(reading,))) if part.series.channel == 1]
    assert (part.series.kind, part.series.of, part.value) == (kind, unit, value)
    assert part.t == int((T - timedelta(minutes=20)).timestamp())
    assert part.series.medium == reading.medium


@pytest.mark.parametrize(
    ("factor", "integer", "exponent", "wh"),
    [("10.55", 1_000, -3, 10_550), ("10.55", 1, -3, 10), ("9.7694", 12_785_123, -3, 124_902_980), ("11", 3, 0, 33_000),
     ("10.123456789", 1_234_567, -6, 12_498)],
)  # fmt: skip
def test_energy_of_gas_is_exact_and_rounded_down(factor, integer, exponent, wh):
    parts = taken(item(sub=(sub(integer, exponent, "m3"),)), factor=factor)
    assert [part.value for part in parts if part.series.kind == "gas"] == [wh]
    assert [
        part for part in taken(item(sub=(sub(1, 0, "m3", "water"),)), factor=factor) if part.series.kind == "gas"
    ] == []


@pytest.mark.parametrize(
    "changes",
    [{"quality": "suspect"}, {"t": None, "t_meter": "no time"}, {"t": T + timedelta(minutes=2)}, {"unit": "HCA"},
     {"integer": -1}, {"channel": 256}],
)  # fmt: skip
def test_sub_meters_that_say_nothing(changes):
    found = taken(item(sub=(replace(sub(5, 0, "m3"), **changes),)))
    assert [part for part in found if part.series.channel] == []


def test_a_sub_meter_is_taken_once_until_it_says_something_new():
    splitter = Splitter(b"s" * 16, lambda meter, channel: PointSettings(meter=meter, channel=channel))

    def values(one: SubReading) -> list[int | None]:
        return [part.value for part in splitter.take(item(sub=(one,)), synchronised=True) if part.series.channel]

    assert [values(sub(5, 0, "m3")), values(sub(5, 0, "m3"))] == [[5], []]
    assert values(sub(5, 0, "m3", t=T)) == [5]
    # one that speaks itself has the time of the telegram, and is taken each time
    assert [values(sub(6, 0, "m3", t=None, t_meter=None)) for _ in range(2)] == [[6], [6]]
