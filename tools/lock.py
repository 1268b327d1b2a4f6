"""Write the locks of requirements/: versions and hashes for every platform, and no addresses (docs/decisions/0002).

Runs in the environment of requirements/lock.txt. With `--upgrade` it takes the newest versions; without, it changes
only what pyproject.toml asks for.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
OPTIONS = "--quiet --universal --python-version 3.11 --generate-hashes --annotation-style line --no-header"
NO_ADDRESSES = "--no-emit-index-url --no-emit-find-links"

#: lock: what it holds, in the words of `uv pip compile`; dev rules, the next three are parts of it; runtime is what
#: `make install` installs, daemon and uploader
LOCKS: dict[str, str] = {
    "dev": "pyproject.toml --extra demo --extra dev --group build",
    "demo": "pyproject.toml --extra demo -c requirements/dev.txt",
    "runtime": "pyproject.toml --extra hubs -c requirements/dev.txt",
    "build": "--group build -c requirements/dev.txt",
    "lock": "--group lock",
}


def main(arguments: list[str]) -> int:
    """Write every lock; the first that has no solution ends it, after uv said why."""
    upgrade = [option for option in arguments if option == "--upgrade"]
    for name, inputs in LOCKS.items():
        lock = f"requirements/{name}.txt"
        options = f"{OPTIONS} {NO_ADDRESSES} {inputs} -o {lock}".split()
        done = subprocess.run([UV, "pip", "compile", *upgrade, *options], cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
        print(f"{lock}: {len(re.findall('^[a-z].*==', (ROOT / lock).read_text(), re.MULTILINE))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
