"""A decoder that remembers reads every telegram as one that does not, whatever came before."""

from collections.abc import Callable, Iterator
from copy import copy
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from decoders.decoder import Decoder
from decoders.errors import GrammarError
from decoders.grammars.p1 import P1Grammar
from decoders.model import Frame, Telegram
from decoders.profile import Profile
from gateway import profiles
from tests.sizes import SEQUENCES

Captures = list[tuple[str, bytes]]

LINES = st.sampled_from(
    [
        b"",
        b"no object",
        b"0-0:1.0.0(231026204015S)",
        b"0-0:1.0.0(231026204016W)",
        b"0-0:1.0.0(no time)",
        b"1-0:1.7.0(00.302*kW)",
        b"1-0:1.7.0(302*W)",
        b"1-0:1.7.0(-1*W)",
        b"1-0:1.7.0(none)",
        b"1-0:1.8.0(1*kWh)",
        b"1-0:1.8.1(2*kWh)",
        b"1-0:1.8.2(3*kWh)",
        b"1-0:1.6.0(211107121500W)(05.234*kW)",
        b"1-3:0.2.8(50)",
        b"1-3:0.2.8(42)",
        b"0-1:24.1.0(003)",
        b"0-1:96.1.0(4730)",
        b"0-1:24.2.1(231026204004S)(00004.381*m3)",
        b"0-1:24.3.0(090212160000)(00)(60)(1)(0-1:24.2.1)(m3)",
        b"(00001.001)",
        b"(00002.002)",
    ]
)
DIGIT = st.sampled_from(list(b"0123456789.*)(-kWmS"))


@st.composite
def changed(draw: st.DrawFn, lines: list[bytes]) -> list[bytes]:
    """The lines of a telegram with a few things done to them that meters, operators or damage do."""
    lines = list(lines)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(1, len(lines) - 1)) if len(lines) > 1 else 0
        match draw(st.sampled_from(["digit", "digit", "digit", "line", "insert", "drop", "twice", "swap", "head"])):
            case "digit" if lines[place]:
                at = draw(st.integers(0, len(lines[place]) - 1))
                lines[place] = lines[place][:at] + bytes([draw(DIGIT)]) + lines[place][at + 1 :]
            case "line" if place:
                lines[place] = draw(LINES)
            case "insert":
                lines.insert(max(place, 1), draw(LINES))
            case "drop" if place:
                del lines[place]
            case "twice" if place:
                lines.insert(place, lines[place])
            case "swap" if place > 1:
                lines[place], lines[place - 1] = lines[place - 1], lines[place]
            case "head":
                lines[0] = draw(st.sampled_from([lines[0], b"/TST5\\A", b"/TST5\\B"]))
    return lines


def sequences(data: st.DataObject, captures: Captures) -> Iterator[list[bytes]]:
    """Telegrams of one line: each is the one before with changes, or one that was there, or another meter's."""
    start = [captures[i][1] for i in data.draw(st.lists(st.integers(0, len(captures) - 1), min_size=1, max_size=2))]
    known = [octets[: octets.rindex(b"!")].splitlines() for octets in start]
    for _ in range(data.draw(st.integers(2, 12))):
        lines = data.draw(changed(data.draw(st.sampled_from(known[-3:] + known[:2]))))
        known.append(lines)
        yield lines


def parsed(grammar: P1Grammar, frame: Frame) -> Telegram | str:
    try:
        return grammar.parse(frame)
    except GrammarError as error:
        return error.code


@settings(max_examples=SEQUENCES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_grammar_with_memory_reads_as_a_new_one(data: st.DataObject, every_capture: Captures) -> None:
    grammar = P1Grammar()
    layouts: list[Telegram] = []
    for lines in sequences(data, every_capture):
        payload = b"\r\n".join(lines) + b"\r\n"
        frame = Frame(payload, data.draw(st.sampled_from(["ok", "ok", "ok", "absent"])), len(payload))
        read, new = parsed(grammar, frame), parsed(P1Grammar(), frame)
        if isinstance(read, str) or isinstance(new, str):
            assert read == new
            continue
        assert replace(read, layout=None) == replace(new, layout=None)
        layouts.append(read)
        assert all(same_places(read, other) for other in layouts if other.layout is read.layout)


def same_places(one: Telegram, other: Telegram) -> bool:
    """What the same layout promises: the same objects in the same places, in the same units."""
    shape = [[(code, unit) for code, _, _, unit in telegram.registers] for telegram in (one, other)]
    heads = one.identification == other.identification and (one.clock is None) == (other.clock is None)
    return shape[0] == shape[1] and heads and one.texts == other.texts


@pytest.mark.untraced
@settings(max_examples=SEQUENCES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_decoder_with_memory_reads_as_a_new_one(
    data: st.DataObject, every_capture: Captures, sealed: Callable[[bytes], bytes]
) -> None:
    # a decoder that does not know the link yet keeps back what is no telegram of P1, one that knows it tells it
    auto = [profile for profile in profiles.load_auto() if profile.link == "p1"]
    decoder = Decoder(auto, ZoneInfo)
    for lines in sequences(data, every_capture):
        body = b"\r\n".join(lines) + b"\r\n!"
        octets = sealed(body) if data.draw(st.integers(0, 3)) else body + b"\r\n"
        new = Decoder(auto, ZoneInfo)
        assert decoder.feed(octets) == new.feed(octets)
        assert decoder.pending == new.pending
        if decoder.pending:
            decoder.close()


def test_registers_of_one_telegram_do_not_change_with_the_next(
    write: Callable[..., bytes], auto: list[Profile]
) -> None:
    decoder = Decoder(auto, ZoneInfo)
    (first,) = decoder.feed(write("1-3:0.2.8(50)", "1-0:1.7.0(1*kW)"))
    kept = copy(first)
    (second,) = decoder.feed(write("1-3:0.2.8(50)", "1-0:1.7.0(2*kW)"))
    assert first == kept
    assert first != second
