"""`meterd setup` in a real terminal: what is asked and shown, secrets without echo, Ctrl-C at every question."""

import os
import re
import signal
import subprocess
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastcrc.crc16 import arc

PASSWORD = "canary-of-the-terminal"
CTRL_C = "\x03"
WIDEST = 80


@pytest.fixture
def guarded(broker, tmp_path):
    """A broker that asks for the password of the user meterd; its port."""
    users = tmp_path / "users"
    command = ["mosquitto_passwd", "-c", "-b", str(users), "meterd", PASSWORD]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return broker("allow_anonymous false", f"password_file {users}").port


def files(folder):
    """Files that the wizard may have made."""
    made = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    return sorted(made - {"users"})


def shown_well(text, *places):
    """No control sequence, and no line wider than the terminal, but for places that cannot be shorter."""
    assert "\x1b" not in text
    assert all(c.isprintable() or c in "\r\n" for c in text)
    wide = [
        line for line in text.splitlines() if len(line) > WIDEST and not any(str(place) in line for place in places)
    ]
    assert wide == []


def test_a_plain_meter_with_return_only(terminal, cable, household, tmp_path):
    """Every default is right but the port and the broker."""
    port = cable(household("dsmr5", 0.25)).link
    person = terminal()
    person.expect("Ctrl-C ends it, and nothing is written then.")
    person.answer("Number, path, or socket://HOST:PORT", str(port))
    person.expect("115200 8N1:")
    person.expect("link p1")
    person.expect("(profile nl-dsmr5), ")
    person.answer("Name of this meter [main]:", "")
    person.answer("Main fuse, such as 3x25A, or the limit in W (0: none) [3x25A]:", "three phases")
    person.expect("say phases and main fuse such as")
    person.answer("Main fuse, such as 3x25A, or the limit in W (0: none) [3x25A]:", "")
    person.expect("Readings above 25875 W are set aside.")
    person.answer("Broker: HOST or HOST:PORT (- for none) [localhost]:", "-")
    person.expect("No broker: readings go to the journal only.")
    person.answer("Write this? [Y/n]:", "")
    person.expect("Written, and `meterd check` accepts it.")
    person.expect("First reading")
    person.expect("a_import_wh")
    person.expect("meterd run -c")
    assert person.end() == 0
    shown_well(person.shown, tmp_path)
    meter = tomllib.loads((tmp_path / "meterd.toml").read_text())["meter"][0]
    assert meter == {"name": "main", "port": str(port), "profile": "nl-dsmr5"}


