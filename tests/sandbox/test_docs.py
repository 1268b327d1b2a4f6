"""docs/hubs/sandbox.md names every option, fault, code and path that there is."""

import re
from pathlib import Path

from gateway.sandbox import control, dk_check, faults
from gateway.sandbox.options import Options

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "hubs" / "sandbox.md").read_text()


def test_every_option_and_fault_is_described() -> None:
    rows = {name for row in re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert set(Options().shown()) | set(faults.FAULTS) <= rows
    for name, value in Options().shown().items():
        shown = str(value).lower().removesuffix(".0") if not isinstance(value, str) else f"`{value}`"
        assert f"| `{name}` | {shown} |" in TEXT


def test_every_code_is_named() -> None:
    sources = "".join(
        (ROOT / "gateway" / "sandbox" / name).read_text() for name in ("dk_check.py", "dk_rules.py", "dk.py")
    )
    codes = set(re.findall(r"(?:Fault|Reason)\(\s*\"([0-9A-Z]{3,5})\"", sources))
    assert {"00101", "E87"} <= codes
    assert [code for code in sorted(codes) if code not in TEXT] == []
    assert dk_check.LONGEST == 36


def test_every_path_of_the_control_is_named() -> None:
    paths = set(re.findall(r"\"(/control[a-z/]*)\"", Path(control.__file__).read_text()))
    assert paths == {path for path in paths if f"{path}`" in TEXT or f"{path}?" in TEXT}
