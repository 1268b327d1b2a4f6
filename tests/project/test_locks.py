"""The locks of requirements/: they agree with pyproject.toml and with each other, and hold hashes but no addresses."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("build", "demo", "dev", "lock", "runtime")
ENTRY = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>\S+)(?: ; [^\\]*)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def entries(text: str) -> dict[str, str]:
    """Name and version of each package of a lock."""
    found = (ENTRY.match(line) for line in text.splitlines())
    return {canonicalize_name(match["name"]): match["version"] for match in found if match}


def strangers(text: str) -> list[str]:
    """Lines of a lock that are no package, no hash and no reason."""
    known = (ENTRY, HASH, re.compile(r"^    # (via )?"))
    return [line for line in text.splitlines() if not any(pattern.match(line) for pattern in known)]


def asked(pyproject: dict[str, Any], lock: str) -> list[Requirement]:
    """What pyproject.toml asks of a lock."""
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    extras = project["optional-dependencies"]
    lines = {
        "build": groups["build"],
        "demo": project["dependencies"] + extras["demo"],
        "dev": project["dependencies"] + extras["demo"] + extras["dev"] + groups["build"],
        "lock": groups["lock"],
        "runtime": project["dependencies"] + extras["hubs"],
    }[lock]
    return [Requirement(line) for line in lines]


@pytest.fixture(scope="module")
def pyproject(checkout: Path) -> dict[str, Any]:
    return tomllib.loads((checkout / "pyproject.toml").read_text())


def test_these_are_all_locks(checkout: Path) -> None:
    assert sorted(path.name for path in (checkout / "requirements").iterdir()) == [f"{name}.txt" for name in LOCKS]
    assert not list(checkout.glob("uv.lock"))


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_what_pyproject_asks_for(checkout: Path, pyproject: dict[str, Any], lock: str) -> None:
    held = entries((checkout / "requirements" / f"{lock}.txt").read_text())
    asked_for = asked(pyproject, lock)
    assert asked_for
    for requirement in asked_for:
        version = held.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in requirements/{lock}.txt: make lock"
        assert requirement.specifier.contains(version), f"{requirement}, but {lock}.txt has {version}: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_only_packages_with_hashes(checkout: Path, lock: str) -> None:
    text = (checkout / "requirements" / f"{lock}.txt").read_text()
    assert strangers(text) == []
    lines = text.splitlines()
    assert [line for line, below in pairwise(lines) if ENTRY.match(line) and not HASH.match(below)] == []


@pytest.mark.parametrize("lock", ["build", "demo", "runtime"])
def test_lock_is_a_part_of_dev(checkout: Path, lock: str) -> None:
    dev = entries((checkout / "requirements" / "dev.txt").read_text())
    assert entries((checkout / "requirements" / f"{lock}.txt").read_text()).items() <= dev.items()


def test_build_group_is_the_build_system(pyproject: dict[str, Any]) -> None:
    assert set(pyproject["build-system"]["requires"]) <= set(pyproject["dependency-groups"]["build"])


def test_test_tools_and_copyleft_stay_out_of_the_runtime(checkout: Path) -> None:
    assert sorted(entries((checkout / "requirements" / "runtime.txt").read_text())) == [
        "aiohappyeyeballs",
        "aiohttp",
        "aiosignal",
        "anyio",
        "attrs",
        "certifi",
        "cffi",
        "cryptography",
        "defusedxml",
        "fastcrc",
        "fastjsonschema",
        "frozenlist",
        "h11",
        "httpcore",
        "httpx",
        "idna",
        "lxml",
        "msgspec",
        "multidict",
        "paho-mqtt",
        "propcache",
        "pycparser",
        "pyserial",
        "typing-extensions",
        "tzdata",
        "yarl",
    ]


@pytest.mark.parametrize(
    "line",
    ["--index" + "-url https://example.org/simple", "meterd @ file:///src", "-e .", "git+ssh://host/x", "paho-mqtt"],
)
def test_a_line_that_is_no_locked_package_is_noticed(line: str) -> None:
    assert strangers(f"pyserial==3.5 \\\n    --hash=sha256:{'0' * 64}\n    # via meterd\n{line}\n") == [line]
