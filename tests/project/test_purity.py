"""Nothing in `decoders` opens, sleeps, prints, logs or reads a clock: shown by its source, and by running it."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: packages that decoders may import: none that can reach a file, a socket, a clock, a thread or a log
ALLOWED_IMPORTS = {
    "__future__",
    "binascii",
    "bisect",
    "collections",
    "contextlib",
    "cryptography",
    "abc",
    "dataclasses",
    "datetime",
    "decoders",
    "enum",
    "fastcrc",
    "functools",
    "hmac",
    "itertools",
    "math",
    "msgspec",
    "operator",
    "re",
    "string",
    "struct",
    "tomllib",
    "types",
    "typing",
}
FORBIDDEN_BUILTINS = {"__import__", "breakpoint", "compile", "eval", "exec", "globals", "input", "open", "print"}
#: attributes that read a clock or a file, on whatever object: `datetime.now`, `date.today`, `path.read_text`
FORBIDDEN_ATTRIBUTES = {
    "fromtimestamp",
    "monotonic",
    "now",
    "perf_counter",
    "read_bytes",
    "read_text",
    "sleep",
    "time_ns",
    "today",
    "utcfromtimestamp",
    "utcnow",
    "write_bytes",
    "write_text",
}


def violations(source: str) -> Iterator[str]:
    """Name every construct of a module that reaches outside its arguments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"imports {alias.name}" for alias in node.names if not allowed(alias.name))
        elif isinstance(node, ast.ImportFrom) and (node.level or not allowed(node.module or "")):
            yield f"imports from {'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_BUILTINS:
            yield f"uses {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            yield f"uses .{node.attr}"
        elif isinstance(node, ast.Attribute) and is_tomllib_file(node):
            yield "uses tomllib.load"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global):
            yield f"has {type(node).__name__}"


def allowed(module: str) -> bool:
    return module.partition(".")[0] in ALLOWED_IMPORTS


def is_tomllib_file(node: ast.Attribute) -> bool:
    return node.attr == "load" and isinstance(node.value, ast.Name) and node.value.id == "tomllib"


def modules(checkout: Path) -> list[Path]:
    found = sorted((checkout / "decoders").rglob("*.py"))
    assert len(found) >= 5, "decoders has its modules elsewhere: this test looks at nothing"
    return found


def test_no_module_reaches_outside(checkout: Path) -> None:
    found = {
        f"{path.relative_to(checkout)} {violation}"
        for path in modules(checkout)
        for violation in violations(path.read_text())
    }
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import os.path",
        "import time as t",
        "from time import monotonic",
        "from asyncio import sleep",
        "import threading",
        "import logging",
        "from logging import getLogger",
        "from pathlib import Path",
        "import sqlite3, re",
        "import subprocess",
        "import random",
        "import zoneinfo",
        "import io",
        "from gateway import settings",
        "from . import model",
        "from ..gateway import item_p",
        "def f():\n    import secrets",
        "open('/etc/hosts')",
        "f = open",
        "print(1)",
        "eval('1')",
        "exec('1')",
        "__import__('os')",
        "input()",
        "breakpoint()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\nclock = date.today",
        "from datetime import datetime\ndatetime.fromtimestamp(0)",
        "path.read_text()",
        "import tomllib\ntomllib.load(file)",
        "async def f(): ...",
        "def f():\n    global x\n    x = 1",
    ],
)
def test_each_kind_of_violation_is_caught(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\ndatetime(2026, 1, 1, tzinfo=UTC)",
        "import tomllib\ntomllib.loads('')",
        "from decoders.model import Reading",
        "import re\nfrom fastcrc import crc16\nre.compile('x')",
    ],
)
def test_what_decoders_need_is_allowed(source: str) -> None:
    assert not list(violations(source))


#: Run in a child: import every module, decode the frames of every profile, report each audit event of that (PEP 578).
CHILD = r"""
import importlib, json, pathlib, sys, tomllib
from datetime import UTC

checkout, extra = sys.argv[1:3]
sys.path.insert(0, checkout)
for path in sorted(pathlib.Path(checkout, "decoders").rglob("*.py")):
    importlib.import_module(".".join(path.relative_to(checkout).with_suffix("").parts).removesuffix(".__init__"))
reach_outside = {"asyncio", "logging", "select", "socket", "sqlite3", "ssl", "subprocess", "threading"}
loaded = sorted(reach_outside & set(sys.modules))
from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.profile import load

inputs = []
for path in sorted(pathlib.Path(checkout, "config", "profiles").glob("*.toml")):
    for frame in tomllib.loads(path.read_text())["frame"]:
        keys = [bytes.fromhex(frame.get("keys", {}).get(name, "")) for name in ("encryption", "authentication")]
        security = Security(keys=Keys(keys[0], keys[1] or None) if keys[0] else None)
        inputs.append((path.stem, path.read_text(), path.parent.joinpath(frame["file"]).read_bytes(), security))

events, results, listening = [], [], True
sys.addaudithook(lambda event, args: events.append(event) if listening else None)
for name, text, wire, security in inputs:
    decoder = Decoder([load(text, name)], lambda zone: UTC, security=security)
    noise = [*decoder.feed(b"noise"), *decoder.close()]
    results.append([*noise, *decoder.feed(wire), *decoder.feed(wire[:30]), *decoder.close()])
exec(extra)
listening = False
kinds = [sorted({type(result).__name__ for result in decoded}) for decoded in results]
print(json.dumps({"loaded": loaded, "events": events, "kinds": kinds}))
"""

#: audit events that touch nothing outside the process
HARMLESS = {
    "builtins.id",
    "code.__new__",
    "compile",
    "exec",
    "object.__getattr__",
    "object.__setattr__",
    "sys._getframe",
}


def decode_in_child(checkout: Path, extra: str = "") -> dict[str, list[Any]]:
    command = [sys.executable, "-I", "-c", CHILD, str(checkout), extra]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1, "decoding printed something"
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def test_decoding_touches_nothing(checkout: Path) -> None:
    child = decode_in_child(checkout)
    assert child["kinds"], "no profile has a frame: this test decoded nothing"
    assert all(kinds == ["Fault", "Reading"] for kinds in child["kinds"]), child["kinds"]
    assert child["loaded"] == []
    assert set(child["events"]) <= HARMLESS


@pytest.mark.parametrize(
    ("extra", "event"),
    [
        ("pathlib.Path(checkout, 'pyproject.toml').read_bytes()", "open"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import wave", "import"),
    ],
)
def test_what_decoding_must_not_do_is_seen(checkout: Path, extra: str, event: str) -> None:
    assert event not in HARMLESS
    assert event in decode_in_child(checkout, extra)["events"]
