"""The grid JSON as dbus-mqtt-grid reads it; its rules here are facts of its README and its driver (0.1.9-dev)."""

import json
from decimal import Decimal

import pytest

from gateway.sinks.formats import KINDS

LIMIT_W = 23_000
#: fields of the generic device in its README, with their units; a phase has no phases
TOTAL = {"power", "voltage", "current", "energy_forward", "energy_reverse"}
PHASE = {*TOTAL, "frequency", "power_factor"}


def read(payload: bytes) -> dict[str, object]:
    """Read strictly what the driver reads: `grid` with numeric `power` within its limits, known fields only."""
    grid = json.loads(payload, parse_float=Decimal)["grid"]
    phases = {name: grid.pop(name) for name in ("L1", "L2", "L3") if name in grid}
    assert grid.keys() <= TOTAL
    assert isinstance(grid["power"], int)
    assert abs(grid["power"]) <= 3 * LIMIT_W
    for phase in phases.values():
        assert phase.keys() <= PHASE
        assert abs(phase["power"]) <= LIMIT_W
    assert list(phases) == ["L1", "L2", "L3"][: len(phases)], "phases in a row from L1"
    for values in (grid, *phases.values()):
        assert all(type(value) in (int, Decimal) for value in values.values())
    return grid | phases


@pytest.fixture
def made(table, make_item, three_phases):
    def run(phases=0, **fields):
        messages = KINDS["victron"](table("victron", phases=phases))(make_item(registers=three_phases, **fields))
        for message in messages:
            assert (message.topic, message.qos, message.retain, message.expires) == ("victron/grid", 0, False, True)
        return [message.payload for message in messages]

    return run


def test_total_in_w_and_kwh(made):
    assert made() == [b'{"grid":{"power":132,"energy_forward":65238.377,"energy_reverse":0.005}}']
    assert read(made()[0])["power"] == 132


def test_export_is_negative(made):
    assert read(made(p_import_w=0, p_export_w=2400, p_net_w=-2400)[0])["power"] == -2400


@pytest.mark.parametrize("net", [None])
def test_without_net_power_nothing_is_sent(made, net):
    assert made(p_net_w=net) == [], "any message restarts the driver's time-out while it keeps the old power"


def test_absent_energy_is_absent(made):
    assert read(made(a_import_wh=None, a_export_wh=None)[0]) == {"power": 132}


def test_phases_are_net_and_exact(made):
    grid = read(made(phases=3)[0])
    assert grid["L1"] == {"power": Decimal(132), "voltage": Decimal("231.4"), "frequency": Decimal("50.02")}
    assert grid["L2"]["power"] == 70
    assert grid["L3"]["power"] == -310
    assert all("current" not in grid[name] for name in ("L1", "L2", "L3")), "meters send current without its sign"
    assert read(made(phases=1)[0]).keys() == {"power", "energy_forward", "energy_reverse", "L1"}


def test_a_phase_that_is_absent_holds_the_whole_reading_back(made, table, make_item, three_phases):
    lacking = tuple(register for register in three_phases if register[0] != "1-0:62.7.0")
    give = KINDS["victron"](table("victron", phases=3))
    assert give(make_item(registers=lacking)) == [], "the driver would keep the old power of L3"
    assert give(make_item(registers=three_phases))


def test_a_meter_of_import_only_has_phases_of_import_only(table, make_item):
    give = KINDS["victron"](table("victron", phases=1))
    registers = (("1-0:21.7.0", 132, 0, "W"),)
    [message] = give(make_item(registers=registers, p_export_w=None, p_net_w=132, a_export_wh=None))
    assert read(message.payload)["L1"] == {"power": 132}
    assert give(make_item(registers=registers)) == [], "a meter with export needs it by phase, too"


def test_fractions_of_a_watt_stay_exact(table, make_item):
    give = KINDS["victron"](table("victron", phases=1))
    registers = (("1-0:21.7.0", 12345, -4, "kW"), ("1-0:22.7.0", 5, -1, "W"))
    [message] = give(make_item(registers=registers))
    assert read(message.payload)["L1"] == {"power": Decimal("1234.0")}


def test_energy_in_doubt_is_left_out_and_power_is_not(made):
    assert read(made(quality="suspect")[0]) == {"power": 132}
