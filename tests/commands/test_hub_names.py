"""A [[hub]] that was renamed or removed: `meterd hub status` names it, `rename` and `cancel --all` are the ways out."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.hub_model import Draft, PartRow, Receipt, Slot
from gateway.stores import hub_rows
from gateway.stores.hub_reading import LOST_NOTE, RETIRED
from gateway.stores.hubs import HubReader, HubStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.alone import alone

POINT = "571313000000002000"
NOW = 1_772_600_000


class Place:
    """A configuration with hub `new`, and a ledger with messages of hub `old`."""

    def __init__(self, folder: Path) -> None:
        self.config, self.ledger = folder / "meterd.toml", folder / "ledger.db"
        self.config.write_text(
            f'[[meter]]\nname = "main"\nport = "/dev/null"\ntimezone = "Europe/Copenhagen"\n'
            f'[ledger]\npath = "{self.ledger}"\n[[point]]\nmeter = "main"\nid = "{POINT}"\n'
            f'[[hub]]\nname = "new"\nkind = "dk-datahub3"\nurl = "https://localhost:1"\npoints = ["{POINT}"]\n'
            'legal_basis = "a law"\nparty = "5799999933318"\nrole = "DDQ"\n'
        )
        file = open_ledger(self.ledger).file
        store = HubStore(file, lambda: NOW)
        made = store.stage("old", [draft(n) for n in range(4)], NOW)
        store.settle(store.begin(made[0], NOW), Receipt("confirmed"), "confirmed", NOW, NOW)
        store.begin(made[1], NOW)
        store.settle(store.begin(made[2], NOW), Receipt("accepted"), "accepted", NOW + 60, NOW)
        store.remember("old", "status", b'{"kind":"dk-datahub3","t":"2026-03-04T13:00:00Z","state":"ok"}')
        file.close()

    def __call__(self, *arguments: str) -> int:
        return main(["hub", *arguments, "-c", str(self.config)])

    def counts(self, hub: str) -> dict[str, int]:
        reader = HubReader(self.ledger)
        try:
            return {state: n for state, n in reader.counts(hub).items() if n}
        finally:
            reader.close()


def draft(day: int) -> Draft:
    slot = Slot(POINT, "import", "active", "PT15M", 1_772_496_000 + day * 86_400)
    part = PartRow(slot, slot.start + 86_400, 1, f"t-{day}", bytes(32), "config")
    return Draft("readings", "send", f"doc-{day}", b"{}", "application/json", (part,))


@pytest.fixture
def hub(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_status_names_what_nobody_looks_at(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert hub("status", "old") == 1
    told = capsys.readouterr().out
    for said in ("not configured", "3 open messages", "meterd hub rename old NAME", "meterd hub cancel old --all"):
        assert said in told
    assert "next" not in told
    assert hub("status", "--json") == 1
    hubs = {one["hub"]: one for one in json.loads(capsys.readouterr().out)["hubs"]}
    assert (hubs["old"]["state"], hubs["old"]["open"], hubs["new"]["state"]) == ("not configured", 3, "never run")


def test_a_renamed_hub_keeps_its_messages(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with alone(hub.ledger):
        assert hub("rename", "old", "new") == 1
    assert "systemctl stop meterd-uploader" in capsys.readouterr().err
    assert hub("rename", "old", "nwe") == 1
    assert "did you mean new" in capsys.readouterr().err
    before = hub.counts("old")
    assert hub("rename", "old", "new") == 0
    assert "4 messages" in capsys.readouterr().out
    assert (hub.counts("old"), hub.counts("new")) == ({}, before)
    assert hub("log", "verify") == 0
    assert hub("rename", "old", "new") == 1
    assert "no messages of a hub old" in capsys.readouterr().err
    assert hub("rename", "new", "new") == 1


def test_another_kind_of_hub_is_not_the_same_one(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    hub.config.write_text(hub.config.read_text().replace("dk-datahub3", "cz-ote").replace('role = "DDQ"\n', ""))
    hub("rename", "old", "new")
    assert "of kind dk-datahub3" in capsys.readouterr().err
    assert sum(hub.counts("old").values()) == 4


def test_what_is_open_of_a_hub_that_is_gone_is_given_up(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = open_ledger(hub.ledger).file
    store = HubStore(file, lambda: NOW)
    lost = Draft("readings", LOST_NOTE, "lost-9", b"", "")
    store.stage("old", [lost], hub_rows.NEVER)
    file.close()
    assert hub("cancel", "new", "--all", "--reason", "gone") == 1
    assert "is in the configuration" in capsys.readouterr().err
    assert hub("cancel", "old", "1", "--all", "--reason", "gone") == 1
    assert hub("cancel", "old", "--reason", "gone") == 1
    assert hub("cancel", "other", "--all", "--reason", "gone") == 1
    capsys.readouterr()
    assert hub("cancel", "old", "--all", "--reason", "the contract ended", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"cancelled": [2, 3, 4, 5]}
    assert hub.counts("old") == {"confirmed": 1, "dead": 4}
    reader = HubReader(hub.ledger)
    entry = list(reader.audit.entries())[-1]
    assert (entry.what, entry.hub, entry.facts) == ("retired", "old", {"messages": 4, "reason": "the contract ended"})
    assert reader.note("old", RETIRED)
    reader.close()
    assert hub("status", "old") == 0, "it is well: nothing of it is open"
    assert hub("log", "verify") == 0
