"""`[[compat]]`: another system's format is off unless asked for, and every mistake is named with its table and key."""

import pytest

from gateway.cli import main
from gateway.settings import CompatSettings, SettingsError, load

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\n'
MQTT = '[mqtt]\nhost = "b"\nusername = "u"\n'
UUID = "7d2b2547-27dd-4fe0-9516-707540e1184f"
AIIDA = f'kind = "aiida-cim"\nmeter = "main"\ntopic = "aiida/{UUID}/data"\nhost = "aiida"\ncountry = "AT"\n'
VICTRON = 'kind = "victron"\nmeter = "main"\ntopic = "victron/grid"\n'
DSMR = 'kind = "dsmr-reader"\nmeter = "main"\ntopic = "dsmr/reading"\n'


@pytest.fixture
def read(tmp_path):
    def run(text):
        path = tmp_path / "meterd.toml"
        path.write_text(text)
        return load(path)

    return run


@pytest.fixture
def problems(read, tmp_path):
    def run(text):
        with pytest.raises(SettingsError) as caught:
            read(text)
        return [line.removeprefix(f"{tmp_path / 'meterd.toml'}: ") for line in caught.value.problems]

    return run


def tables(*bodies: str) -> str:
    return METER + MQTT + "".join(f"[[compat]]\n{body}" for body in bodies)


def test_nothing_is_on_by_default(read):
    assert read(METER + MQTT).compat == ()


def test_values_arrive_as_written(read):
    compat = read(tables(VICTRON + "phases = 3\nmin_interval_s = 2.5\n", DSMR, AIIDA)).compat
    assert compat[0] == CompatSettings(kind="victron", meter="main", topic="victron/grid", phases=3, min_interval_s=2.5)
    assert [table.kind for table in compat] == ["victron", "dsmr-reader", "aiida-cim"]


def test_the_broker_is_that_of_mqtt_unless_it_is_named(read):
    settings = read(tables(VICTRON, AIIDA + "port = 1884\n"))
    shared, own = (settings.broker(table) for table in settings.compat)
    assert (shared.host, shared.username, shared.will) == ("b", "u", None)
    assert (own.host, own.port, own.username, own.will) == ("aiida", 1884, None, None)


def test_files_are_found_beside_the_configuration(read, tmp_path):
    (tmp_path / "pw").write_text("secret")
    settings = read(tables(AIIDA + 'username = "u"\npassword_file = "pw"\n'))
    assert settings.compat[0].password_file == str(tmp_path / "pw")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (VICTRON.replace("main", "mian"), "no. 1 meter: there is no meter 'mian' (did you mean main?); allowed: main"),
        (VICTRON.replace('topic = "victron/grid"\n', ""), "no. 1 topic: is missing; allowed: up to 200 characters"),
        (VICTRON.replace("victron/grid", "victron/#"), "no. 1 topic: 'victron/#' is not allowed"),
        (VICTRON.replace("victron/grid", "a/+/b"), "no. 1 topic: 'a/+/b' is not allowed"),
        (VICTRON.replace("victron/grid", "$SYS/grid"), "no. 1 topic: '$SYS/grid' is not allowed"),
        (VICTRON.replace("victron/grid", "/grid"), "no. 1 topic: '/grid' is not allowed"),
        (VICTRON.replace("victron/grid", "a b"), "no. 1 topic: 'a b' is not allowed"),
        (VICTRON.replace("victron/grid", "meterd/main/grid"), "belongs to [mqtt] base at the same broker"),
        (VICTRON.replace("victron", "victrom", 1), "no. 1 kind: 'victrom' is not allowed; allowed: \"aiida-cim\""),
        (VICTRON + "phases = 2\n", "no. 1 phases: 2 is not allowed; allowed: 0, 1, 3"),
        (DSMR + "phases = 3\n", 'no. 1 phases: has no effect with kind = "dsmr-reader"; allowed: kind = "victron"'),
        (DSMR + 'country = "NL"\n', 'no. 1 country: has no effect with kind = "dsmr-reader"'),
        (DSMR + "port = 1884\n", "no. 1 port: has no effect without host"),
        (DSMR + 'host = "h"\nca_file = "/nowhere"\n', "no. 1 ca_file: /nowhere cannot be read"),
        (DSMR + 'host = "h"\npassword_file = "/dev/null"\n', "no. 1 password_file: a password needs a username"),
        (AIIDA.replace(UUID, "mine"), "no. 1 topic: 'aiida/mine/data' has no UUID of a data source"),
        (AIIDA.replace('country = "AT"\n', ""), "no. 1 country: is missing; allowed: two capital letters"),
        (AIIDA.replace("AT", "Austria"), "no. 1 country: 'Austria' is not allowed"),
        (AIIDA.replace('host = "aiida"\n', ""), "no. 1 host: is missing; allowed: the broker that AIIDA shows"),
    ],
)
def test_every_mistake_is_named(problems, body, said):
    assert any(line.startswith("[[compat]] ") and said in line for line in problems(tables(body)))


