"""[[hub]] and [notice]: what keeps data from a hub is said before anything is sent, one line each."""

from pathlib import Path
from typing import Any

import pytest

from gateway.hub_rules import is_eic, is_gln
from gateway.settings import SettingsError, load

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\n[[point]]\nmeter = "main"\nid = "1"\nid_export = "2"\n'
RIGHT: dict[str, Any] = {
    "name": "hub",
    "kind": "dk-datahub3",
    "url": "https://hub.example/dk",
    "points": ["1", "2"],
    "legal_basis": "a contract",
    "environment": "production",
    "party": "5799999933318",
    "role": "MDR",
}


def inline(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {inline(one)}' for key, one in value.items())} }}"
    return repr(value).replace("'", '"')


def write(folder: Path, *tables: dict[str, Any], more: str = "", head: str = METER) -> Path:
    path = folder / "meterd.toml"
    lines = [f"{key} = {inline(value)}" for table in tables for key, value in ({"[[hub]]": 0} | table).items()]
    path.write_text(head + "\n".join(lines).replace("[[hub]] = 0", "[[hub]]") + "\n" + more)
    return path


def problems(path: Path, ignored: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(SettingsError) as found:
        load(path, ignored=ignored)
    return [line.removeprefix(f"{path}: ") for line in found.value.problems]


def test_what_is_right_arrives_as_written(tmp_path: Path) -> None:
    (hub,) = load(write(tmp_path, RIGHT)).hub
    assert (hub.party, hub.points, hub.at) == ("5799999933318", ("1", "2"), "05:15")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"party": None}, "party: is missing"),
        ({"role": None}, "role: is missing"),
        ({"legal_basis": None}, "legal_basis: is missing"),
        ({"url": None}, "url: is missing"),
        ({"party": "5799999933319"}, "party: '5799999933319' is no GLN or EIC"),
        ({"receiver": "10X1001A1001B54V"}, "receiver: '10X1001A1001B54V' is no GLN or EIC"),
        ({"points": ["1", "3"]}, "points: no [[point]] has the id '3'"),
        ({"url": "http://hub.example/dk"}, "url: 'http://hub.example/dk' is no https address"),
        ({"url": "https://me:secret@hub.example"}, "url: holds a name or password"),
        ({"cert_file": "/dev/null"}, "cert_file: a certificate and its key belong together"),
        ({"token_url": "https://t.example"}, "client_id: is missing: token_url needs it"),
        ({"client_secret_file": "/dev/null"}, "token_url: is missing"),
        ({"ca_file": "/absent"}, "ca_file: /absent cannot be read"),
        ({"kind": "cz-ote", "url": "https://o.example"}, "schema_folder: is missing"),
        ({"permissions_url": "https://p.example/api/v1"}, "permissions_party: is missing: whose permissions"),
        ({"permissions_url": "http://p.example", "permissions_party": "us"}, "permissions_url: 'http://p.example' is"),
        ({"permissions_party": "a party"}, "permissions_party"),
        ({"kind": "cz-pnd", "listen": "nowhere"}, "listen: "),
        ({"kind": "ee-estfeed"}, "party: '5799999933318' is no EIC"),
    ],
)
def test_each_mistake_is_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    table = {key: value for key, value in (RIGHT | change).items() if value is not None}
    assert any(f"[[hub]] no. 1 {said}" in line for line in problems(write(tmp_path, table))), said


def test_no_secret_is_in_a_message(tmp_path: Path) -> None:
    table = RIGHT | {"url": "https://me:hunter2@hub.example"}
    assert not [line for line in problems(write(tmp_path, table)) if "hunter2" in line]


def test_a_name_is_used_once(tmp_path: Path) -> None:
    assert problems(write(tmp_path, RIGHT, RIGHT)) == [
        "[[hub]] no. 2 name: 'hub' is the name of [[hub]] no. 1; allowed: a name of its own for each hub"
    ]


def test_a_point_goes_to_a_hub_by_one_table(tmp_path: Path) -> None:
    twin = RIGHT | {"name": "twin", "url": "https://HUB.example/dk/", "points": ["2"]}
    (line,) = problems(write(tmp_path, RIGHT, twin))
    assert line.startswith("[[hub]] no. 2 points: '2' goes to the same hub by [[hub]] no. 1, too: it would have")
    for other in ({"resolution": "PT1H"}, {"url": "https://test.example/dk"}, {"party": "5790001330552"}):
        assert len(load(write(tmp_path, RIGHT, twin | other)).hub) == 2
    assert len(load(write(tmp_path, RIGHT | {"points": ["1"]}, twin)).hub) == 2


def test_the_days_of_two_meters_do_not_go_under_one_id(tmp_path: Path) -> None:
    second = '[[meter]]\nname = "other"\nport = "/dev/zero"\n[[point]]\nmeter = "other"\n'
    for ids in ('id = "1"\n', 'id = "9"\nid_export = "2"\n', 'id = "2"\n'):
        (line,) = problems(write(tmp_path, RIGHT, head=METER + second + ids))
        assert line.startswith("[[point]] no. 2: '")
        assert "is an id of [[point]] no. 1, too" in line
    alone = METER + second + 'id = "1"\n'
    assert load(write(tmp_path, head=alone)).point, "without a hub they do no harm"
    assert load(write(tmp_path, RIGHT, head=METER + second + 'id = "1"\nchannel = 1\n')).hub


