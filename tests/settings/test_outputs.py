"""`[[virtual_p1]]` and `[[homewizard]]`: off unless asked for, and every mistake is named with its table and key."""

import importlib.util
import json

import pytest

from gateway.cli import main
from gateway.settings import HomeWizardSettings, SettingsError, VirtualP1Settings, load

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\nprofile = "nl-dsmr5"\n'
VIRTUAL = '[[virtual_p1]]\nmeter = "main"\n'
MANY = "".join(f'{VIRTUAL}listen = "127.0.0.1:{port}"\n' for port in range(1, 18))
WIZARD = '[[homewizard]]\nmeter = "main"\nlisten = "0.0.0.0:80"\n'


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


@pytest.fixture
def check(tmp_path, capsys):
    """Run `meterd check`: its exit code and its errors."""

    def run(text):
        (tmp_path / "meterd.toml").write_text(text)
        code = main(["check", "--json", "-c", str(tmp_path / "meterd.toml")])
        return code, json.loads(capsys.readouterr().out)["errors"]

    return run


def test_nothing_is_on_by_default(read):
    settings = read(METER)
    assert (settings.virtual_p1, settings.homewizard) == ((), ())


def test_defaults(read):
    settings = read(METER + VIRTUAL + WIZARD)
    assert settings.virtual_p1 == (VirtualP1Settings(meter="main"),)
    assert settings.virtual_p1[0].listen == "127.0.0.1:2001"
    assert settings.homewizard == (HomeWizardSettings(meter="main", listen="0.0.0.0:80"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VIRTUAL.replace("main", "maim"), "[[virtual_p1]] no. 1 meter: there is no meter 'maim' (did you mean main?)"),
        ("[[virtual_p1]]\n", "[[virtual_p1]] no. 1 meter: is missing"),
        ('[[homewizard]]\nmeter = "main"\n', "[[homewizard]] no. 1 listen: is missing"),
        (VIRTUAL + 'listen = "2001"\n', "[[virtual_p1]] no. 1 listen: '2001' is not address:port; allowed: an address"),
        (VIRTUAL + 'listen = "127.0.0.1:0"\n', "[[virtual_p1]] no. 1 listen: '127.0.0.1:0': port 0 is none"),
        (VIRTUAL + 'timezone = "Europe/Wien"\n', "[[virtual_p1]] no. 1 timezone: 'Europe/Wien' is not a time zone"),
        (VIRTUAL + "max_clients = 0\n", "[[virtual_p1]] no. 1 max_clients: 0 is not allowed"),
        (VIRTUAL + "max_client = 1\n", "[[virtual_p1]] no. 1 max_client: unknown key (did you mean max_clients?)"),
        (VIRTUAL + VIRTUAL, "[[virtual_p1]] no. 2 listen: '127.0.0.1:2001' is taken by [[virtual_p1]] no. 1 already"),
        (
            VIRTUAL + WIZARD.replace("80", "2001"),
            "[[homewizard]] no. 1 listen: '0.0.0.0:2001' is taken by [[virtual_p1]] no. 1 already",
        ),
        ("virtual_p1 = 1\n", "[[virtual_p1]]: not a list of tables"),
        (MANY, "[[virtual_p1]], [[homewizard]]: 17 tables"),
    ],
)  # fmt: skip
def test_mistakes(problems, text, expected):
    before = text + METER if text.startswith("virtual_p1") else METER + text
    assert [line for line in problems(before) if line.startswith(expected)]


def test_two_ports_of_one_meter_are_fine(read):
    assert len(read(METER + VIRTUAL + VIRTUAL + 'listen = "127.0.0.1:2002"\n').virtual_p1) == 2


@pytest.mark.parametrize("output", [VIRTUAL, WIZARD])
def test_a_zone_that_nobody_knows_is_an_error(check, output):
    meter = METER.replace("nl-dsmr5", "no-aidon")
    code, [error] = check(meter + output)
    assert code == 1
    assert "profile no-aidon knows no zone: set timezone in" in error
    assert check(meter + 'timezone = "Europe/Oslo"\n' + output) == (0, [])
    assert check(meter + output + 'timezone = "Europe/Oslo"\n') == (0, [])
    assert check(METER + output) == (0, [])


def test_mdns_without_its_library_is_an_error(check, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, [error] = check(METER + WIZARD)
    assert code == 1
    assert "pip install 'meterd[homewizard]', or mdns = false" in error
    assert check(METER + WIZARD + "mdns = false\n") == (0, [])
