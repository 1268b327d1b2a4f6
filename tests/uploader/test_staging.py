"""What is refused here is told once and known as long as it is refused, in bounded memory."""

from typing import Any

import pytest

from gateway.hub_model import Event, PartRow, Slot
from gateway.uploader import staging
from gateway.uploader.hub import BuildError
from gateway.uploader.parts import Due
from gateway.uploader.staging import Staging
from tests.uploader.lying import POINT, hub_settings

DAY_S = 86_400


class Refusing:
    """An adapter that takes nothing."""

    def build(self, parts: Any, _about: Any) -> Any:
        raise BuildError(f"the day {parts[0].slot.start} is wrong", code="refused_here", slots=(parts[0].slot,))


class Planned:
    """A plan that hears what is refused."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def refused(self, due: Due) -> None:
        self.heard.append(due.part.slot.start)


def due(day: int) -> Any:
    slot = Slot(POINT, "import", "active", "PT15M", day * DAY_S)
    return Due(None, Part(slot), PartRow(slot, (day + 1) * DAY_S, 1, str(day), b"", "config"))  # type: ignore[arg-type]


class Part:
    def __init__(self, slot: Slot) -> None:
        self.slot = slot


def test_what_is_refused_here_is_told_once_and_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST_REFUSED", 3)
    told: list[Event] = []
    adapter: Any = Refusing()
    store: Any = None
    one, plan = Staging(hub_settings(), adapter, store, told.append, None), Planned()
    taken: Any = plan
    assert one.trouble is None
    for day in (1, 2, 1, 2):
        one.stage([due(day)], taken, 5)
    assert [event.key.split()[-1] for event in told] == [str(DAY_S), str(2 * DAY_S)]
    assert one.trouble == "2 days are not sent: the day 86400 is wrong"
    for day in range(3, 50):
        one.stage([due(day)], taken, 5)
    assert len(told) == 49
    assert len(one._refused) == 3
    assert one.trouble == f"at least 3 days are not sent: the day {47 * DAY_S} is wrong"
    assert len(plan.heard) == 51, "the plan waits for newer content of each"
