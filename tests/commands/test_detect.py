"""`meterd detect` on a capture: the answer first, what to paste, and what it says of octets that are no meter's."""

import json
import random
import tomllib

import pytest

from gateway import cli


@pytest.fixture
def detect(capsys, tmp_path):
    """Write octets to a file and run the command on it: exit code, standard output, standard error."""

    def run(octets, *options):
        path = tmp_path / "capture"
        path.write_bytes(octets)
        code = cli.main(["detect", str(path), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def telegrams(meter, number=3):
    return b"".join(meter.telegram(n) for n in range(number))


def test_a_plain_meter_in_three_lines_and_what_to_paste(detect, household):
    code, out, err = detect(telegrams(household("dsmr5")))
    answer, paste = out.split("\n\n")
    assert (code, err) == (0, "")
    assert [line.strip().split(",")[0] for line in answer.splitlines()] == [
        "DSMR 5.0 and ESMR 5 meters (profile nl-dsmr5)",
        "link p1",
        "3 whole telegrams (99 % of the octets)",
    ]
    (meter,) = tomllib.loads(paste)["meter"]
    assert meter == {"name": "main", "port": "/dev/serial/by-id/...", "profile": "nl-dsmr5"}
    assert paste.endswith("# no key is needed\n")


def test_an_encrypted_meter_names_what_operators_ask_for(detect, household):
    meter = household("dk-kamstrup")
    code, out, _ = detect(telegrams(meter))
    assert code == 0
    title = meter._meter.system_title.hex().upper()
    assert f"system title {title}, counter " in out.splitlines()[0]
    assert "perhaps dk-kamstrup" in out.splitlines()[0]
    assert "encryption and authentication key: meterd key set main" in out
    assert tomllib.loads(out.split("\n\n")[1])["meter"] == [{"name": "main", "port": "/dev/serial/by-id/..."}]


def test_json_holds_every_candidate(detect, household):
    mixed = telegrams(household("dsmr5")) + telegrams(household("at-kaifa"))
    code, out, _ = detect(mixed, "--json")
    said = json.loads(out)
    assert (code, said["recognised"], said["octets"], said["error"]) == (0, True, len(mixed), None)
    first, second = said["candidates"][:2]
    assert (first["link"], first["grammar"], first["profiles"][0]) == ("p1", "p1", "nl-dsmr5")
    assert (second["link"], second["grammar"], second["encryption"]["security_control"]) == ("mbus", None, "20")
    assert first["score"] >= second["score"]
    assert tomllib.loads(said["config"])["meter"][0]["profile"] == "nl-dsmr5"


def test_a_clock_without_a_zone_is_told(detect, household):
    _, out, _ = detect(telegrams(household("d0-block")))
    assert "# timezone = " in out


def test_hexadecimal_digits(detect, household):
    digits = telegrams(household("de-sml")).hex(" ").encode()
    assert detect(digits, "--hex")[0] == 0
    code, out, _ = detect(digits)
    assert (code, "--hex reads them" in out) == (1, True)
    code, _, err = detect(b"12 3x", "--hex")
    assert code == 1
    assert "no pairs of hexadecimal digits" in err


def test_noise_says_how_it_looks(detect):
    code, out, _ = detect(random.Random(3).randbytes(5_000))
    assert code == 1
    assert out.splitlines()[0] == "nothing recognised in 5000 octets"
    assert "% with top bit" in out
    code, out, _ = detect(random.Random(3).randbytes(5_000), "--json")
    assert (code, json.loads(out)["config"], json.loads(out)["recognised"]) == (1, None, False)


def test_modbus_is_named(detect):
    from fastcrc.crc16 import modbus

    request = bytes.fromhex("010300000002")
    answer = bytes.fromhex("01030443664000")
    line = b"".join(each + modbus(each).to_bytes(2, "little") for each in (request, answer) * 3)
    code, out, _ = detect(line)
    assert code == 1
    assert "looks like Modbus RTU" in out


def test_a_torn_telegram_is_no_meter_but_a_hint(detect, household):
    code, out, _ = detect(household("at-kaifa").telegram(0)[:200])
    assert code == 1
    assert "or link mbus: " in out
    assert "none is whole" in out


def test_an_empty_file(detect):
    code, out, _ = detect(b"")
    assert (code, out) == (1, "nothing recognised: there are no octets\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["/dev/nothing-of-this-name"], 1, "is not there"),
        (["/nothing/of/this/name"], 1, "No such file"),
        (["rfc2217://host:1"], 2, "not a form of port"),
        (["socket://host"], 2, "is not socket://host:port"),
        (["socket://h:1", "--hex"], 2, "--hex is for a FILE"),
    ],
)
def test_what_cannot_be_looked_at(capsys, arguments, code, said):
    assert cli.main(["detect", *arguments]) == code
    assert said in capsys.readouterr().err
