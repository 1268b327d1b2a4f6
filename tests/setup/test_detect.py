"""`meterd detect` on a live port: each kind of line is found, nothing is written, and a held one is left alone."""

import asyncio
import fcntl
import json
import os
import tomllib
import tty

import pytest

from gateway import cli
from gateway.control import ControlServer
from gateway.setup import listen
from gateway.setup.listen import LINES, Line

#: a meter of each line, and its link
METERS = {
    "dsmr5": ("115200 8N1", "p1"),
    "si-iskra": ("38400 8N1", "hdlc"),
    "de-sml": ("9600 8N1", "sml"),
    "dsmr22": ("9600 7E1", "p1"),
    "at-kaifa": ("2400 8E1", "mbus"),
    # sent as 8N1: a pseudo-terminal has no parity, and 8E1 is tried first
    "dk-kamstrup": ("2400 8E1", "hdlc"),
    "mbus": ("2400 8E1", "mbus-records"),
    "d0-block": ("9600 7E1", "iec62056-21"),
    "fr-historique": ("1200 7E1", "teleinfo"),
    "fr-standard": ("9600 7E1", "teleinfo"),
}


@pytest.mark.parametrize("variant", METERS)
def test_each_kind_of_line_is_found(cable, household, capsys, variant):
    laid = cable(household(variant, 0.25))
    code = cli.main(["detect", "--json", str(laid.link)])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["line"], said["candidates"][0]["link"]) == (0, *METERS[variant])
    (meter,) = tomllib.loads(said["config"])["meter"]
    assert meter["port"] == str(laid.link)
    assert len(said["attempts"]) <= 4, "the speed is taken from the octets, not guessed"


def test_nothing_is_written_to_the_port(cable, household):
    """What the reader writes comes out of the meter's end of the cable."""
    laid = cable(household("at-kaifa", 0.25))
    kept = os.open(laid.link, os.O_RDWR | os.O_NOCTTY)  # what was written stays until it is read
    try:
        assert cli.main(["detect", str(laid.link)]) == 0
        with pytest.raises(BlockingIOError):
            os.read(laid._master, 1)
    finally:
        os.close(kept)


def test_a_silent_port_says_that_some_meters_only_answer(cable, capsys):
    assert cli.main(["detect", "--seconds", "1", str(cable(lambda n: b"").link)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("nothing recognised: nothing arrives in ")
    assert "answer requests only" in out


def test_a_port_that_another_program_has_is_not_read(cable, household, capsys):
    laid = cable(household("dsmr5"))
    held = os.open(laid.link, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(held)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert cli.main(["detect", str(laid.link)]) == 1
    finally:
        os.close(held)
    said = capsys.readouterr()
    assert said.out == "not looked at\n"
    assert "is held by" in said.err


def test_the_port_of_the_running_daemon_is_not_opened(tmp_path, monkeypatch, capsys):
    port = str(tmp_path / "port")
    config = tmp_path / "meterd.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/control"\n[[meter]]\nname = "main"\nport = "{port}"\n')
    status = {"pid": 7, "meters": [{"meter": "main", "port": port}]}
    monkeypatch.setattr(listen, "scan", None)
    monkeypatch.setattr("gateway.commands.detect._is_port", lambda name: True)

    async def main():
        server = ControlServer(tmp_path / "control", {"status": lambda _: status})
        await server.start()
        try:
            return await asyncio.to_thread(cli.main, ["detect", "-c", str(config), port])
        finally:
            await server.close()

    assert asyncio.run(main()) == 1
    assert "the running meterd reads meter main on it (pid 7)" in capsys.readouterr().err


@pytest.mark.parametrize("sent", LINES, ids=str)
def test_the_speed_of_a_line_is_in_what_a_faster_one_reads(uart, household, sent):
    """Every set of LINES is reached within four attempts, whatever frames it carries."""
    text = household("dsmr5").telegram(0)
    attempts = []
    while line := listen.next_line(LINES, attempts):
        attempts.append(listen.Attempt(line, seven=None))
        if line.baud == sent.baud:
            break
        attempts[-1].take(uart(text, sent, Line(line.baud, "8N1"))[0], 1.0)
        low, high = attempts[-1].speeds
        assert low <= sent.baud <= high
    assert attempts[-1].line.baud == sent.baud
    assert len(attempts) <= 4
