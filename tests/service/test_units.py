"""The units as systemd's own tools judge them, offline: no warning, little exposure, the users and folders promised."""

import grp
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = ("meterd.service", "meterd-uploader.service")
#: at most 1.5 of 10, in tenths
EXPOSURE = 15


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def units(checkout: Path) -> Path:
    if shutil.which("systemd-analyze") is None:
        pytest.fail("systemd-analyze is not installed: apt-get install systemd (make test does it when root)")
    return checkout / "systemd"


@pytest.fixture
def root(units: Path, tmp_path: Path) -> Path:
    """A root folder with the units, and what they name."""
    for name in UNITS:
        target = tmp_path / "usr/lib/systemd/system" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((units / name).read_text())
    for name in ("sysusers.d", "tmpfiles.d"):
        target = tmp_path / "usr/lib" / name / "meterd.conf"
        target.parent.mkdir(parents=True)
        target.write_text((units / name / "meterd.conf").read_text())
    program = tmp_path / "opt/meterd/bin/meterd"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    for target in ("basic", "shutdown", "sysinit", "multi-user", "network", "nss-lookup"):
        (tmp_path / f"usr/lib/systemd/system/{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_no_complaint(root: Path, name: str) -> None:
    done = run("systemd-analyze", "verify", f"--root={root}", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_complaint_would_be_seen(root: Path) -> None:
    unit = root / "usr/lib/systemd/system/meterd.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSeconds="))
    done = run("systemd-analyze", "verify", f"--root={root}", "meterd.service")
    assert "WatchdogSeconds" in done.stdout + done.stderr


def test_a_program_that_is_not_there_would_be_seen(root: Path) -> None:
    (root / "opt/meterd/bin/meterd").unlink()
    assert run("systemd-analyze", "verify", f"--root={root}", "meterd.service").returncode != 0


@pytest.mark.parametrize("name", UNITS)
def test_exposure_is_low(units: Path, name: str) -> None:
    judge = ("systemd-analyze", "security", "--offline=true")
    done = run(*judge, f"--threshold={EXPOSURE}", units / name)
    level = re.search(r"Overall exposure level for \S+ ([0-9.]+)", done.stdout)
    assert done.returncode == 0, done.stdout
    assert level is not None
    assert float(level[1]) <= EXPOSURE / 10
    assert run(*judge, "--threshold=5", units / name).returncode != 0, "the threshold is not looked at"


def lines(path: Path) -> dict[str, list[str]]:
    """Settings of a unit."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_what_is_promised_stands_in_the_unit(units: Path, name: str) -> None:
    unit = lines(units / name)
    wanted = {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogSec": "30",
        "Restart": "always",
        "StartLimitIntervalSec": "0",
        "MemoryMax": "128M",
        "MemorySwapMax": "0",
        "LimitNOFILE": "256",
        "LimitCORE": "0",
        "UMask": "0077",
        "ProtectSystem": "strict",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
    }
    assert {key: unit[key] for key in wanted} == {key: [value] for key, value in wanted.items()}
    assert "time-sync" not in " ".join([*unit.get("After", []), *unit.get("Wants", []), *unit.get("Requires", [])])


def test_the_uploader_has_neither_keys_nor_ports(units: Path) -> None:
    daemon, uploader = lines(units / "meterd.service"), lines(units / "meterd-uploader.service")
    assert daemon["User"] != uploader["User"]
    assert uploader["PrivateDevices"] == ["yes"]
    assert "dialout" not in " ".join(uploader["SupplementaryGroups"])
    assert not {value.split(":")[1] for key in daemon if key.startswith("LoadCredential") for value in daemon[key]} & {
        value.split(":")[1] for key in uploader if key.startswith("LoadCredential") for value in uploader[key]
    }


def test_a_wrong_configuration_of_the_uploader_is_no_storm_of_restarts(units: Path) -> None:
    uploader = lines(units / "meterd-uploader.service")
    assert uploader["RestartPreventExitStatus"] == [str(os.EX_CONFIG)]
    assert "--reload $MAINPID" in uploader["ExecReload"][0]


def test_users_and_groups_are_made(root: Path) -> None:
    (root / "etc").mkdir()
    assert run("systemd-sysusers", f"--root={root}").returncode == 0
    users = (root / "etc/passwd").read_text()
    groups = (root / "etc/group").read_text()
    assert {"meterd", "meterd-uploader"} <= set(re.findall(r"^([\w-]+):", users, re.MULTILINE))
    assert {"meterd-data", "meterd-admin"} <= set(re.findall(r"^([\w-]+):", groups, re.MULTILINE))
    assert all(line.endswith("/nologin") for line in users.splitlines())


def test_folders_are_as_promised(units: Path) -> None:
    made = {
        row[1]: tuple(row[2:5])
        for row in map(str.split, (units / "tmpfiles.d/meterd.conf").read_text().splitlines())
        if row and row[0] == "d"
    }
    assert made["/var/lib/meterd"] == ("2770", "meterd", "meterd-data")
    assert made["/run/meterd"] == ("2750", "meterd", "meterd-admin")
    assert made["/etc/meterd/keys"] == ("0700", "root", "root")
    assert made["/etc/meterd/hubs"] == ("0750", "root", "meterd-uploader")


def test_tmpfiles_reads_them(root: Path, units: Path) -> None:
    """With names that this machine knows: systemd-tmpfiles looks them up in the root."""
    user, group = pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(f"{user}:x:0:0::/:/bin/sh\n")
    (root / "etc/group").write_text(f"{group}:x:0:\n")
    for kept in ("meterd-data", "meterd-admin", "meterd", "meterd-uploader"):
        with (root / "etc/group").open("a") as file:
            file.write(f"{kept}:x:{run('id', '-g').stdout.strip()}:\n")
    with (root / "etc/passwd").open("a") as file:
        file.write(f"meterd:x:{run('id', '-u').stdout.strip()}:0::/:/bin/sh\n")
    done = run("systemd-tmpfiles", f"--root={root}", "--create", "meterd.conf")
    assert (done.returncode, done.stderr) == (0, "")
    assert (root / "var/lib/meterd").stat().st_mode & 0o7777 == 0o2770
    assert (root / "run/meterd").stat().st_mode & 0o7777 == 0o2750
