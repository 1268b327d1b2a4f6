"""The import contracts of pyproject.toml hold, and each of them notices the import that it is there for."""

import ast
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
        ("gateway/sandbox/ids.py", "import gateway.hub_model", "the test hub shares nothing"),
        ("gateway/uploader/delivery.py", "import gateway.uploader.plan", "inside uploader"),
        ("gateway/uploader/novelty.py", "", "inside uploader"),
    ],
)
def test_a_planted_import_breaks_its_contract(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / module
    with path.open("a") as module_file:
        module_file.write(f"\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    assert any(contract in row and "BROKEN" in row for row in done.stdout.splitlines()), done.stdout


def families(folder: Path) -> dict[Path, set[str]]:
    """What each module of an adapter imports of the others: their families (`dk`, `cz` ...)."""
    found = {}
    for path in sorted((folder / "gateway" / "uploader" / "hubs").glob("*_*.py")):
        if path.stem == "__init__":
            continue
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                named |= {f"{node.module}.{one.name}" for one in node.names}
            elif isinstance(node, ast.Import):
                named |= {one.name for one in node.names}
        own = "gateway.uploader.hubs."
        found[path] = {name.removeprefix(own).split("_")[0] for name in named if name.startswith(own)}
    return found


def test_adapters_are_blind_to_each_other(copy: Path) -> None:
    imports = families(copy)
    assert {path.stem.split("_")[0] for path in imports} == {"cz", "dk", "ee", "eu", "lt"}
    assert {path.name: named for path, named in imports.items() if named - {path.stem.split("_")[0]}} == {}
    planted = copy / "gateway" / "uploader" / "hubs" / "dk_rules.py"
    planted.write_text(f"{planted.read_text()}\nfrom gateway.uploader.hubs.cz_soap import wrap\n")
    assert families(copy)[planted] >= {"cz"}