def test_an_encrypted_meter_and_a_guarded_broker(terminal, cable, household, guarded, tmp_path):
    """A wrong key, a wrong authentication key, then what the letter says; a wrong password, then the right one."""
    meter = household("lu-smarty", 0.25)
    ek, ak = meter.keys.encryption.hex(), meter.keys.authentication.hex()
    wrong = "17" * 8 + ek[16:]
    person = terminal("--port", cable(meter).link)
    person.expect("Encrypted telegrams: system title 53")
    person.answer("Name of this meter [main]:", "Cellar!")
    person.expect("a name has 1 to 32 of a-z")
    person.answer("Name of this meter [main]:", "cellar")
    person.answer("Encryption key, or both (empty: later):", "no key at all")
    person.expect("this text holds others.")
    person.answer("Encryption key, or both (empty: later):", wrong + ak)
    person.expect("The encryption key is wrong")
    person.answer("Encryption key, or both (empty: later):", ek)
    person.answer("Authentication key (empty: there is none):", wrong)
    person.expect("the authentication key is wrong")
    person.answer("Go on without a key? Nothing is read until it is there [y/N]:", "n")
    assert person.end() == 1
    assert files(tmp_path) == []
    first = person.shown

    person = terminal("--port", cable(meter).link, "--name", "cellar")
    person.answer("Encryption key, or both (empty: later):", meter.text)
    person.expect("The keys are right")
    person.expect("Fingerprints: encryption key")
    person.expect("(profile lu-smarty-encrypted).")
    person.answer("Main fuse, such as 3x25A, or the limit in W (0: none) [3x25A]:", "")
    person.answer("Broker: HOST or HOST:PORT (- for none) [localhost]:", f"127.0.0.1:{guarded}")
    person.answer("With TLS? [y/N]:", "")
    person.answer("User name (- for none) [-]:", "meterd")
    person.answer("Password (not shown; empty for none):", "not this one")
    person.expect("wrong user name or password")
    person.answer("What now: r again, c other answers, k keep it as it is, n no broker [r]:", "c")
    person.answer("Broker: HOST or HOST:PORT (- for none) [localhost]:", f"127.0.0.1:{guarded}")
    person.answer("With TLS? [y/N]:", "n")
    person.answer("User name (- for none) [-]:", "meterd")
    person.answer("Password (not shown; empty for none):", PASSWORD)
    person.expect("It works: connected with MQTT 5, topics may be written.")
    person.answer("Write this? [Y/n]:", "y")
    person.expect("auth verified")
    person.expect("subscribe to meterd/cellar/reading")
    assert person.end() == 0
    password = tmp_path / "mqtt.password"
    assert (password.read_text(), password.stat().st_mode & 0o777) == (PASSWORD + "\n", 0o600)
    text = (tmp_path / "meterd.toml").read_text()
    for secret in (ek, ak, wrong, PASSWORD, "not this one", ek.upper()):
        assert secret not in first + person.shown + text
    stored = [f"xdg/meterd/keys/cellar.{end}" for end in ("ak", "ek")]
    assert files(tmp_path) == ["meterd.toml", "mqtt.password", *stored]
    shown_well(first + person.shown, tmp_path)


#: every question of one run, with the answer that leads to the next
QUESTIONS = (
    ("Number, path, or socket://HOST:PORT", "{port}"),
    ("Listening;", None),
    ("Name of this meter", ""),
    ("Encryption key, or both", "{key}"),
    ("Authentication key", "{second}"),
    ("Main fuse", "1x40A"),
    ("Broker: HOST", "127.0.0.1:{broker}"),
    ("With TLS?", ""),
    ("User name", "meterd"),
    ("Password", PASSWORD),
    ("Write this?", ""),
)


def test_ctrl_c_at_every_question_leaves_nothing_behind(terminal, cable, household, guarded, tmp_path):
    meter = household("lu-smarty", 0.25)
    ek, ak = meter.keys.encryption.hex(), meter.keys.authentication.hex()
    cases = []
    for last, (question, _) in enumerate(QUESTIONS):
        folder = tmp_path / f"run{last}"
        folder.mkdir()
        answers = {"port": str(cable(meter).link), "key": ek, "second": ak, "broker": guarded}
        cases.append((terminal(folder=folder), QUESTIONS[:last], question, answers, folder))

    def stop(case):
        person, before, question, answers, _ = case
        for asked, text in before:
            if text is not None:
                person.answer(asked, text.format(**answers))
        person.expect(question)
        time.sleep(0.1 if question == "Listening;" else 0)
        person.type(CTRL_C)
        return person.end()

    with ThreadPoolExecutor(len(cases)) as pool:
        assert list(pool.map(stop, cases)) == [130] * len(cases)
    for person, *_, folder in cases:
        assert person.shown.rstrip().endswith("meterd setup: interrupted: nothing was written")
        assert list(folder.iterdir()) == []
        assert ek not in person.shown


def test_the_end_of_the_terminal_leaves_nothing_behind(terminal, cable, household, tmp_path):
    """ssh was cut: SIGHUP."""
    person = terminal("--port", cable(household("dsmr5", 0.25)).link)
    person.answer("Name of this meter", "")
    person.answer("Main fuse", "")
    person.expect("Broker: HOST")
    person.process.send_signal(signal.SIGHUP)
    assert person.end() == 130
    assert files(tmp_path) == []


def test_ctrl_d_is_no_answer(terminal, cable, household, tmp_path):
    person = terminal("--port", cable(household("dsmr5", 0.25)).link)
    person.expect("Name of this meter")
    person.type("\x04")
    assert person.end() == 130
    assert files(tmp_path) == []


