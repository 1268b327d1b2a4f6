"""The daemon under the filters of its unit that need no systemd: no new privileges, no capability, no writable code."""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.control import ControlError, ask
from gateway.simulator.keys import MeterKeys
from gateway.simulator.push_meter import PushMeter

pytestmark = pytest.mark.e2e

PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_GET_MDWE = 38, 65, 66
PR_CAPBSET_DROP, CAPABILITIES = 24, 41

CONFINED = """
import ctypes, mmap, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in range(41):
    libc.prctl(24, capability, 0, 0, 0)
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(65, 1, 0, 0, 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.umask(0o077)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    print("writable code is allowed", file=sys.stderr)
except PermissionError:
    print("writable code is refused", file=sys.stderr)
from gateway.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ciphers_ports_and_stores_work_under_the_filters(tmp_path: Path, until: Any) -> None:
    """CPython, cffi, OpenSSL, pyserial and SQLite need no page that is writable and executable."""
    mdwe = ctypes.CDLL(None).prctl(PR_GET_MDWE, 0, 0, 0, 0) >= 0
    rng = random.Random(3)
    ek, ak = rng.randbytes(16), rng.randbytes(16)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "meterd_main.ek").write_text(f"{ek.hex()}\n{ak.hex()}\n")
    master, slave = os.openpty()
    config = tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "{os.ttyname(slave)}"\nprofile = "at-netznoe"\nmin_auth = "unverified"\n'
        f'[journal]\npath = "{tmp_path}/journal.db"\n[control]\nsocket = "{tmp_path}/control"\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", CONFINED, "run", "-c", str(config)],
        stderr=subprocess.PIPE,
        env=os.environ | {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")},
        text=True,
    )

    def counters() -> dict[str, int]:
        try:
            return dict(ask(tmp_path / "control", "status")["meters"][0]["counters"])
        except ControlError:
            return {}

    until(lambda: counters().get("opens") == 1, "the port")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapBnd"], 16) == 0 or os.geteuid() != 0
    start = datetime.now(UTC)
    meter = PushMeter(seed=5, variant="at-sagemcom", start=start, keys=MeterKeys(ek, ak))
    for n in range(3):
        os.write(master, meter.telegram_at(start + timedelta(seconds=5 * n)))
    until(lambda: counters()["decoded"] == 3, "readings that were opened by the key")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    log = process.stderr.read()
    process.stderr.close()
    os.close(master)
    os.close(slave)
    assert ("writable code is refused" in log) == mdwe
    assert json.dumps(ek.hex()) not in log
    assert (tmp_path / "journal.db").stat().st_mode & 0o077 == 0
