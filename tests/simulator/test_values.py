"""Values that no meter says, and meters to which something happens: what the telegrams say, and what the truth says."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from gateway import profiles
from gateway.cli import main
from gateway.simulator.clock import Clock
from gateway.simulator.faults import LASTING_KINDS, VALUE_KINDS, parse
from gateway.simulator.meter import Meter
from gateway.simulator.port import FilePort
from gateway.simulator.push_meter import simulated
from gateway.simulator.serve import Plan, serve, truth

START = datetime(2026, 11, 22, 11, tzinfo=UTC)


def sent(meter, tmp_path, *faults, count=12):
    """What a meter says with these faults: readings by the decoder, and the lines of truth."""
    lines = []

    async def run():
        with (tmp_path / "out").open("wb") as file:
            port = FilePort(file, "out")
            await port.open()
            plan = Plan(count=count, faults=tuple(map(parse, faults)))
            clock = Clock(START, float("inf"))
            await serve(meter, port, clock, plan, lambda one: lines.append(truth(meter, one)))
            await port.close()

    asyncio.run(run())
    decoder = Decoder([profiles.load("nl-dsmr5")], ZoneInfo)
    found = decoder.feed((tmp_path / "out").read_bytes())
    return list(found), lines


@pytest.mark.parametrize("kind", VALUE_KINDS)
def test_single_telegrams_say_what_cannot_be(tmp_path, kind):
    readings, lines = sent(Meter(3, "dsmr5", START), tmp_path, f"{kind}@4,7")
    assert [line["fault"] for line in lines] == [kind if n in (4, 7) else None for n in range(12)]
    assert [line["arrives"] for line in lines] == [n not in (4, 7) for n in range(12)]
    for n, (reading, line) in enumerate(zip(readings, lines, strict=True)):
        true = line["item_p"]
        assert reading.t.isoformat().replace("+00:00", "Z") == true["t"]
        said = {name: getattr(reading, name) for name in ("p_import_w", "a_import_wh", "a_export_wh")}
        different = {name for name, value in said.items() if value != true[name]}
        quantity = "p_import_w" if kind == "power_spike" else "a_import_wh"
        assert different == ({quantity} if n in (4, 7) else set())
        if different:
            above = said[quantity] > true[quantity]
            assert above == (kind != "register_fall")
            assert abs(said[quantity] - true[quantity]) > 25_875 or kind == "power_spike"


def test_a_register_passes_its_last_digit(tmp_path):
    readings, lines = sent(Meter(3, "dsmr5", START, solar_wp=0), tmp_path, "register_rollover@6", count=100)
    registers = [reading.a_import_wh for reading in readings]
    assert registers == [line["item_p"]["a_import_wh"] for line in lines]
    assert all(line["arrives"] for line in lines)
    (fall,) = (n for n in range(1, 100) if registers[n] < registers[n - 1])
    assert fall > 6
    assert registers[fall - 1] - registers[fall] == 10**9 - 1


def test_another_meter_takes_the_place(tmp_path):
    readings, lines = sent(Meter(3, "dsmr5", START), tmp_path, "exchange@6")
    assert [reading.identity for reading in readings] == [readings[0].identity] * 6 + [readings[6].identity] * 6
    assert readings[0].identity != readings[6].identity
    assert [reading.a_import_wh for reading in readings] == [line["item_p"]["a_import_wh"] for line in lines]
    assert (readings[6].a_import_wh, readings[6].a_export_wh) == (0, 0)
    assert [line["arrives"] for line in lines] == [True] * 6 + [None] * 2 + [True] * 4


def test_what_makes_no_difference_is_no_fault(tmp_path):
    """Norwegian lists have energy once an hour: elsewhere a register cannot leap."""
    meter = simulated(3, "no-kaifa", START + timedelta(minutes=3))
    true = meter.telegram_at(START + timedelta(minutes=3))
    strike = meter.values((parse("energy_spike=1"),)).strike(0)
    assert meter.telegram_with(START + timedelta(minutes=3), strike[1]) is None
    assert meter.telegram_at(START + timedelta(minutes=3)) == true


@pytest.mark.parametrize("kind", LASTING_KINDS)
def test_what_lasts_happens_once(kind):
    with pytest.raises(ValueError, match=f"write {kind}@3"):
        parse(f"{kind}=0.1")


def test_the_command_line_knows_them(tmp_path, capsys):
    out, record = tmp_path / "out", tmp_path / "truth"
    common = ["--out", str(out), "--truth", str(record), "--count", "8", "--start", START.isoformat()]
    assert main(["simulate", *common, "--fault", "power_spike@2", "--fault", "exchange@5"]) == 0
    assert [json.loads(line)["fault"] for line in record.read_text().splitlines()] == [
        None, None, "power_spike", None, None, "exchange", "exchange", None,
    ]  # fmt: skip
    assert main(["simulate", *common, "--variant", "no-kaifa", "--fault", "exchange@2"]) == 2
    assert "cannot have the fault exchange" in capsys.readouterr().err
