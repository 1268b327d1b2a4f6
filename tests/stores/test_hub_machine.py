"""Messages to hubs against a model that knows no file: random steps with crashes between any two of them."""

import shutil
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.hub_model import FINAL, Draft, Inbound, Message, PartRow, Receipt, Slot, State
from gateway.stores.hubs import GoneError, HubError, HubStore, SlotBusyError
from tests.sizes import STORE_EXAMPLES
from tests.stores import memory
from tests.stores.hub_drafts import DAY, HUB, NOW, slot, store
from tests.stores.machines import try_examples

DAYS = st.sets(st.integers(0, 4), min_size=1, max_size=3)
ENDS: tuple[State, ...] = ("confirmed", "rejected", "dead")


@dataclass
class Known:
    """What is true of a message."""

    slots: list[Slot]
    revisions: list[int]
    state: State = "new"
    #: of each part, once it is judged
    own: dict[int, State] = field(default_factory=dict)
    attempts: int = 0

    def of(self, part: int) -> State:
        return self.own.get(part, self.state)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = memory.folder()
        self.known: dict[int, Known] = {}
        self.last: dict[Slot, tuple[int, int]] = {}
        self.inbounds: set[str] = set()
        self.names = 0
        self.hubs: HubStore = store(self.folder / "ledger.db")

    def teardown(self) -> None:
        self.hubs._file.close()
        shutil.rmtree(self.folder)

    def _open(self) -> list[int]:
        return [number for number, one in self.known.items() if one.state not in FINAL]

    def _message(self, number: int) -> Message:
        found = self.hubs.message(HUB, number)
        assert found is not None, "a message is gone"
        return found

    def _free(self, of: Slot) -> bool:
        if of not in self.last:
            return True
        number, part = self.last[of]
        return self.known[number].of(part) in FINAL

    @initialize()
    def begun(self) -> None:
        assert self.hubs.audit.verify() == []

    @rule(days=DAYS, step=st.integers(0, 2))
    def stage(self, days: set[int], step: int) -> None:
        self.names += 1
        slots = [slot(day) for day in sorted(days)]
        before = {of: self._revision(of) for of in slots}
        revisions = [before[of] + step for of in slots]
        parts = tuple(
            PartRow(of, of.start + DAY, revision, f"t-{self.names}-{n}", bytes(32), "config")
            for n, (of, revision) in enumerate(zip(slots, revisions, strict=True))
        )
        draft = Draft("readings", "send", f"doc-{self.names}", f"body {self.names}".encode(), "x", parts)
        if all(self._free(of) for of in slots) and step:
            made = self.hubs.stage(HUB, [draft], NOW)[0]
            assert made.id == len(self.known) + 1
            self.known[made.id] = Known(slots, revisions)
            self.last |= {of: (made.id, n) for n, of in enumerate(slots)}
        else:
            with pytest.raises(SlotBusyError):
                self.hubs.stage(HUB, [draft], NOW)

    def _revision(self, of: Slot) -> int:
        if of not in self.last:
            return 0
        number, part = self.last[of]
        return self.known[number].revisions[part]

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[number]
        if one.state in FINAL or one.state == "sending":
            with pytest.raises(GoneError):
                self.hubs.begin(self._message(number), NOW)
            return
        assert self.hubs.begin(self._message(number), NOW).attempts == one.attempts + 1
        one.state, one.attempts = "sending", one.attempts + 1

    @precondition(lambda self: self.known)
    @rule(data=st.data(), state=st.sampled_from(("new", "unknown", "accepted", *ENDS)), inbound=st.booleans())
    def settle(self, data: st.DataObject, state: State, *, inbound: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[number]
        which = data.draw(st.none() | st.integers(0, len(one.slots) - 1))
        message = self._message(number)
        names = frozenset() if which is None else frozenset((message.parts[which].transaction,))
        receipt = Receipt("unknown", transactions=names)
        if inbound:
            name = f"in-{data.draw(st.integers(0, 6))}"
            done = self.hubs.inbound(HUB, Inbound(name, "ack", b"", ""), [(message, receipt, state)], NOW)
            assert done == (name not in self.inbounds)
            self.inbounds.add(name)
            if not done:
                return
        else:
            self.hubs.settle(message, receipt, state, NOW, NOW)
        self._settled(one, which, state)

    def _settled(self, one: Known, which: int | None, state: State) -> None:
        parts = range(len(one.slots))
        before = {part: one.of(part) for part in parts}
        split = bool(one.own) or which is not None
        if which is None:
            judged = {part for part in parts if before[part] in FINAL and one.own and state != "rejected"}
            said = {part: before[part] if part in judged else _after(before[part], state) for part in parts}
            rest: State = state
        else:
            said = before | {which: _after(before[which], state)}
            rest = "unknown" if one.state == "sending" else one.state
        if not split:
            one.state = _after(one.state, state)
            return
        ended = all(found in FINAL for found in said.values())
        one.state = _worst(said.values()) if ended else rest
        one.own = {
            part: found
            for part, found in said.items()
            if found in FINAL or (which is not None and (part == which or part in one.own))
        }

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[number]
        if one.state in FINAL:
            with pytest.raises(GoneError):
                self.hubs.cancel(self._message(number), "anna", "why not", NOW)
            return
        self.hubs.cancel(self._message(number), "anna", "why not", NOW)
        if one.own:
            self._settled(one, None, "dead")
        else:
            one.state = "dead"

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[number]
        if one.state in ("sending", "confirmed"):
            with pytest.raises(HubError):
                self.hubs.retry(self._message(number), "anna", NOW)
            return
        assert self.hubs.retry(self._message(number), "anna", NOW).state == one.state

    @rule()
    def reopen(self) -> None:
        """The process dies, and begins again."""
        self.hubs._file.close()
        self.hubs = store(self.folder / "ledger.db")
        self.hubs.recover(HUB, NOW)
        for one in self.known.values():
            if one.state == "sending":
                one.state = "unknown"

    @invariant()
    def is_as_the_model_says(self) -> None:
        assert {one.id: one.state for one in self.hubs.in_state(HUB)} == {n: one.state for n, one in self.known.items()}
        counted = Counter(one.state for one in self.known.values())
        assert {state: n for state, n in self.hubs.counts(HUB).items() if n} == dict(counted)
        assert {one.id for one in self.hubs.waiting(HUB)} == set(self._open())
        for number, one in self.known.items():
            message = self._message(number)
            assert message.body == f"body {number_of(message)}".encode()
            assert [part.state for part in message.parts] == [one.of(n) for n in range(len(one.slots))]
            assert message.attempts == one.attempts
        for of, (number, part) in self.last.items():
            row = self.hubs.slot(HUB, of)
            assert row is not None
            assert (row.last, row.revision) == (number, self.known[number].revisions[part])
            assert row.message == (None if self._free(of) else number)
        assert self.hubs.audit.verify() == []


def number_of(message: Message) -> str:
    return message.document.removeprefix("doc-")


def _after(old: State, new: State) -> State:
    return new if old not in FINAL or new in ("confirmed", "rejected") else old


def _worst(states: object) -> State:
    found = set(states)  # type: ignore[call-overload]
    return next(state for state in ("rejected", "dead", "confirmed") if state in found)


#: the examples in parts of a few seconds, each of a seed of its own
PARTS = 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_messages_are_what_the_model_says(part: int) -> None:
    try_examples(Machine, part, STORE_EXAMPLES // 3 // PARTS)
