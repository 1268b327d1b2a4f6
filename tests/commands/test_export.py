"""`meterd export`: what comes out, of a journal that is real."""

import csv
import io
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from decoders.model import Reading, SubReading
from gateway.cli import main
from gateway.commands.export import COLUMNS, SUB_COLUMNS
from gateway.item_p import ItemP, stamp, to_dict
from gateway.pseudonym import pseudonym
from gateway.stores.journal import Journal

START = datetime(2026, 11, 21, 22, 20, tzinfo=UTC)
DEVICE = "4730303339303031363532303530323136"
SUB = SubReading(1, "gas", DEVICE, START, "2026-11-21T23:20:00+01:00", 12_785_123, -3, "m3", "measured")
READING = Reading(
    profile="nl-dsmr5", interface="p1", auth="plain", quality="measured", t=START, t_meter="2026-11-21T23:20:00+01:00",
    p_import_w=132, p_export_w=0, p_net_w=132, a_import_wh=65_238_377, a_export_wh=1_201, reg_t=START,
    registers=(("1-0:32.7.0", 2_314, -1, "V"), ("0-0:96.7.21", 9, 0, "")), register_times=((1, "2026-11-01T00:00:00"),),
    sub=(), identity="4530303434303037313331363530363137", interval_s=1, flags=(), size=848,
)  # fmt: skip


def item(second: int, meter: str = "main", **changes: Any) -> ItemP:
    t = START + timedelta(seconds=second)
    reading = replace(READING, t=t, reg_t=t, **changes)
    t_rx = t + timedelta(milliseconds=412)
    return stamp(reading, meter, seq=second + 1, t_rx=t_rx, max_clock_offset_s=3_600)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Journal]:
    """A journal that is open for writing: 20 readings of `main`, 10 of `barn`, the last with a gas meter."""
    kept = Journal(tmp_path / "journal.db", max_bytes=64 << 20, max_age_s=10**9, group_s=10, meters=("main", "barn"))
    kept.start()
    for n in range(20):
        kept.append(item(n))
    for n in range(10):
        kept.append(item(n, "barn", p_export_w=None, p_net_w=None, sub=(SUB,) if n == 9 else ()))
    assert kept.flush(60)
    yield kept
    kept.close()


