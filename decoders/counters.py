"""Rules of the receive counter: which telegrams are new, which are old ones sent again, and which wait for proof.

An invocation counter belongs to a system title and a key (DLMS UA 1000-2 clause 9.2.7: a nonce is never used twice),
so one chain is kept for each. A telegram is accepted when its counter is higher than the last accepted one. A lower one
is a replay, unless the meter lost its counter: then three verified telegrams in a row, with rising counters and each
with a clock later than any that was accepted, prove it. Afterwards the counters that were used before the loss come by
a second time, and there only the clock tells a new telegram from an old one.

`judge` says what a telegram is, `commit` gives the state after it. Commit only when all else about the telegram is in
order: the state is a value, to be stored with the reading that it admitted.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from decoders.model import Auth

#: classes of authenticity by strength
RANK: dict[Auth, int] = {"plain": 0, "unverified": 1, "verified": 2}

#: from here on the end of the counter is near
NEAR_END = 2**32 - 2**20
#: more telegrams than a meter sends in a day, one each second: they were lost, or the counter was set
JUMP = 100_000
#: telegrams in a row that prove a lower counter
PROOF = 3
#: accepted telegrams whose best class is the least that an automatic meter must keep
PINNING = 3
#: chains that are kept: keys that were replaced go first
CHAINS = 4

Counter = Annotated[int, Meta(ge=-1, lt=2**32)]
Refusal = Literal["replayed", "rollback", "identity_changed", "counter_exhausted", "downgrade"]
Event = Literal["counter_jumped", "counter_resumed", "counter_near_end"]


class Identity(NamedTuple):
    """Whose counter it is: system title in hexadecimal, fingerprint of the encryption key, key set."""

    system_title: str
    fingerprint: str
    key_set: Literal["unicast", "broadcast"] = "unicast"


class Seen(NamedTuple):
    """What is judged of one telegram; without identity it has no counter that proves anything.

    `clock` is the meter's own time in seconds, on whatever scale, None when the telegram has none.
    """

    auth: Auth
    identity: Identity | None
    counter: int
    clock: int | None


class Verdict(NamedTuple):
    """Accepted when there is no refusal (a code of stage unwrap); an event is worth a line in the log."""

    refusal: Refusal | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The counter of one identity: the last accepted (-1 before the first), and the latest clock that was accepted.

    Not the last clock: a meter whose clock was set back must not make room for the telegrams of before.
    """

    identity: Identity
    last: Counter
    clock: int | None = None
    #: highest counter that was used before the meter lost it; -1 when that range lies behind
    used: Counter = -1
    #: the latest telegram that waits for proof, and how many in a row wait
    waiting: Counter = -1
    waiters: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """All that the rules remember of one meter: the latest chain first, and the classes of its first telegrams."""

    chains: tuple[Chain, ...] = ()
    classes: tuple[Auth, ...] = ()

    @property
    def pinned(self) -> Auth:
        """The least class of an automatic meter: the best of its first telegrams, once there are enough."""
        return max(self.classes, key=RANK.__getitem__) if len(self.classes) >= PINNING else "plain"

    def chain(self, identity: Identity) -> Chain | None:
        """The chain of an identity, if it has one."""
        return next((chain for chain in self.chains if chain.identity == identity), None)


def judge(state: State, seen: Seen, min_auth: Auth | None = None) -> Verdict:
    """What a telegram is. `min_auth` None: nobody stated the least class, so the first telegrams pinned it."""
    if RANK[seen.auth] < RANK[state.pinned if min_auth is None else min_auth]:
        return Verdict("downgrade")
    identity = seen.identity
    if identity is None:
        return Verdict()
    chain = state.chain(identity)
    if chain is not None:
        return _forward(chain, seen) if seen.counter > chain.last else _backward(chain, seen)
    if any(_same_key(chain.identity, identity) for chain in state.chains):
        return Verdict("identity_changed")
    return Verdict(event=_event(0, seen.counter))


def commit(state: State, seen: Seen, verdict: Verdict) -> State:
    """The state after a telegram that was judged so, and whose content is in order."""
    chain = state.chain(seen.identity) if seen.identity else None
    if verdict.refusal == "rollback" and seen.auth == "verified" and chain:
        waiters = chain.waiters + 1 if seen.counter > chain.waiting else 1
        return _put(state, replace(chain, waiting=seen.counter, waiters=waiters))
    if verdict.refusal:
        return state
    if len(state.classes) < PINNING:
        state = replace(state, classes=(*state.classes, seen.auth))
    if seen.identity is None:
        return state
    if chain is None:
        return _put(state, Chain(seen.identity, seen.counter, seen.clock))
    used = max(chain.used, chain.last)
    clock = max((clock for clock in (chain.clock, seen.clock) if clock is not None), default=None)
    return _put(state, Chain(seen.identity, seen.counter, clock, used if seen.counter <= used else -1))


def confirm(state: State, identity: Identity) -> State:
    """A person says that this is the meter: its counter begins anew, and others under the same key are forgotten."""
    others = tuple(chain for chain in state.chains if not _same_key(chain.identity, identity))
    return _put(replace(state, chains=others), Chain(identity, -1))


def export(state: State) -> dict[str, Any]:
    """The state as plain data that JSON can hold."""
    plain: dict[str, Any] = msgspec.to_builtins(state)
    return plain


def restore(plain: object) -> State:
    """The state that `export` gave; raises ValueError for anything else."""
    try:
        return msgspec.convert(plain, State)
    except msgspec.ValidationError as error:
        raise ValueError(f"the saved receive counters cannot be read: {error}") from None


def _forward(chain: Chain, seen: Seen) -> Verdict:
    """A higher counter is new, unless it was used before a loss and the clock does not tell that it is new now."""
    if seen.counter <= chain.used and not _later(chain, seen):
        return Verdict("replayed")
    return Verdict(event=_event(chain.last, seen.counter))


def _backward(chain: Chain, seen: Seen) -> Verdict:
    """The same counter or a lower one is a replay, or comes from a meter that lost its counter."""
    if seen.counter in (chain.last, chain.waiting) or not _later(chain, seen):
        return Verdict("replayed")
    if chain.last >= NEAR_END:
        return Verdict("counter_exhausted")
    if seen.auth == "verified" and seen.counter > chain.waiting and chain.waiters + 1 >= PROOF:
        return Verdict(event="counter_resumed")
    return Verdict("rollback")


def _event(last: int, counter: int) -> Event | None:
    if counter >= NEAR_END:
        return "counter_near_end"
    return "counter_jumped" if last > 0 and counter - last > JUMP else None


def _later(chain: Chain, seen: Seen) -> bool:
    return seen.clock is not None and chain.clock is not None and seen.clock > chain.clock


def _same_key(one: Identity, other: Identity) -> bool:
    return one[1:] == other[1:]


def _put(state: State, chain: Chain) -> State:
    """The state with one chain renewed and in front."""
    others = tuple(other for other in state.chains if other.identity != chain.identity)
    return replace(state, chains=(chain, *others)[:CHAINS])
