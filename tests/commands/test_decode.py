"""`meterd decode`: item P on stdout, one line per failure on stderr, and nothing else whatever comes in."""

import json
import os
import random
import re
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from decoders.errors import CODES
from gateway import cli, profiles

Run = Callable[..., tuple[int, list[Any], str]]

FRAMES = profiles.shipped() / "frames"
GOOD = FRAMES.joinpath("nl-dsmr5-iskra-gas.p1").read_bytes()
CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "p1-ascii.jsonl"

#: cases that say "no reading" and give one, with the reason
DISPUTED = {
    "p1-basjes-bad-1": "a torn telegram, then a whole one whose CRC-16 is right: a good one beside it is not lost",
}
#: families that `auto` reads beside P1 (tests/profiles has their values)
PUSHES = {
    "apdu",
    "hdlc-push",
    "hdlc-push-encrypted",
    "iec62056-21",
    "llc-apdu",
    "mbus-link-push-encrypted",
    "mbus-wired",
    "p1-encrypted",
    "sml",
    "teleinfo",
    "wrapper-push-encrypted",
}


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> Run:
    """Run `meterd decode` on these octets: (exit code, JSON lines, stderr)."""

    def decode(octets: bytes | None, *options: str) -> tuple[int, list[Any], str]:
        arguments = list(options)
        if octets is not None:
            capture = tmp_path / "capture"
            capture.write_bytes(octets)
            arguments.append(str(capture))
        try:
            code = cli.main(["decode", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfdbinary.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err.decode()

    return decode


@pytest.fixture
def explained(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def explain(octets: bytes, *options: str) -> tuple[int, str]:
        capture = tmp_path / "capture"
        capture.write_bytes(octets)
        code = cli.main(["decode", "--explain", *options, str(capture)])
        out, err = capfdbinary.readouterr()
        assert err == b""
        return code, out.decode()

    return explain


@pytest.fixture(scope="module")
def valid(checkout: Path) -> Callable[[Any], None]:
    item, sub = (json.loads((checkout / f"docs/schemas/{name}.schema.json").read_text()) for name in ("item-p", "sub"))
    registry: Registry[Any] = Registry().with_resource(sub["$id"], Resource.from_contents(sub))
    return jsonschema.Draft202012Validator(item, registry=registry).validate


def cases(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judge(path: Path, run: Run, valid: Callable[[Any], None]) -> int:
    """Hold every answer to what its case asserts; give the number of cases that were held to something."""
    code, answers, err = run(None, "--cases", str(path))
    assert (code, err) == (0, "")
    known = cases(path)
    assert [answer["id"] for answer in answers] == [case["id"] for case in known]
    for case, answer in zip(known, answers, strict=True):
        assert set(answer) == {"id", "readings", "faults"}
        assert all((fault["stage"], fault["code"]) in CODES for fault in answer["faults"])
        for reading in answer["readings"]:
            valid(reading)
        if case["valid"]:
            right(case, answer["readings"])
        else:
            assert bool(answer["readings"]) == (case["id"] in DISPUTED), case["id"]
            assert answer["faults"], case["id"]
    return len(known)


def right(case: dict[str, Any], readings: Sequence[dict[str, Any]]) -> None:
    (reading,) = readings
    asserted = case["item_p"]
    for key in ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "auth"):
        if key in asserted:
            assert reading.get(key) == asserted[key], (case["id"], key)
    said = asserted.get("timestamp", "")
    if said is None:
        assert "t_meter" not in reading, case["id"]
        assert reading["t_source"] == "gateway", case["id"]
    elif said:
        from datetime import datetime

        moment = datetime.fromisoformat(said)
        if moment.tzinfo:
            assert datetime.fromisoformat(reading["t"]) == moment, case["id"]
        else:
            assert reading["t_meter"] == said, case["id"]


def test_every_shipped_case(run: Run, valid: Callable[[Any], None]) -> None:
    assert judge(CORPUS, run, valid) >= 44


@pytest.mark.corpus
@pytest.mark.parametrize("part", ["open", "reference"])
def test_every_p1_case_of_the_shared_corpus(part: str, corpus: Path, run: Run, valid: Callable[[Any], None]) -> None:
    assert judge(corpus / part / "p1-ascii.jsonl", run, valid) >= 18


@pytest.mark.corpus
@pytest.mark.parametrize("part", ["open", "reference"])
def test_no_family_that_is_not_known_passes_for_one_that_is(part: str, corpus: Path, run: Run) -> None:
    for path in sorted((corpus / part).glob("*.jsonl")):
        if path.stem != "p1-ascii" and path.stem not in PUSHES:
            _, answers, _ = run(None, "--cases", str(path))
            read = {answer["id"] for answer in answers if answer["readings"]}
            assert read == set(), path.name
            assert all(answer["faults"] or answer["readings"] for answer in answers)


@pytest.mark.parametrize("name", sorted(entry.name for entry in FRAMES.iterdir() if entry.name.endswith(".p1")))
def test_every_frame_gives_an_object_that_is_valid(name: str, run: Run, valid: Callable[[Any], None]) -> None:
    code, (reading,), err = run(FRAMES.joinpath(name).read_bytes(), "--received-at", "2026-11-21T22:20:05Z")
    assert (code, err) == (0, "")
    valid(reading)
    assert not {"seq", "t_rx", "clock_offset_s", "valid_for_s"} & set(reading)


def test_a_reading_whole(run: Run) -> None:
    """Every key, against the telegram read by eye."""
    _, (reading,), _ = run(GOOD)
    registers = reading.pop("registers")
    assert reading == {
        "schema": "meterd.item-p/1",
        "meter": "main",
        "t": "2023-10-26T18:40:15Z",
        "t_source": "meter",
        "t_meter": "2023-10-26T20:40:15+02:00",
        "p_import_w": 302,
        "p_export_w": 0,
        "p_net_w": 302,
        "a_import_wh": 34326,
        "a_export_wh": 2376,
        "reg_t": "2023-10-26T18:40:15Z",
        "quality": "measured",
        "auth": "plain",
        "src": {"interface": "p1", "profile": "nl-dsmr5"},
        "sub": [
            {
                "schema": "meterd.sub/1",
                "meter": "main",
                "channel": 1,
                "medium": "gas",
                "t": "2023-10-26T18:40:04Z",
                "quantity": "4.381",
                "unit": "m3",
                "quality": "measured",
                "auth": "plain",
            }
        ],
    }
    assert registers[0] == {"code": "1-0:1.8.1", "value": "32.159", "unit": "kWh"}
    assert registers[4] == {"code": "0-0:96.14.0", "value": "2"}
    assert len(registers) == 27


def test_hexadecimal_digits_in_lines_and_either_case(run: Run) -> None:
    digits = GOOD.hex()
    lines = "\n".join(digits[i : i + 61] for i in range(0, len(digits), 61))
    for text in (digits, lines, lines.upper() + "\n"):
        assert run(text.encode(), "--hex")[1] == run(GOOD)[1]
    many = (GOOD * 100).hex().encode()
    assert len(run(many, "--hex")[1]) == 100


@pytest.mark.parametrize(
    "text", [b"2f4g", b"2f4", GOOD, b"\xb2\xb3"], ids=["no digit", "odd", "telegram", "superscripts"]
)
def test_what_is_not_hexadecimal_is_said(text: bytes, run: Run) -> None:
    code, out, err = run(text, "--hex")
    assert (code, out) == (1, [])
    assert one_line(err, "hexadecimal digits")


def one_line(err: str, *words: str) -> bool:
    """One line, for people, with these words and without a traceback."""
    return err.startswith("meterd decode: ") and err.count("\n") == 1 and all(word in err for word in words)


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"", "link/no_frame"),
        (b"\xff\x00binary garbage\x1b[2J" * 500, "link/no_frame"),
        (random.Random(3).randbytes(200_000).replace(b"/", b""), "link/no_frame"),
        (GOOD[:400], "link/truncated"),
        (GOOD.replace(b"00.302", b"00.303"), "link/checksum"),
        (GOOD[: GOOD.rindex(b"!") + 1] + b"\r\n", "link/checksum_missing"),
        (GOOD[:60] + b"x" * 20_000, "link/oversized"),
        (b"/TST5\r\n\r\nnonsense\r\n!\r\n", "grammar/line"),
        (b"/TST5\r\n\r\n1-0:1.7.0(1O*kW)\r\n!\r\n", "grammar/number"),
        (b"/TST5\r\n\r\n" + b"1-0:1.7.0(1*kW)\r\n" * 600 + b"!\r\n", "grammar/elements"),
    ],
)
def test_each_failure_is_one_clear_line(octets: bytes, fault: str, run: Run) -> None:
    code, out, err = run(octets)
    assert (code, out) == (1, [])
    assert one_line(err, fault, CODES[tuple(fault.split("/"))], "octets"), err  # type: ignore[index]
    assert err.isprintable() or err.rstrip("\n").isprintable()


