"""Fields of DSMR-reader's split telegram: facts of its settings, its model, and Home Assistant's reader."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from decoders.model import SubReading
from gateway.sinks.formats import KINDS

PHASES = ("l1", "l2", "l3")
#: the fields of a reading of DSMR-reader 5 but `id`, as Home Assistant's integration `dsmr_reader` subscribes to them
NUMBERS = {
    *(f"electricity_{direction}_{rate}" for direction in ("delivered", "returned") for rate in (1, 2)),
    *(f"electricity_currently_{direction}" for direction in ("delivered", "returned")),
    *(f"phase_currently_{direction}_{phase}" for direction in ("delivered", "returned") for phase in PHASES),
    *(f"phase_{kind}_{phase}" for kind in ("voltage", "power_current") for phase in PHASES),
    "extra_device_delivered",
}
TIMES = {"timestamp", "extra_device_timestamp"}


@pytest.fixture
def made(table, make_item, three_phases):
    def run(**fields):
        give = KINDS["dsmr-reader"](table("dsmr-reader"))
        messages = give(make_item(**({"registers": three_phases} | fields)))
        found = {}
        for message in messages:
            prefix, _, field = message.topic.rpartition("/")
            assert (prefix, message.qos, message.retain, message.expires) == ("dsmr/reading", 0, False, True)
            text = message.payload.decode()
            assert field in NUMBERS | TIMES
            assert field not in found
            if field in NUMBERS:
                assert Decimal(text) >= 0, "two directions, none of them negative"
            else:
                assert datetime.fromisoformat(text).tzinfo
            found[field] = text
        return found

    return run


def test_every_field_of_a_three_phase_meter(made):
    assert made() == {
        "timestamp": "2026-11-21T22:20:05Z",
        "electricity_currently_delivered": "0.132",
        "electricity_currently_returned": "0.000",
        "electricity_delivered_1": "4000.001",
        "electricity_delivered_2": "2000.003",
        "electricity_returned_1": "0.005",
        "electricity_returned_2": "0.000",
        "phase_currently_delivered_l1": "0.132",
        "phase_currently_delivered_l2": "0.070",
        "phase_currently_delivered_l3": "0.000",
        "phase_currently_returned_l1": "0.000",
        "phase_currently_returned_l2": "0.000",
        "phase_currently_returned_l3": "0.310",
        "phase_voltage_l1": "231.4",
        "phase_voltage_l2": "230.9",
        "phase_voltage_l3": "233.1",
        "phase_power_current_l1": "1",
        "phase_power_current_l2": "2.5",
        "phase_power_current_l3": "0",
        "extra_device_timestamp": "2026-11-21T22:20:05Z",
        "extra_device_delivered": "1234.567",
    }


def test_a_meter_of_one_tariff_counts_as_tariff_1(made):
    found = made(registers=())
    assert found["electricity_delivered_1"] == "65238.377"
    assert found["electricity_returned_1"] == "0.005"
    assert "electricity_delivered_2" not in found, "absent is absent, not 0"


def test_four_tariffs_become_their_sum(made):
    registers = tuple((f"1-0:1.8.{rate}", rate, 0, "kWh") for rate in (1, 2, 3, 4))
    found = made(registers=registers, a_import_wh=10_000)
    assert found["electricity_delivered_1"] == "10.000"
    assert "electricity_delivered_2" not in found


def test_absent_is_absent(made):
    nothing = dict.fromkeys(("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh"))
    assert made(registers=(), sub=(), **nothing) == {"timestamp": "2026-11-21T22:20:05Z"}


def gas(channel, medium, t, integer, unit="m3"):
    return SubReading(channel, medium, "G", t, None, integer, -3, unit, "measured")


def test_gas_is_the_newest_of_the_gas_meters_with_a_time(made):
    early, late = datetime(2026, 11, 21, 21, tzinfo=UTC), datetime(2026, 11, 21, 22, tzinfo=UTC)
    subs = (gas(1, "gas", late, 5), gas(2, "gas", early, 9), gas(3, "water", late, 7), gas(4, "gas", None, 8))
    found = made(sub=subs)
    assert (found["extra_device_delivered"], found["extra_device_timestamp"]) == ("0.005", "2026-11-21T22:00:00Z")
    assert "extra_device_delivered" not in made(sub=(gas(1, "gas", late, 5, "kWh"),)), "its unit is m3"
    assert "extra_device_delivered" not in made(sub=(gas(3, "water", late, 7),))


def test_energy_in_doubt_is_left_out_and_power_is_not(made):
    found = made(quality="suspect")
    assert not {field for field in found if field.startswith(("electricity_delivered", "electricity_returned"))}
    assert (found["electricity_currently_delivered"], found["phase_voltage_l1"]) == ("0.132", "231.4")
    lower = replace(gas(1, "gas", datetime(2026, 11, 21, 22, tzinfo=UTC), 5), quality="suspect")
    assert "extra_device_delivered" not in made(sub=(lower,))


def test_the_prefix_is_the_topic(table, make_item):
    give = KINDS["dsmr-reader"](table("dsmr-reader", topic="cellar/dsmr"))
    assert all(message.topic.startswith("cellar/dsmr/") for message in give(make_item()))
