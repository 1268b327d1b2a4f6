"""`meterd key`: what it reads, stores, proves and says, and that it says no key."""

import io
import json
import os
import pty
import stat
import subprocess
import sys
import threading
import time
from random import Random

import pytest

from gateway import keys
from gateway.cli import main


@pytest.fixture
def key(config, capsys, monkeypatch):
    """Run an action with text on standard input; exit code, standard output and error without the folder."""

    def run(action, *arguments, text="", more=""):
        path = config(more)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main(["key", action, "-c", str(path), *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def kept(name):
    return keys.stored("main", name).read_text().strip() if keys.stored("main", name).exists() else None


def test_set_list_remove(key, pair):
    ek, ak = pair
    code, out, err = key("set", "main", text=f"GUEK {ek.hex(' ')}\nGAK {ak.hex(':')}\n")
    assert (code, err) == (0, "")
    assert "used from the next start of the daemon on" in out
    assert (kept("encryption"), kept("authentication")) == (ek.hex(), ak.hex())
    code, listed, _ = key("list", "--json")
    meters = {meter["meter"]: meter for meter in json.loads(listed)["meters"]}
    assert code == 0
    assert meters["main"]["places"]["encryption"] == f"store {keys.stored('main', 'encryption')}"
    assert meters["main"]["encryption"] in out
    assert meters["garage"]["encryption"] is None
    for text in (out, listed):
        assert ek.hex() not in text
        assert ak.hex() not in text
    assert "main: encryption key" in key("list")[1]
    code, out, _ = key("remove", "main")
    assert (code, kept("encryption"), kept("authentication")) == (0, None, None)
    assert key("remove", "main")[0] == 1


def test_new_keys_replace_both_old_ones(key, pair):
    key("set", "main", text=pair[0].hex() + pair[1].hex())
    fresh = os.urandom(16)
    assert key("set", "main", text=fresh.hex())[0] == 0
    assert (kept("encryption"), kept("authentication")) == (fresh.hex(), None)


def test_set_from_files(key, pair, tmp_path):
    (tmp_path / "ek").write_text(pair[0].hex())
    (tmp_path / "ak").write_text(pair[1].hex())
    assert key("set", "main", "--key-file", tmp_path / "ek", "--auth-key-file", tmp_path / "ak")[0] == 0
    assert (kept("encryption"), kept("authentication")) == (pair[0].hex(), pair[1].hex())
    assert key("set", "main", "--key-file", "-", text=pair[1].hex())[0] == 0
    assert kept("encryption") == pair[1].hex()


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (["set", "nobody"], "", "no meter 'nobody'; there are: main, garage"),
        (["set", "main"], "", "32 hexadecimal digits"),
        (["set", "main"], "AB" * 16, "repeated"),
        (["set", "main", "--key-file", "/nowhere/ek"], "", "/nowhere/ek cannot be read: No such file"),
        (["set", "main", "--key-file", "-", "--auth-key-file", "-"], "", "name the same"),
        (["set", "main"], "GAK " + "0123456789abcdef" * 2, "an authentication key alone opens nothing"),
        (["prove", "main", "/dev/null"], "", "has no key to prove"),
    ],
)
def test_what_cannot_be_done_is_one_line(key, arguments, text, said):
    code, out, err = key(*arguments, text=text)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
    assert not text or text not in err


def test_a_key_of_the_configuration_is_not_shadowed(key, pair, tmp_path):
    path = tmp_path / "main.ek"
    path.write_text(pair[0].hex())
    path.chmod(0o400)
    code, _, err = key("set", "main", text=pair[1].hex(), more=f'key_file = "{path}"')
    assert (code, kept("encryption")) == (1, None)
    assert "has key_file" in err


@pytest.mark.parametrize(
    "option",
    [
        ["--key"], ["--auth-key"], ["--key=00"], ["--auth-key=00"], ["--key-file", "C0FFEE0011223344" * 2],
        ["--auth-key-file=c0ffee0011223344" + "c0ffee0011223344"], ["--key-file", "C0 FF" * 8],
        ["--key-file", *["C0"] * 16],
    ],
)  # fmt: skip
def test_a_key_is_never_an_argument(key, option):
    code, _, err = key("set", "main", *option)
    assert (code, "keys do not belong on a command line: use --key-file" in err) == (2, True)