def test_a_torn_telegram_beside_a_good_one(run: Run) -> None:
    code, readings, err = run(GOOD[:400] + GOOD)
    assert (code, len(readings)) == (0, 1)
    assert one_line(err, "link/truncated")


def test_many_failures_do_not_flood(run: Run) -> None:
    _, _, err = run(GOOD.replace(b"00.302", b"00.303") * 500)
    assert len(err.splitlines()) == 21
    assert "480 failures more" in err


def test_a_hundred_thousand_lines(run: Run) -> None:
    code, out, err = run(GOOD[: GOOD.index(b"1-0")] + b"1-0:1.7.0(1*kW)\r\n" * 100_000 + b"!\r\n" + GOOD)
    assert (code, len(out)) == (0, 1)
    assert "link/oversized" in err


def test_usage(run: Run, tmp_path: Path) -> None:
    assert run(None)[0] == 2
    assert run(GOOD, "--cases", str(CORPUS))[0] == 2
    assert run(None, "--explain", "--cases", str(CORPUS))[0] == 2
    for options in (["--tz", "Mars/Olympus"], ["--min-auth", "much"], ["--received-at", "noon"], ["--nonsense"]):
        code, out, err = run(GOOD, *options)
        assert (code, out) == (2, [])
        assert options[0] in err
    assert run(GOOD, "--received-at", "2026-11-21T22:20:05")[0] == 2


