"""Store and outboxes against a model that knows no file: random steps with crashes, power cuts, damage and forgetting.

The model is a list of what was received, and for each sink how far it is. What the journal says of itself, what its
file holds row by row (account.py) and what the sinks were handed must be what the model says.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.item_p import ItemP
from gateway.stores import quota
from gateway.stores.forget import forget
from gateway.stores.journal import Journal
from gateway.stores.outbox import Dead, Entry, Outbox
from gateway.stores.schema import WAL_LIMIT
from tests.sizes import STORE_EXAMPLES
from tests.stores import memory
from tests.stores.account import Account
from tests.stores.conftest import START, reading
from tests.stores.machines import try_examples

METERS = ("main", "barn")
SINKS = ("mqtt", "influx")
#: room for some hundred readings
MAX_BYTES = WAL_LIMIT + 240 * 1024
MAX_AGE_S = 5_000
FRAME = 24 + 1024
#: the fate of a reading that was settled before damage, and is known by its numbers only
BEFORE = "before"


@cache
def made(meter: str, seq: int, second: int) -> ItemP:
    t = START + timedelta(seconds=second)
    said = reading(second % 3_000)
    return ItemP(meter, said, t=t, t_source="meter", seq=seq, t_rx=t, clock_offset_s=0.0, valid_for_s=30)


@dataclass
class Model:
    """What is true."""

    received: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    #: readings (meter, seq) that are committed, in the order of receipt
    stored: list[tuple[str, int]] = field(default_factory=list)
    #: of which the first are gone
    gone: int = 0
    #: how many readings each sink has settled, and what became of them; the rest were gone before
    settled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SINKS, 0))
    fates: dict[str, dict[tuple[str, int], str]] = field(default_factory=lambda: {sink: {} for sink in SINKS})
    #: of the seconds of the meter's clock
    second: int = 0
    #: what is known from before damage by its numbers only
    recovered: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    sums: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def terms(self, sink: str, meter: str) -> dict[str, int]:
        fates = self.fates[sink]
        now = Counter(
            fates[one] if one in fates else "evicted" if n < max(self.gone, self.settled[sink]) else "pending"
            for n, one in enumerate(self.stored)
            if one[0] == meter
        )
        now += self.sums.get((sink, meter), Counter())
        return {name: now[name] for name in ("delivered", "pending", "evicted", "dead_letter")}


class Machine(RuleBasedStateMachine):
    """The steps."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = memory.folder()
        self.lives = 0
        self.path = self._life()
        self.model = Model()
        #: received since the last commit
        self.open: list[tuple[str, int, str]] = []
        #: what the file held after each commit of this life, the last one at the end
        self.commits: list[Model] = [Model()]
        self.items: dict[tuple[str, int], ItemP] = {}
        self.ids: dict[int, tuple[str, int]] = {}
        self.hands: dict[str, list[Entry]] = {sink: [] for sink in SINKS}
        #: what each consumer ever got
        self.consumed: dict[str, set[tuple[str, int]]] = {sink: set() for sink in SINKS}
        self.damaged = False
        self.kept: Journal | None = None

    def teardown(self) -> None:
        try:
            if self.kept is not None:
                self.drain()
        finally:
            if self.kept is not None:
                self.kept.close(60)
            shutil.rmtree(self.folder)

    # --- the steps

    @initialize(groups=st.lists(st.integers(1, 80), max_size=6))
    def begin(self, groups: list[int]) -> None:
        self.start()
        for n, size in enumerate(groups):
            self._append(size, METERS[n % 2], 1)
            self._commit()

    @rule(
        n=st.integers(1, 90), meter=st.sampled_from(METERS), gap=st.sampled_from((1, 1, 1, 60)), at_once=st.booleans()
    )
    def append(self, n: int, meter: str, gap: int, at_once: bool) -> None:
        self._append(n, meter, gap)
        if at_once:
            self._commit()

    def _append(self, n: int, meter: str, gap: int) -> None:
        for _ in range(n):
            self.model.second += gap
            self.receive(meter, "stored", self.model.second)

    @rule(meter=st.sampled_from(METERS), fate=st.sampled_from(("rejected", "quarantined")))
    def refuse(self, meter: str, fate: str) -> None:
        self.receive(meter, fate, self.model.second)

    @rule(seconds=st.integers(-7_200, 7_200))
    def step_the_clock(self, seconds: int) -> None:
        self.model.second = max(0, self.model.second + seconds)

    @rule()
    def commit(self) -> None:
        self._commit()

    def _commit(self) -> None:
        kept = self.journal
        assert kept.flush(60), kept.status()
        self.take_over_open()
        self.see_evictions()
        self.commits.append(deepcopy(self.model))

    @rule(sink=st.sampled_from(SINKS), limit=st.integers(1, 60))
    def page(self, sink: str, limit: int) -> None:
        """Hand out again from the cursor on: what the sink had in hand is lost on the way, or was delivered unheard."""
        self.hands[sink] = self.handed_out(sink, None, limit)

    @rule(sink=st.sampled_from(SINKS), limit=st.integers(1, 60))
    def page_ahead(self, sink: str, limit: int) -> None:
        hand = self.hands[sink]
        if hand:
            self.hands[sink] = hand + self.handed_out(sink, hand[-1].id, limit)

    @rule(sink=st.sampled_from(SINKS), part=st.floats(0, 1), dead=st.integers(0, 3), seed=st.integers(0, 99))
    def settle(self, sink: str, part: float, dead: int, seed: int) -> None:
        self.hands[sink] = self.hands[sink] or self.handed_out(sink, None, 60)
        self._settle(sink, part, dead, seed)

    def _settle(self, sink: str, part: float, dead: int, seed: int) -> None:
        hand = self.hands[sink][: max(1, int(len(self.hands[sink]) * part))]
        if not hand:
            return
        refused = random.Random(seed).sample(hand, min(dead, len(hand)))
        good = Counter(entry.item.meter for entry in hand if entry not in refused)
        self.outboxes[sink].settle(hand[-1].id, delivered=good, dead=[Dead(entry, "refused") for entry in refused])
        for entry in hand:
            self.model.fates[sink][name(entry)] = "dead_letter" if entry in refused else "delivered"
        self.model.settled[sink] = self.model.stored.index(name(hand[-1])) + 1
        self.hands[sink] = self.hands[sink][len(hand) :]

    @rule(sink=st.sampled_from(SINKS))
    def settle_what_was_not_handed_out(self, sink: str) -> None:
        outbox = self.outboxes[sink]
        beyond = (self.hands[sink][-1].id if self.hands[sink] else outbox.position) + 1_000_000
        with pytest.raises(ValueError, match="was not handed to it"):
            outbox.settle(beyond, delivered={"main": 1})

    @rule()
    def reopen(self) -> None:
        assert self.journal.close(60)
        self.take_over_open()
        self.see_evictions()
        self.start()

    @rule()
    def kill(self) -> None:
        self.crash(None)

    @precondition(lambda self: self.kept is not None)
    @rule(part=st.floats(0, 1))
    def cut_the_power(self, part: float) -> None:
        self.crash(part)

    @precondition(lambda self: len(self.model.stored) - self.model.gone > 50)
    @rule(seed=st.integers(0, 1 << 30))
    def damage(self, seed: int) -> None:
        self._commit()
        assert self.journal.close(60)
        before = Account(self.path)
        dice = random.Random(seed)
        data = bytearray(self.path.read_bytes())
        leaves = [at for at in range(16 * 1024, len(data), 1024) if data[at] == 0x0D]
        for at in dice.sample(leaves, min(2, len(leaves))):
            data[at : at + 8] = bytes(8)
        self.path.write_bytes(data)
        self.start(known=False)
        assert self.journal.flush(60)
        after = Account(self.path)
        after.check()
        assert set(after.rows) <= set(before.rows), "what is salvaged keeps its id and its meter"
        self.go_on_from_the_file()
        # The log is folded: a power cut in the middle of a salvage has a test of its own.
        assert self.journal.close(60)
        self.start()

    @rule(meter=st.sampled_from(METERS))
    def forget(self, meter: str) -> None:
        self._commit()
        assert self.journal.close(60)
        if meter in Account(self.path).meters:
            forget(self.path, meter)
        account = Account(self.path)
        account.check()
        assert meter not in account.meters
        model = self.model
        for counts in (model.received, model.rejected, model.quarantined, model.recovered, model.before):
            del counts[meter]
        model.sums = {key: value for key, value in model.sums.items() if key[1] != meter}
        for sink in SINKS:
            self.model.settled[sink] = sum(one[0] != meter for one in self.model.stored[: self.model.settled[sink]])
        self.model.gone = sum(one[0] != meter for one in self.model.stored[: self.model.gone])
        self.model.stored = [one for one in self.model.stored if one[0] != meter]
        for fates in self.model.fates.values():
            for one in [one for one in fates if one[0] == meter]:
                del fates[one]
        self.start()

    # --- what must hold after each

    @invariant()
    def the_journal_says_what_is_true(self) -> None:
        if self.kept is None:
            return
        account = self.kept.conservation()
        assert account["holds"], account
        held = Counter(meter for meter, _, fate in self.open if fate != "rejected")
        stored = Counter(meter for meter, _ in self.model.stored)
        for meter, terms in account["meters"].items():
            assert terms["held"] == held[meter]
            assert terms["lost"] == 0
            assert terms["stored"] == stored[meter] + self.model.before[meter], (meter, terms, stored)
            assert terms["quarantined"] == self.model.quarantined[meter]
            opened = Counter(one for one, _, fate in self.open)
            assert terms["received"] == self.model.received[meter] + self.model.recovered[meter] + opened[meter]
        for sink, meters in account["sinks"].items():
            for meter, terms in meters.items():
                assert terms == self.model.terms(sink, meter), (sink, meter)

    @invariant()
    def no_cursor_leaps(self) -> None:
        for sink, outbox in self.outboxes.items() if self.kept is not None else ():
            done = self.model.stored[: self.model.settled[sink]]
            assert {one for one in done if self.model.fates[sink].get(one, BEFORE) != BEFORE} <= self.consumed[sink]
            behind = [at for at, one in self.ids.items() if one in set(done)]
            assert outbox.position >= max(behind, default=0)

    # --- how

    @property
    def journal(self) -> Journal:
        assert self.kept is not None
        return self.kept

    def _life(self) -> Path:
        self.lives += 1
        folder = self.folder / str(self.lives)
        folder.mkdir()
        return folder / "journal.db"

    def start(self, *, known: bool = True) -> None:
        self.counters = {
            meter: {"received": self.model.received[meter], "rejected": self.model.rejected[meter]} for meter in METERS
        }
        limits: dict[str, Any] = {"max_bytes": MAX_BYTES, "max_age_s": MAX_AGE_S, "group_s": 3_600}
        self.kept = Journal(self.path, **limits, meters=METERS, save_counters=lambda: self.counters)
        self.kept.start()
        for meter in METERS:
            said = self.kept.counters(meter)
            if known:
                assert said.get("received", 0) == self.model.received[meter]
                assert said.get("rejected", 0) == self.model.rejected[meter]
            self.counters[meter] |= {one: said.get(one, 0) for one in ("received", "rejected")}
        self.outboxes: dict[str, Outbox] = {sink: self.kept.outbox(sink) for sink in SINKS}
        self.hands = {sink: [] for sink in SINKS}
        assert self.kept.flush(60)
        if known:
            self.see_evictions()
        self.commits = [deepcopy(self.model)]

    def receive(self, meter: str, fate: str, second: int) -> None:
        seq = self.journal.next_seq(meter)
        assert (meter, seq) not in self.items, "a number was used twice"
        item = self.items[meter, seq] = made(meter, seq, second)
        self.counters[meter]["received"] += 1
        self.open.append((meter, seq, fate))
        if fate == "rejected":
            self.counters[meter]["rejected"] += 1
        elif fate == "quarantined":
            self.journal.quarantine(item, "150 GW")
        else:
            self.journal.append(item)

    def take_over_open(self) -> None:
        for meter, seq, fate in self.open:
            self.model.received[meter] += 1
            if fate == "stored":
                self.model.stored.append((meter, seq))
            elif fate == "rejected":
                self.model.rejected[meter] += 1
            else:
                self.model.quarantined[meter] += 1
        self.open = []

    def see_evictions(self) -> None:
        """Look how many rows are left: they are the newest, whatever the reason for which others went."""
        account = Account(self.path)
        account.check()
        left = [meter for _, meter in sorted(account.rows)]
        gone = len(self.model.stored) - len(left)
        assert gone >= self.model.gone, "what is gone stays gone"
        assert [meter for meter, _ in self.model.stored[gone:]] == left, "the oldest give way, and no others"
        self.model.gone = gone

    def handed_out(self, sink: str, after: int | None, limit: int) -> list[Entry]:
        outbox = self.outboxes[sink]
        before = outbox.position if after is None else after
        entries = outbox.page(after, limit)
        assert all(a.id < b.id for a, b in pairwise([Entry(before, made("main", 1, 1)), *entries]))
        for entry in entries:
            assert entry.item == self.items[name(entry)], "not what was received"
            assert self.ids.setdefault(entry.id, name(entry)) == name(entry), "an id of another reading"
            self.consumed[sink].add(name(entry))
        return entries

    def crash(self, part: float | None) -> None:
        """Go on from the files as they are at this moment; with a part: of the log, only so much reached the disk."""
        old, was = self.journal, self.path
        self.path = self._life()
        for suffix in ("", "-wal"):
            if Path(f"{was}{suffix}").exists():
                shutil.copy(f"{was}{suffix}", f"{self.path}{suffix}")
        log = Path(f"{self.path}-wal")
        if part is not None and log.exists():
            frames = max(0, log.stat().st_size - 32) // FRAME
            os.truncate(log, 32 + int(frames * part) * FRAME)
        old.close(60)
        self.open = []
        second = self.model.second
        if part is None:
            self.model = deepcopy(self.commits[-1])
            self.model.second = second
            self.start()
        else:
            self.model = self.found_again()
            self.model.second = second
            self.start()
            self.ids = {at: one for at, one in self.ids.items() if one in set(self.model.stored)}

    def found_again(self) -> Model:
        """The commit that the file is at: any one of this life may be, and nothing in between."""
        account = Account(self.path)
        account.check()
        said = {meter: terms["received"] for meter, terms in account.meters.items()}
        for model in reversed(self.commits):
            fates = {sink: Counter(fate for fate in model.fates[sink].values() if fate != BEFORE) for sink in SINKS}
            for (sink, _), terms in model.sums.items():
                fates[sink] += Counter(delivered=terms["delivered"], dead_letter=terms["dead_letter"])
            found = {
                sink: Counter(
                    delivered=sum(one[0] for one in settled.values()),
                    dead_letter=sum(one[1] for one in settled.values()),
                )
                for sink, (_, settled) in account.sinks.items()
            }
            same = all(model.received[meter] == said.get(meter, 0) for meter in METERS)
            if same and all(+fates[sink] == +found.get(sink, Counter()) for sink in SINKS):
                return deepcopy(model)
        raise AssertionError("the file is at no commit that was ever made")

    def go_on_from_the_file(self) -> None:
        """After damage nobody but the file knows what is left; its own account was judged."""
        account = Account(self.path)
        rows = [(at, self.ids_of(at, meter)) for at, meter in sorted(account.rows)]
        model = self.model = Model(stored=[one for _, one in rows], second=self.model.second)
        left = Counter(meter for _, meter in account.rows)
        for meter, terms in account.meters.items():
            model.received[meter], model.rejected[meter] = terms["received"], terms["rejected"]
            model.quarantined[meter], model.recovered[meter] = terms["quarantined"], terms["recovered"]
            model.before[meter] = terms["stored"] - left[meter]
        for sink, (position, settled) in account.sinks.items():
            model.settled[sink] = sum(at <= position for at, _ in rows)
            model.fates[sink] = dict.fromkeys((one for at, one in rows if at <= position), BEFORE)
            for meter, (done, dead, gone) in settled.items():
                model.sums[sink, meter] = Counter(delivered=done, dead_letter=dead, evicted=gone)
        self.commits = [deepcopy(model)]

    def ids_of(self, at: int, meter: str) -> tuple[str, int]:
        if at not in self.ids:
            entry = self.outboxes["mqtt"].page(at - 1, 1)[0]
            assert entry.id == at
            self.ids[at] = name(entry)
        return self.ids[at]

    def drain(self) -> None:
        """At the end every sink gets what is left, and then everything is settled."""
        self._commit()
        for sink in SINKS:
            while page := self.handed_out(sink, None, 500):
                self.hands[sink] = page
                self._settle(sink, 1.0, 0, 0)
        self.the_journal_says_what_is_true()
        for sink, meters in self.journal.conservation()["sinks"].items():
            assert all(terms["pending"] == 0 for terms in meters.values()), (sink, meters)


def name(entry: Entry) -> tuple[str, int]:
    assert entry.item.seq is not None
    return entry.item.meter, entry.item.seq


@contextmanager
def age_at_each_commit() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(quota, "AGE_CHECK_S", 0)
    patch.setattr(quota.time, "time", lambda: START.timestamp() + 1e9)
    try:
        yield
    finally:
        patch.undo()


#: the examples in parts of a few seconds, each of a seed of its own
PARTS = 15


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_store_and_outboxes_are_what_the_model_says(part: int) -> None:
    with age_at_each_commit():
        try_examples(Machine, part, STORE_EXAMPLES // PARTS)
