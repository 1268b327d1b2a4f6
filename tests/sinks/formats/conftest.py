"""Tables of `[[compat]]`, and a three-phase reading with everything that the formats know."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.settings import CompatSettings

UUID = "7d2b2547-27dd-4fe0-9516-707540e1184f"


@pytest.fixture
def table() -> Callable[..., CompatSettings]:
    """A table of a kind, with any key replaced."""
    topics = {"aiida-cim": f"aiida/{UUID}/data", "dsmr-reader": "dsmr/reading", "victron": "victron/grid"}

    def make(kind: str, **keys: Any) -> CompatSettings:
        return CompatSettings(**({"kind": kind, "meter": "main", "topic": topics[kind]} | keys))

    return make


@pytest.fixture
def three_phases() -> tuple[tuple[str, int, int, str], ...]:
    """Registers as a three-phase DSMR 5 meter sends them; L3 exports."""
    return (
        ("1-0:1.8.1", 4000001, -3, "kWh"),
        ("1-0:1.8.2", 2000003, -3, "kWh"),
        ("1-0:2.8.1", 5, -3, "kWh"),
        ("1-0:2.8.2", 0, -3, "kWh"),
        ("1-0:32.7.0", 2314, -1, "V"),
        ("1-0:52.7.0", 2309, -1, "V"),
        ("1-0:72.7.0", 2331, -1, "V"),
        ("1-0:31.7.0", 1, 0, "A"),
        ("1-0:51.7.0", 25, -1, "A"),
        ("1-0:71.7.0", 0, 0, "A"),
        ("1-0:21.7.0", 132, -3, "kW"),
        ("1-0:41.7.0", 70, 0, "W"),
        ("1-0:61.7.0", 0, -3, "kW"),
        ("1-0:22.7.0", 0, -3, "kW"),
        ("1-0:42.7.0", 0, -3, "kW"),
        ("1-0:62.7.0", 310, -3, "kW"),
        ("1-0:14.7.0", 5002, -2, "Hz"),
    )
