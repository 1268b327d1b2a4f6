"""The scan of line parameters: what a UART makes of a wrong one is never taken for a meter, and costs little time."""

import fcntl
import os
import random
import struct

import pytest

from decoders.evidence import SevenBits
from gateway import profiles
from gateway.setup import listen
from gateway.setup.listen import LINES, LONGEST_S, Attempt, Line, Watcher

WRITTEN = {"dsmr5", "dsmr22", "at-kaifa", "dk-kamstrup", "lu-smarty", "si-iskra", "no-kaifa"}


def play(attempt, meter, uart, interval_s):
    """One attempt in simulated time: a telegram each interval, as the UART of the attempt reads it."""
    due, now = [(0.37 + n) * interval_s for n in range(40)], 0.0
    number = 0
    while not attempt.is_over(now, lambda heard: True, LONGEST_S):
        now += 0.1
        if number < len(due) and due[number] <= now:
            octets, errors = uart(meter.telegram(number), meter.line, attempt.line)
            attempt.line_errors = (attempt.line_errors or 0) + errors
            attempt.take(octets, now)
            number += 1
    return now


def fresh(line):
    return Attempt(line, seven=SevenBits() if line.framing == "8N1" else None)


def scanned(meter, uart, interval_s):
    """Every attempt on a line, and how long they took."""
    attempts, seconds = [], 0.0
    while line := listen.next_line(LINES, attempts):
        attempts.append(fresh(line))
        seconds += play(attempts[-1], meter, uart, interval_s)
        if attempts[-1].heard:
            break
    return attempts, seconds


@pytest.mark.parametrize("variant", sorted(WRITTEN))
@pytest.mark.parametrize("interval_s", [1, 10])
def test_the_line_of_a_meter_is_found(household, uart, variant, interval_s):
    meter = household(variant, interval_s)
    attempts, seconds = scanned(meter, uart, interval_s)
    assert [attempt.heard is not None for attempt in attempts] == [False] * (len(attempts) - 1) + [True]
    assert attempts[-1].heard.line == meter.line
    assert seconds < 60


def test_each_line_of_a_profile_is_tried():
    lines = {profiles.load(name).line for name in profiles.names()}
    assert {Line(line.baud, line.framing) for line in lines} <= set(LINES)


def test_a_telegram_that_was_cut_at_its_beginning_decides_nothing(household, uart):
    """The port was opened in the middle of a telegram: the next one decides."""
    meter, attempt = household("dsmr5"), fresh(LINES[0])
    attempt.take(meter.telegram(0)[300:], 0.1)
    assert not attempt.is_over(2.0, lambda heard: True, LONGEST_S)
    attempt.take(meter.telegram(1), 2.1)
    assert attempt.is_over(2.2, lambda heard: True, LONGEST_S)
    assert attempt.heard.link == "p1"


def test_line_errors_settle_it_at_once():
    attempt = fresh(LINES[0])
    attempt.take(bytes(40), 0.1)
    attempt.line_errors = 40
    assert attempt.is_over(0.2, lambda heard: True, LONGEST_S)


def test_damaged_telegrams_get_more_time(household):
    """The parameters are right, the cable is bad: a whole one may follow."""
    attempt, telegram = fresh(Line(2_400, "8E1")), bytearray(household("at-kaifa").telegram(0))
    telegram[40] ^= 1
    attempt.take(bytes(telegram), 1.0)
    assert not attempt.is_over(LONGEST_S + 1, lambda heard: True, LONGEST_S)
    assert attempt.is_over(3 * LONGEST_S, lambda heard: True, LONGEST_S)
    assert attempt.as_dict()["damaged"] == 2, "its first segment, and the second one that lost it"


def test_what_is_heard_may_not_be_enough(household):
    attempt = fresh(LINES[0])
    attempt.take(household("dsmr5").telegram(0), 1.0)
    assert not attempt.is_over(1.1, lambda heard: False, LONGEST_S)
    assert attempt.is_over(1 + 3 * LONGEST_S, lambda heard: False, LONGEST_S)


