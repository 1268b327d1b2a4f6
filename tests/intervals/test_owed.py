"""What is owed of a meter's versions: every one is told until it is confirmed, across restarts; memory is bounded."""

import random

from gateway.intervals.owed import MOST, Mark, Owed


def after(mark: Mark) -> Mark:
    return mark._replace(version=mark.version + 1)


def test_the_mark_is_the_first_that_is_not_confirmed():
    owed, (one, two, three) = Owed(Mark(5)), (Mark(10, 900), Mark(10, 1_800), Mark(11, 900))
    assert (owed.mark, owed.wants) == (Mark(5), Mark(5))
    owed.rest = None
    tickets = [owed.tell(mark) for mark in (one, two, three)]
    owed.confirm(tickets[1])
    owed.confirm(tickets[1])
    assert (owed.mark, owed.wants) == (one, None)
    owed.confirm(tickets[0])
    assert owed.mark == three
    owed.confirm(tickets[2])
    assert owed.mark == after(three)


def test_what_is_too_much_waits_where_it_is():
    owed = Owed(Mark(0))
    owed.rest = None
    marks = [Mark(1, 900 * n) for n in range(MOST + 3)]
    tickets = [owed.tell(mark) for mark in marks]
    assert tickets[MOST:] == [None] * 3
    for ticket in tickets[:MOST]:
        assert owed.wants is None
        owed.confirm(ticket)
    assert owed.wants == owed.mark == marks[MOST]


def test_a_ticket_of_before_confirms_nothing():
    owed = Owed(Mark(0))
    owed.rest = None
    ticket = owed.tell(Mark(7))
    owed.anew()
    owed.confirm(ticket)
    assert owed.wants == owed.mark == Mark(7)


def test_whatever_happens_each_is_confirmed_in_the_end():  # noqa: C901 - one case for each thing that happens
    """Random news, confirmations, looks and restarts; a clock that goes back lowers the stored mark, as the ledger."""
    for seed in range(200):
        dice, ledger, confirmed, clock = random.Random(seed), [], set(), 100
        stored, owed, told = Mark(100), Owed(Mark(100)), {}
        for _ in range(300):
            match dice.choice(("news", "news", "confirm", "look", "store", "restart", "anew")):
                case "news":
                    clock += dice.choice((0, 0, 1, 5, -40 if dice.random() < 0.02 else 0))
                    mark = Mark(clock, 900 * len(ledger))
                    ledger.append(mark)
                    stored = min(stored, Mark(clock))
                    if (ticket := owed.tell(mark)) is not None:
                        told[ticket] = mark
                case "confirm" if told:
                    ticket = dice.choice(list(told))
                    confirmed.add(told.pop(ticket))
                    owed.confirm(ticket)
                case "look":
                    look(owed, ledger, told)
                case "store":
                    stored = owed.mark
                case "restart":
                    owed, told = Owed(stored), {}
                case "anew":
                    owed.anew()
                    told = {}
        for _ in range(3):
            look(owed, ledger, told)
            for ticket in list(told):
                confirmed.add(told.pop(ticket))
                owed.confirm(ticket)
        assert confirmed == set(ledger), seed


def look(owed: Owed, ledger: list[Mark], told: dict[int, Mark]) -> None:
    """What the keeper does with what it looked up."""
    since = owed.wants
    if since is None:
        return
    owed.rest = None
    for mark in sorted(one for one in ledger if one >= since):
        if (ticket := owed.tell(mark)) is not None:
            told[ticket] = mark
