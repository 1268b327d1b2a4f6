"""`meterd forget` and messages to hubs: what they say of the meter's points goes, that they were sent stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_salvage import open_ledger
from tests.stores.hub_drafts import HUB, NOW, POINT, draft, slot, store

BARN = "571313000000002001"


def test_messages_of_a_forgotten_meter_are_emptied(stores: Any, capsys: pytest.CaptureFixture[str]) -> None:
    points = f'[[point]]\nmeter = "main"\nid = "{POINT}"\n[[point]]\nmeter = "barn"\nid = "{BARN}"\n'
    stores.config.write_text(stores.config.read_text() + points)
    hubs = store(stores.ledger)
    hubs.stage(HUB, [draft("m", slot(), body=POINT.encode()), draft("b", slot(0, BARN), body=b"of barn")], NOW)
    hubs._file.close()
    assert main(["forget", "-c", str(stores.config), "main", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 1
    file = open_ledger(stores.ledger).file
    after = HubStore(file)
    mine, other = after.document(HUB, "doc-m"), after.document(HUB, "doc-b")
    assert mine is not None
    assert other is not None
    assert (mine.state, mine.body, mine.parts) == ("dead", b"", ())
    assert (other.state, other.body) == ("new", b"of barn")
    assert after.audit.verify() == []
    file.close()
    for path in (stores.ledger, Path(f"{stores.ledger}-wal")):
        assert not path.exists() or POINT.encode() not in path.read_bytes()
