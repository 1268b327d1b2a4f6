"""The wheel, installed in an empty environment outside the checkout, holds what it should and decodes a telegram."""

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

PROFILE = "nl-dsmr5"

# Two environments are made, from a registry that may be slow.
pytestmark = pytest.mark.timeout(600)


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command outside the checkout, with nothing of the test's environment on its path; gives stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout as it stands."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], checkout)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(checkout: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the runtime lock and the wheel."""
    folder = tmp_path_factory.mktemp("outside") / "environment"
    venv.create(folder, with_pip=True, symlinks=True)
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--quiet", "--no-input", "install", "--no-deps"]
    run([*pip, "--require-hashes", "-r", checkout / "requirements" / "runtime.txt"], folder)
    run([*pip, "--no-index", wheel], folder)
    return folder


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_brings_two_packages_and_nothing_else(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in names(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == {"decoders", "gateway"}


def test_wheel_brings_every_module(checkout: Path, wheel: Path) -> None:
    modules = {
        str(path.relative_to(checkout)) for top in ("decoders", "gateway") for path in (checkout / top).rglob("*.py")
    }
    assert modules == {name for name in names(wheel) if name.endswith(".py")}


def test_wheel_brings_the_profiles_as_data(checkout: Path, wheel: Path) -> None:
    source = checkout / "config" / "profiles"
    profiles = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    data = "gateway/data/profiles/"
    assert f"{PROFILE}.toml" in profiles
    assert profiles == {name.removeprefix(data) for name in names(wheel) if name.startswith(data)}


def test_wheel_brings_configuration_schemas_and_licence(wheel: Path) -> None:
    held = names(wheel)
    assert "gateway/data/meterd.toml" in held
    assert "gateway/data/schemas/item-p.schema.json" in held
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_installed_meterd_decodes(checkout: Path, installed: Path) -> None:
    profiles = checkout / "config" / "profiles"
    frame = tomllib.loads((profiles / f"{PROFILE}.toml").read_text())["frame"][0]
    wire = installed.parent / "telegram.p1"
    wire.write_bytes((profiles / frame["file"]).read_bytes())

    (line,) = run([installed / "bin" / "meterd", "decode", "--profile", PROFILE, wire], installed.parent).splitlines()

    item: dict[str, Any] = json.loads(line)
    assert item["schema"] == "meterd.item-p/1"
    assert item["src"] == {"interface": "p1", "profile": PROFILE}
    assert frame["expect"], "the profile's first frame asserts nothing"
    for key, expected in frame["expect"].items():
        assert item.get(key, "") == expected, key


def test_installed_meterd_is_not_the_checkout(checkout: Path, installed: Path) -> None:
    code = "import decoders, gateway; print(decoders.__file__, gateway.__file__)"
    for path in run([installed / "bin" / "python", "-I", "-c", code], installed.parent).split():
        assert Path(path).is_relative_to(installed)
        assert not Path(path).is_relative_to(checkout)
