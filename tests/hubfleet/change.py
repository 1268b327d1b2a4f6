"""What varies while a fleet sends: its configuration, who permits, and whom the hubs know; every choice from the seed.

Between two lives of the uploader, or with SIGHUP in the middle of one: how many days go in a message, in which format,
which hubs and points there are, which permissions hold. Whatever takes a ground away is noted in the truth: from which
position of the hubs' record to which one nothing of a point may arrive (truth.Shut).
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.hubfleet.customer import Customer
from tests.hubfleet.plant import Plant, Table
from tests.hubfleet.truth import Fleet, Loss, Shut

#: hubs whose points go by permissions in part: one of so many, and so many at most
PERMITTING, ONE_OF, MOST_PERMITTED = ("dk", "ee"), 5, 8
#: one of so many points is not in the configuration at first
LATER = 12
#: days in a message at most, and how often each is chosen
BUNDLES = (1, 2, 3, 7, 20)
WEIGHTS = (50, 3, 2, 1, 0.2)
WEIGHTS_SHORT = (14, 2, 1, 0.5, 0.2)
#: what was revoked must have been heard after so long of an uploader that lives (s): it asks each second
HEARD_S = 15.0
#: points that change at once
MOST_AT_ONCE = 5
#: whose a point is at the hub while it is not ours
STRANGER = "another one"


#: what changes: two of them at a time, each as often as the others
KINDS = ("bundle", "format", "hub", "points_away", "points_back", "grant", "revoke", "register")


class Deck:
    """Cards that are drawn one by one, and shuffled anew when none is left: each comes as often as it is there."""

    def __init__(self, dice: random.Random, cards: Sequence[str]) -> None:
        self._dice, self._cards = dice, cards
        self._left: list[str] = []

    def draw(self) -> str:
        """The next card."""
        if not self._left:
            self._left = self._dice.sample(self._cards, len(self._cards))
        return self._left.pop()


@dataclass
class _Revoked:
    """A permission that ended: how long the uploader had lived then (s); None until that life is over."""

    lived: float | None


@dataclass
class Changes:
    """The state of what varies. `record` says how long the hubs' record is; true: once they are through with it all."""

    plant: Plant
    fleet: Fleet
    dice: random.Random
    customer: Customer
    record: Callable[[bool], int]
    weights: Sequence[float] = WEIGHTS
    #: how often what was changed
    done: Counter[str] = field(default_factory=Counter)
    #: how long the uploader lived in all (s)
    lived: float = 0.0

    def __post_init__(self) -> None:
        fleet, hubs = self.fleet, self.plant.hubs
        by_hub = {hub: fleet.of(hub) for hub in hubs}
        self._permitted = {
            number: hub for hub in PERMITTING for number in by_hub.get(hub, [])[::ONE_OF][:MOST_PERMITTED]
        }
        self._named = [number for number in range(fleet.points) if number not in self._permitted]
        self._tables = {hub: Table(set(), {"bundle": 1}) for hub in hubs}
        for hub in PERMITTING:
            if hub in hubs:
                self._tables[hub].keys |= {
                    "permissions_url": f"{self.plant.address}/api/v1",
                    "permissions_party": "supplier",
                    "permissions_s": 1,
                }
        self._deck = Deck(self.dice, KINDS)
        #: points of the configuration that it does not have, hubs that it does not have, points that are not ours
        self._absent = set(self._named[1::LATER])
        self._out: set[str] = set()
        self._foreign: set[int] = set()
        #: permissions that hold, and points whose permission ended or was never given
        self._granted: dict[int, str] = {}
        self._ended: dict[int, _Revoked | None] = dict.fromkeys(self._permitted)
        #: since which position of the record nothing of a point may arrive
        self._shut: dict[int, int] = {}
        self._lost: dict[int, Loss] = {}

    # -- when ----------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first configuration, and half of the permissions."""
        self._grant(list(self._permitted)[::2])
        self._note(dead=True)
        self._write()

    def between(self) -> None:
        """Change something while no uploader runs."""
        self._change(dead=True)

    def meanwhile(self) -> None:
        """Change something under a running uploader, and have it read its configuration anew."""
        self._change(dead=False)
        self.plant.reload()
        self.done["re-read"] += 1

    def undo(self) -> None:
        """Everything that was taken away is back; no uploader runs."""
        self._absent.clear()
        self._out.clear()
        ended = list(self._ended)
        self._note(dead=True, back=ended)
        self._grant(ended)
        self._own(sorted(self._foreign))
        self._write()

    # -- what ----------------------------------------------------------------------------------------------------------

    def _change(self, *, dead: bool) -> None:
        grants: list[int] = []
        for what in (self._deck.draw(), self._deck.draw()):
            if what == "grant":
                grants = self._some(sorted(self._ended))
            elif what == "revoke":
                self._revoke(self._some(sorted(self._granted)), dead=dead)
            else:
                getattr(self, f"_change_{what}")()
        self._note(dead=dead, back=grants)
        self._grant(grants)
        self._write()

    def _change_bundle(self) -> None:
        for table in self._tables.values():
            table.keys["bundle"] = self.dice.choices(BUNDLES, self.weights)[0]
        self.done["size of messages"] += 1

    def _change_format(self) -> None:
        if (table := self._tables.get("dk")) is not None:
            table.keys["format"] = self.dice.choice(("json", "xml"))
            self.done["format"] += 1

    def _change_hub(self) -> None:
        if self._out:
            self._out.clear()
            self.done["hub put back"] += 1
        elif len(self._tables) > 1:
            self._out.add(self.dice.choice(sorted(self._tables)))
            self.done["hub removed"] += 1

    def _change_points_away(self) -> None:
        some = self._some([number for number in self._named if number not in self._absent])
        self._absent.update(some)
        self.done["points removed"] += len(some)

    def _change_points_back(self) -> None:
        some = self._some(sorted(self._absent))
        self._absent.difference_update(some)
        self.done["points added"] += len(some)

    def _change_register(self) -> None:
        """Some points are another one's at the hub for a while: it refuses their part of a message."""
        if self._foreign:
            self._own(sorted(self._foreign))
            return
        some = self._some(range(self.fleet.points))
        self._say_owner(some, STRANGER)
        self._foreign.update(some)
        self.done["points that a hub did not know as ours"] += len(some)

    def _some(self, these: Sequence[int]) -> list[int]:
        return self.dice.sample(these, min(len(these), self.dice.randint(1, MOST_AT_ONCE)))

    # -- how -----------------------------------------------------------------------------------------------------------

    def _own(self, numbers: Sequence[int]) -> None:
        self._say_owner(numbers, None)
        self._foreign.difference_update(numbers)

    def _say_owner(self, numbers: Sequence[int], owner: str | None) -> None:
        for hub in self._tables:
            some = [self.fleet.name(number) for number in numbers if self.fleet.hub(number) == hub]
            facts = None if owner is None else {"owner": owner}
            if some:
                self.plant.ask("/control/points", {"profile": hub, "points": dict.fromkeys(some, facts)})

    def _revoke(self, numbers: Sequence[int], *, dead: bool) -> None:
        record = self.record(False)
        for number in numbers:
            self._lost.setdefault(number, self.fleet.loses(number, record))
            self.customer.revoke(self._granted.pop(number))
            self._ended[number] = _Revoked(self.lived if dead else None)
        self.done["permissions revoked"] += len(numbers)

    def _grant(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._granted[number] = self.customer.permit(self.fleet.name(number), self.fleet.bounds(0)[0])
            del self._ended[number]
        self.done["permissions granted"] += len(numbers)

    def life(self, seconds: float) -> None:
        """The uploader lived so long: what was revoked in that life counts from its end on."""
        self.lived += seconds
        for one in self._ended.values():
            if one is not None and one.lived is None:
                one.lived = self.lived

    def _note(self, *, dead: bool, back: Sequence[int] = ()) -> None:
        """Keep what the oracle is to hold against the record; before anything is said to the uploader."""
        record, gone = self.record(dead), {number for number in self._named if number in self._absent}
        shut = gone | {number for number in range(self.fleet.points) if self.fleet.hub(number) in self._out}
        shut |= {number for number, one in self._ended.items() if self._is_heard(one)}
        shut -= {number for number in back if self.fleet.hub(number) not in self._out}
        for number in sorted(self._shut.keys() - shut):
            self.fleet.shut.append(Shut(number, self._shut.pop(number), record))
        if dead:
            self._shut |= dict.fromkeys(shut - self._shut.keys(), record)
        lost = (gone | self._ended.keys()) - set(back)
        for number in sorted(self._lost.keys() - lost):
            self._lost.pop(number).until = record
        for number in sorted(lost - self._lost.keys()):
            self._lost[number] = self.fleet.loses(number, record)

    def _is_heard(self, one: _Revoked | None) -> bool:
        return one is None or (one.lived is not None and self.lived - one.lived >= HEARD_S)

    def _write(self) -> None:
        for hub, table in self._tables.items():
            table.points = {number for number in self._named if self.fleet.hub(number) == hub} - self._absent
        self.plant.configure({hub: table for hub, table in self._tables.items() if hub not in self._out})
