"""`meterd check`: errors and warnings, one line each, and its exit codes."""

import json
import subprocess

import pytest

from gateway.cli import main
from gateway.commands.check import findings

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\n'


@pytest.fixture
def check(tmp_path, capsys):
    def run(text, *arguments):
        path = tmp_path / "meterd.toml"
        path.write_text(text)
        code = main(["check", "-c", str(path), *arguments])
        said = capsys.readouterr()
        return code, said.out.replace(str(path), "FILE"), said.err.replace(str(path), "FILE")

    return run


def test_a_good_configuration_is_ok(check, tmp_path):
    code, out, err = check(METER + f'[mqtt]\n[journal]\npath = "{tmp_path}/j.db"\n')
    assert (code, err) == (0, "")
    assert out == "FILE: OK, meters: main; MQTT: localhost, topics meterd/...\n"


def test_every_error_is_a_line(check):
    code, out, err = check(METER + 'bauds = 1\nprofile = "nl-dsmr9"\n[log]\nlevel = "loud"\n')
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: FILE: [") for line in lines)
    assert any("did you mean nl-dsmr" in line for line in lines), "names of profiles that there are"


def test_json_holds_the_same(check):
    code, out, err = check(METER + "bauds = 1\n", "--json")
    assert (code, err) == (1, "")
    answer = json.loads(out)
    assert answer["ok"] is False
    assert len(answer["errors"]) == 1
    code, out, _ = check(METER, "--json")
    answer = json.loads(out)
    assert (code, answer["ok"], answer["errors"]) == (0, True, [])
    assert any("nothing is published" in line for line in answer["warnings"])


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (METER.replace("/dev/null", "/dev/serial/by-id/absent"), "port: /dev/serial/by-id/absent: No such file or dir"),
        (METER.replace("/dev/null", "/etc/passwd"), "port: /etc/passwd is no serial device"),
        (METER + '[journal]\npath = "/nowhere/j.db"\n', "[journal] path: /nowhere is not a folder that this user can"),
        (METER + '[ledger]\npath = "/nowhere/l.db"\n', "[ledger] path: /nowhere is not a folder that this user can"),
        (METER, "no [mqtt]: nothing is published"),
    ],
)
def test_what_may_be_right_later_is_a_warning(check, text, warning):
    code, out, err = check(text)
    assert code == 0
    assert "OK" in out
    assert any(warning in line and line.startswith("warning: FILE: ") for line in err.splitlines())


def test_passwords_that_others_read_or_that_cross_the_network(check, tmp_path):
    secret = tmp_path / "pw"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    text = METER + f'[mqtt]\nhost = "broker.example"\nusername = "u"\npassword_file = "{secret}"\n'
    _, _, err = check(text)
    assert "every user can read" in err
    secret.chmod(0o600)
    _, _, err = check(text)
    assert "crosses the network in clear" in err
    assert "s3cret" not in err
    secret.write_text("\n")
    code, _, err = check(text)
    assert code == 1
    assert f"[mqtt] password_file: {secret} is empty" in err


def test_certificates_are_read(check, tmp_path):
    for name in ("a", "b"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", f"/CN={name}", "-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.pem"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    tls = METER + f'[mqtt]\ntls = true\nca_file = "{tmp_path}/a.pem"\ncert_file = "{tmp_path}/a.pem"\n'
    assert check(tls + f'key_file = "{tmp_path}/a.key"\n')[0] == 0
    code, _, err = check(tls + f'key_file = "{tmp_path}/b.key"\n')
    assert code == 1
    assert "are no pair in PEM form" in err
    (tmp_path / "a.pem").write_text("no certificate")
    code, _, err = check(tls + f'key_file = "{tmp_path}/a.key"\n')
    assert code == 1
    assert "holds no certificate in PEM form" in err


def test_where_the_configuration_is_looked_for(tmp_path, monkeypatch, capsys):
    from gateway.commands import configuration

    monkeypatch.setattr(configuration, "SYSTEM", tmp_path / "etc.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["check"]) == 1
    assert f"{tmp_path}/etc.toml: cannot be read" in capsys.readouterr().err
    (tmp_path / "meterd").mkdir()
    (tmp_path / "meterd" / "meterd.toml").write_text(METER)
    assert main(["check"]) == 0
    assert f"{tmp_path}/meterd/meterd.toml: OK" in capsys.readouterr().out
    (tmp_path / "etc.toml").write_text(METER)
    assert main(["check"]) == 0
    assert f"{tmp_path}/etc.toml: OK" in capsys.readouterr().out


def test_run_refuses_what_check_refuses(tmp_path, capsys):
    path = tmp_path / "meterd.toml"
    path.write_text(METER.replace("port", "prot"))
    assert main(["run", "-c", str(path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"meterd run: {path}: [[meter]] no. 1 prot: unknown key (did you mean port?)",
        f"meterd run: {path}: [[meter]] no. 1 port: is missing; allowed: text",
    ]


def test_the_files_of_a_hub_are_read(tmp_path):
    config = tmp_path / "meterd.toml"
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "{tmp_path}/none"\n[journal]\npath = "{tmp_path}/journal.db"\n'
        '[[hub]]\nname = "dk"\nkind = "dk-datahub3"\nurl = "https://hub.example"\nca_file = "ca.pem"\n'
    )
    settings, errors, _ = findings(config)
    assert settings is not None
    assert len(errors) == 1
    assert errors[0].startswith(f"{config}: [[hub]] no. 1 ca_file {tmp_path / 'ca.pem'} ")
    (tmp_path / "ca.pem").unlink()
    assert findings(config, "run")[1] == [], "the daemon has no business with it"
    text = config.read_text().replace("ca.pem", "$CREDENTIALS_DIRECTORY/ca.pem")
    config.write_text(text)
    assert findings(config)[1] == [], "it is there only when the service runs"
