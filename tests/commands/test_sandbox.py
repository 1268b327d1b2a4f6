"""`meterd sandbox`: init, a hub that serves and ends by signal, and options that are none."""

import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

METERD = [str(Path(sys.executable).parent / "meterd"), "sandbox"]
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    done = subprocess.run([*METERD, "init", "--folder", tmp_path / "hub"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/hub: ready; serve with `meterd sandbox --folder {tmp_path}/hub`\n"
    return tmp_path / "hub"


@pytest.fixture
def serve(folder: Path, tmp_path: Path) -> Iterator[Run]:
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [*METERD, "--folder", str(folder), "--listen", "127.0.0.1:0", "--port-file", str(tmp_path / "port")]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        deadline = time.monotonic() + 60
        while not (tmp_path / "port").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def client(folder: Path, tmp_path: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    made = httpx.Client(
        base_url=f"https://localhost:{(tmp_path / 'port').read_text().strip()}", verify=context, trust_env=False
    )
    made.headers["Authorization"] = f"Bearer {(folder / 'admin.token').read_text().strip()}"
    return made


@pytest.mark.e2e
def test_it_serves_until_a_signal_comes(serve: Run, folder: Path, tmp_path: Path) -> None:
    process = serve("--fault", "error=0.25:503@ee", "--set", "delay_s=0", "--set", "points=registered", "--seed", "3")
    with client(folder, tmp_path) as admin:
        shown = admin.get("/control").json()
    assert shown["faults"]["on"] == {"error": {"p": 0.25, "value": 503.0, "profile": "ee", "count": None}}
    assert (shown["options"]["delay_s"], shown["options"]["points"]) == (0.0, "registered")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.startswith("test hub at https://127.0.0.1:")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--fault", "other=1"], 2, "'other' is no fault"),
        (["--fault", "error=2"], 2, "p is a probability from 0 to 1"),
        (["--set", "other=1"], 2, "'other' is no option"),
        (["--set", "delay_s=x"], 2, "delay_s is a number"),
        (["--listen", "nowhere"], 2, "is not HOST:PORT"),
        (["--mailbox", "/nowhere/at/all"], 1, "is no folder"),
    ],
)
def test_options_that_are_none(folder: Path, options: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [*METERD, "--folder", folder, "--listen", "127.0.0.1:0", *options], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_none_or_is_one_already(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run([*METERD, "--folder", tmp_path / "other"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "meterd sandbox init" in done.stderr
    again = subprocess.run([*METERD, "init", "--folder", folder], capture_output=True, text=True, check=False)
    assert (again.returncode, "is the folder of a test hub already" in again.stderr) == (1, True)


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['lxml'] = None\n"
        "from gateway.cli import main; sys.exit(main(['sandbox', '--folder', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "meterd sandbox: a test hub needs aiohttp, lxml and jsonschema: pip install 'meterd[sandbox]'\n",
    )