def test_a_sandbox_may_know_us_by_any_name(tmp_path: Path) -> None:
    table = RIGHT | {"environment": "sandbox", "party": "1"}
    assert load(write(tmp_path, table)).hub[0].party == "1"


def test_each_process_stops_for_its_own_tables_only(tmp_path: Path) -> None:
    path = write(tmp_path, RIGHT | {"ca_file": "/absent"}, more='[notice]\nsmtp_ca_file = "/absent"\n')
    assert len(problems(path)) == 2
    assert not load(path, ignored=("hub", "notice")).hub
    assert load(path, ignored=("notice", "files")).hub, "who looks at the ledger needs no secret"
    keyed = METER.replace("[[point]]", 'key_file = "/absent"\n[[point]]')
    path = write(tmp_path, RIGHT, head=keyed)
    assert len(problems(path)) == 1
    settings = load(path, ignored=("keys",))
    assert settings.hub
    assert settings.meter[0].key_file is None
    assert "unknown" in problems(write(tmp_path, RIGHT, more="[nonsense]\n"), ("keys", "hub"))[0]


def test_secrets_of_the_service_are_found_where_systemd_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = RIGHT | {"key_file": "$CREDENTIALS_DIRECTORY/hub_key", "cert_file": "/dev/null"}
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert load(write(tmp_path, table)).hub[0].key_file == "$CREDENTIALS_DIRECTORY/hub_key"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert problems(write(tmp_path, table))[0].startswith(f"[[hub]] no. 1 key_file: {tmp_path}/hub_key cannot be read")
    (tmp_path / "hub_key").write_text("x")
    assert load(write(tmp_path, table)).hub[0].key_file == f"{tmp_path}/hub_key"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('smtp_host = "m.example"\nmail_to = ["a@example.net"]\n', "mail_from: is missing"),
        ('smtp_host = "m.example"\nmail_from = "a@example.net"\n', "mail_to: is missing"),
        ('smtp_username = "u"\n', "smtp_username: a user and the file of the password belong together"),
        ('webhook_url = "ftp://x"\n', "webhook_url: 'ftp://x' is no https address"),
        ("webhook_template = '{\"m\":{text}}'\n", "webhook_template: is no JSON"),
        ('webhook_template = \'{"m":"text"}\'\n', "webhook_template: has neither {subject} nor {text}"),
        ('escalate_webhook_template = \'{"m":"text"}\'\n', "escalate_webhook_template: has neither {subject} nor"),
        ('escalate_webhook_template = \'{"m":"{text}"}\'\n', "escalate_webhook_template: needs webhook_url"),
        ('escalate_mail_to = ["a@example.net"]\n', "escalate_mail_to: needs smtp_host: nothing sends mail"),
        ("escalate_h = 12\n", "escalate_h: has no effect: nobody is named to escalate to"),
        ("escalate_h = 0\n", "escalate_h"),
        ("escalate_h = 721\n", "escalate_h"),
    ],
)
def test_notices_need_what_they_need(tmp_path: Path, text: str, said: str) -> None:
    assert any(f"[notice] {said}" in line for line in problems(write(tmp_path, more=f"[notice]\n{text}")))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"sums_on_day": 29}, "sums_on_day"),
        ({"sums_on_day": 5}, "sums: role MDR: it gets no sums"),
        ({"sums_on_day": 5, "sums": {"role": "DDM"}}, "sums: a grid company (DDM) names its grid area"),
        ({"sums_on_day": 5, "sums": {"role": "DDQ", "month": "2026-03"}}, "sums: 'month' is no argument of it"),
        ({"sums_on_day": 5, "kind": "eu-vhd"}, "sums_on_day: a hub of kind eu-vhd cannot be asked for sums"),
    ],
)
def test_sums_that_cannot_be_asked_for(tmp_path: Path, table: dict[str, Any], said: str) -> None:
    told = problems(write(tmp_path, RIGHT | {"kind": "dk-datahub3", "role": "MDR"} | table))
    assert any(said in line for line in told), told


def test_sums_that_can_be_asked_for(tmp_path: Path) -> None:
    sums = {"role": "DDM", "grid-area": "244"}
    table = RIGHT | {"kind": "dk-datahub3", "role": "MDR", "sums_on_day": 10, "sums": sums}
    assert load(write(tmp_path, table)).hub[0].sums == sums


@pytest.mark.parametrize("code", ["27XGOTE-CZ-GAS-R", "10X1001A1001B54W", "10YDE-VE-------2", "10XAT-APG------Z"])
def test_check_character_of_an_eic(code: str) -> None:
    assert is_eic(code)
    for place in range(16):
        for sign in "0A-Z":
            other = code[:place] + sign + code[place + 1 :]
            assert other == code or not is_eic(other), other


@pytest.mark.parametrize("code", ["5790001330552", "8591824000007"])
def test_check_digit_of_a_gln(code: str) -> None:
    assert is_gln(code)
    assert not any(is_gln(code[:-1] + digit) for digit in "0123456789" if digit != code[-1])
    assert not is_gln(code[:-1])
    assert not is_gln("٣" * 13)
