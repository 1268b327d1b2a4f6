"""Make a virtual environment from a lock: every file that enters it is checked against the lock's hashes.

Runs before any environment exists, on the standard library alone: `python3 tools/env.py .venv requirements/dev.txt`.
An environment that belongs to the lock as it stands is left alone; any other is made anew.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "requirements" / "build.txt"
PROJECT = ROOT / "pyproject.toml"


def main(arguments: list[str]) -> int:
    """Bring the environment that the arguments name (folder, lock) into line; `--bare`: without meterd in it."""
    bare = "--bare" in arguments
    folder, lock = (ROOT / argument for argument in arguments if argument != "--bare")
    stamp = folder / "made-from"
    if stamp.is_file() and stamp.read_text() == fingerprint(lock):
        return 0
    print(f"making {folder.relative_to(ROOT)} from {lock.relative_to(ROOT)} (once; about a minute)", flush=True)
    try:
        make(folder, lock, bare=bare)
    except subprocess.CalledProcessError as error:
        print(
            f"{folder.name}: pip ended with {error.returncode}: what it said stands above; run make again",
            file=sys.stderr,
        )
        return 1
    stamp.write_text(fingerprint(lock))
    return 0


def fingerprint(lock: Path) -> str:
    """What an environment depends on: this Python, where the checkout is, its metadata and its locks."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for path in (PROJECT, BUILD, lock):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(folder: Path, lock: Path, *, bare: bool) -> None:
    """Create the environment; the build backend comes first, so that nothing is built with what no lock names."""
    if folder.exists():
        shutil.rmtree(folder)
    venv.create(folder, with_pip=True, symlinks=True)
    if bare:
        pip(folder, "--require-hashes", "--no-deps", "-r", str(lock))
        return
    pip(folder, "--require-hashes", "--no-deps", "-r", str(BUILD))
    pip(folder, "--require-hashes", "--no-deps", "--no-build-isolation", "-r", str(lock))
    pip(folder, "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def pip(folder: Path, *arguments: str) -> None:
    """Run the environment's own pip; raises CalledProcessError."""
    # Twice quiet: errors only. A machine's own index settings may warn once per package.
    options = ["--quiet", "--quiet", "--disable-pip-version-check", "--no-input"]
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", *options, *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