EXISTING = '[[meter]]\nname = "main"\nport = "/dev/first"  # the first\n'


def test_what_happens_to_a_configuration_is_asked_first(terminal, cable, household, tmp_path):
    path = tmp_path / "meterd.toml"
    path.write_text(EXISTING)
    person = terminal()
    person.expect("is there, with the meters: main.")
    question = "What now: a add a meter to it, r replace it, q leave it as it is [a]:"
    person.answer(question, "x")
    person.expect("answer one of a, r, q")
    person.answer(question, "q")
    assert person.end() == 1
    assert path.read_text() == EXISTING

    person = terminal("--port", cable(household("dsmr5", 0.25)).link)
    person.answer(question, "a")
    person.answer("Name of this meter [main2]:", "main")
    person.expect("has a meter main already")
    person.answer("Name of this meter [main2]:", "attic")
    person.answer("Main fuse", "")
    person.expect("The configuration has no [mqtt], and stays as it is.")
    person.answer("Write this? [Y/n]:", "")
    assert person.end() == 0
    assert [meter["name"] for meter in tomllib.loads(path.read_text())["meter"]] == ["main", "attic"]
    assert path.read_text().startswith(EXISTING)


def test_a_silent_port_may_be_listened_to_again(terminal, cable, household, tmp_path):
    """The person plugs the cable in, and says so."""
    meter, plugged = household("dsmr5", 0.25), []
    person = terminal("--port", cable(lambda n: meter.telegram(n) if plugged else b"").link, "--seconds", 2)
    person.expect("115200 8N1: 0 octets")
    person.expect("Nothing arrives.")
    plugged.append(True)
    person.answer("Listen again? [Y/n]:", "")
    person.expect("(profile nl-dsmr5)")
    person.answer("Name of this meter", "")
    person.answer("Main fuse", "")
    person.answer("Broker: HOST", "-")
    person.answer("Write this?", "n")
    assert person.end() == 1
    assert files(tmp_path) == []


def test_a_zone_is_asked_where_the_meter_tells_none(terminal, cable, tmp_path):
    body = b"/XYZ5\\5meter\r\n\r\n0-0:1.0.0(261122101500)\r\n1-0:1.7.0(00.123*kW)\r\n1-0:2.7.0(00.000*kW)\r\n!"
    telegram = body + b"%04X\r\n" % arc(body)
    person = terminal("--port", cable(lambda n: telegram).link, "--no-mqtt")
    person.answer("Name of this meter", "")
    person.expect("The meter tells a wall clock without its zone.")
    person.answer("Zone of the meter's clock", "Europe/Atlantis")
    person.expect("is no time zone")
    person.answer("Zone of the meter's clock", "Europe/Oslo")
    person.answer("Main fuse", "")
    person.answer("Write this?", "")
    assert person.end() == 0
    meter = tomllib.loads((tmp_path / "meterd.toml").read_text())["meter"][0]
    assert meter["timezone"] == "Europe/Oslo"
    assert "profile" not in meter, "a profile for meters of many: auto may find a better one"
    assert re.search(r"t +2026-11-22T09:15:00Z", person.shown)


def test_a_service_is_named_where_there_is_one(monkeypatch, tmp_path):
    from gateway.commands import configuration, setup_write
    from gateway.commands.setup_plan import Plan

    (tmp_path / "meterd.service").write_text("")
    monkeypatch.setattr(setup_write, "UNITS", (tmp_path / "meterd.service",))
    monkeypatch.setattr(configuration, "SYSTEM", tmp_path / "meterd.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", os.fspath(tmp_path))
    plan = Plan(None, None, tmp_path / "meterd.toml")
    assert list(setup_write._commands(plan)) == ["systemctl enable --now meterd", "meterd status"]
    plan.adds = True
    assert next(setup_write._commands(plan)) == "systemctl restart meterd"
    plan.file = tmp_path / "other.toml"
    assert next(setup_write._commands(plan)).startswith(f"meterd run -c {tmp_path}/other.toml  (restart it")