def test_a_key_never_stands_on_the_command_line(run: Run) -> None:
    code, out, err = run(GOOD, "--key=00112233445566778899AABBCCDDEEFF")
    assert (code, out) == (2, [])
    assert "0011" not in err


def test_a_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        code, out, err = run(None, str(path))
        assert (code, out) == (1, [])
        assert one_line(err, str(path))
        assert run(None, "--cases", str(path))[0] == 1


def test_a_profile_that_does_not_exist(run: Run) -> None:
    code, out, err = run(GOOD, "--profile", "nl-dsmr6")
    assert (code, out) == (1, [])
    assert one_line(err, "'nl-dsmr6'", "nl-dsmr5", "auto")


def test_a_profile_by_name_and_a_wrong_one(run: Run) -> None:
    assert run(GOOD, "--profile", "nl-dsmr5")[1] == run(GOOD)[1]
    _, (reading,), _ = run(GOOD, "--profile", "fi-sk13-1")
    assert "a_import_wh" not in reading  # this profile knows no tariffs: absent, not a guess


def test_a_zone_of_the_user_wins(run: Run) -> None:
    _, (reading,), _ = run(GOOD, "--tz", "Europe/Helsinki")
    assert (reading["t"], reading["t_meter"]) == ("2023-10-26T17:40:15Z", "2023-10-26T20:40:15+03:00")


