"""Item P by meaning: the total, never a phase, a copy or a tariff beside it; ambiguous is absent, with a reason."""

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from decoders.decoder import Decoder
from decoders.meaning import record_of
from decoders.model import Fault, Reading, Result
from decoders.profile import Profile, ProfileSyntaxError, load
from gateway import profiles

ELECTRICITY, WATER, HEAT = "02", "07", "04"
Read = Callable[..., list[Result]]


@pytest.fixture(scope="module")
def generic() -> Profile:
    return profiles.load("mbus-generic")


def long(records: str, device_type: str = ELECTRICITY, ci: str = "72") -> bytes:
    header = f"78563412 B515 10 {device_type} 07 00 0000" if ci == "72" else ""
    content = bytes.fromhex(f"0801{ci}{header}{records}")
    return bytes([0x68, len(content), len(content), 0x68]) + content + bytes([sum(content) & 0xFF, 0x16])


def read(profile: Profile, records: str, **more: str) -> list[Result]:
    decoder = Decoder([profile], ZoneInfo)
    return decoder.feed(long(records, **more)) + decoder.close()


def item_p(results: list[Result]) -> tuple[int | None, ...]:
    reading = results[0]
    assert isinstance(reading, Reading)
    return reading.p_import_w, reading.p_export_w, reading.a_import_wh, reading.a_export_wh


def changed(profile: Profile, **records: Any) -> Profile:
    assert profile.records
    return msgspec.structs.replace(profile, records=msgspec.structs.replace(profile.records, **records))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ("042B 0A000000", (10, 0, None, None)),
        ("042B F6FFFFFF", (0, 10, None, None)),
        ("04ABFF01 01000000 04ABFF02 02000000 042B 03000000", (3, 0, None, None)),
        ("04ABFF01 01000000 04ABFF02 02000000 04ABFF00 03000000", (3, 0, None, None)),
        ("04ABFF01 01000000", (None, None, None, None)),
        ("042B 05000000 04AB3C 00000000", (5, 0, None, None)),
        ("04AB3B 05000000 04AB3C 02000000", (5, 2, None, None)),
        ("142B 63000000 442B 63000000 342B 63000000 042B 05000000", (5, 0, None, None)),
        ("84402B 63000000 84102B 63000000", (None, None, None, None)),
        ("022C 0500 052E CDCCCC3D", (None, None, None, None)),
        ("0403 E8030000", (None, None, 1000, None)),
        ("0403 E8030000 841003 F4010000 842003 F4010000", (None, None, 1000, None)),
        ("841003 F4010000 842003 F5010000", (None, None, 1001, None)),
        ("842003 F5010000", (None, None, None, None)),
        ("841003 F4010000 84801003 F5010000", (None, None, None, None)),
        ("0403 E8030000 04837F 05000000 84800103 07000000 4403 05000000", (None, None, 1000, None)),
        ("0403 E8030000 04833C 05000000", (None, None, 1000, 5)),
        ("04833B E8030000 04833C 05000000", (None, None, 1000, 5)),
        ("0401 E7030000", (None, None, 9, None)),
        ("04FB00 02000000", (None, None, 200000, None)),
        ("0404 01000000 844004 09000000", (None, None, 10, None)),
        ("0408 01000000 0430 01000000", (None, None, None, None)),
    ],
)  # fmt: skip
def test_the_total_and_nothing_else(generic: Profile, records: str, expected: tuple[int | None, ...]) -> None:
    assert item_p(read(generic, records)) == expected


@pytest.mark.parametrize(
    "records",
    ["042B 01000000 042B 01000000 0403 E8030000", "042B 01000000 022C 0100 0403 E8030000"],
)
def test_what_could_be_either_is_left_out_and_said(generic: Profile, records: str) -> None:
    """SDM630 sends four powers with one head: even equal values are not the total."""
    results = read(generic, records)
    assert item_p(results) == (None, None, 1000, None)
    assert isinstance(results[0], Reading)
    assert "ambiguous" in results[0].flags
    assert [(f.stage, f.code) for f in results[1:] if isinstance(f, Fault)] == [("profile", "ambiguous")]