@pytest.fixture
def export(filled: Journal, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """`export(*options)`: exit code, stdout, stderr."""

    def run(*options: str) -> tuple[int, str, str]:
        try:
            code = main(["export", "--journal", str(filled.path), *options])
        except SystemExit as end:
            code = int(str(end.code))
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


Export = Callable[..., tuple[int, str, str]]


def test_json_lines_are_item_p_as_over_mqtt(export: Export, checkout: Path) -> None:
    code, out, err = export("--meter", "main")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == [to_dict(item(n)) for n in range(20)]
    schema = checkout / "docs" / "schemas" / "item-p.schema.json"
    if schema.exists():
        jsonschema.validate(lines[0], json.loads(schema.read_text()))


def test_registers_are_an_option(export: Export) -> None:
    _, out, _ = export("--registers", "--meter", "main")
    assert json.loads(out.splitlines()[0])["registers"] == [
        {"code": "1-0:32.7.0", "value": "231.4", "unit": "V"},
        {"code": "0-0:96.7.21", "value": "9", "t": "2026-11-01T00:00:00"},
    ]


def test_sub_meters_have_a_pseudonym(export: Export, filled: Journal) -> None:
    _, out, _ = export("--meter", "barn")
    (sub,) = json.loads(out.splitlines()[-1])["sub"]
    assert sub == {
        "schema": "meterd.sub/1", "meter": "barn", "channel": 1, "device": pseudonym(filled.salt, DEVICE),
        "medium": "gas", "t": "2026-11-21T22:20:00Z", "quantity": "12785.123", "unit": "m3", "quality": "measured",
        "auth": "plain", "seq": 10,
    }  # fmt: skip
    assert DEVICE not in out
    assert READING.identity is not None
    assert READING.identity not in out


@pytest.fixture
def gas(filled: Journal) -> Journal:
    """Ten telegrams more that repeat a gas reading, then five with the next one."""
    later = replace(SUB, t=START + timedelta(minutes=5), integer=SUB.integer + 40)
    for n in range(10, 25):
        filled.append(item(n if n < 20 else 300 + n, "barn", sub=(SUB if n < 20 else later,)))
    assert filled.flush(60)
    return filled


def test_each_reading_of_a_sub_meter_once(export: Export, gas: Journal, checkout: Path) -> None:
    code, out, err = export("--sub-meters")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [(row["t"], row["quantity"], row["seq"]) for row in rows] == [
        ("2026-11-21T22:20:00Z", "12785.123", 11),
        ("2026-11-21T22:25:00Z", "12785.163", 321),
    ]
    assert {row["device"] for row in rows} == {pseudonym(gas.salt, DEVICE)}
    schema = json.loads((checkout / "docs" / "schemas" / "sub.schema.json").read_text())
    for row in rows:
        jsonschema.validate(row, schema)


def test_sub_meters_as_csv(export: Export, gas: Journal) -> None:
    _, out, _ = export("--sub-meters", "--format", "csv", "--meter", "barn")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert tuple(rows[0]) == SUB_COLUMNS
    assert [row["quantity"] for row in rows] == ["12785.123", "12785.163"]


def test_a_meter_without_sub_meters(export: Export) -> None:
    assert export("--sub-meters", "--meter", "main")[::2] == (1, "meterd export: no reading matches\n")
    assert export("--sub-meters", "--registers")[0] == 2


def test_csv_has_a_fixed_header_and_empty_cells(export: Export) -> None:
    code, out, _ = export("--format", "csv", "--meter", "barn", "--registers")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 10
    first = rows[0]
    assert (first["t"], first["seq"], first["p_import_w"]) == ("2026-11-21T22:20:00Z", "1", "132")
    assert (first["p_export_w"], first["p_net_w"], first["sub"]) == ("", "", ""), "absent is never 0"
    assert (first["interface"], first["profile"]) == ("p1", "nl-dsmr5")
    assert json.loads(first["registers"])[0]["value"] == "231.4"
    assert json.loads(rows[-1]["sub"])[0]["quantity"] == "12785.123"
    assert out.splitlines()[0] == ",".join(COLUMNS)
    _, plain, _ = export("--format", "csv")
    assert tuple(next(csv.reader(io.StringIO(plain)))) == COLUMNS


@pytest.mark.parametrize(
    ("since", "until", "seqs"),
    [
        ("2026-11-21T22:20:05Z", "2026-11-21T22:20:08Z", [6, 7, 8]),
        ("2026-11-21T23:20:18+01:00", None, [19, 20]),
        (None, "2026-11-21T22:20:00.5Z", [1]),
        ("2026-11-21T22:20:18.000001Z", None, [20]),
    ],
)
def test_from_is_included_and_to_is_not(export: Export, since: str | None, until: str | None, seqs: list[int]) -> None:
    options = [*(["--from", since] if since else []), *(["--to", until] if until else [])]
    _, out, _ = export("--meter", "main", *options)
    assert [json.loads(line)["seq"] for line in out.splitlines()] == seqs


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--from", "yesterday"], 2, "'yesterday' is no time: write ISO 8601 with a zone, such as"),
        (["--from", "2026-11-21T22:20:05"], 2, "has no zone, and none is guessed"),
        (["--to", "2026-11-21"], 2, "has no zone, and none is guessed"),
        (["--from", "2026-11-22T00:00:00Z", "--to", "2026-11-21T00:00:00Z"], 2, "--from must be before --to"),
        (["--format", "xml"], 2, "invalid choice"),
        (["--from", "2030-01-01T00:00:00Z"], 1, "no reading matches"),
        (["--meter", "attic"], 1, "knows no meter 'attic': it has barn, main"),
    ],
)
def test_what_cannot_be_done_is_said(export: Export, options: list[str], code: int, says: str) -> None:
    got, out, err = export(*options)
    assert (got, out) == (code, "")
    assert says in err


def test_a_file_appears_whole_private_and_is_not_overwritten(export: Export, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    assert export("-o", str(target))[0] == 0
    assert len(target.read_text().splitlines()) == 30
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    code, _, err = export("-o", str(target), "--meter", "barn")
    assert (code, len(target.read_text().splitlines())) == (2, 30)
    assert "add --force" in err
    assert export("-o", str(target), "--meter", "barn", "--force")[0] == 0
    assert len(target.read_text().splitlines()) == 10
    assert export("-o", str(target), "--force", "--from", "2030-01-01T00:00:00Z")[0] == 1
    assert len(target.read_text().splitlines()) == 10, "nothing to write leaves the file as it is"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_journal_that_is_not_there_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--journal", str(tmp_path / "none.db")]) == 1
    assert f"there is no journal at {tmp_path}/none.db" in capsys.readouterr().err
    (tmp_path / "text.db").write_text("hello " * 1_000)
    assert main(["export", "--journal", str(tmp_path / "text.db")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_configuration_names_the_journal(
    filled: Journal, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "socket://127.0.0.1:2001"\n[journal]\npath = "{filled.path}"\n'
    )
    assert main(["export", "-c", str(config)]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 30
    config.write_text("[[meter]]\nnme = 1\n")
    assert main(["export", "-c", str(config)]) == 1
    assert "nme" in capfd.readouterr().err


def test_a_terminal_sees_how_far_it_came(filled: Journal, tmp_path: Path, checkout: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway.cli", "export", "--journal", str(filled.path), "-o", str(tmp_path / "o")]
    subprocess.run(command, stderr=theirs, check=True, timeout=60, cwd=checkout)
    os.close(theirs)
    said = os.read(ours, 4_096).decode()
    os.close(ours)
    assert "30 readings" in said
