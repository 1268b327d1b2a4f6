"""docs/configuration.md names every key, state, flag, counter and log event that there is."""

import re

import msgspec
import pytest

from gateway import line_state
from gateway.settings import LISTENING, TABLES, CompatSettings, HubSettings, MeterSettings, PointSettings
from gateway.telemetry import COUNTERS, EVENTS

BIG = [TABLES[name] for name in ("mqtt", "influx", "notice")]


@pytest.fixture(scope="module")
def named(checkout) -> set[str]:
    text = (checkout / "docs" / "configuration.md").read_text()
    return set(re.findall(r"`([a-z0-9_.]+)`", text))


@pytest.mark.parametrize(
    "struct", [MeterSettings, CompatSettings, PointSettings, HubSettings, *BIG, *LISTENING.values()]
)
def test_keys(named, struct):
    assert {field.name for field in msgspec.structs.fields(struct)} <= named


@pytest.mark.parametrize("table", ["journal", "ledger", "metrics", "log", "control"])
def test_keys_of_small_tables(named, table):
    assert {f"{table}.{field.name}" for field in msgspec.structs.fields(TABLES[table])} <= named


def test_states_that_p1_can_have(named):
    assert {state for state, _ in line_state.RULES} | {"stale"} <= named


@pytest.mark.parametrize("names", [line_state.FLAGS, COUNTERS, EVENTS])
def test_flags_counters_and_events(named, names):
    assert names.keys() <= named
