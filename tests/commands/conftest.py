"""A household of two meters on disk for the commands that remove: a configuration, a journal, keys."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from decoders.model import Reading
from gateway.item_p import stamp
from gateway.stores.journal import Journal

START = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)


class Kept:
    """What a daemon left: `config`, `journal`, `ledger`, `keys`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "meterd.toml"
        self.journal = folder / "data" / "journal.db"
        self.ledger = folder / "data" / "ledger.db"
        self.keys = folder / "xdg" / "meterd" / "keys"
        self.journal.parent.mkdir()
        self.keys.mkdir(parents=True, mode=0o700)
        self.config.write_text(
            f'[[meter]]\nname = "main"\nport = "/dev/null"\n[[meter]]\nname = "barn"\nport = "/dev/zero"\n'
            f'[journal]\npath = "{self.journal}"\n[control]\nsocket = "{folder}/control"\n'
        )
        for name in ("main.ek", "main.ak", "barn.ek"):
            (self.keys / name).write_text("0f1e2d3c4b5a69788796a5b4c3d2e1f0\n")
            (self.keys / name).chmod(0o400)
        self.write()

    def opened(self) -> Journal:
        names = ("main", "barn")
        kept = Journal(
            self.journal,
            max_bytes=64 << 20,
            max_age_s=10**9,
            group_s=10,
            meters=names,
            save_counters=lambda: {name: {"received": kept.stored(name) + kept.quarantined(name)} for name in names},
            save_trust=lambda: {name: f"trust of {name}".encode() for name in names},
            save_sub_meters=lambda: {name: f"sub-meters of {name}".encode() for name in names},
        )
        kept.start()
        return kept

    def write(self) -> None:
        kept = self.opened()
        for n in range(120):
            name = ("main", "barn")[n % 2]
            reading = _reading(name, n)
            item = stamp(reading, name, seq=kept.next_seq(name), t_rx=reading.t or START, max_clock_offset_s=3_600)
            if n % 20 < 2:
                kept.quarantine(item, "it cannot be")
            else:
                kept.append(item)
            kept.flush(60)
        outbox = kept.outbox("influx")
        page = outbox.page(limit=40)
        outbox.settle(page[-1].id, delivered={"main": 20, "barn": 20})
        kept.flush(60)
        assert kept.close(60)


def _reading(name: str, n: int) -> Reading:
    t = START + timedelta(seconds=n)
    fields: dict[str, Any] = {
        "profile": f"profile-of-{name}",
        "interface": "p1",
        "auth": "plain",
        "quality": "measured",
        "t": t,
        "t_meter": None,
        "p_import_w": n,
        "p_export_w": 0,
        "p_net_w": n,
        "a_import_wh": 1_000 + n,
        "a_export_wh": 0,
        "reg_t": t,
        "registers": (),
        "register_times": (),
        "sub": (),
        "identity": f"pseudonym-of-{name}",
        "interval_s": 1,
        "flags": (),
        "size": 100,
    }
    return Reading(**fields)


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Make what a daemon left of meters `main` and `barn`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return Kept(tmp_path)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`terminal("yes")`: a person answers so; `terminal(KeyboardInterrupt())` presses Ctrl-C."""

    def make(answer: str | BaseException) -> None:
        def answered(_question: str) -> str:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", answered)

    return make
