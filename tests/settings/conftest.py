"""Fixtures of the settings' tests."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter: pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], Any]], Any]:
    """Call a function without the rights of root; any other user has none to lose."""

    def call(function: Callable[[], Any]) -> Any:
        if os.geteuid() != 0:
            return function()
        os.seteuid(65_534)
        try:
            return function()
        finally:
            os.seteuid(0)

    return call
