"""Provide the servers and libraries of the tests: install them with apt when root, else say the one line to run."""

import ctypes.util
import os
import shutil
import subprocess
import sys

#: program that a test starts: the Debian package that brings it (node runs the function that the ioBroker page gives)
SERVERS: dict[str, str] = {
    "systemd-analyze": "systemd",
    "cc": "gcc libc6-dev",
    "influxd": "influxdb",
    "mosquitto": "mosquitto",
    "node": "nodejs",
    "victoria-metrics": "victoria-metrics",
}
#: C library that a test compares with: the Debian package that brings it
LIBRARIES: dict[str, str] = {
    "sml": "libsml1",
}


def main() -> int:
    """Install what is absent; 1 when something stays absent."""
    packages = absent()
    if not packages:
        return 0
    line = f"apt-get install --yes --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"the tests run against real servers; install them once: sudo {line}", file=sys.stderr)
        return 1
    print(f"installing what the tests run against: {' '.join(packages)}", flush=True)
    if not install(line) or absent():
        print(f"apt-get could not install them; it says why above. Run it by hand: {line}", file=sys.stderr)
        return 1
    return 0


def absent() -> list[str]:
    """List the packages whose program or library is not here; daemons stand in sbin, which is not on every PATH."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
    programs = {package for program, package in SERVERS.items() if shutil.which(program, path=path) is None}
    libraries = {package for name, package in LIBRARIES.items() if ctypes.util.find_library(name) is None}
    return sorted(programs | libraries)


def install(line: str) -> bool:
    """Run apt. Its lists are fetched first; where that fails, those that are there may do."""
    for command in ("apt-get update --quiet --quiet", line):
        done = subprocess.run(
            command.split(),
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
