"""A served meter sends the telegrams that it would have said, at its pace, and its reports match what readers saw."""

import asyncio
import io
import time
from datetime import UTC, datetime, timedelta

import pytest
import serial

from gateway.simulator.clock import Clock
from gateway.simulator.faults import KINDS, parse
from gateway.simulator.meter import Meter
from gateway.simulator.port import FilePort, PtyPort, TcpPort
from gateway.simulator.serve import Plan, serve, truth

START = datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC)


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(120):
            return await coroutine

    return asyncio.run(bounded())


def to_file(plan, variant="dsmr5", speed=float("inf")):
    """Serve into a file; its octets, and what was reported."""
    file, reports = io.BytesIO(), []
    meter = Meter(3, variant, START)
    run(serve(meter, FilePort(file, "file"), Clock(START, speed), plan, reports.append))
    return file.getvalue(), reports


def telegrams(count, variant="dsmr5", interval_s=1):
    meter = Meter(3, variant, START)
    return [meter.telegram_at(START + timedelta(seconds=n * interval_s)) for n in range(count)]


@pytest.mark.parametrize(
    ("variant", "interval_s"), [("dsmr5", 1), ("dsmr42", 10), ("dsmr22", 10), ("emucs", 1), ("se-efs2", 10)]
)
def test_a_file_holds_telegram_after_telegram(variant, interval_s):
    octets, reports = to_file(Plan(count=40), variant)
    assert octets == b"".join(telegrams(40, variant, interval_s))
    assert [report.number for report in reports] == list(range(40))
    assert {report.readers for report in reports} == {1}


def test_an_interval_of_ones_own():
    assert to_file(Plan(interval_s=60, count=5))[0] == b"".join(telegrams(5, interval_s=60))


def test_accelerated_time_keeps_its_pace_and_its_time_stamps():
    began = time.monotonic()
    octets, reports = to_file(Plan(count=101), speed=200)
    assert time.monotonic() - began >= 0.5
    assert octets == b"".join(telegrams(101))
    assert reports[-1].sent_ns - reports[0].sent_ns >= 0.45e9


def test_line_pace_takes_as_long_as_the_line_would():
    began = time.monotonic()
    octets, _ = to_file(Plan(count=2, line_pace=True), "dsmr22")
    assert time.monotonic() - began >= len(octets) / 960 * 0.98


@pytest.mark.parametrize("kind", KINDS)
def test_reported_faults_are_the_faults_in_the_octets(kind):
    octets, reports = to_file(Plan(count=300, faults=(parse(f"{kind}=0.05"),)))
    originals = telegrams(300)
    struck = [report for report in reports if report.outcome.fault]
    assert struck
    assert {report.outcome.fault for report in struck} == {kind}
    assert octets == b"".join(report.outcome.octets for report in reports)
    assert all(report.readers == (1 if report.outcome.octets else 0) for report in reports)
    for report, original in zip(reports, originals, strict=True):
        assert (original in octets) == (report.outcome.arrives is True)


def test_an_unplugged_meter_is_silent_for_its_time():
    _, reports = to_file(Plan(count=12, faults=(parse("unplug@3"),), unplugged_s=4))
    assert [report.number for report in reports if not report.outcome.arrives] == [3, 4, 5, 6]
    assert {report.outcome.since for report in reports if report.outcome.fault} == {3}
    assert reports[3].outcome.octets
    assert not any(report.outcome.octets for report in reports[4:7])


async def drink(stream):
    octets = b""
    while piece := await stream.read(65536):
        octets += piece
    return octets


def test_a_tcp_client_sees_the_plug_pulled_and_comes_back():
    async def scenario():
        port, reports, seen = TcpPort("127.0.0.1", 0), [], []
        await port.open()

        async def client():
            while True:
                try:
                    stream, writer = await asyncio.open_connection("127.0.0.1", port.port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                    continue
                seen.append(await drink(stream))
                writer.close()
                await writer.wait_closed()

        reading = asyncio.create_task(client())
        plan = Plan(count=40, faults=(parse("unplug@5,20"), parse("damaged@10")))
        await serve(Meter(3, "dsmr5", START), port, Clock(START, 10, delay_s=0.5), plan, reports.append)
        await port.close()
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return reports, seen

    reports, seen = run(scenario())
    assert len(seen) >= 3
    originals, octets = telegrams(40), b"".join(seen)
    assert [r.number for r in reports if r.outcome.fault == "unplug"] == [5, 6, 7, 20, 21, 22]
    must = [report.number for report in reports if report.outcome.arrives and report.readers]
    assert len(must) >= 25
    assert [n for n, original in enumerate(originals) if original in octets] == must


def test_a_terminal_reader_gets_what_the_report_says(tmp_path):
    async def scenario():
        port, reports, seen = PtyPort(tmp_path / "meter"), [], bytearray()
        await port.open()

        async def client():
            while True:
                try:
                    with serial.Serial(str(tmp_path / "meter"), 115200, timeout=0, exclusive=True) as line:
                        while True:
                            seen.extend(line.read(4096))
                            await asyncio.sleep(0.002)
                except serial.SerialException:
                    await asyncio.sleep(0.01)

        reading = asyncio.create_task(client())
        plan = Plan(count=40, faults=(parse("unplug@5,20"), parse("noise@9"), parse("torn@30")))
        await serve(Meter(3, "dsmr5", START), port, Clock(START, 10, delay_s=0.5), plan, reports.append)
        await port.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return reports, bytes(seen)

    reports, seen = run(scenario())
    must = [report.number for report in reports if report.outcome.arrives and report.readers]
    assert len(must) >= 25
    assert [n for n, original in enumerate(telegrams(40)) if original in seen] == must


def test_fifty_meters_in_one_process():
    async def one(seed):
        port = TcpPort("127.0.0.1", 0)
        await port.open()
        stream, writer = await asyncio.open_connection("127.0.0.1", port.port)
        while not port.ready():
            await asyncio.sleep(0.005)
        reading = asyncio.create_task(drink(stream))
        meter = Meter(seed, "dsmr5", START)
        await serve(meter, port, Clock(START, 50), Plan(count=50))
        await port.close()
        octets = await reading
        writer.close()
        await writer.wait_closed()
        assert octets == b"".join(meter.telegram_at(START + timedelta(seconds=n)) for n in range(50))

    async def scenario():
        async with asyncio.TaskGroup() as group:
            for seed in range(50):
                group.create_task(one(seed))

    run(scenario())


def test_the_truth_of_a_report():
    _, reports = to_file(Plan(count=3, faults=(parse("silence@1"),)))
    meter = Meter(3, "dsmr5", START)
    rows = [truth(meter, report) for report in reports]
    assert [row["n"] for row in rows] == [0, 1, 2]
    assert rows[0]["at"] == rows[0]["item_p"]["t"] == "2026-10-25T00:59:30Z"
    assert rows[0]["item_p"]["t_meter"] == "2026-10-25T02:59:30+02:00"
    assert [row["arrives"] for row in rows] == [True, False, True]
    assert [row["fault"] for row in rows] == [None, "silence", None]
    assert [row["readers"] for row in rows] == [1, 0, 1]
    assert [row["size"] for row in rows] == [len(telegrams(1)[0]), 0, len(telegrams(3)[2])]
