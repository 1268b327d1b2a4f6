"""`meterd setup --yes`: every answer by option; what it writes, what it refuses, and that it then leaves nothing."""

import base64
import fcntl
import json
import os
import random
import subprocess
import sys
import tomllib
import tty

import pytest

from gateway.settings import load

PASSWORD = "canary-of-the-setup"


def steps(done):
    """What each step reported, by its name; the last report of a step counts."""
    return {row["step"]: row for row in map(json.loads, done.stdout.splitlines())}


def config(folder):
    return tomllib.loads((folder / "meterd.toml").read_text())


def left(folder, *known):
    """What there is below a folder beside what the test made."""
    made = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    return sorted(made - set(known))


@pytest.fixture
def key_file(tmp_path):
    def write(text):
        (tmp_path / "keys").write_text(text)
        return tmp_path / "keys"

    return write


def test_a_plain_meter(setup, cable, household, broker, tmp_path):
    cable = cable(household("dsmr5", 0.25))
    done = setup("--port", cable.link, "--name", "cellar", "--mqtt-host", "127.0.0.1", "--mqtt-port", broker().port)
    assert (done.returncode, done.stderr) == (0, "")
    settings = load(tmp_path / "meterd.toml")
    assert [(m.name, m.port, m.profile) for m in settings.meter] == [("cellar", str(cable.link), "nl-dsmr5")]
    assert settings.mqtt.host == "127.0.0.1"
    assert "It works: connected with MQTT 5, topics may be written." in done.stdout
    assert "Next\n  meterd run -c " in done.stdout
    assert "subscribe to meterd/cellar/reading" in done.stdout
    check = [sys.executable, "-m", "gateway.cli", "check", "-c", str(tmp_path / "meterd.toml")]
    assert subprocess.run(check, capture_output=True, timeout=60, check=False).returncode == 0
    assert left(tmp_path) == ["meterd.toml"]


