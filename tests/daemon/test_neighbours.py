"""Two electricity meters on one M-Bus are told apart from one, from an exchange, and from meters of other media."""

from dataclasses import replace

import pytest

from decoders.model import Reading
from gateway.neighbours import KEPT, Neighbours

READING = Reading(
    profile="mbus-generic", interface="mbus", auth="plain", quality="measured", t=None, t_meter=None, p_import_w=1,
    p_export_w=0, p_net_w=1, a_import_wh=None, a_export_wh=None, reg_t=None, registers=(), register_times=(), sub=(),
    identity="1", interval_s=60, flags=(), size=80,
)  # fmt: skip


@pytest.fixture
def said():
    neighbours = Neighbours()

    def take(*identities, **changes):
        return [neighbours.is_among_several(replace(READING, identity=each, **changes)) for each in identities]

    return take


def test_one_meter_is_alone(said):
    assert not any(said(*["1"] * 40))


def test_two_meters_are_several_as_soon_as_the_second_one_answers(said):
    assert said("1", "2", "1", "2", "2") == [False, True, True, True, True]


def test_a_meter_in_the_place_of_another_one_is_believed_after_a_while(said):
    assert said("1", *["2"] * (KEPT + 4)) == [False, *[True] * (KEPT - 1), *[False] * 5]


def test_meters_of_other_media_and_without_a_number_do_not_count(said):
    assert said("1", "2", p_import_w=None, p_export_w=None) == [False, False]
    assert said(None, "1", None) == [False, False, False]


def test_other_lines_have_one_meter(said):
    assert said("1", "2", interface="p1") == [False, False]
