"""Days in which nothing is validated: told once, over a restart too, and told to be over when the last series went."""

from gateway.hub_model import Event
from gateway.stores.hubs import MOST_NOTE
from gateway.uploader import late
from gateway.uploader.late import LATE, Late
from tests.uploader.test_plan import TARGET, Memory

DAY = 1_772_406_000
OTHER = TARGET._replace(point="2")


def test_a_late_day_is_told_once_and_is_over_with_its_last_series() -> None:
    memory, told = Memory(), list[Event]()
    for _ in range(2):
        Late("dk", memory, told.append).passed([(TARGET, DAY), (OTHER, DAY)], 1)
    assert [(one.name, one.severity, one.key) for one in told] == [("late_day", "warning", f"{DAY}")]
    Late("dk", memory, told.append).went([(TARGET, DAY), (TARGET, DAY + 86_400)], 2)
    assert len(told) == 1
    Late("dk", memory, told.append).went([(OTHER, DAY), (OTHER, DAY)], 3)
    assert [(one.severity, one.key, one.recovered) for one in told[1:]] == [("info", f"{DAY}", True)]
    assert memory.kept[LATE] == b"{}"


def test_what_is_kept_of_late_days_is_bounded_and_the_newest() -> None:
    memory, told = Memory(), list[Event]()
    many = [(TARGET._replace(point=f"{n}"), DAY + day * 86_400) for day in range(3) for n in range(late.MOST - 1)]
    Late("dk", memory, told.append).passed(many, 1)
    assert len(told) == 3
    assert "and 3996 more" in told[0].text
    assert len(memory.kept[LATE]) < MOST_NOTE
    Late("dk", memory, told.append).went(many, 2)
    assert [one.key for one in told if one.recovered] == [f"{DAY + day * 86_400}" for day in (1, 2)]


def test_what_cannot_be_read_is_told_anew() -> None:
    memory, told = Memory(), list[Event]()
    memory.kept[LATE] = b"\xff"
    Late("dk", memory, told.append).passed([(TARGET, DAY)], 1)
    assert len(told) == 1
