"""Every capture, decoded: in any pieces, cut anywhere, joined late anywhere, torn before a good one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoders.decoder import Decoder
from decoders.model import Fault, Reading, Result
from decoders.profile import Profile
from tests.sizes import SPLITS

Decode = Callable[..., list[Result]]

#: random splits of each capture
IN_EACH = 120
#: a way to change every value, and most else: what comes from the changed telegram shows
OTHER_DIGITS = bytes.maketrans(b"123456789", b"234567891")


def readings(results: Sequence[Result]) -> list[Reading]:
    """The readings alone; their sizes differ with the end that was there."""
    return [replace(result, size=0) for result in results if isinstance(result, Reading)]


def test_the_splits_of_all_captures_are_as_many_as_required(every_capture: list[tuple[str, bytes]]) -> None:
    assert IN_EACH * len(every_capture) >= SPLITS


@pytest.mark.untraced
@settings(max_examples=IN_EACH, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pieces_of_any_size_give_the_same(data: st.DataObject, capture: tuple[str, bytes], auto: list[Profile]) -> None:
    """Results, their order and every counter depend on the stream alone. Noise stands between two telegrams."""
    stream = b"?" + capture[1] + b"/no\r\n" + capture[1]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=40)))
    assert fed(auto, stream, cuts) == fed(auto, stream, [])


def test_octets_one_by_one_give_the_same(capture: tuple[str, bytes], auto: list[Profile]) -> None:
    stream = capture[1] * 2
    assert fed(auto, stream, range(1, len(stream))) == fed(auto, stream, [])


def fed(profiles: list[Profile], stream: bytes, cuts: Sequence[int]) -> tuple[object, ...]:
    """Results and counters after all pieces."""
    decoder = Decoder(profiles, ZoneInfo)
    results = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        results += decoder.feed(stream[start:end])
    left = decoder.pending
    results += decoder.close()
    return results, left, decoder.noise, decoder.frames, decoder.checksum_ok, decoder.checksum_absent


def test_a_capture_cut_anywhere_gives_what_it_gives_whole_or_nothing(
    capture: tuple[str, bytes], decode: Decode
) -> None:
    """Never another value; and the complete reading only where nothing but the end of the last line is missing."""
    octets = capture[1]
    whole = readings(decode(octets))
    for cut in range(len(octets)):
        results = decode(octets[:cut])
        found = readings(results)
        assert found == whole[: len(found)], cut
        assert results, cut
        if cut <= octets.rindex(b"!") and len(whole) == 1:
            assert found == [], cut


@pytest.mark.untraced
def test_a_decoder_that_joins_late_loses_one_telegram_at_most(capture: tuple[str, bytes], decode: Decode) -> None:
    octets = capture[1]
    whole = readings(decode(octets))
    for start in range(len(octets)):
        found = readings(decode(octets[start:] + octets * 2))
        assert found[-2 * len(whole) :] == whole * 2, start
        assert len(found) <= 3 * len(whole), start
        assert all(reading in whole for reading in found), start


@pytest.mark.untraced
def test_a_torn_telegram_does_not_take_the_next_one_with_it(capture: tuple[str, bytes], decode: Decode) -> None:
    """The good one is read; what was torn is a Fault, or noise where not even its start was whole."""
    octets = capture[1]
    whole, other = readings(decode(octets)), octets.translate(OTHER_DIGITS)
    begun = octets.index(b"\n") + 1
    for torn in range(1, octets.index(b"\n!") + 1 if b"\n!" in octets else octets.index(b"!")):
        results = decode(other[:torn] + octets)
        assert readings(results) == whole, torn
        if torn >= begun:
            assert isinstance(results[0], Fault), torn


def test_telegrams_merged_in_the_middle_give_no_mixture(checked: tuple[str, bytes], decode: Decode) -> None:
    """The first half of one and the second half of another: the checksum tells."""
    octets = checked[1]
    whole, other = readings(decode(octets)), octets.translate(OTHER_DIGITS)
    for cut in range(octets.index(b"\n"), octets.rindex(b"!")):
        mixed = other[:cut] + octets[cut:]
        assert readings(decode(mixed)) == ([] if mixed != octets else whole), cut