def test_each_step_for_a_program(setup, cable, household, broker, key_file, tmp_path):  # noqa: PLR0917  # fixtures
    meter = household("lu-smarty", 0.25)
    arguments = ("--key-file", key_file(meter.text), "--mqtt-host", "127.0.0.1", "--mqtt-port", broker().port)
    done = setup("--json", "--port", cable(meter).link, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    told = steps(done)
    assert list(told) == [
        "port", "line", "meter", "name", "key", "profile", "limit", "broker", "write", "reading", "next",
    ]  # fmt: skip
    assert (told["line"]["line"], told["line"]["link"]) == ("115200 8N1", "bare")
    assert (told["meter"]["encrypted"], told["meter"]["security_control"]) == (True, "30")
    assert told["key"]["verdict"] == "right"
    assert told["profile"]["profile"] == "lu-smarty-encrypted"
    assert (told["broker"]["protocol"], told["broker"]["writes"]) == ("5", True)
    item = told["reading"]["item_p"]
    assert (item["schema"], item["meter"], item["auth"]) == ("meterd.item-p/1", "main", "verified")
    assert item["p_import_w"] is not None
    stored = tmp_path / "xdg/meterd/keys/main.ek"
    assert set(told["write"]["written"]) >= {str(stored), str(stored.with_suffix(".ak"))}
    assert (stored.read_text().strip(), stored.stat().st_mode & 0o777) == (meter.keys.encryption.hex(), 0o400)
    for secret in (meter.keys.encryption, meter.keys.authentication):
        assert secret.hex() not in (done.stdout + (tmp_path / "meterd.toml").read_text()).lower()


@pytest.mark.parametrize(
    ("options", "found"),
    [((), None), (("--max-power", "3x25A"), None), (("--max-power", "3x35A"), 36_225), (("--max-power", "0"), 0)],
)
def test_the_limit_of_the_connection(setup, tmp_path, options, found):
    done = setup("--no-listen", "--port", "socket://127.0.0.1:9", "--profile", "nl-dsmr5", "--no-mqtt", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert config(tmp_path)["meter"][0].get("max_power_w") == found
    assert load(tmp_path / "meterd.toml").meter[0].max_power_w == (25_875 if found is None else found)


@pytest.mark.parametrize(
    ("limit", "reason"), [("4x25A", "say phases and main fuse such as 3x25A"), ("1", "the meter says ")]
)
def test_a_limit_that_cannot_be(  # noqa: PLR0917 - fixtures
    setup, cable, household, tmp_path, limit, reason
):
    done = setup("--port", cable(household("dsmr5", 0.25)).link, "--no-mqtt", "--max-power", limit)
    assert done.returncode == 1
    assert reason in done.stderr
    assert left(tmp_path) == []


def test_a_slow_line_with_parity_and_a_key_in_base64(setup, cable, household, key_file, tmp_path):
    """M-Bus at 2400 Bd: at 115200 Bd a UART reads rubbish of it, and the scan goes on."""
    meter = household("at-kaifa", 1)
    keys = key_file(base64.b64encode(meter.keys.encryption).decode())
    done = setup("--json", "--port", cable(meter).link, "--no-mqtt", "--key-file", keys)
    assert (done.returncode, done.stderr) == (0, "")
    told = steps(done)
    attempts = told["line"]["attempts"]
    assert [attempt["line"] for attempt in attempts] == ["115200 8N1", "9600 8N1", "2400 8E1"]
    assert attempts[0]["octets"] > 0 == attempts[0]["frames"]
    assert (told["line"]["link"], told["key"]["verdict"]) == ("mbus", "right")
    assert told["reading"]["item_p"]["auth"] == "unverified"
    written = config(tmp_path)
    assert "mqtt" not in written
    assert written["meter"][0]["profile"] == told["profile"]["profile"]
    assert "baud" not in written["meter"][0], "the profile knows it"


def test_hdlc_with_both_keys(setup, cable, household, key_file, tmp_path):
    meter = household("dk-kamstrup", 1)
    done = setup("--json", "--port", cable(meter).link, "--no-mqtt", "--key-file", key_file(meter.text))
    told = steps(done)
    assert (done.returncode, told["line"]["link"], told["key"]["verdict"]) == (0, "hdlc", "right")
    assert (told["profile"]["profile"], told["reading"]["item_p"]["auth"]) == ("dk-kamstrup", "verified")


def test_seven_bits(setup, cable, household, tmp_path):
    done = setup("--json", "--port", cable(household("dsmr22", 1)).link, "--no-mqtt", "--baud", 9600)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(done)["line"]["line"] == "9600 7E1"
    assert config(tmp_path)["meter"][0]["profile"] == "nl-dsmr2"


def test_keys_that_are_swapped_are_turned_round(setup, cable, household, key_file, tmp_path):
    meter = household("lu-smarty", 0.25)
    keys = key_file(f"{meter.keys.authentication.hex()}\n{meter.keys.encryption.hex()}")
    done = setup("--port", cable(meter).link, "--no-mqtt", "--key-file", keys)
    assert done.returncode == 0
    assert "The two keys were given the other way round." in done.stdout
    assert (tmp_path / "xdg/meterd/keys/main.ek").read_text().strip() == meter.keys.encryption.hex()


def test_without_a_key_it_waits_for_one(setup, cable, household, tmp_path):
    done = setup("--port", cable(household("lu-smarty", 0.25)).link, "--no-mqtt")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Later: `meterd key set main`." in done.stdout
    assert "  meterd key set main -c " in done.stdout
    assert "First reading" not in done.stdout
    assert left(tmp_path) == ["meterd.toml"]


def test_a_stored_key_that_fits_is_taken(setup, cable, household, key_file, tmp_path):
    meter, link = household("lu-smarty", 0.25), None
    link = cable(meter).link
    assert setup("--port", link, "--no-mqtt", "--key-file", key_file(meter.text)).returncode == 0
    done = setup("--json", "--port", link, "--no-mqtt", "--force")
    assert (done.returncode, steps(done)["key"]["verdict"]) == (0, "right")
    assert (tmp_path / "meterd.toml.old").exists()


WRONG_KEYS = {
    "encryption": (lambda ek, ak: "17" + ek.hex()[2:] + ak.hex(), "the encryption key is wrong"),
    "authentication": (lambda ek, ak: ek.hex() + "17" + ak.hex()[2:], "the authentication key is wrong"),
    "missing": (lambda ek, ak: ek.hex(), "the other key is missing"),
    "no key": (lambda ek, ak: "hello", "a key is written in hexadecimal digits"),
}


@pytest.mark.parametrize("which", WRONG_KEYS)
def test_a_key_that_does_not_fit_writes_nothing(setup, cable, household, key_file, tmp_path, which):  # noqa: PLR0917  # fixtures
    meter = household("lu-smarty", 0.25)
    text, said = WRONG_KEYS[which]
    keys = key_file(text(meter.keys.encryption, meter.keys.authentication))
    done = setup("--port", cable(meter).link, "--no-mqtt", "--key-file", keys)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert left(tmp_path, "keys") == []
    assert meter.keys.encryption.hex()[4:] not in done.stdout + done.stderr


def test_unverified_readings_only_when_they_are_accepted(setup, cable, household, key_file, tmp_path):
    meter = household("dk-kamstrup", 1)
    keys = key_file(meter.keys.encryption.hex())
    done = setup("--json", "--port", cable(meter).link, "--no-mqtt", "--key-file", keys, "--min-auth", "unverified")
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(done)["reading"]["item_p"]["auth"] == "unverified"
    assert config(tmp_path)["meter"][0]["min_auth"] == "unverified"


def test_a_silent_port(setup, cable, tmp_path):
    done = setup("--port", cable(lambda n: b"").link, "--no-mqtt", "--seconds", 2)
    assert done.returncode == 1
    assert "Nothing arrives." in done.stderr
    assert "docs/countries" in done.stderr
    assert left(tmp_path) == []


def test_noise(setup, cable, tmp_path):
    dice = random.Random(7)
    done = setup("--json", "--port", cable(lambda n: dice.randbytes(4_000), interval_s=0.05).link, "--no-mqtt")
    assert done.returncode == 1
    assert "no telegram in them" in done.stderr
    assert len(steps(done)["line"]["attempts"]) > 5
    assert left(tmp_path) == []


def test_telegrams_that_no_profile_reads(setup, cable, tmp_path):
    done = setup(
        "--port", cable(lambda n: b"/XYZ5 strange\r\n\r\n0-0:96.1.0(31)\r\n!\r\n").link, "--no-mqtt", "--seconds", 2
    )
    assert done.returncode == 1
    assert "no profile reads these telegrams" in done.stderr
    assert left(tmp_path) == []


def test_a_port_that_another_program_has(setup, tmp_path):
    """Any program that locks as the daemon does; the port is not taken from it."""
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        fcntl.flock(slave, fcntl.LOCK_EX)
        done = setup("--port", os.ttyname(slave), "--no-mqtt")
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 1
    assert "is held by" in done.stderr
    assert left(tmp_path) == []


def test_a_port_that_is_not_there(setup, tmp_path):
    done = setup("--port", tmp_path / "nothing", "--no-mqtt")
    assert (done.returncode, "is not there" in done.stderr) == (1, True)


EXISTING = """# by hand
[[meter]]
name = "main"  # the first
port = "/dev/ttyUSB-first"

[mqtt]
host = "127.0.0.1"
port = {port}
# the end
"""


def test_a_second_meter(setup, cable, household, broker, tmp_path):
    path = tmp_path / "meterd.toml"
    path.write_text(EXISTING.format(port=broker().port))
    before = path.read_text().splitlines()
    done = setup("--port", cable(household("dsmr5", 0.25)).link, "--journal", tmp_path / "j.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert [meter["name"] for meter in config(tmp_path)["meter"]] == ["main", "main2"]
    kept = iter(path.read_text().splitlines())
    assert all(line in kept for line in before)
    assert path.with_suffix(".toml.old").read_text().splitlines() == before
    assert "subscribe to meterd/main2/reading" in done.stdout


def test_a_name_or_a_port_twice(setup, cable, household, tmp_path):
    link = cable(household("dsmr5", 0.25)).link
    text = f'[[meter]]\nname = "main"\nport = "{link}"\n'
    (tmp_path / "meterd.toml").write_text(text)
    done = setup("--port", link)
    assert (done.returncode, "it is meter main of this configuration" in done.stderr) == (1, True)
    (tmp_path / "meterd.toml").write_text('[[meter]]\nname = "main"\nport = "/dev/a"\n')
    done = setup("--port", link, "--name", "main")
    assert (done.returncode, "has a meter main already" in done.stderr) == (1, True)
    assert left(tmp_path) == ["meterd.toml"]


def test_a_configuration_with_errors_is_left_alone(setup, tmp_path):
    (tmp_path / "meterd.toml").write_text("[[meter]]\nnam = 1\n")
    done = setup("--port", "/dev/null", "--no-mqtt")
    assert (done.returncode, "stays as it is" in done.stderr) == (1, True)
    assert (tmp_path / "meterd.toml").read_text() == "[[meter]]\nnam = 1\n"


def test_force_replaces_it_and_keeps_the_old_one(setup, cable, household, tmp_path):
    (tmp_path / "meterd.toml").write_text("# mine\n")
    assert setup("--port", cable(household("dsmr5", 0.25)).link, "--no-mqtt", "--force").returncode == 0
    assert (tmp_path / "meterd.toml.old").read_text() == "# mine\n"
    assert config(tmp_path)["meter"][0]["profile"] == "nl-dsmr5"


def test_without_a_look_at_the_line(setup, household, key_file, tmp_path):
    options = ("--profile", "dk-kamstrup", "--no-listen", "--mqtt-host", "nowhere.invalid", "--no-broker-test")
    done = setup("--port", "/dev/serial/by-id/usb-later", *options)
    assert (done.returncode, "is not there" in done.stderr) == (1, True)
    keys = ("--key-file", key_file(household("dk-kamstrup").text))
    done = setup("--port", "socket://192.0.2.1:2001", *options, "--timezone", "Europe/Copenhagen", *keys)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The key is not proved" in done.stdout
    assert (tmp_path / "xdg/meterd/keys/main.ek").exists()
    meter = config(tmp_path)["meter"][0]
    assert (meter["profile"], meter["timezone"]) == ("dk-kamstrup", "Europe/Copenhagen")


def test_a_broker_that_refuses(setup, cable, household, broker, tmp_path):
    (tmp_path / "users").write_text("")
    port = broker("allow_anonymous false", f"password_file {tmp_path}/users").port
    (tmp_path / "password").write_text(PASSWORD)
    options = ("--mqtt-host", "127.0.0.1", "--mqtt-port", port, "--mqtt-username", "m", "--mqtt-password-file")
    done = setup("--port", cable(household("dsmr5", 0.25)).link, *options, tmp_path / "password")
    assert done.returncode == 1
    assert "wrong user name or password" in done.stdout.replace("\n ", "")
    assert "nothing was written" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert left(tmp_path, "users", "password") == []


USAGE = {
    ("--no-mqtt", "--mqtt-host", "x"): "contradict",
    ("--no-listen",): "needs --port",
    ("--port", "/dev/null", "--mqtt-password", "hunter2"): "passwords do not belong on a command line",
    ("--port", "/dev/null", "--key", "00"): "keys do not belong on a command line",
    ("--port", "/dev/null", "--key-file", base64.b64encode(bytes(range(16))).decode()): "keys do not belong",
    ("--profile", "nl-dsmr9", "--port", "/dev/null", "--no-mqtt"): "is no profile",
    ("--seconds", "0"): "whole number of seconds",
}


@pytest.mark.parametrize("arguments", USAGE)
def test_usage(setup, tmp_path, arguments):
    done = setup(*arguments)
    assert done.returncode == 2, done.stderr
    assert USAGE[arguments] in done.stderr
    assert "hunter2" not in done.stderr
    assert left(tmp_path) == []


def test_without_a_terminal_nothing_is_asked(tmp_path):
    command = [sys.executable, "-m", "gateway.cli", "setup", "--output", str(tmp_path / "x.toml")]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard input is no terminal: give --yes" in done.stderr


def test_a_folder_that_cannot_be_written(setup, cable, household, tmp_path):
    """Whatever fails in the last step: what was made before it goes away again."""
    (tmp_path / "journal").write_text("a file where the folder belongs")
    done = setup("--port", cable(household("dsmr5", 0.25)).link, "--no-mqtt")
    assert done.returncode == 1
    assert left(tmp_path) == ["journal"]


def test_the_place_of_the_configuration(monkeypatch, tmp_path):
    """The host's for root, the user's for others; a link is followed."""
    from gateway.commands import configuration, setup

    system, home = tmp_path / "etc/meterd.toml", tmp_path / "meterd/meterd.toml"
    monkeypatch.setattr(configuration, "SYSTEM", system)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert setup._place(None) == system
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert setup._place(None) == home
    system.parent.mkdir()
    system.write_text("")
    assert setup._place(None) == system
    (tmp_path / "link").symlink_to(system)
    assert setup._place(tmp_path / "link") == system
    assert setup._place(tmp_path / "new.toml") == tmp_path / "new.toml"


def test_a_place_that_cannot_be_written_is_told_first(monkeypatch, tmp_path):
    from gateway.commands import setup_write
    from gateway.commands.setup_dialogue import StoppedError

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoppedError, match="use sudo, or name another place"):
        setup_write._may_write(tmp_path / "meterd" / "meterd.toml")


def test_the_journal_of_a_user_is_the_users_own(monkeypatch, tmp_path):
    import argparse

    from gateway.commands import setup_write
    from gateway.commands.setup_plan import Plan

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    plan = Plan(argparse.Namespace(journal=None), None, tmp_path / "meterd.toml")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert setup_write._journal(plan) == {"path": f"{tmp_path}/meterd/journal.db"}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert setup_write._journal(plan) == {}


def test_every_option_is_explained(checkout):
    import argparse

    from gateway.commands import setup

    parser = argparse.ArgumentParser()
    setup.add_arguments(parser)
    page = (checkout / "docs" / "setup.md").read_text()
    options = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    assert {name for name in options if f"`{name}" not in page} == {"--help", "--config"}
