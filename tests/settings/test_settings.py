"""meterd.toml: every mistake gets its own line, all of them at once, and what is right arrives as written."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.settings import (
    LISTENING,
    TABLES,
    CompatSettings,
    HubSettings,
    Known,
    MeterSettings,
    MqttSettings,
    PointSettings,
    Settings,
    SettingsError,
    load,
)
from gateway.sources import problem

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\n'
KNOWN = Known(["nl-dsmr5", "nl-dsmr4", "be-fluvius"], ["l1_voltage_v", "l1_current_a"], problem)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(text: str | bytes) -> Path:
        path = tmp_path / "meterd.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


def problems(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, KNOWN)
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in caught.value.problems)
    return [line.removeprefix(f"{path}: ") for line in caught.value.problems]


def test_the_least_configuration_has_all_defaults(write):
    settings = load(write(METER), KNOWN)
    assert settings == Settings(meter=(MeterSettings(name="main", port="/dev/null"),))
    assert settings.mqtt is None
    assert settings.journal.path == "/var/lib/meterd/journal.db"


def test_values_arrive_as_written(write):
    text = METER + 'baud = 9600\nframing = "7E1"\nprofile = "nl-dsmr4"\ntimezone = "Europe/Riga"\nenabled = false\n'
    settings = load(write(text + '[mqtt]\nhost = "b"\nregisters = ["l1_voltage_v"]\nmin_interval_s = 2.5\n'), KNOWN)
    meter = settings.meter[0]
    assert (meter.baud, meter.framing, meter.profile, meter.timezone) == (9600, "7E1", "nl-dsmr4", "Europe/Riga")
    assert not meter.enabled
    assert settings.mqtt == MqttSettings(host="b", registers=("l1_voltage_v",), min_interval_s=2.5)


def test_relative_paths_start_at_the_folder_of_the_file(write, tmp_path):
    (tmp_path / "pw").write_text("secret")
    text = '[mqtt]\nusername = "u"\npassword_file = "pw"\n[journal]\npath = "data/j.db"\n[control]\nsocket = "c"\n'
    settings = load(write(METER + text), KNOWN)
    assert settings.mqtt is not None
    assert settings.mqtt.password_file == str(tmp_path / "pw")
    assert settings.journal.path == str(tmp_path / "data/j.db")
    assert settings.control.socket == str(tmp_path / "c")


#: what stands in the file, and the beginning of the line that it gets
WRONG = {
    "top key": ("meters = 1\n" + METER, "meters: unknown key (did you mean meter or metrics?)"),
    "meter key": (METER + "bauds = 9600\n", "[[meter]] no. 1 bauds: unknown key (did you mean baud?)"),
    "key without a neighbour": (METER + "[log]\nxyz = 1\n", "[log] xyz: unknown key; allowed: format, level"),
    "hostile key": (METER + '"\\u0007\\u202e" = 1\n', r"[[meter]] no. 1 '\x07\u202e': unknown key; allowed: name"),
    "no meter": ("[mqtt]\n", "[[meter]]: no meter; allowed: one [[meter]] for each meter"),
    "meter as table": ("[meter]\nname = 'a'\n", "[[meter]]: not a list of tables; allowed: one [[meter]]"),
    "meter as list": ("meter = [1]\n", "[[meter]] no. 1: 1 where a table belongs"),
    "table as number": ("mqtt = 3\n" + METER, "[mqtt]: 3 where a table belongs"),
    "missing name": ("[[meter]]\nport = '/dev/null'\n", "[[meter]] no. 1 name: is missing; allowed: 1 to 32 of"),
    "missing port": ("[[meter]]\nname = 'a'\n", "[[meter]] no. 1 port: is missing; allowed: text"),
    "name": (METER.replace("main", "Main Meter"), "[[meter]] no. 1 name: 'Main Meter' is not allowed; allowed: 1 to"),
    "name with line end": (METER.replace("main", "a\\n"), r"[[meter]] no. 1 name: 'a\n' is not allowed"),
    "type": (METER + 'baud = "fast"\n', "[[meter]] no. 1 baud: 'fast' is not allowed; allowed: a whole number"),
    "float": (METER + "baud = 9600.5\n", "[[meter]] no. 1 baud: 9600.5 is not allowed; allowed: a whole number"),
    "bool": (METER + "enabled = 1\n", "[[meter]] no. 1 enabled: 1 is not allowed; allowed: true or false"),
    "bool as number": (METER + "baud = true\n", "[[meter]] no. 1 baud: true is not allowed; allowed: a whole"),
    "date": (METER + "baud = 2026-01-01\n", "[[meter]] no. 1 baud: datetime.date(2026, 1, 1) is not allowed"),
    "range": (METER + "[mqtt]\nport = 70000\n", "[mqtt] port: 70000 is not allowed; allowed: a whole number from 1 to"),
    "nan": (METER + "[mqtt]\nmin_interval_s = nan\n", "[mqtt] min_interval_s: nan is not allowed; allowed: a number"),
    "open range": (METER + "[journal]\nmax_days = 0\n", "[journal] max_days: 0 is not allowed; allowed: a whole"),
    "choice": (METER + 'framing = "7N1"\n', "[[meter]] no. 1 framing: '7N1' is not allowed; allowed: \"7E1\", \"8E1\""),
    "base": (METER + '[mqtt]\nbase = "a/#"\n', "[mqtt] base: 'a/#' is not allowed; allowed: levels of A-Z"),
    "list": (METER + '[mqtt]\nregisters = "x"\n', "[mqtt] registers: 'x' is not allowed; allowed: a list of texts"),
    "profile": (METER + 'profile = "nl-dsmr"\n', "[[meter]] no. 1 profile: 'nl-dsmr' is not known (did you mean nl-"),
    "register": (METER + '[mqtt]\nregisters = ["l1_volt_v"]\n', "[mqtt] registers: 'l1_volt_v' is not known (did you"),
    "timezone": (METER + 'timezone = "Europe/Amsterdm"\n', "[[meter]] no. 1 timezone: 'Europe/Amsterdm' is not a time"),
    "timezone path": (METER + 'timezone = "../../etc/passwd"\n', "[[meter]] no. 1 timezone: '../../etc/passwd' is not"),
    "relative port": (METER.replace("/dev/null", "ttyUSB0"), "[[meter]] no. 1 port: 'ttyUSB0' is not an absolute path"),
    "port scheme": (METER.replace("/dev/null", "tcp://a:1"), "[[meter]] no. 1 port: tcp:// is not a form of port"),
    "port without number": (METER.replace("/dev/null", "socket://a"), "[[meter]] no. 1 port: 'socket://a' is not"),
    "missing file": (METER + '[mqtt]\ntls = true\nca_file = "/nowhere/ca.pem"\n', "[mqtt] ca_file: /nowhere/ca.pem"),
    "folder for file": (METER + '[mqtt]\nusername = "u"\npassword_file = "."\n', "[mqtt] password_file: "),
    "NUL in file": (METER + '[mqtt]\ntls = true\nca_file = "a\\u0000b"\n', "[mqtt] ca_file: "),
    "qos": (METER + '[mqtt]\nlive_qos = 1\nversion = "3.1.1"\n', "[mqtt] live_qos: 1 needs MQTT 5"),
    "tls": (METER + '[mqtt]\nca_file = "/dev/null"\n', "[mqtt] ca_file: has no effect without TLS; allowed: tls"),
    "cert alone": (METER + '[mqtt]\ntls = true\ncert_file = "/dev/null"\n', "[mqtt] cert_file: a client certificate"),
    "key alone": (METER + '[mqtt]\ntls = true\nkey_file = "/dev/null"\n', "[mqtt] key_file: a key needs its client"),
    "password alone": (METER + '[mqtt]\npassword_file = "/dev/null"\n', "[mqtt] password_file: a password needs"),
    "two names": (METER + METER.replace("/dev/null", "/dev/zero"), "[[meter]] no. 2 name: 'main' is used by [[meter]]"),
    "two ports": (METER + METER.replace("main", "b"), "[[meter]] no. 2 port: '/dev/null' is used by [[meter]] no. 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_each_mistake_gets_one_line(write, case):
    text, line = WRONG[case]
    found = problems(write(text))
    assert len(found) == 1, found
    assert found[0].startswith(line)
    assert found[0].isprintable()


def test_all_mistakes_at_once(write):
    text = (
        '[[meter]]\nname = "A"\nport = "x"\nbaud = 1\n[[meter]]\nname = "b"\n[mqtt]\nport = 0\npasswrd = "s3cret"\n'
        '[log]\nlevel = "loud"\n[journal]\nmode = "x"\n[extra]\n'
    )
    found = "\n".join(problems(write(text)))
    for part in (
        "no. 1 name",
        "no. 1 port",
        "no. 1 baud",
        "no. 2 port",
        "[mqtt] port",
        "[mqtt] passwrd",
        "[log] level",
    ):
        assert part in found
    assert "[journal] mode" in found
    assert "extra" in found
    assert found.count("\n") == 8
    assert "s3cret" not in found, "a value behind an unknown key may be a secret"


def test_one_port_behind_two_names_is_noticed(write, tmp_path):
    (tmp_path / "by-id").symlink_to("/dev/null")
    text = METER + f'[[meter]]\nname = "b"\nport = "{tmp_path}/by-id"\n'
    assert problems(write(text))[0].startswith("[[meter]] no. 2 port: ")
    text = METER.replace("/dev/null", "socket://Host:1") + '[[meter]]\nname = "b"\nport = "socket://host:1"\n'
    assert problems(write(text))[0].startswith("[[meter]] no. 2 port: ")


def test_a_syntax_error_has_line_and_column(write):
    assert problems(write("[[meter]]\nname = = 1\n")) == ["TOML syntax: Invalid value (at line 2, column 8)"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\xff\xfe", "not UTF-8 at octet 0"),
        (b"a = " + b"[" * 100_000, "TOML syntax: "),
        (b"#" * (8 << 20) + b"\n", "larger than 8 MiB"),
    ],
)
def test_what_is_no_configuration_is_said(write, data, line):
    found = problems(write(data))
    assert len(found) == 1
    assert found[0].startswith(line)


def test_a_file_that_cannot_be_read(tmp_path):
    assert problems(tmp_path / "absent.toml") == ["cannot be read: No such file or directory"]
    assert problems(tmp_path) == ["cannot be read: Is a directory"]


def test_a_file_without_permission_is_named(public_folder, as_nobody):
    secret, path = public_folder / "pw", public_folder / "meterd.toml"
    secret.write_text("x")
    secret.chmod(0)
    path.write_text(METER + f'[mqtt]\nusername = "u"\npassword_file = "{secret}"\n')
    found = as_nobody(lambda: problems(path))
    reason = "Permission denied; allowed: a file that the daemon's user can read"
    assert found == [f"[mqtt] password_file: {secret} cannot be read: {reason}"]


def test_the_example_holds_every_key_and_is_valid(checkout, tmp_path):
    text = (checkout / "config" / "meterd.toml").read_text()
    assert load(checkout / "config" / "meterd.toml", KNOWN).meter[0].name == "main"
    tables = re.sub(r"^# (?=\[)", "", text, flags=re.MULTILINE)
    switched_on = re.sub(r"^# (?=[a-z_]+ = )", "", tables, flags=re.MULTILINE)
    for name in ("mqtt-password", "aiida-password", "ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_text("x")
    for name in ("main.ek", "main.ak"):
        (tmp_path / name).write_text(f"{name.encode().hex():0>32}")
        (tmp_path / name).chmod(0o400)
    switched_on = switched_on.replace("/etc/meterd/", f"{tmp_path}/").replace("tls = false", "tls = true")
    path = tmp_path / "meterd.toml"
    # keys of [influx] belong to one of its two APIs
    path.write_text(re.sub(r"^\[influx\].*?(?=^\[)", "", switched_on, flags=re.MULTILINE | re.DOTALL))
    load(path, KNOWN)
    raw = tomllib.loads(switched_on)
    single = {name: TABLES[name] for name in ("mqtt", "influx", "metrics", "notice")}
    for name, struct in {"meter": MeterSettings, "compat": CompatSettings, "hub": HubSettings, **single}.items():
        table = set().union(*raw[name]) if isinstance(raw[name], list) else set(raw[name])
        assert table == {field.name for field in msgspec.structs.fields(struct)}
    for table, known in (("journal", 4), ("ledger", 1), ("log", 2), ("control", 1)):
        assert len(raw[table]) == known


def test_defaults_of_the_example_are_those_of_the_program(checkout):
    """A line `# key = value` in the example states the default, but for the keys that have none."""
    text = (checkout / "config" / "meterd.toml").read_text()
    structs = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    assert {"meter", "mqtt", "compat", "journal", "ledger", "log", "control"} <= structs.keys()
    for table, key, value in _stated(text):
        lists = {
            "meter": MeterSettings,
            "compat": CompatSettings,
            "point": PointSettings,
            "hub": HubSettings,
        } | LISTENING
        struct = (lists | TABLES)[table]
        default = {field.name: field.default for field in msgspec.structs.fields(struct)}[key]
        if default not in (None, (), msgspec.NODEFAULT):
            assert (tuple(value) if isinstance(value, list) else value) == default, (table, key)


def _stated(text: str) -> list[tuple[str, str, object]]:
    table, found = "", []
    for line in text.splitlines():
        if head := re.match(r"(?:# )?\[+(\w+)\]+", line):
            table = head[1]
        elif (stated := re.match(r"# ([a-z_]+ = .*)", line)) and "port" not in stated[1]:
            [(key, value)] = tomllib.loads(stated[1]).items()
            found.append((table, key, value))
    return found


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "/var/lib/meterd/ledger.db"),
        ('[journal]\npath = "/data/j.db"\n', "/data/ledger.db"),
        ('[journal]\npath = "/data/j.db"\n[ledger]\npath = "/safe/l.db"\n', "/safe/l.db"),
    ],
)
def test_the_ledger_is_beside_the_journal_unless_it_is_set(write, text, path):
    assert load(write(METER + text), KNOWN).ledger_path == Path(path)


@pytest.mark.parametrize(
    "text",
    [
        '[journal]\npath = "/data/ledger.db"\n',
        '[journal]\npath = "/data/x.db"\n[ledger]\npath = "/data/../data/x.db"\n',
    ],
)
def test_journal_and_ledger_are_two_files(write, text):
    assert "is the journal; allowed: a file of its own" in problems(write(METER + text))[0]
