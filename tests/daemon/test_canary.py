"""The canary: keys go through every command and state at level debug, and then stand nowhere but in their store."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

pytestmark = pytest.mark.e2e

TITLE = bytes.fromhex("5341476742000001")
METER = 'profile = "lu-smarty-encrypted"\ninterval_s = 1\n'


def until(condition, what, deadline_s=40.0):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.02)
    return value


def forms(octets):
    """Every form in which a key could show: raw, hexadecimal in all spellings, base64, escaped, a list of numbers."""
    found = {octets, base64.b64encode(octets).rstrip(b"="), base64.urlsafe_b64encode(octets).rstrip(b"=")}
    found |= {base64.b64encode(b"x" * n + octets)[4 if n else 0 : -4] for n in (1, 2)}
    for separator in ("", " ", ":", "-", "\\x", "%", ", 0x"):
        text = octets.hex(separator) if len(separator) == 1 else separator.join(f"{octet:02x}" for octet in octets)
        found |= {text.encode(), text.upper().encode()}
    numbers = [str(octet) for octet in octets]
    return found | {", ".join(numbers).encode(), ",".join(numbers).encode(), repr(octets)[2:-1].encode()}


def hits(canaries, places):
    """Name each place that holds a form of a canary."""
    return [name for name, data in places for octets in canaries if any(form in data for form in forms(octets))]


def files_below(folder, leave_out):
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.parent != leave_out:
            yield str(path), path.read_bytes()


def processes():
    for folder in Path("/proc").iterdir():
        for name in ("cmdline", "environ"):
            try:
                yield f"{folder}/{name}", (folder / name).read_bytes()
            except OSError:
                continue


@pytest.mark.parametrize("form", sorted(forms(bytes(range(200, 216)))), ids=repr)
def test_the_search_finds_each_form(tmp_path, form):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"before " + form + b" after")
    assert hits([bytes(range(200, 216))], files_below(tmp_path, None)) == [f"{tmp_path}/deep/file"]


@pytest.mark.timeout(300)
def test_no_key_is_anywhere_but_in_the_store(daemon, pty, broker, subscribe, telegrams, tmp_path):  # noqa: C901, PLR0915, PLR0917
    right, wrong = (os.urandom(16), os.urandom(16)), (os.urandom(16), os.urandom(16))
    canaries = [*right, *wrong]
    store = tmp_path / "xdg" / "meterd" / "keys"
    home = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONASYNCIODEBUG": "1"}
    (tmp_path / "tmp").mkdir()
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port, "#")
    running = daemon("main", mqtt=mqtt.port, extra='[log]\nlevel = "debug"\n', meter_extra=METER).start(**home)
    outputs, counter = [], 0
    watched = list(processes())

    def push(keys=right, count=1):
        nonlocal counter
        for _ in range(count):
            counter += 1
            text = telegrams(1)[0][0]
            sealed = AESGCM(keys[0]).encrypt(TITLE + counter.to_bytes(4, "big"), text, b"\x30" + keys[1])[:-4]
            content = b"\x30" + counter.to_bytes(4, "big") + sealed
            port.send(b"\xdb\x08" + TITLE + b"\x82" + len(content).to_bytes(2, "big") + content)

    def meterd(*arguments, text=""):
        command = [sys.executable, "-X", "dev", "-m", "gateway.cli", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | home,
        )
        watched.extend(processes())
        out, _ = process.communicate(text.encode(), timeout=60)
        outputs.append((" ".join(map(str, arguments)), out))
        return process.returncode

    def state(wanted):
        def there():
            push()
            return running.meter()["state"] == wanted

        until(there, wanted)

    config = ("-c", running.config)
    state("key_missing")
    capture = tmp_path / "capture"
    content = (
        b"\x30" + bytes(4) + AESGCM(right[0]).encrypt(TITLE + bytes(4), telegrams(1)[0][0], b"\x30" + right[1])[:-4]
    )
    capture.write_bytes(b"\xdb\x08" + TITLE + b"\x82" + len(content).to_bytes(2, "big") + content)
    both, crossed = right[0].hex() + right[1].hex(), right[1].hex() + right[0].hex()
    mixed = right[0].hex() + wrong[1].hex()
    for text, expected in (
        (wrong[0].hex() + wrong[1].hex(), "key_rejected"),
        (crossed, "key_rejected"),
        (mixed, "auth_key_rejected"),
        (right[0].hex(), "unauthenticated_refused"),
        (both, "ok"),
    ):
        assert meterd("key", "set", "main", *config, text=text) == 0
        state(expected)
        for arguments in (("status", *config), ("status", "--json", *config), ("key", "list", "--json", *config)):
            meterd(*arguments)
        meterd("key", "prove", "main", capture, "--key-file", "-", *config, text=text)
        for option in ((), ("--explain",), ("--min-auth", "unverified")):
            meterd("decode", "--profile", "lu-smarty-encrypted", "--key-file", "-", *option, capture, text=text)
    for text in (both[:-1], both + "A", f"key {wrong[0].hex()} key {wrong[1].hex()} key {right[0].hex()}"):
        assert meterd("key", "set", "main", *config, text=text) == 1
    typed = os.urandom(16)
    for option in ("--key-file", "--auth-key-file", "--key"):
        assert meterd("key", "set", "main", option, typed.hex(), *config) == 2
        outputs[-1] = (f"key set main {option}", outputs[-1][1])
    strange = {
        "command": "key",
        "meter": "main",
        "encryption": wrong[0].hex() + "00",
        "authentication": [wrong[1].hex()],
    }
    outputs.append(("control", asked(running.socket, json.dumps(strange).encode())))
    outputs.append(
        ("control", asked(running.socket, b'{"command":"key","encryption":"' + wrong[0].hex().encode() + b'"'))
    )
    assert meterd("check", *config) in (0, 1)
    # the journal commits every 10 s
    until(lambda: meterd("export", *config) == 0, "a committed reading")
    watched.extend(processes())
    running.process.send_signal(15)
    running.process.wait(30)
    dump = [(topic, payload) for topic, payload, _ in seen.messages]
    assert len([topic for topic, _ in dump if topic.endswith("/reading")]) > 0
    places = [*files_below(tmp_path, store), *watched, *dump, *outputs]
    assert len(places) > 50
    assert hits(canaries, places) == []
    assert hits([typed], [*outputs, *dump, *files_below(tmp_path, store)]) == []
    assert sorted(hits(right, files_below(store, None))) == [f"{store}/main.ak", f"{store}/main.ek"], "the control"


def asked(path, line):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(line + b"\n")
        return client.recv(65_536)
