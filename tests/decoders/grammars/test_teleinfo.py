"""Groups: units by label, times with their season, the meter's address, and what refuses a frame."""

from datetime import datetime

import pytest

from decoders.errors import GrammarError
from decoders.grammars.teleinfo import MAX_GROUPS, TeleinfoGrammar, horodated
from decoders.model import Frame, MeterTime, Telegram


def parse(*groups: tuple[str, str, str], mode: str = "standard") -> Telegram:
    payload = "\n".join([mode, *("\t".join(group) for group in groups)]).encode()
    return TeleinfoGrammar().parse(Frame(payload, "ok", len(payload)))


def test_units_belong_to_labels() -> None:
    telegram = parse(
        ("EAST", "", "001234567"), ("SINSTS", "", "00519"), ("URMS1", "", "232"), ("EASF07", "", "000000001")
    )
    assert telegram.registers == (
        ("EAST", 1234567, 0, "Wh"), ("SINSTS", 519, 0, "VA"), ("URMS1", 232, 0, "V"), ("EASF07", 1, 0, "Wh"),
    )  # fmt: skip
    assert telegram.identification == "teleinfo standard"


def test_what_has_no_unit_is_a_text() -> None:
    telegram = parse(("NTARF", "", "01"), ("NGTF", "", "   PRODUCTEUR   "), ("NEWLABEL", "", "000000001"))
    assert telegram.registers == ()
    assert telegram.texts == {"NTARF": "01", "NGTF": "PRODUCTEUR", "NEWLABEL": "000000001"}


@pytest.mark.parametrize("label", ["ADCO", "ADSC"])
def test_the_address_is_the_meters_identification(label: str) -> None:
    telegram = parse((label, "", "012345678901"), ("PRM", "", "12345678901234"))
    assert telegram.device == "012345678901"
    assert telegram.registers == ()


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("E250703125805", MeterTime(datetime(2025, 7, 3, 12, 58, 5), summer=True)),  # noqa: DTZ001
        ("H250203125805", MeterTime(datetime(2025, 2, 3, 12, 58, 5), summer=False)),  # noqa: DTZ001
        ("h250203125805", MeterTime(datetime(2025, 2, 3, 12, 58, 5), summer=False)),  # noqa: DTZ001
        (" 250203125805", MeterTime(datetime(2025, 2, 3, 12, 58, 5))),  # noqa: DTZ001
        ("H250231125805", None),
        ("X250203125805", None),
        ("", None),
    ],
)
def test_a_time_has_its_season(text: str, time: MeterTime | None) -> None:
    assert horodated(text) == time


@pytest.mark.parametrize(("letter", "valid"), [("E", True), ("H", True), (" ", True), ("e", False), ("h", False)])
def test_a_small_letter_says_that_the_clock_is_not_synchronised(letter: str, valid: bool) -> None:
    telegram = parse(("DATE", f"{letter}250203125805", ""), ("EAST", "", "000000001"))
    assert telegram.time is not None
    assert telegram.clock_valid is valid


def test_a_register_has_the_time_of_its_group() -> None:
    telegram = parse(("EAST", "", "000000001"), ("SMAXSN", "H250203032158", "05706"), ("SMAXSN-1", "", "05661"))
    assert telegram.register_times == {1: MeterTime(datetime(2025, 2, 3, 3, 21, 58), summer=False)}  # noqa: DTZ001


@pytest.mark.parametrize("value", ["0000p0007", "00000 007", "-00000007", "", "1" * 19])
def test_a_measured_value_that_is_no_number_refuses_the_frame(value: str) -> None:
    """Six bits of a sum do not notice that a digit became a letter."""
    payload = f"historique\nBASE\t\t{value}".encode()
    with pytest.raises(GrammarError, match="number"):
        TeleinfoGrammar().parse(Frame(payload, "ok", len(payload)))


def test_more_groups_than_any_meter_has_are_refused() -> None:
    groups = [("EAST", "", "000000001")] * (MAX_GROUPS + 1)
    assert len(parse(*groups[1:]).registers) == MAX_GROUPS
    with pytest.raises(GrammarError, match="elements"):
        parse(*groups)


def test_the_layout_is_another_when_labels_or_the_contract_are() -> None:
    grammar = TeleinfoGrammar()

    def layout(*groups: str) -> object:
        payload = "\n".join(["historique", *groups]).encode()
        return grammar.parse(Frame(payload, "ok", len(payload))).layout

    first = layout("OPTARIF\t\tBASE", "BASE\t\t000000001", "PTEC\t\tTH..")
    assert layout("OPTARIF\t\tBASE", "BASE\t\t000000002", "PTEC\t\tXX..") is first
    assert layout("OPTARIF\t\tHC..", "BASE\t\t000000002", "PTEC\t\tTH..") is not first
    assert layout("OPTARIF\t\tHC..", "PAPP\t\t00002", "PTEC\t\tTH..") is not first
