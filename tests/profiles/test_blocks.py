"""Data blocks of IEC 62056-21 and teleinfo: the frames of the profiles, the corpus, and what marks a reading."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from decoders.model import Fault, Reading, Result, decimal
from decoders.profile import FrameNote, Profile
from gateway import profiles
from gateway.item_p import utc

FAMILIES = ("iec62056-21", "teleinfo")
SHIPPED = Path(__file__).resolve().parents[1] / "corpus"
FRAMES = [
    (profile, note) for profile in map(profiles.load, profiles.names()) if profile.link in FAMILIES
    for note in profile.frame
]  # fmt: skip
IDS = [note.file.removeprefix("frames/") for _, note in FRAMES]

Case = dict[str, Any]
Decode = Callable[[list[Profile], bytes], list[Result]]
FrameOf = Callable[[str], bytes]


def cases(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def octets(case: Case) -> bytes:
    return bytes.fromhex(case["data"]) if case["encoding"] == "hex" else case["data"].encode("latin-1")


def said(reading: Reading) -> dict[str, int | str]:
    """The keys of `[frame.expect]`; absent is an empty text."""
    values = {key: getattr(reading, key) for key in ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh")}
    values |= {"t": utc(reading.t), "t_meter": reading.t_meter}
    return {key: "" if value is None else value for key, value in values.items()}


@pytest.mark.parametrize(("profile", "note"), FRAMES, ids=IDS)
def test_a_frame_decodes_by_its_own_profile_and_auto_takes_it_for_that(
    profile: Profile, note: FrameNote, everything: list[Profile], frame_of: FrameOf, decode: Decode
) -> None:
    for candidates in ([profile], everything):
        (reading,) = decode(candidates, frame_of(note.file))
        assert isinstance(reading, Reading)
        assert reading.profile == profile.name
        assert said(reading) == note.expect


def test_every_frame_file_belongs_to_a_profile() -> None:
    noted = {note.file.removeprefix("frames/") for _, note in FRAMES}
    folder = profiles.shipped().joinpath("frames")
    assert {entry.name for entry in folder.iterdir() if entry.name.endswith((".d0", ".tic"))} == noted


def registers(reading: Reading) -> dict[str, list[tuple[Decimal, str]]]:
    found: dict[str, list[tuple[Decimal, str]]] = {}
    for code, integer, exponent, unit in reading.registers:
        found.setdefault(code, []).append((Decimal(decimal(integer, exponent)), unit))
    return found


#: full code of a reduced one, as the corpus writes the address
_SHORT = {"C": "96", "F": "97", "L": "98", "P": "99"}


def normal(address: str) -> str:
    """An address of the corpus as meterd prints the code of its register."""
    code = address.removesuffix("*255")
    stem, star, stored = code.partition("*")
    if ":" not in stem and stem.count(".") == 2:
        parts = [_SHORT.get(part, part) for part in stem.split(".")]
        stem = f"{0 if parts[0] in _SHORT.values() else 1}-0:{'.'.join(parts)}"
    return stem + (f"*{int(stored) if ':' in stem else stored}" if star else "")


def check(case: Case, results: list[Result]) -> None:
    readings = [result for result in results if isinstance(result, Reading)]
    if not case["valid"]:
        assert readings == []
        assert any(isinstance(result, Fault) for result in results)
        return
    (reading,) = readings
    for key, value in case["item_p"].items():
        if key.startswith(("p_", "a_")):
            assert getattr(reading, key) == value, key
    if case["family"] == "teleinfo":
        check_groups(case, reading)
    else:
        check_records(case, reading)


def check_groups(case: Case, reading: Reading) -> None:
    """Every group of digits is a register or an identification, and power is nothing but apparent."""
    found = registers(reading)
    assert (reading.p_import_w, reading.p_export_w, reading.p_net_w) == (None, None, None)
    sent = {group["label"]: group["value"] for group in case["expected"]["groups"]}
    texts = {"ADCO", "ADSC", "PRM", "VTIC", "MOTDETAT", "RELAIS", "NTARF", "NJOURF", "NJOURF+1", "STGE", "PPOT"}
    assert found.keys() == {label for label, value in sent.items() if value.isdigit()} - texts
    assert all(values == [(Decimal(sent[label]), values[0][1])] for label, values in found.items())
    derived = case["expected"]["normalised_derived"]
    for key, labels in (("S_plus_VA", ("PAPP", "SINSTS")), ("S_minus_VA", ("SINSTI",))):
        if key in derived:
            assert [found[label] for label in labels if label in found] == [[(derived[key], "VA")]]


def check_records(case: Case, reading: Reading) -> None:
    """Every value with a unit is a register of the same number and unit."""
    found, compared = registers(reading), 0
    for record in case["expected"]["records"]:
        if ":24.2." in record["address"]:  # a sub-meter of P1, see test_corpus
            continue
        values = [value for value in record["values"] if "unit" in value and "&" not in value["text"]]
        for value in values:
            spelt = {"kVArh": "kvarh", "kVAr": "kvar"}.get(value["unit"], value["unit"])
            assert (Decimal(str(value["number"])), spelt) in found[normal(record["address"])], record
            compared += 1
    assert compared or reading.registers


@pytest.mark.parametrize("case", [case for name in FAMILIES for case in cases(SHIPPED / f"{name}.jsonl")],
                         ids=lambda case: case["id"])  # fmt: skip
def test_shipped_case(case: Case, everything: list[Profile], decode: Decode) -> None:
    check(case, decode(everything, octets(case)))


@pytest.mark.corpus
@pytest.mark.parametrize("family", FAMILIES)
def test_cases_of_the_shared_corpus(family: str, corpus: Path, everything: list[Profile], decode: Decode) -> None:
    for part, least in (("open", 6), ("reference", 7)):
        found = cases(corpus / part / f"{family}.jsonl")
        assert len(found) >= least
        for case in found:
            check(case, decode(everything, octets(case)))


@pytest.mark.corpus
@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_cases_are_those_of_the_shared_corpus(family: str, corpus: Path) -> None:
    assert cases(SHIPPED / f"{family}.jsonl") == cases(corpus / "open" / f"{family}.jsonl")


def test_every_shipped_case_names_a_licence_that_permits_it() -> None:
    notices = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for case in (case for name in FAMILIES for case in cases(SHIPPED / f"{name}.jsonl")):
        assert case["licence"] in {"MIT", "BSD-3-Clause"}, case["id"]
        assert f"| {case['source'].split(':')[0]} |" in notices, case["id"]


def test_a_degraded_clock_is_no_time(frame_of: FrameOf, everything: list[Profile], decode: Decode) -> None:
    (reading,) = decode(everything, frame_of("frames/fr-linky-standard-degraded.tic"))
    assert isinstance(reading, Reading)
    assert (reading.t, reading.flags) == (None, ("clock_invalid",))
    assert reading.t_meter == "2025-03-19T06:22:10+01:00"


def test_the_address_of_the_meter_tells_an_exchange_and_nothing_else(
    frame_of: FrameOf, everything: list[Profile], decode: Decode
) -> None:
    for file, address in (("fr-linky-standard-hchp", "000000000031"), ("fr-linky-historique-hc", "000000000028")):
        (reading,) = decode(everything, frame_of(f"frames/{file}.tic"))
        assert isinstance(reading, Reading)
        assert reading.identity == address
        assert not {"ADCO", "ADSC", "PRM"} & {register[0] for register in reading.registers}


def groups(*lines: str) -> bytes:
    """A historique frame, with checksums by their definition."""
    sent = [f"\n{line} {chr((sum(line.encode()) & 0x3F) + 0x20)}\r" for line in lines]
    return f"\x02{''.join(sent)}\x03".encode()


@pytest.mark.parametrize(
    ("lines", "total"),
    [
        (("OPTARIF BASE", "BASE 000000007"), 7),
        (("OPTARIF HC..", "HCHC 000000001", "HCHP 000000002"), 3),
        (("OPTARIF HC..", "HCHC 000000001"), None),
        (("OPTARIF HC..", "HCHC 000000001", "HCHP 000000002", "BASE 000000004"), None),
        (("OPTARIF BASE", "HCHC 000000001", "HCHP 000000002"), None),
        (("HCHC 000000001", "HCHP 000000002"), None),
        (("OPTARIF XYZ.", "BASE 000000004"), None),
        (("OPTARIF BBR(", "BBRHCJB 000000001", "BBRHPJB 000000001", "BBRHCJW 000000001", "BBRHPJW 000000001",
          "BBRHCJR 000000001"), None),
        (("OPTARIF EJP.", "EJPHN 000000001", "EJPHPM 999999999"), 1_000_000_000),
    ],
)  # fmt: skip
def test_indexes_are_summed_only_when_all_of_the_contract_are_there(
    lines: tuple[str, ...], total: int | None, decode: Decode
) -> None:
    (reading,) = decode([profiles.load("fr-linky-historique")], groups("ADCO 000000000001", *lines, "PAPP 00390"))
    assert isinstance(reading, Reading)
    assert reading.a_import_wh == total


def test_a_contract_that_changes_changes_the_sum(decode: Decode) -> None:
    data = groups("OPTARIF BASE", "BASE 000000007") + groups("OPTARIF HC..", "BASE 000000008")
    results = decode([profiles.load("fr-linky-historique")], data)
    assert [result.a_import_wh for result in results if isinstance(result, Reading)] == [7, None]


def test_stored_values_are_never_present_ones(decode: Decode) -> None:
    """Neither where the total is absent, nor where a tariff is."""
    block = b"/XYZ5METER\r\n\r\n1.8.0*01(000001.00*kWh)\r\n1.8.1*01(000002.00*kWh)\r\n1.8.1&02(000004.00*kWh)\r\n"
    candidates = [profiles.load("iec62056-21-generic")]
    (reading,) = decode(candidates, block + b"!\r\n")
    assert isinstance(reading, Reading)
    assert reading.a_import_wh is None
    (reading,) = decode(candidates, block + b"1.8.1(000008.00*kWh)\r\n!\r\n")
    assert isinstance(reading, Reading)
    assert reading.a_import_wh == 8000


def test_energy_without_unit_is_refused_where_no_profile_knows_it(decode: Decode, everything: list[Profile]) -> None:
    (fault,) = decode(everything, b"/XYZ5METER\r\n\r\n1.8.0(000001.00)\r\n!\r\n")
    assert isinstance(fault, Fault)
    assert (fault.stage, fault.code) == ("profile", "unit")


def test_a_telegram_of_p1_that_lost_its_checksum_is_no_data_block(
    frame_of: FrameOf, everything: list[Profile], decode: Decode
) -> None:
    telegram = frame_of("frames/nl-dsmr5-iskra.p1")
    results = decode(everything, telegram[: telegram.rindex(b"!") + 1] + b"\r\n")
    assert not [result for result in results if isinstance(result, Reading)]


def test_the_frame_of_an_enterprise_s_meter_is_whole_and_says_nothing_that_is_read(decode: Decode) -> None:
    """PME-PMI: labels with small letters, units in the values; not damage of the line."""
    lines = ("ADS 000000000001", "MESURES1 BT4SUP36", "DATE 12/04/22 10:23:43", "EA_s 7kWh", "ER+_s 0kvarh", "PS 53kVA")
    results = decode([profiles.load("fr-linky-historique")], groups(*lines))
    assert [(fault.stage, fault.code) for fault in results if isinstance(fault, Fault)] == [("profile", "no_values")]


def pushed(identification: str, *lines: str) -> bytes:
    """A block as pushed in mode D."""
    return "\r\n".join([f"/{identification}", "", *lines, "!", ""]).encode()


@pytest.mark.parametrize(
    ("identification", "lines", "expected"),
    [
        # channel 1 without power
        ("ABC5XYZ", "1-1:1.8.0*255(001234.567*kWh) 1-1:2.8.0*255(000000.001*kWh)", (None, None, 1234567, 1)),
        ("ABC5XYZ", "1-1:1.8.1*255(001234.500*kWh) 1-1:1.8.2*255(000000.068*kWh)", (None, None, 1234568, None)),
        # eHZ of any maker without 0-0:96.1.255
        ("ABC5eHZ", "1-0:0.0.0*255(1) 1-0:1.8.1*255(001234.5678) 1-0:1.8.2*255(0000.5) 1-0:96.5.5*255(80)",
         (None, None, 1235067, None)),
        ("ABC5eHZ", "1-0:0.0.0*255(1) 1-0:2.8.0*255(001234.5678) 1-0:96.5.5*255(80)", (None, None, None, 1234567)),
        # without anything that tells an eHZ, energy without unit stays unread
        ("ABC5XYZ", "1-0:0.0.0*255(1) 1-0:1.8.0*255(001234.5678)", None),
        # other EasyMeters
        ("ESY5Q3MA1064", "1-0:1.8.0*255(00012345.6*kWh) 1-0:1.7.255*255(-000100.10*W)", (0, 100, 12345600, None)),
        ("ESY5Q3BA1024", "1-0:1.8.0*255(00012345.6*kWh) 1-0:1.7.0*255(-000100.10*W)", (None, 100, 12345600, None)),
        # mode D of a meter with the balance of the phases and values of earlier days
        ("ABC5LK13", "1-0:1.8.0*255(0070.717*kWh) 1-0:1.8.0*96(3.2*kWh) 1-0:2.8.0*255(0045.054*kWh) 1-0:16.7.0(-122*W)",
         (0, 122, 70717, 45054)),
    ],
)  # fmt: skip
def test_meters_without_a_profile_of_their_own(
    identification: str,
    lines: str,
    expected: tuple[int | None, ...] | None,
    everything: list[Profile],
    decode: Decode,
) -> None:
    (result,) = decode(everything, pushed(identification, *lines.split()))
    if expected is None:
        assert isinstance(result, Fault)
        assert (result.stage, result.code) == ("profile", "unit")
        return
    assert isinstance(result, Reading)
    assert (result.p_import_w, result.p_export_w, result.a_import_wh, result.a_export_wh) == expected