def test_equal_keys_are_a_warning(key, pair):
    code, out, _ = key("set", "main", text=pair[0].hex() * 2)
    assert (code, "are the same" in out) == (0, True)


def test_a_terminal_is_asked_without_echo(config, pair):
    """A real terminal: the key that is typed comes back nowhere."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "gateway.cli", "key", "set", "main", "-c", str(config())]
    process = subprocess.Popen(["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = _typed(master, process, [(b"both keys): ", pair[0]), (b"gave none): ", pair[1])])
    assert process.wait(30) == 0, shown
    assert b"stored" in shown
    for octets in pair:
        assert octets.hex().encode() not in shown
    assert (kept("encryption"), kept("authentication")) == (pair[0].hex(), pair[1].hex())


def _typed(master, process, answers):
    shown, end = b"", time.monotonic() + 30
    os.set_blocking(master, False)
    while time.monotonic() < end:
        try:
            shown += os.read(master, 4_096)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
        if answers and shown.endswith(answers[0][0]):
            os.write(master, answers.pop(0)[1].hex().encode() + b"\n")
    os.close(master)
    return shown


# --- prove


def prove(key, *arguments, **how):
    code, out, _ = key("prove", "main", "--json", *arguments, **how)
    answer = json.loads(out)
    assert code == (0 if answer["verdict"] == "right" else 1)
    return answer


VERDICTS = {
    "right": lambda ek, ak: ek.hex() + ak.hex(),
    "swapped": lambda ek, ak: ak.hex() + ek.hex(),
    "encryption_key_wrong": lambda ek, ak: os.urandom(16).hex() + ak.hex(),
    "authentication_key_wrong": lambda ek, ak: ek.hex() + os.urandom(16).hex(),
    "authentication_key_missing": lambda ek, ak: ek.hex(),
}


@pytest.mark.parametrize("telegrams", [1, 5])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_prove_tells_what_is_wrong(key, make, pair, tmp_path, verdict, telegrams):  # noqa: PLR0917  # fixtures
    ek, ak = pair
    (tmp_path / "capture").write_bytes(b"".join(make(ek, ak, n) for n in range(1, telegrams + 1)))
    answer = prove(key, tmp_path / "capture", "--key-file", "-", text=VERDICTS[verdict](ek, ak))
    assert (answer["verdict"], answer["telegrams"]) == (verdict, telegrams)
    assert "system title 5341476742000001, counter 1" in answer["detail"]
    for octets in pair:
        assert octets.hex() not in json.dumps(answer)


def test_prove_is_right_in_100_of_100(key, make, tmp_path):
    """Random keys and one wrong octet anywhere: each verdict holds for all of them."""
    for _ in range(20):
        ek, ak = os.urandom(16), os.urandom(16)
        (tmp_path / "capture").write_bytes(make(ek, ak, 9))
        for verdict, entered in VERDICTS.items():
            text = entered(ek, ak)
            assert prove(key, tmp_path / "capture", "--key-file", "-", text=text)["verdict"] == verdict


def test_prove_with_stored_keys_hex_and_several_files(key, make, pair, tmp_path):
    key("set", "main", text=pair[0].hex() + pair[1].hex())
    files = [tmp_path / "a", tmp_path / "b"]
    for n, path in enumerate(files, 1):
        path.write_text(make(*pair, n).hex(" "))
    answer = prove(key, *files, "--hex")
    assert (answer["verdict"], answer["telegrams"]) == ("right", 2)
    code, out, _ = key("prove", "main", *files, "--hex")
    assert (code, out.startswith("the keys are right (2 telegrams;")) == (0, True)


def test_prove_knows_telegrams_without_tag(key, make, pair, tmp_path):
    (tmp_path / "c").write_bytes(make(*pair, 1, control=0x20))
    answer = prove(key, tmp_path / "c", "--key-file", "-", text=pair[0].hex() + pair[1].hex())
    assert answer["verdict"] == "right"
    assert "nothing proves the authentication key" in answer["detail"]
    answer = prove(key, tmp_path / "c", "--key-file", "-", text=pair[1].hex() + pair[0].hex())
    assert answer["verdict"] == "swapped"


def test_prove_knows_another_meter(key, make, pair, tmp_path):
    (tmp_path / "c").write_bytes(make(*pair, 1))
    wrong = os.urandom(16).hex()
    title = 'system_title = "5341476742000007"'
    answer = prove(key, tmp_path / "c", "--key-file", "-", text=wrong, more=title)
    assert answer["verdict"] == "other_meter"
    assert "system title 5341476742000001, the configuration says 5341476742000007" in answer["detail"]
    key("set", "garage", text=pair[0].hex() + pair[1].hex())
    answer = prove(key, tmp_path / "c", "--key-file", "-", text=wrong)
    assert (answer["verdict"], "the key of meter garage opens them" in answer["detail"]) == ("other_meter", True)


def test_prove_needs_the_system_title(key, make, pair, tmp_path):
    (tmp_path / "c").write_bytes(make(*pair, 1, shown=False))
    text = pair[0].hex() + pair[1].hex()
    assert prove(key, tmp_path / "c", "--key-file", "-", text=text)["verdict"] == "title_missing"
    more = 'system_title = "5341476742000001"'
    assert prove(key, tmp_path / "c", "--key-file", "-", text=text, more=more)["verdict"] == "right"


@pytest.mark.parametrize("octets", [b"", b"nothing here", Random(1).randbytes(400)])
def test_prove_without_a_telegram(key, pair, tmp_path, octets):
    (tmp_path / "c").write_bytes(octets)
    assert prove(key, tmp_path / "c", "--key-file", "-", text=pair[0].hex())["verdict"] == "no_telegram"


def test_prove_on_the_port(key, make, pair, tmp_path):
    master, slave = os.openpty()
    (tmp_path / "port").symlink_to(os.ttyname(slave))
    stop = threading.Event()

    def send():
        counter = 0
        while not stop.wait(0.05):
            counter += 1
            os.write(master, make(*pair, counter))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        answer = prove(key, "--port", "--seconds", "30", "--key-file", "-", text=pair[0].hex() + pair[1].hex())
    finally:
        stop.set()
        os.set_blocking(master, False)
        thread.join(10)
        os.close(master)
        os.close(slave)
    assert answer["verdict"] == "right"


def test_prove_on_a_port_that_is_not_there(key, pair):
    code, _, err = key("prove", "main", "--port", "--key-file", "-", text=pair[0].hex())
    assert code == 1
    assert "prove the key on a capture instead" in err


def test_prove_needs_a_capture_or_the_port(key, pair):
    assert key("prove", "main", "--key-file", "-", text=pair[0].hex())[0] == 2


def test_check_reads_the_files_and_shows_nothing(config, pair, tmp_path, capsys):
    path = tmp_path / "main.ek"
    path.write_text(pair[0].hex())
    path.chmod(0o644)
    for key_name in ("key_file", "auth_key_file"):
        assert main(["check", "-c", str(config(f'{key_name} = "main.ek"'))]) == 1
        said = capsys.readouterr().err
        assert f"[[meter]] no. 1 {key_name}: {path} can be read by others than its owner (mode 0644)" in said
    path.chmod(0o400)
    assert main(["check", "-c", str(config('key_file = "main.ek"\nsystem_title = "5341476742000001"'))]) == 0
    path.chmod(0o600)
    path.write_text(pair[0].hex()[:-1])
    assert main(["check", "-c", str(config('key_file = "main.ek"'))]) == 1
    said = capsys.readouterr()
    assert "this text has 31" in said.err
    assert pair[0].hex()[:8] not in said.out + said.err
    assert main(["check", "-c", str(config('system_title = "53414767420000"'))]) == 1
    assert "allowed: 16 hexadecimal digits (8 octets)" in capsys.readouterr().err


def test_check_warns_of_a_stored_key_that_cannot_be_used(config, key, pair, capsys):
    key("set", "main", text=pair[0].hex())
    keys.stored("main", "encryption").chmod(0o644)
    assert stat.S_IMODE(keys.stored("main", "encryption").stat().st_mode) == 0o644
    assert main(["check", "-c", str(config())]) == 0
    assert '[[meter]] "main": the key cannot be used' in capsys.readouterr().err
