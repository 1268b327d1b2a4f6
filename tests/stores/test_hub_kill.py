"""kill -9 before every statement: after it a step is there as a whole or not at all, and what was reported is there."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.hub_model import Inbound, Message, Permission, Reason, Receipt
from gateway.stores.hubs import HubStore
from tests.stores.hub_drafts import HUB, NOW, POINT, draft, everything, slot, store

PERMISSION = Permission("p-1", "p", POINT, frozenset(("import",)), frozenset(("active",)), 0, None, 5, None)
REJECT = Receipt("rejected", (Reason("E10", "unknown"),), transactions=frozenset(("t-a-1",)), raw=b"<no/>")


def message(hubs: HubStore, name: str) -> Message:
    found = hubs.document(HUB, f"doc-{name}")
    assert found is not None
    return found


#: a day of an uploader, each step one call
STEPS: tuple[Callable[[HubStore], object], ...] = (
    lambda hubs: hubs.recover(HUB, NOW),
    lambda hubs: hubs.stage(HUB, [draft("a", slot(), slot(1)), draft("b", slot(2))], NOW),
    lambda hubs: hubs.begin(message(hubs, "a"), NOW),
    lambda hubs: hubs.settle(message(hubs, "a"), Receipt("accepted", status=202, raw=b"ok"), "accepted", NOW, NOW),
    lambda hubs: hubs.inbound(
        HUB, Inbound("m", "rsm-009", b"<r/>", "x", wanted=(slot(9),)), [(message(hubs, "a"), REJECT, "rejected")], NOW
    ),
    lambda hubs: hubs.settle(message(hubs, "a"), Receipt("confirmed"), "confirmed", NOW, NOW),
    lambda hubs: hubs.begin(message(hubs, "b"), NOW),
    lambda hubs: hubs.recover(HUB, NOW),
    lambda hubs: hubs.cancel(message(hubs, "b"), "anna", "why not", NOW),
    lambda hubs: hubs.retry(message(hubs, "a"), "anna", NOW),
    lambda hubs: hubs.stage(HUB, [draft("c", slot(1), revision=2)], NOW),
    lambda hubs: hubs.permit(PERMISSION, b"I", NOW),
    lambda hubs: hubs.end_permission("p-1", "L", b"L", NOW, "revoked"),
    lambda hubs: hubs.remember(HUB, "watermark", b"1"),
    lambda hubs: hubs.prune(HUB, NOW + 1),
)


def run_and_die(path: Path, statement: int) -> tuple[int, bool]:
    """Take the steps in a process that dies before a statement; how many were reported, and whether it died."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        left = statement

        def count(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            hubs = store(path)
            hubs._db.set_trace_callback(count)
            for step in STEPS:
                step(hubs)
                os.write(writes, b".")
        finally:
            os._exit(0)  # whatever happens, this is not the test
    os.close(writes)
    with os.fdopen(reads, "rb") as reported:
        done = len(reported.read())
    return done, os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.timeout(400)
def test_a_kill_before_any_statement_leaves_steps_whole(tmp_path: Path) -> None:
    base = tmp_path / "base.db"
    store(base)._file.close()
    hubs = store(Path(shutil.copy(base, tmp_path / "whole.db")))
    states = [everything(hubs)]
    for step in STEPS:
        step(hubs)
        states.append(everything(hubs))
    hubs._file.close()
    statement, died, seen = 0, True, set()
    while died:
        statement += 1
        path = Path(shutil.copy(base, tmp_path / "killed.db"))
        done, died = run_and_die(path, statement)
        after = store(path)
        found = everything(after)
        assert found in (states[done], states[min(done + 1, len(STEPS))]), f"statement {statement}, step {done}"
        assert after.audit.verify() == []
        after._file.close()
        seen.add(done)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    assert seen == set(range(len(STEPS) + 1)), "it died within every step"
    assert statement > 100
