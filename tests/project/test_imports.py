"""The import contracts of pyproject.toml hold, and each of them notices the import that it is there for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@pytest.fixture
def copy(checkout: Path, tmp_path: Path) -> Path:
    """A copy of the packages and their contracts, to plant an import in."""
    for package in ("gateway", "decoders"):
        shutil.copytree(checkout / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(checkout / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("decoders/model.py", "import gateway.item_p", "decoders know nothing of the gateway"),
        ("gateway/telemetry.py", "import gateway.stores", "inside gateway"),
        ("gateway/sources/__init__.py", "import gateway.daemon", "inside gateway"),
        ("gateway/novelty.py", "", "inside gateway"),
        ("decoders/novelty.py", "", "inside decoders"),
        ("decoders/errors.py", "import decoders.model", "inside decoders"),
        ("decoders/apdu.py", "import cryptography.hazmat", "only decoders.cipher knows cryptography"),
        ("gateway/meter.py", "import cryptography", "only decoders.cipher knows cryptography"),
        ("gateway/sinks/__init__.py", "import gateway.sources", "blind to each other"),
        ("gateway/sources/__init__.py", "import gateway.sinks", "blind to each other"),
        ("gateway/simulator/__init__.py", "import decoders.model", "the simulator shares nothing"),
    ],
)
def test_a_planted_import_breaks_its_contract(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / module
    with path.open("a") as module_file:
        module_file.write(f"\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    assert any(contract in row and "BROKEN" in row for row in done.stdout.splitlines()), done.stdout
