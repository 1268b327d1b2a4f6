"""The command line: what a person types wrong, and how commands end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gateway import __version__
from gateway.cli import COMMANDS, KEY_ANSWER, main


def meterd(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip


def test_version():
    done = meterd("--version")
    assert (done.returncode, done.stdout) == (0, f"meterd {__version__}\n")


@pytest.mark.parametrize("arguments", [("-h",), ("--help",)])
def test_help_names_every_command(arguments):
    done = meterd(*arguments)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    done = meterd(name, "-h")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: meterd {name}")
    assert len(done.stdout) > 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "a command is missing: run, check"),
        (("rnu",), "'rnu' is no command (did you mean run?)"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
        (("check", "--nonsense"), "unrecognized arguments: --nonsense"),
        (("check", "--conf", "x"), "unrecognized arguments: --conf x"),
    ],
)
def test_usage_errors_end_with_2(arguments, said):
    done = meterd(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("decode", "--key", "00112233445566778899AABBCCDDEEFF", "-"),
        ("decode", "--key=00112233445566778899AABBCCDDEEFF", "-"),
        ("run", "-c", "x", "--key", "00112233445566778899AABBCCDDEEFF"),
        ("--key", "00112233445566778899AABBCCDDEEFF"),
        ("nonsense", "--key=00112233445566778899AABBCCDDEEFF"),
        ("decode", "--auth-key", "00112233445566778899AABBCCDDEEFF"),
    ],
)
def test_a_key_is_never_an_argument(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err == f"meterd: {KEY_ANSWER}\n"
    assert KEY_ANSWER == "keys do not belong on a command line: use --key-file"
    assert "0011" not in said.err + said.out


def test_a_file_that_is_not_there_is_one_line():
    done = meterd("replay", "/nowhere/capture.p1")
    assert done.returncode == 1
    assert done.stderr == "meterd replay: /nowhere/capture.p1: No such file or directory\n"


def test_a_broken_pipe_ends_quietly():
    command = [sys.executable, "-m", "gateway.cli", "simulate", "--out", "-", "--count", "20000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) in (1, 141)
    assert b"Traceback" not in errors


def test_an_interrupt_has_no_traceback(tmp_path):
    """`decode -` waits for stdin; Ctrl-C ends it."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "decode", "-"], stdin=reader, stderr=subprocess.PIPE
    ) as process:
        os.close(reader)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 130
        finally:
            process.kill()
        errors = process.stderr.read()
    os.close(writer)
    assert errors == b""


def test_starting_stays_light():
    """What is imported before a port is open: nothing of brokers, databases or HTTP (asyncio brings ssl)."""
    code = (
        "import sys, gateway.cli, gateway.commands.run, gateway.daemon\n"
        "heavy = {'paho', 'sqlite3', 'http', 'urllib.request', 'email', 'amqtt', 'decoders.decoder'}\n"
        "import gateway.commands.status, gateway.commands.check\n"
        "hubs = {'httpx', 'httpcore', 'lxml', 'aiohttp', 'fastjsonschema', 'cryptography.x509', 'gateway.uploader'}\n"
        "heavy |= hubs | {'gateway.sandbox', 'gateway.stores.hubs'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    # Coverage, where it measures child processes, brings sqlite3 of its own.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
