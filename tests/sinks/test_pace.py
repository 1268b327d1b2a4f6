from collections.abc import Callable
from itertools import pairwise

from gateway.item_p import ItemP
from gateway.sinks.pace import REPEAT_S, Pace, Repeats
from gateway.sinks.topics import Message

Make = Callable[..., ItemP]


def published_at(pace: Pace, item: ItemP, times: list[float], valid_for_s: int = 900) -> list[float]:
    taken = []
    for now in times:
        if pace.is_due(item, valid_for_s, now):
            pace.published(item, now)
            taken.append(now)
    return taken


def test_without_an_interval_every_reading_is_due(make_item: Make) -> None:
    assert published_at(Pace(0, 0), make_item(), [0, 0.1, 0.2]) == [0, 0.1, 0.2]


def test_interval_counts_from_the_last_published_reading(make_item: Make) -> None:
    assert published_at(Pace(10, 0), make_item(), [float(t) for t in range(25)]) == [0, 9, 18]


def test_jitter_of_a_meter_does_not_halve_the_rate(make_item: Make) -> None:
    assert published_at(Pace(1, 0), make_item(), [0, 0.98, 1.99, 2.97]) == [0, 0.98, 1.99, 2.97]


def test_a_jump_of_power_is_due_at_once(make_item: Make) -> None:
    pace = Pace(60, 100)
    pace.published(make_item(p_import_w=500, p_net_w=500), 0)
    assert not pace.is_due(make_item(p_import_w=600, p_net_w=600), 900, 1)
    assert pace.is_due(make_item(p_import_w=601, p_net_w=601), 900, 1)
    assert pace.is_due(make_item(p_import_w=None, p_net_w=500), 900, 1)


def test_deadband_0_leaves_only_the_interval(make_item: Make) -> None:
    pace = Pace(60, 0)
    pace.published(make_item(p_import_w=0), 0)
    assert not pace.is_due(make_item(p_import_w=17_000), 900, 1)


def test_the_published_reading_never_expires_while_later_ones_are_held(make_item: Make) -> None:
    times = [float(t) for t in range(0, 100, 10)]
    taken = published_at(Pace(600, 0), make_item(), times, valid_for_s=30)
    assert all(later - earlier <= 30 for earlier, later in pairwise(taken))
    assert len(taken) < len(times)


def test_after_silence_the_first_reading_is_due(make_item: Make) -> None:
    pace = Pace(60, 0)
    pace.published(make_item(), 0)
    pace.forget()
    assert pace.is_due(make_item(), 900, 1)


def test_a_message_is_passed_on_when_it_is_new_and_again_after_a_while() -> None:
    repeats = Repeats()
    one, two = Message("meterd/main/sub/1/reading", b"1"), Message("meterd/main/sub/2/reading", b"2")
    assert list(repeats.take([one, two], 0)) == [one, two]
    assert list(repeats.take([one, two], 1)) == []
    assert list(repeats.take([one, two._replace(payload=b"3")], 2)) == [two._replace(payload=b"3")]
    assert list(repeats.take([one, two], REPEAT_S)) == [one, two]
    repeats.forget()
    assert list(repeats.take([one], REPEAT_S + 1)) == [one]
