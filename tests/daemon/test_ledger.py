"""The ledger of a running daemon: what it keeps when the journal is gone, and that reading goes on without it."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

pytestmark = pytest.mark.e2e

TITLE = bytes.fromhex("5341476742000001")
ENCRYPTION, AUTHENTICATION = bytes(range(16)), bytes(range(16, 32))


def until(condition, what, deadline_s=40.0):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.02)
    return value


@pytest.fixture
def encrypted(tmp_path):
    """The lines of a meter's table that name its keys."""
    for name, key in (("ek", ENCRYPTION), ("ak", AUTHENTICATION)):
        (tmp_path / name).write_text(key.hex())
        (tmp_path / name).chmod(0o400)
    keys = f'key_file = "{tmp_path}/ek"\nauth_key_file = "{tmp_path}/ak"\n'
    return f'profile = "lu-smarty-encrypted"\ninterval_s = 1\n{keys}'


def sealed(text, counter):
    nonce = TITLE + counter.to_bytes(4, "big")
    body = AESGCM(ENCRYPTION).encrypt(nonce, text, b"\x30" + AUTHENTICATION)[:-4]
    content = b"\x30" + counter.to_bytes(4, "big") + body
    return b"\xdb\x08" + TITLE + b"\x82" + len(content).to_bytes(2, "big") + content


def noted(running, *arguments):
    """Entries of the metrology log, as `meterd events` shows them."""
    command = [sys.executable, "-m", "gateway.cli", "events", "-c", str(running.config), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_without_the_journal_no_old_telegram_is_accepted(daemon, pty, telegrams, encrypted, harm):
    port, running = pty(), daemon("main", meter_extra=encrypted).start()
    sent = [sealed(text, 1_000 + n) for n, (text, _) in enumerate(telegrams(20))]
    for push in sent:
        port.send(push)
    until(lambda: running.meter()["counters"]["decoded"] == 20, "the readings")
    assert running.stop()[0] == 0
    for path in running.config.parent.glob("journal.db*"):
        if harm == "lost":
            path.unlink()
        else:
            path.write_bytes(os.urandom(path.stat().st_size))
    running.start()
    for push in sent:
        port.send(push)
    until(lambda: running.meter()["counters"].get("fault.unwrap.replayed") == 20, "the replays")
    assert running.meter()["counters"]["decoded"] == 0
    # what comes while a silent port is opened anew is lost
    for n, (text, _) in enumerate(telegrams(10)):
        port.send(sealed(text, 1_020 + n))
        with suppress(AssertionError):
            until(lambda: running.meter()["counters"]["decoded"], "a new reading", 4)
            break
    assert running.meter()["counters"]["decoded"] >= 1
    assert "event=counters_restored meter=main" in running.log.read_text()
    until(lambda: "counters_restored" in [entry["event"] for entry in noted(running, "main")], "the entry")
    assert noted(running, "--verify")[0]["intact"] is True


def test_a_change_of_min_auth_is_noted(daemon, pty, telegrams, encrypted):
    port, running = pty(), daemon("main", meter_extra=encrypted).start()
    port.send(sealed(telegrams(1)[0][0], 1_000))
    until(lambda: running.meter()["counters"]["decoded"] == 1, "the reading")
    running.stop()
    lowered = running.config.read_text().replace(encrypted, f'{encrypted}min_auth = "unverified"\n')
    running.config.write_text(lowered)
    running.start()
    entry = until(lambda: [one for one in noted(running) if one["event"] == "min_auth_changed"], "the entry")[0]
    facts = {"before": "verified (profile)", "after": "unverified (config)"}
    assert (entry["meter"], entry["facts"]) == ("main", facts)


@pytest.mark.parametrize("harm", ["folder", "newer"])
def test_without_a_ledger_reading_goes_on_and_it_is_told(daemon, pty, telegrams, tmp_path, harm):
    port = pty()
    path = tmp_path / ("nowhere/ledger.db" if harm == "folder" else "ledger.db")
    if harm == "newer":
        code = f"""
from pathlib import Path
from dataclasses import replace
from gateway.stores.ledger_file import LEDGER, LedgerFile
from gateway.stores.ledger_place import alone
with alone(Path({str(path)!r})):
    LedgerFile(Path({str(path)!r}), replace(LEDGER, steps=(*LEDGER.steps, ("SELECT 1",), ("SELECT 2",)))).close()
"""
        subprocess.run([sys.executable, "-c", code], check=True)
    running = daemon("main", extra=f'[ledger]\npath = "{path}"\n').start()
    for text, _ in telegrams(3):
        port.send(text)
    until(lambda: running.meter()["counters"]["decoded"] == 3, "the readings")
    ledger = running.status()["ledger"]
    assert ledger["state"] == "off"
    said = "does not exist: create it" if harm == "folder" else "install that version again"
    assert said in ledger["trouble"]
    assert "level=error event=ledger_trouble" in running.log.read_text()
    command = [sys.executable, "-m", "gateway.cli", "status", "--socket", str(running.socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ledger   is not written: " in done.stdout
    assert running.stop()[0] == 0


def test_the_ledger_lies_beside_the_journal(daemon, pty, tmp_path):
    pty()
    running = daemon("main").start()
    assert running.status()["ledger"]["path"] == str(tmp_path / "ledger.db")
    assert [entry["event"] for entry in until(lambda: noted(running), "the first entry")] == ["ledger_begun"]
    assert running.stop()[0] == 0