@pytest.mark.parametrize("device_type", [WATER, HEAT, "00", "03", "0E", "25"])
def test_only_an_electricity_meter_has_item_p(generic: Profile, device_type: str) -> None:
    results = read(generic, "042B 05000000 0403 E8030000 0413 01000000", device_type=device_type)
    assert item_p(results) == (None, None, None, None)


def test_without_a_header_nothing_says_that_it_is_electricity(generic: Profile) -> None:
    assert item_p(read(generic, "042B 05000000 0403 E8030000", ci="78")) == (None, None, None, None)


def test_tariffs_of_a_readout_that_is_not_whole_are_no_total(generic: Profile) -> None:
    """The total may stand in the telegram that did not come."""
    assert item_p(read(generic, "841003 F4010000 842003 F5010000 1F")) == (None, None, None, None)
    assert item_p(read(generic, "0403 F4010000 842003 F5010000 1F")) == (None, None, 500, None)


def test_tariffs_are_never_summed_where_the_profile_says_so(generic: Profile) -> None:
    profile = changed(generic, tariffs="never")
    assert item_p(read(profile, "841003 F4010000")) == (None, None, None, None)


def test_export_by_subunit_and_single_phase_are_matters_of_the_profile(generic: Profile) -> None:
    records = "0403 E8030000 844003 05000000 04ABFF01 07000000"
    assert item_p(read(generic, records)) == (None, None, 1000, None)
    profile = changed(generic, a_export=("energy u1",), phases=("ff01", "ff02"))
    assert item_p(read(profile, records)) == (7, 0, 1000, 5)
    assert item_p(read(profile, records + "04ABFF02 07000000")) == (None, None, 1000, 5)


def test_floats_in_another_unit_than_their_vif_says(generic: Profile) -> None:
    profile = changed(generic, float_energy="kWh")
    assert item_p(read(profile, "0503 0000C03F")) == (None, None, 1500, None)
    # a VIF that says kWh is right
    assert item_p(read(profile, "0506 0000C03F")) == (None, None, 1500, None)
    assert item_p(read(changed(generic, float_energy="Wh"), "0506 0000C03F")) == (None, None, 1, None)
    assert item_p(read(profile, "0503 0000C03F 0403 DD050000")) == (None, None, 1501, None)
    assert item_p(read(generic, "0503 0000C03F 0403 DD050000")) == (None, None, None, None)


@pytest.mark.parametrize("name", ["mbus-abb", "mbus-saia-finder", "mbus-schneider-iem3000", "mbus-emu-professional"])
def test_export_by_vife_3c_is_read_for_every_maker_that_has_no_other_way(name: str) -> None:
    records = "042B 00000000 04AB3C 07000000 0403 E8030000 04833C 05000000"
    assert item_p(read(profiles.load(name), records)) == (0, 7, 1000, 5)


def test_negative_power_beside_a_power_of_export_is_refused(generic: Profile) -> None:
    results = read(generic, "042B FFFFFFFF 04AB3C 02000000")
    assert [getattr(result, "code", None) for result in results] == ["negative"]


def test_negative_energy_is_refused(generic: Profile) -> None:
    assert [getattr(result, "code", None) for result in read(generic, "0403 FFFFFFFF")] == ["negative"]


def test_a_meter_with_two_totals_of_its_medium_gives_no_sub_meter_reading(generic: Profile) -> None:
    one, two = (
        read(generic, "0413 01000000", device_type=WATER),
        read(generic, "0413 01000000 0413 02000000", device_type=WATER),
    )
    assert isinstance(one[0], Reading)
    assert isinstance(two[0], Reading)
    assert (len(one[0].sub), len(two[0].sub), len(two[0].registers)) == (1, 0, 2)


def test_a_selector_that_is_none_is_refused() -> None:
    text = profiles.shipped().joinpath("mbus-generic.toml").read_text(encoding="utf-8")
    for selector in ("heat", "power/f", "power u", "energy t1 u1", "mbus:0", ""):
        with pytest.raises(ProfileSyntaxError):
            load(text.replace('"power/3c"', f'"{selector}"'), "mbus-generic")


def test_a_code_of_another_grammar_is_no_record() -> None:
    assert record_of("1-0:1.8.0") is None
    assert record_of("mbus:04833c") is not None
