"""Keys in the running daemon: line states of encrypted meters, keys that arrive, counters that outlive a kill."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.stores.journal import Journal

pytestmark = pytest.mark.e2e

TITLE, OTHER = bytes.fromhex("5341476742000001"), bytes.fromhex("5341476742000002")
METER = 'profile = "lu-smarty-encrypted"\ninterval_s = 1\n'


def until(condition, what, deadline_s=30.0):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.01)
    return value


class Pushes:
    """An encrypted meter: the telegrams of a simulated one inside general-glo-ciphering."""

    def __init__(self, telegrams, encryption, authentication, title=TITLE):
        self.telegrams = telegrams
        self.encryption, self.authentication, self.title = encryption, authentication, title
        self.counter = 1_000

    def next(self, *, control=0x30, counter=None):
        if counter is None:
            self.counter += 1
        text = self.telegrams(1)[0][0]
        return self.seal(text, control, self.counter if counter is None else counter)

    def seal(self, text, control, counter):
        nonce = self.title + counter.to_bytes(4, "big")
        aad = bytes([control]) + self.authentication if control & 0x10 else b""
        sealed = AESGCM(self.encryption).encrypt(nonce, text, aad)
        body = sealed[:-4] if control & 0x10 else sealed[:-16]
        content = bytes([control]) + counter.to_bytes(4, "big") + body
        return b"\xdb\x08" + self.title + b"\x82" + len(content).to_bytes(2, "big") + content


@pytest.fixture
def meter(telegrams):
    return Pushes(telegrams, os.urandom(16), os.urandom(16))


@pytest.fixture
def home(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}


@pytest.fixture
def key(home):
    """Run `meterd key ACTION ...` with text on standard input; exit code, standard output, standard error."""

    def run(running, action, *arguments, text=""):
        command = [sys.executable, "-m", "gateway.cli", "key", action, "-c", str(running.config), *arguments]
        environment = os.environ | home
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=60, check=False, env=environment
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def both(meter):
    return f"{meter.encryption.hex(' ')}\n{meter.authentication.hex()}\n"


def state_of(running, port, meter, wanted, **how):
    """Push until the line has this state; what `meterd status` says then."""
    end = time.monotonic() + 40
    while (found := running.meter())["state"] != wanted:
        assert time.monotonic() < end, f"{found['state']}: {found['evidence']}, wanted {wanted}"
        port.send(meter.next(**how))
        time.sleep(0.2)  # each push is a second later: sent without a pause, the meter's clock would run ahead
    return found


def test_a_key_that_arrives_is_used_at_once_and_after_a_restart(daemon, pty, meter, key, home, tmp_path):  # noqa: PLR0917
    port, running = pty("main"), daemon("main", meter_extra=METER).start(**home)
    found = state_of(running, port, meter, "key_missing")
    (counter,) = re.findall(f"system title {TITLE.hex().upper()}, counter (\\d+)", found["evidence"])
    assert 1_000 < int(counter) <= meter.counter, "the status may be older than what was sent last"
    assert "meterd key set" in found["evidence"]
    code, out, _ = key(running, "set", "main", "--key-file", "-", text=both(meter))
    assert (code, "in use now" in out) == (0, True)
    found = state_of(running, port, meter, "ok")
    assert found["flags"] == []
    stored = tmp_path / "xdg" / "meterd" / "keys"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in stored.iterdir()} == {"main.ek": 0o400, "main.ak": 0o400}
    running.stop()
    running.start(**home)
    found = state_of(running, port, meter, "ok")
    assert found["keys"]["places"] == {
        "encryption": f"store {stored}/main.ek",
        "authentication": f"store {stored}/main.ak",
    }
    code, out, _ = key(running, "remove", "main")
    assert (code, list(stored.iterdir())) == (0, [])
    state_of(running, port, meter, "key_missing")


@pytest.mark.parametrize(
    ("entered", "state", "said"),
    [
        (lambda ek, ak: os.urandom(16).hex() + ak.hex(), "key_rejected", "the encryption key is wrong"),
        (lambda ek, ak: ak.hex() + ek.hex(), "key_rejected", "the encryption key is wrong"),
        (lambda ek, ak: ek.hex() + os.urandom(16).hex(), "auth_key_rejected", "the authentication key is wrong"),
        (lambda ek, ak: ek.hex(), "unauthenticated_refused", "the operator's authentication key is missing"),
    ],
)
def test_what_is_wrong_with_the_keys_is_told_apart(daemon, pty, meter, key, home, entered, state, said):  # noqa: PLR0917
    port, running = pty("main"), daemon("main", meter_extra=METER).start(**home)
    assert key(running, "set", "main", text=entered(meter.encryption, meter.authentication))[0] == 0
    found = state_of(running, port, meter, state)
    assert said in found["evidence"]
    assert f"in use: encryption key {found['keys']['encryption']}" in found["evidence"]
    assert found["counters"]["decoded"] == 0
    assert key(running, "set", "main", text=both(meter))[0] == 0
    state_of(running, port, meter, "ok")


def test_a_key_that_was_right_and_is_rejected_asks_for_the_operator(daemon, pty, meter, key, home):
    port, running = pty("main"), daemon("main", meter_extra=METER).start(**home)
    key(running, "set", "main", text=both(meter))
    state_of(running, port, meter, "ok")
    meter.encryption = os.urandom(16)
    found = state_of(running, port, meter, "key_rejected")
    until_text = datetime.now(UTC).strftime("%Y-%m-%dT%H:")
    assert f"the line was ok with this key until {until_text}" in found["evidence"]
    assert "ask the operator whether the key was changed" in found["evidence"]
    meter.title = OTHER
    port.send(meter.next())
    until(lambda: "is this another meter?" in running.meter()["evidence"], "the other meter to be named")


def test_another_meter_with_the_same_key_is_held_until_a_person_confirms(daemon, pty, meter, key, home):
    port, running = pty("main"), daemon("main", meter_extra=METER).start(**home)
    key(running, "set", "main", text=both(meter))
    state_of(running, port, meter, "ok")
    before = running.meter()["counters"]["decoded"]
    meter.title = OTHER
    found = state_of(running, port, meter, "identity_changed")
    assert OTHER.hex().upper() in found["evidence"]
    assert TITLE.hex().upper() in found["evidence"]
    assert found["counters"]["decoded"] == before
    code, out, _ = key(running, "set", "main", text=both(meter))
    assert (code, "the new system title was confirmed" in out) == (0, True)
    state_of(running, port, meter, "ok")


def test_a_person_may_lower_min_auth_and_it_is_told(daemon, pty, meter, key, home):
    port, running = pty("main"), daemon("main", meter_extra=METER)
    running.start(**home)
    key(running, "set", "main", text=both(meter))
    state_of(running, port, meter, "ok")
    state_of(running, port, meter, "unauthenticated_refused", control=0x20)
    running.stop()
    running.config.write_text(running.config.read_text().replace(METER, f'{METER}min_auth = "unverified"\n'))
    running.start(**home)
    found = state_of(running, port, meter, "ok", control=0x20)
    assert found["flags"] == ["unverified"]
    assert "event=min_auth_changed" in running.log.read_text()
    assert 'before="verified (profile)" after="unverified (config)"' in running.log.read_text()


def test_replays_are_never_accepted_also_not_after_a_kill(daemon, pty, meter, key, home, tmp_path):  # noqa: PLR0917
    port, running = pty("main"), daemon("main", meter_extra=METER).start(**home)
    key(running, "set", "main", text=both(meter))
    sent = [meter.next() for _ in range(40)]
    for push in sent:
        port.send(push)
    until(lambda: running.meter()["counters"]["decoded"] == 40, "the readings")
    for push in sent:
        port.send(push)
    until(lambda: running.meter()["counters"].get("fault.unwrap.replayed") == 40, "the replays")
    found = until(lambda: (m := running.meter())["state"] == "replayed" and m, "the state")
    assert f"last accepted {meter.counter}" in found["evidence"]
    until(lambda: running.meter()["counters"]["stored"] == 40, "the journal", 40)
    late = [meter.next() for _ in range(5)]
    for push in late:
        port.send(push)
    until(lambda: running.meter()["counters"]["decoded"] == 45, "readings that are not committed")
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    running.start(**home)
    for push in (*sent, *late, *sent, *late):
        port.send(push)
    until(lambda: running.meter()["counters"].get("fault.unwrap.replayed") == 125, "the replays after the kill")
    found = running.meter()
    assert found["counters"]["decoded"] - 40 <= len(late), "at most what the open group held"
    running.stop()
    assert len(set(times(tmp_path))) == len(times(tmp_path)) == 45, "one reading for each time of the meter"


def times(folder):
    out = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "export", "-c", str(folder / "meterd.toml"), "--format", "jsonl"],
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout
    return [json.loads(line)["t_meter"] for line in out.splitlines()]


def test_the_counters_are_in_the_journal_with_the_readings_that_they_admitted(daemon, pty, meter, key, home, tmp_path):  # noqa: PLR0917
    port, running = pty("main"), daemon("main", meter_extra=METER).start(**home)
    key(running, "set", "main", text=both(meter))
    state_of(running, port, meter, "ok")
    running.stop()
    journal = Journal(tmp_path / "journal.db", max_bytes=1 << 24, max_age_s=86_400, group_s=10)
    journal.start()
    saved = json.loads(journal.trust("main"))
    stored = journal.stored("main")
    journal.close()
    assert saved["counters"]["chains"][0]["last"] == meter.counter
    assert saved["counters"]["chains"][0]["identity"][0] == TITLE.hex().upper()
    assert saved["min_auth"] == "verified"
    assert stored == len(times(tmp_path))
