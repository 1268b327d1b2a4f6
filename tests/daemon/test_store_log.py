"""What happens to a store is logged once."""

import pytest

from gateway.store_log import StoreLog


@pytest.mark.parametrize("store", ["journal", "ledger"])
def test_each_thing_is_said_once(store, monkeypatch):
    told = []
    monkeypatch.setattr("gateway.log.event", lambda name, **fields: told.append((name, fields["reason"])))
    one = StoreLog(store)
    for trouble, notices in [
        (None, []), ("the disk is full", []), ("the disk is full", ["a"]), ("it hangs", ["a"]), (None, ["a", "b"]),
        (None, ["b"]),
    ]:  # fmt: skip
        one.look(trouble, notices)
        assert one.trouble == trouble
    assert told == [
        (f"{store}_trouble", "the disk is full"),
        (f"{store}_notice", "a"),
        (f"{store}_trouble", "it hangs"),
        (f"{store}_stores", None),
        (f"{store}_notice", "b"),
    ]