def test_a_port_finds_its_line(cable, household):
    """With a real terminal: the speed of the second set is the meter's."""
    meter = household("at-kaifa")
    told = []
    attempts = listen.scan(str(cable(meter).link), LINES, lambda heard: True, Watcher(told.append))
    assert [str(attempt.line) for attempt in attempts] == ["115200 8N1", "9600 8N1", "2400 8E1"]
    assert told == attempts
    heard = attempts[-1].heard
    assert (heard.link, str(heard.line)) == ("mbus", "2400 8E1")
    assert heard.octets in b"".join(meter.telegram(n) for n in range(200))


def test_seven_bits_are_seen_in_eight(cable, household):
    attempts = listen.scan(str(cable(household("dsmr22")).link), [Line(9_600, "8N1")], lambda heard: True)
    assert (str(attempts[0].heard.line), attempts[0].heard.is_seven) == ("9600 7E1", True)


def test_a_silent_line_is_tried_once(cable):
    waiting = []
    attempts = listen.scan(
        str(cable(lambda n: b"").link),
        LINES,
        lambda heard: True,
        Watcher(waiting=lambda: waiting.append(1)),
        silence_s=2,
    )
    assert [(a.octets, a.heard, a.trouble) for a in attempts] == [(0, None, None)]
    assert 2 <= attempts[0].seconds < 30
    assert not waiting


def test_noise_is_no_meter(cable):
    dice = random.Random(4)
    attempts = listen.scan(str(cable(lambda n: dice.randbytes(3_000), interval_s=0.05).link), LINES, lambda heard: True)
    assert len(attempts) == len([line for line in LINES if line.framing != "7E1"]) + 2, "1200 and 300 7E1 have no 8N1"
    assert not any(attempt.heard for attempt in attempts)
    assert all(attempt.octets for attempt in attempts)


def test_a_port_that_is_not_there(tmp_path):
    attempts = listen.scan(f"{tmp_path}/nothing", LINES, lambda heard: True)
    assert [attempt.trouble.state for attempt in attempts] == ["no_port"]


def test_a_bridge_has_its_own_parameters(household):
    import socket
    import threading

    telegram = household("dsmr5").telegram(0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            client, _ = server.accept()
            with client:
                client.sendall(telegram)
                client.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        attempts = listen.scan(f"socket://127.0.0.1:{port}", LINES, lambda heard: True)
        thread.join(30)
    assert [(a.line, a.heard.link) for a in attempts] == [(None, "p1")]
    assert attempts[0].as_dict()["line"] is None


def test_line_errors_are_those_of_the_driver(monkeypatch, tmp_path):
    """TIOCGICOUNT: framing, parity and break are damage; a terminal without a UART has no counts."""
    from gateway.sources import serial

    master, slave = os.openpty()
    try:
        source = serial.SerialSource(str(tmp_path), baud=9_600, framing="8N1")
        assert source.line_errors is None
        source._fd = slave
        assert source.line_errors is None
        counts = struct.pack("20i", *[100, 100, 100, 100, 100, 100, 3, 100, 5, 7], *[0] * 10)
        monkeypatch.setattr(fcntl, "ioctl", lambda fd, request, data: counts)
        assert source.line_errors == 15
    finally:
        os.close(master)
        os.close(slave)


def test_a_burst_has_ended_when_the_next_one_begins():
    """Also where nobody looked in between, because the process stood still."""
    attempt = fresh(LINES[0])
    attempt.take(bytes(range(0x41, 0x69)), 1.0)
    assert not attempt.is_over(1.1, lambda heard: True, LONGEST_S)
    attempt.take(bytes(range(0x41, 0x69)), 2.0)
    assert attempt.is_over(2.1, lambda heard: True, LONGEST_S)
