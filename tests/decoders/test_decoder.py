"""The composition: counters, faults as data, the choice of a profile, and the disputed details of real lines."""

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

import decoders
from decoders.decoder import Decoder
from decoders.errors import CODES, DecodeError, GrammarError, LinkError, ProfileError, UnwrapError
from decoders.model import Fault, Reading, Result, Stage
from decoders.profile import Profile
from gateway import profiles

Decode = Callable[..., list[Result]]
Write = Callable[..., bytes]
FrameOf = Callable[[str], bytes]


def test_counters(auto: list[Profile], frame_of: FrameOf) -> None:
    good, old = frame_of("nl-dsmr5-iskra"), frame_of("nl-dsmr2-standard")
    decoder = Decoder(auto, ZoneInfo)
    for piece in (b"noise", good, old, good.replace(b"1-0:1.7.0(0", b"1-0:1.7.0(1"), good[:100]):
        decoder.feed(piece)
    assert (decoder.frames, decoder.checksum_ok, decoder.checksum_absent) == (3, 1, 1)
    assert (decoder.noise, decoder.pending) == (5, 100)
    assert [getattr(result, "code", "") for result in decoder.close()] == ["truncated"]
    assert (decoder.frames, decoder.pending) == (4, 0)


def test_a_decoder_goes_on_after_the_end_of_an_input(auto: list[Profile], frame_of: FrameOf) -> None:
    """A reconnected line: what was cut off does not run into what follows."""
    decoder, good = Decoder(auto, ZoneInfo), frame_of("nl-dsmr5-iskra")
    decoder.feed(good[:300])
    decoder.close()
    (reading,) = decoder.feed(good)
    assert isinstance(reading, Reading)
    assert decoder.close() == []


def test_input_without_any_frame_is_one_fault(decode: Decode) -> None:
    assert decode() == [Fault("link", "no_frame", 0)]
    assert decode(b"abc", b"\r\n") == [Fault("link", "no_frame", 3)]


def test_a_fault_holds_a_code_and_a_size_and_no_octets(decode: Decode, frame_of: FrameOf) -> None:
    (fault,) = decode(frame_of("nl-dsmr5-iskra").replace(b"1-0:1.7.0(0", b"1-0:1.7.0(1"))
    assert fault == Fault("link", "checksum", len(frame_of("nl-dsmr5-iskra")) - 2)


def test_the_best_profile_wins_whatever_their_order(auto: list[Profile], decode: Decode, frame_of: FrameOf) -> None:
    for name in ("nl-dsmr5-iskra", "be-fluvius-emucs-3ph", "se-efs2-kaifa"):
        assert decode(frame_of(name), by=auto) == decode(frame_of(name), by=auto[::-1])


def test_no_profile_fits(decode: Decode, write: Write) -> None:
    by = [profiles.load("be-fluvius-emucs"), profiles.load("nl-lg-e350")]
    telegram = write("1-0:1.7.0(1*kW)")
    assert decode(telegram, by=by) == [Fault("profile", "unknown_layout", len(telegram) - 2)]


def test_meters_that_take_turns_are_each_read_by_their_profile(decode: Decode, frame_of: FrameOf) -> None:
    names = ["nl-dsmr5-iskra", "se-efs2-kaifa", "nl-dsmr2-standard", "at-steiermark-est5-t210"]
    alone = [result for name in names for result in decode(frame_of(name))]
    assert decode(*(frame_of(name) for name in names * 3)) == alone * 3


@pytest.mark.parametrize(
    "octets", [b"", b"/", b"/A", b"!", b"\x00" * 100, b"/ABC\n!", b"/ABC\n!\n", b"/ABC5\r\n\r\n!\r\n"]
)
def test_nothing_raises(octets: bytes, decode: Decode) -> None:
    assert not [result for result in decode(octets) if isinstance(result, Reading)]


def test_dsmr_identification_with_a_control_octet(decode: Decode, frame_of: FrameOf) -> None:
    """`\\2` in the companion standard is two characters; some meters and captures have the octet 02."""
    octets = frame_of("nl-dsmr2-iskra")
    (reading,), (control,) = decode(octets), decode(octets.replace(b"\\2", b"\x02"))
    assert isinstance(control, Reading)
    assert (control.profile, control.p_import_w) == (reading.profile, reading.p_import_w)  # type: ignore[union-attr]


