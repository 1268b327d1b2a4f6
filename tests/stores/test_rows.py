"""What is packed comes back exactly, small."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.model import Reading, SubReading
from gateway.item_p import ItemP
from gateway.stores.rows import EPOCH, MAX_INTERNED, Corrupt, Interner, pack, seal, unpack, unseal

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-(10**30), 10**30) | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 0])
optional_integers = st.none() | integers
#: years 1 to 9999, in whole seconds and in microseconds
seconds = st.integers(-62_135_510_400, 253_402_214_400)
moments = st.builds(
    lambda s, us: EPOCH + timedelta(seconds=s, microseconds=us), seconds, st.just(0) | st.integers(0, 999_999)
)
qualities = st.sampled_from(["measured", "estimated", "substituted", "suspect"])


def spoken(t: datetime | None, minutes: int) -> str | None:
    return None if t is None else (t + timedelta(minutes=minutes)).isoformat()[:19] + f"+{minutes // 60:02}:00"


@st.composite
def subs(draw: st.DrawFn) -> SubReading:
    t = draw(st.none() | moments)
    return SubReading(
        channel=draw(st.integers(1, 4)), medium=draw(texts), device=draw(st.none() | texts), t=t,
        t_meter=draw(st.none() | texts | st.just(spoken(t, 60))), integer=draw(integers),
        exponent=draw(st.integers(-9, 9)), unit=draw(texts), quality=draw(qualities),
    )  # fmt: skip


@st.composite
def items(draw: st.DrawFn) -> ItemP:
    t = draw(st.none() | moments)
    t_rx = draw(st.none() | moments)
    registers = tuple(draw(st.lists(st.tuples(texts, integers, st.integers(-9, 9), texts), max_size=6)))
    reading = Reading(
        profile=draw(texts), interface=draw(texts), auth=draw(st.sampled_from(["verified", "unverified", "plain"])),
        quality=draw(qualities), t=t,
        t_meter=draw(st.none() | texts | st.sampled_from([spoken(t, 0), spoken(t, 120), "2026-01-01T00:00:00"])),
        p_import_w=draw(optional_integers), p_export_w=draw(optional_integers), p_net_w=draw(optional_integers),
        a_import_wh=draw(optional_integers), a_export_wh=draw(optional_integers),
        reg_t=draw(st.none() | moments | st.just(t)), registers=registers,
        register_times=tuple(draw(st.lists(st.tuples(st.integers(0, 9), texts), max_size=3))),
        sub=tuple(draw(st.lists(subs(), max_size=3))), identity=draw(st.none() | texts),
        interval_s=draw(st.integers(1, 3600)), flags=tuple(draw(st.lists(texts, max_size=2))),
        size=draw(st.integers(0, 9999)),
    )  # fmt: skip
    return ItemP(
        meter="main", reading=reading, t=draw(st.none() | moments | st.sampled_from([t, t_rx])),
        t_source=draw(st.sampled_from(["meter", "gateway"])), seq=draw(st.none() | st.integers(1, 2**53)), t_rx=t_rx,
        clock_offset_s=draw(st.none() | st.floats(-1e6, 1e6)), valid_for_s=draw(st.none() | st.integers(3, 900)),
    )  # fmt: skip


@given(st.lists(items(), min_size=1, max_size=3))
def test_what_is_packed_comes_back_exactly(made: list[ItemP]) -> None:
    interner = Interner({}, 1)
    for item in [*made, *made, *made]:
        back = unpack(pack(item, interner), "main", interner.layouts.__getitem__)
        assert back == item
        assert repr(back) == repr(item), "equal, but of another type"


@given(st.binary(max_size=40))
def test_any_other_octets_are_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack(data, "main", lambda number: data)


@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(1, 255))
def test_a_seal_finds_every_changed_octet(data: bytes, at: int, change: int) -> None:
    sealed = bytearray(seal(data, "main", 7))
    assert unseal(bytes(sealed), "main", 7) == data
    sealed[at % len(sealed)] ^= change
    with pytest.raises(Corrupt):
        unseal(bytes(sealed), "main", 7)


@pytest.mark.parametrize("context", [("other", 7), ("main", 8), ("main",)])
def test_a_seal_holds_for_its_own_place_only(context: tuple[str | int, ...]) -> None:
    with pytest.raises(Corrupt):
        unseal(seal(b"abc", "main", 7), *context)


@pytest.mark.parametrize("stored", [None, 7, "text", b"", b"abc"])
def test_what_has_no_seal_is_corrupt(stored: object) -> None:
    with pytest.raises(Corrupt):
        unseal(stored)


def test_a_layout_gets_a_number_when_it_comes_twice_running(item: Callable[..., ItemP]) -> None:
    interner = Interner({}, 1)
    first, second, third = (pack(item(n), interner) for n in range(3))
    assert list(interner.layouts) == [1]
    assert len(second) == len(third) < len(first) - 100
    assert len(second) < 100


def test_layouts_that_never_repeat_grow_no_table(item: Callable[..., ItemP]) -> None:
    interner = Interner({}, 1)
    for n in range(100):
        made = item(n)
        pack(replace(made, reading=replace(made.reading, profile=f"p{n}")), interner)
    assert interner.layouts == {}


def test_layouts_are_bounded(item: Callable[..., ItemP]) -> None:
    interner = Interner({}, 7)
    for n in range(MAX_INTERNED + 10):
        made = item(n)
        made = replace(made, reading=replace(made.reading, profile=f"p{n}"))
        for _ in range(2):
            packed = pack(made, interner)
        assert unpack(packed, "main", interner.layouts.__getitem__) == made
    assert list(interner.layouts) == list(range(7, 7 + MAX_INTERNED))


def test_a_layout_that_is_gone_makes_its_rows_corrupt(item: Callable[..., ItemP]) -> None:
    interner = Interner({}, 1)
    packed = [pack(item(n), interner) for n in range(2)][1]

    def missing(number: int) -> bytes:
        raise Corrupt(f"layout {number}")

    with pytest.raises(Corrupt):
        unpack(packed, "main", missing)
