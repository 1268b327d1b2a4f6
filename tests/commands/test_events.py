"""`meterd events` by the configuration, and after `meterd forget`."""

import json

from gateway.cli import main
from gateway.stores.ledger_rows import Note
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.rows import EPOCH


def entries(stores, capsys, *arguments):
    code = main(["events", "-c", str(stores.config), "--json", *arguments])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_is_forgotten_is_gone_from_the_ledger_too(stores, capsys):
    file = open_ledger(stores.ledger).file
    file.note([Note("rollback", name, EPOCH, {"said_wh": 1}) for name in ("main", "barn", "main")])
    file.copy_counters({"main": b"counters of main", "barn": b"counters of barn"})
    file.close()
    code, found = entries(stores, capsys, "main")
    assert (code, [entry["id"] for entry in found]) == (0, [2, 4])
    assert main(["forget", "main", "-c", str(stores.config), "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 2
    code, found = entries(stores, capsys)
    assert [(entry["event"], entry["meter"]) for entry in found] == [
        ("ledger_begun", None),
        ("removed", None),
        ("rollback", "barn"),
        ("removed", None),
        ("meter_forgotten", None),
    ]
    assert entries(stores, capsys, "--verify")[1][0]["intact"] is True
    assert b"counters of main" not in stores.ledger.read_bytes()
    assert b"counters of barn" in stores.ledger.read_bytes()


def test_a_configuration_that_has_errors_is_named(stores, capsys):
    stores.config.write_text("meter = 1\n")
    assert main(["events", "-c", str(stores.config)]) == 1
    assert capsys.readouterr().err.startswith(f"meterd events: {stores.config}: ")