def test_an_octet_that_profiles_ask_for_as_an_escape(decode: Decode, frame_of: FrameOf, sealed: Write) -> None:
    """A profile that is found by `ISk5\\2M...` is found with the octet too."""
    octets = frame_of("se-iskra-am550-m550t")
    body = octets[: octets.rindex(b"!") + 1].replace(b"\\2", b"\x02")
    (reading,) = decode(sealed(body))
    assert isinstance(reading, Reading)
    assert reading.profile == "se-iskra-am550"


@pytest.mark.parametrize("line", [b"0-2:25.6.0(ER23)", b"1-0:0.2.0((ER11))"])
def test_versions_with_letters_or_brackets_do_not_sink_a_telegram_without_checksum(
    line: bytes, decode: Decode, frame_of: FrameOf
) -> None:
    octets = frame_of("nl-dsmr2-standard")
    (plain,), (reading,) = decode(octets), decode(octets.replace(b"\r\n1-0:1.7.0", b"\r\n" + line + b"\r\n1-0:1.7.0"))
    assert isinstance(plain, Reading)
    assert isinstance(reading, Reading)
    assert (reading.p_import_w, reading.a_import_wh) == (plain.p_import_w, plain.a_import_wh)


@pytest.mark.parametrize("name", ["nl-dsmr5-iskra-gas", "nl-dsmr2-standard", "be-fluvius-emucs-3ph", "hu-p1-sagemcom"])
def test_a_capture_with_line_feeds_only(name: str, decode: Decode, frame_of: FrameOf) -> None:
    (whole,), (bare,) = decode(frame_of(name)), decode(frame_of(name).replace(b"\r\n", b"\n"))
    assert isinstance(whole, Reading)
    assert isinstance(bare, Reading)
    assert (bare.registers, bare.t, bare.p_import_w) == (whole.registers, whole.t, whole.p_import_w)


def test_an_end_on_the_line_of_the_last_value(decode: Decode, frame_of: FrameOf, sealed: Write) -> None:
    octets = frame_of("se-efs2-aidon")
    body = octets[: octets.rindex(b"!")].rstrip(b"\r\n") + b"!"
    (whole,), (reading,) = decode(octets), decode(sealed(body))
    assert isinstance(whole, Reading)
    assert isinstance(reading, Reading)
    assert reading.registers == whole.registers


def test_every_code_that_is_raised_is_known_and_every_known_one_is_raised() -> None:
    """By the source: LinkError("checksum"), self._refuse("line"); some codes are raised from tables and verdicts.

    What a single telegram does not tell, the meter in the gateway refuses.
    """
    stages = {error.__name__: error.stage for error in (LinkError, UnwrapError, GrammarError, ProfileError)}
    raised, mentioned = set(), set()
    folder = Path(next(iter(decoders.__path__)))
    for path in [*sorted(folder.rglob("*.py")), folder.parent / "gateway" / "meter.py"]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        if path.name != "errors.py":
            mentioned |= {node.value for node in nodes if isinstance(node, ast.Constant)}
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if name in stages and texts:
                raised.add((stages[name], texts[0]))
            elif name == "Fault" and len(texts) == 2:
                raised.add((texts[0], texts[1]))
    assert raised <= set(CODES)
    assert {code for _, code in CODES} <= mentioned
    assert {stage for stage, _ in CODES} <= set(get_args(Stage))


def test_an_error_says_its_stage_and_code() -> None:
    error = LinkError("checksum", 5)
    assert (str(error), error.stage, error.code, error.size) == ("link: checksum", "link", "checksum", 5)
    assert isinstance(error, DecodeError)


def test_every_code_is_explained_in_the_documentation(checkout: Path) -> None:
    """docs/faults.md has a row for each, with the sentence of the program, a cause and what to do."""
    text = (checkout / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    told = {tuple(row[0].strip("`").split("/")): row[1] for row in rows}
    assert told == CODES
    assert all(len(row) == 4 and len(row[2]) > 10 and len(row[3]) > 10 for row in rows)


def test_every_unit_of_the_objects_is_one_that_is_read(checkout: Path) -> None:
    from decoders.obis import UNITS

    objects = tomllib.loads((checkout / "config" / "objects.toml").read_text(encoding="utf-8"))["objects"]
    words = {"text", "clock", "identity", "number", "log", "sub", "sub-state"}
    units = {entry[0] for entry in objects.values()}
    assert {unit for unit in units if unit.encode() not in UNITS} - words == set()