def test_the_time_of_receipt_only_where_the_meter_has_none(run: Run) -> None:
    old = FRAMES.joinpath("nl-dsmr2-standard.p1").read_bytes()
    _, (without,), _ = run(old)
    assert (without["t_source"], "t" in without) == ("gateway", False)
    _, (reading,), _ = run(old, "--received-at", "2026-11-21T23:20:05+01:00")
    assert (reading["t"], reading["t_source"], "reg_t" in reading) == ("2026-11-21T22:20:05Z", "gateway", False)
    assert run(GOOD, "--received-at", "2026-11-21T23:20:05+01:00")[1] == run(GOOD)[1]


@pytest.mark.parametrize("least", ["unverified", "verified"])
def test_a_lower_class_than_asked_for_is_refused(least: str, run: Run) -> None:
    code, out, err = run(GOOD, "--min-auth", least)
    assert (code, out) == (1, [])
    assert one_line(err, "plain", least)
    assert run(GOOD, "--min-auth", "plain")[0] == 0


def test_cases_that_are_none(run: Run, tmp_path: Path) -> None:
    good = {"id": "a", "encoding": "hex", "data": GOOD.hex(), "context": GOOD[:50].hex()}
    lines = [good, {"id": "b"}, good | {"data": "zz"}, good | {"encoding": "morse"}, good | {"context": ["z"]}]
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\nnonsense\n")
    code, answers, err = run(None, "--cases", str(path))
    assert code == 1
    assert [len(answer["readings"]) for answer in answers] == [1]
    assert [re.search(r"line (\d)", line)[1] for line in err.splitlines()] == ["2", "3", "4", "5", "6"]  # type: ignore[index]


HOSTILE = {
    "control": "A\x1b[2J\x07B",
    "c1": "A\x9b2JB",
    "bidi": "A\u202eB".encode().decode("latin-1"),
    "nul": "A\x00B",
    "script": "<script>alert(1)</script>",
    "quote": 'A","p_import_w":1,"x":"',
    "long": "A" * 10_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "place", [b"0-0:96.13.0(%s)", b"1-0:0.2.0(%s)", b"0-0:1.0.0(%s)", b"9-9:9.9.9(%s)", b"0-1:96.1.0(%s)"]
)
def test_hostile_text_in_any_object(
    text: str, place: bytes, run: Run, explained: Callable[..., tuple[int, str]], valid: Callable[[Any], None]
) -> None:
    line = place.replace(b"%s", text.encode("latin-1"))
    body = GOOD[: GOOD.index(b"1-0:1.8.1")] + line + b"\r\n" + GOOD[GOOD.index(b"1-0:1.8.1") : GOOD.rindex(b"!") + 1]
    octets = body + f"{crc16_arc(body):04X}\r\n".encode()
    code, (reading,), err = run(octets)
    assert (code, err, reading["p_import_w"]) == (0, "", 302)
    valid(reading)
    assert text[1:] not in json.dumps(reading, ensure_ascii=False)
    code, out = explained(octets)
    assert code == 0
    assert all(line.isprintable() and len(line) < 200 for line in out.splitlines())


@pytest.mark.parametrize("text", [text for name, text in HOSTILE.items() if name not in {"nul", "long", "script"}])
def test_hostile_text_in_the_identification(text: str, explained: Callable[..., tuple[int, str]]) -> None:
    body = b"/ISK5" + text.encode("latin-1") + GOOD[GOOD.index(b"\r\n") : GOOD.rindex(b"!") + 1]
    code, out = explained(body + f"{crc16_arc(body):04X}\r\n".encode())
    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())


def crc16_arc(octets: bytes) -> int:
    register = 0
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register