def test_one_topic_belongs_to_one_table(problems, read):
    said = "[[compat]] no. 2 topic: 'victron/grid' belongs to [[compat]] no. 1 at the same broker"
    assert problems(tables(VICTRON, VICTRON)) == [f"{said}; allowed: a topic of its own"]
    below = VICTRON.replace("victron/grid", "dsmr/reading/timestamp")
    assert len(problems(tables(DSMR, below))) == 1, "also a field of dsmr-reader"
    assert len(problems(tables(below, DSMR))) == 1, "in any order"
    assert len(problems(tables(VICTRON, VICTRON + 'host = "B"\n'))) == 1, "also where the broker is named again"
    assert len(read(tables(VICTRON, VICTRON + 'host = "gx"\n')).compat) == 2, "but not at another broker"


def test_without_mqtt_a_table_needs_its_broker(problems, read):
    assert problems(METER + "[[compat]]\n" + VICTRON) == [
        "[[compat]] no. 1 host: no broker: there is no [mqtt]; allowed: host here, or [mqtt]"
    ]
    assert read(METER + "[[compat]]\n" + VICTRON + 'host = "gx"\n').mqtt is None


def test_tables_are_bounded(problems):
    many = tables(*(VICTRON.replace("grid", f"g{number}") for number in range(17)))
    assert problems(many) == ["[[compat]]: 17 tables; allowed: at most 16: each is a connection of its own"]


@pytest.mark.parametrize("text", ["compat = 1\n", '[compat]\nkind = "victron"\n'])
def test_what_is_no_list_of_tables_is_named(problems, text):
    assert "[[compat]]: not a list of tables; allowed: [[compat]] in double brackets" in problems(text + METER)


def test_check_reads_the_files_of_a_broker_of_its_own(tmp_path, capsys):
    (tmp_path / "ca.pem").write_text("no certificate")
    (tmp_path / "pw").write_text("")
    more = 'tls = true\nca_file = "ca.pem"\nusername = "u"\npassword_file = "pw"\n'
    path = tmp_path / "meterd.toml"
    path.write_text(tables(AIIDA + more))
    assert main(["check", "-c", str(path)]) == 1
    said = capsys.readouterr().err
    assert "[[compat]] no. 1 ca_file: " in said
    assert f"[[compat]] no. 1 password_file: {tmp_path}/pw is empty" in said


def test_check_warns_of_a_password_in_clear(tmp_path, capsys):
    (tmp_path / "pw").write_text("secret")
    (tmp_path / "pw").chmod(0o600)
    path = tmp_path / "meterd.toml"
    path.write_text(tables(AIIDA + 'username = "u"\npassword_file = "pw"\n'))
    assert main(["check", "-c", str(path)]) == 0
    assert "[[compat]] no. 1 tls: without TLS the password crosses the network in clear" in capsys.readouterr().err
