"""Every operator with a P1 interface has a profile."""

import json
from pathlib import Path

import pytest

from gateway import profiles

#: row of the directory of meter interfaces -> the profiles that read its meters
PROFILES = {
    "nl-00": ["nl-dsmr2"],
    "nl-01": ["nl-dsmr4", "nl-lg-e350"],
    "nl-02": ["nl-dsmr5", "nl-warmtelink"],
    "be-03": ["be-fluvius-emucs", "be-iskra-ie5"],
    "be-04": ["be-emucs"],
    "be-05": ["be-emucs"],
    "lu-06": ["lu-smarty"],
    "at-18": ["p1-dsmr"],
    "at-19": ["at-steiermark-est5"],
    "ch-28": ["ch-groupe-e-xt211"],
    "de-32": ["de-easymeter-q3d", "de-easymeter-q3da"],
    "se-38": ["se-efs2"],
    "se-39": ["se-efs2"],
    "se-40": ["se-efs2"],
    "se-41": ["se-efs2"],
    "se-42": ["se-efs2"],
    "se-43": ["se-efs2"],
    "se-44": ["se-efs2"],
    "se-47": ["se-iskra-am550"],
    "fi-51": ["fi-sk13-1", "fi-aidon-74xx"],
    "fi-52": ["fi-sk13-1"],
    "lt-53": ["lt-eso"],
    "pl-56": ["pl-stoen-gama", "pl-stoen-kaifa"],
    "hu-65": ["hu-p1"],
    "hu-66": ["hu-p1"],
    "hu-67": ["hu-p1"],
    "si-68": ["si-iskra-am550", "p1-iskra-split-clock"],
    "hr-69": ["be-iskra-ie5"],
}
#: rows that speak of P1 and are not read by profiles of P1: another protocol on the same connector
OTHER_PROTOCOL = {"pl-59"}


@pytest.mark.parametrize("row", sorted(PROFILES))
def test_the_profiles_of_an_operator_exist(row: str) -> None:
    assert set(PROFILES[row]) <= set(profiles.names())


def test_every_profile_but_the_last_resorts_serves_a_known_operator_or_says_why() -> None:
    extra = {"dk-nes", "nl-iskra-ie7", "p1-generic"}
    assert {name for names in PROFILES.values() for name in names} | extra == set(profiles.names())


@pytest.mark.corpus
def test_no_row_of_the_directory_is_forgotten(corpus: Path) -> None:
    lines = (corpus.parent / "operators" / "interfaces.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    p1 = {row["id"] for row in rows if any(word in str(row["payload"]) for word in ("P1 ASCII", "DSMR", "D0 ASCII"))}
    assert p1 - set(PROFILES) - OTHER_PROTOCOL == set()


@pytest.mark.corpus
@pytest.mark.parametrize("row", sorted(PROFILES))
def test_the_profile_names_the_country_and_the_line_of_the_row(corpus: Path, row: str) -> None:
    lines = (corpus.parent / "operators" / "interfaces.jsonl").read_text(encoding="utf-8").splitlines()
    (entry,) = (entry for entry in map(json.loads, lines) if entry["id"] == row)
    found = [profiles.load(name) for name in PROFILES[row]]
    if row != "hr-69":  # told apart from Belgium by nothing in the telegram
        assert entry["country"] in {profile.country for profile in found} or "EU" in {p.country for p in found}
    if entry["baud"] and row != "si-68":  # the operator's DLMS format runs at 38400, the ASCII format does not
        assert {profile.line.baud for profile in found} == {entry["baud"]}