#: characters of an identification that can tell one meter from another: shorter ones are names of models
TELLING = 7
#: objects that name a meter, its owner or a sub-meter
IDENTITIES = re.compile(rb"\n\d-\d:(?:96\.1\.\d+|42\.0\.0|0\.0\.0)(?:\*255)?\(([^\r\n]*)\)")


@pytest.mark.parametrize("name", sorted(entry.name for entry in FRAMES.iterdir() if entry.name.endswith(".p1")))
def test_explain_shows_every_layer_and_no_identification(
    name: str, explained: Callable[..., tuple[int, str]], run: Run
) -> None:
    octets = FRAMES.joinpath(name).read_bytes()
    code, out = explained(octets)
    assert code == 0
    assert {line[:11].strip() for line in out.splitlines()[1:-1]} == {"link", "grammar", "profile", "item P"}
    secrets = [secret.decode("latin-1") for secret in IDENTITIES.findall(octets)]
    secrets += [bytes.fromhex(secret).decode("latin-1") for secret in secrets if re.fullmatch("([0-9A-F]{2})+", secret)]
    shown = out + json.dumps(run(octets)[1])
    assert [secret for secret in secrets if len(secret.strip(" 0")) >= TELLING and secret in shown] == []
    assert re.findall(r"identification .*\d{8}", out) == []


def test_explain_says_what_every_register_is(explained: Callable[..., tuple[int, str]]) -> None:
    _, out = explained(GOOD)
    for words in (
        "active power, import (P+)",
        "(34 characters)",
        "sub-meter 1: device type 3, 4.381 m3",
        "p_net_w        302",
    ):
        assert words in out
    assert "4530303534303038353539313239303233" not in out


def test_explain_says_why_not(explained: Callable[..., tuple[int, str]]) -> None:
    code, out = explained(GOOD.replace(b"00.302", b"00.303"))
    assert code == 1
    assert f"link     REFUSED: {CODES['link', 'checksum']}" in out
    code, out = explained(b"nothing")
    assert (code, out) == (1, "no telegram begins in 7 octets\n")
    code, out = explained(GOOD[:300] + GOOD)
    assert code == 0
    assert "telegram 2" in out


def test_a_live_pipe_gives_each_reading_at_once() -> None:
    """Telegram by telegram through a pipe: a reading is there before the next octet is sent."""
    command = [sys.executable, "-m", "gateway.cli", "decode", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(cli.__file__).parent.parent
    ) as meter:
        assert meter.stdin is not None
        assert meter.stdout is not None
        for _ in range(3):
            meter.stdin.write(GOOD[:300])
            meter.stdin.flush()
            meter.stdin.write(GOOD[300:])
            meter.stdin.flush()
            assert select.select([meter.stdout], [], [], 60)[0], "no reading within a minute"
            assert json.loads(os.read(meter.stdout.fileno(), 65_536))["p_import_w"] == 302
        meter.stdin.close()
        assert meter.wait(60) == 0


def test_the_examples_of_the_documentation_are_what_the_tool_prints(
    checkout: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    text = (checkout / "docs" / "item-p.md").read_text(encoding="utf-8")
    examples = re.findall(r"```console\n\$ meterd (.*)\n((?:.*\n)*?)```", text)
    assert len(examples) >= 4
    for command, shown in examples:
        assert cli.main(command.split()) == 0
        assert capfdbinary.readouterr().out.decode() == shown, command


def test_the_documentation_explains_every_key(checkout: Path) -> None:
    text = (checkout / "docs" / "item-p.md").read_text(encoding="utf-8")
    for name in ("item-p", "sub"):
        schema = json.loads((checkout / f"docs/schemas/{name}.schema.json").read_text(encoding="utf-8"))
        rows = {
            key
            for line in text.splitlines()
            if line.startswith("| `")
            for key in re.findall(r"`(\w+)`", line.split("|")[1])
        }
        assert set(schema["properties"]) <= rows
