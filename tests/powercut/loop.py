"""A real ext4 on a loop device, whose backing file is what reached the medium. Needs root."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SIZE_MIB = 96
SECTOR = 512
#: blocks as on a medium of more than 512 MB, and nothing left to the kernel to set up later
LIKE_A_CARD = ("-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
TOOLS = ("mkfs.ext4", "losetup", "mount", "umount")


class Disk(NamedTuple):
    """A mounted file system."""

    image: Path
    device: str
    folder: Path

    def written(self) -> int:
        """Octets that were written to the device since it was set up (/sys/block/*/stat, field 7 in sectors)."""
        stat = Path("/sys/block") / Path(self.device).name / "stat"
        return int(stat.read_text().split()[6]) * SECTOR

    def sync(self) -> None:
        """Let the file system write what it holds."""
        _run("sync", "--file-system", str(self.folder))


def obstacle() -> str | None:
    """Why no loop device can be used here, or None."""
    if os.geteuid() != 0:
        return "power cuts need root, for a loop device"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_PATH) is None]
    if missing:
        return f"power cuts need {', '.join(missing)}"
    try:
        with disk():
            return None
    except subprocess.CalledProcessError as error:
        return f"power cuts need a loop device: {error.stderr.decode(errors='replace').strip()}"


@contextmanager
def disk(options: str = "defaults") -> Iterator[Disk]:
    """A new file system, mounted with options until the end of the block."""
    with tempfile.TemporaryDirectory() as home:
        image = Path(home) / "image"
        with image.open("wb") as file:
            file.truncate(SIZE_MIB << 20)
        _run("mkfs.ext4", "-q", "-F", *LIKE_A_CARD, str(image))
        with mounted(image, options) as found:
            yield found


@contextmanager
def after_the_cut(image: Path) -> Iterator[Path]:
    """The folder of a file system whose power went at this moment: what its backing file holds, mounted anew."""
    with tempfile.TemporaryDirectory() as home:
        copy = Path(home) / "image"
        _run("cp", "--sparse=always", str(image), str(copy))
        with mounted(copy) as found:
            yield found.folder


@contextmanager
def mounted(image: Path, options: str = "defaults") -> Iterator[Disk]:
    """Mount the file system of an image, on a loop device."""
    with tempfile.TemporaryDirectory() as folder:
        device = _run("losetup", "--find", "--show", str(image)).strip()
        try:
            _run("mount", "-t", "ext4", "-o", options, device, folder)
            try:
                yield Disk(image, device, Path(folder))
            finally:
                _run("umount", folder)
        finally:
            _run("losetup", "--detach", device)


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _run(*command: str) -> str:
    environment = os.environ | {"PATH": _PATH}
    return subprocess.run(command, check=True, capture_output=True, env=environment).stdout.decode()
