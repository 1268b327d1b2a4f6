"""Every operator with a P1 or DLMS interface has a profile."""

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
    "lu-06": ["lu-smarty", "lu-smarty-encrypted"],
    "at-07": ["at-wienernetze"],
    "at-08": ["at-netznoe"],
    "at-09": ["at-ksmwest-kaifa"],
    "at-10": ["at-ksmwest-kaifa"],
    "at-11": ["at-ksmwest-kaifa"],
    "at-12": ["at-ksmwest-kaifa"],
    "at-13": ["at-netzooe-amis"],
    "at-14": ["at-kaerntennetz"],
    "at-15": ["at-wels-im350"],
    "at-16": ["at-burgenland-e450"],
    "at-17": ["at-burgenland-kaifa"],
    "at-18": ["p1-dsmr"],
    "at-19": ["at-steiermark-est5", "at-steiermark-est5-encrypted"],
    "at-20": ["at-steiermark-e450"],
    "at-23": ["dlms-hdlc"],
    "ch-24": ["ch-lg-cii"],
    "ch-25": ["ch-lg-cii"],
    "ch-26": ["ch-lg-e360"],
    "ch-27": ["ch-iskra-am550"],
    "ch-29": ["ch-kamstrup"],
    "ch-28": ["ch-groupe-e-xt211"],
    "de-31": [
        "de-dzg",
        "de-dzg-dvs74",
        "de-ebz-dd3",
        "de-emh-ehz",
        "de-emh-ehz-g",
        "de-emh-ehz-h",
        "de-hager-ehz361",
        "de-holley-dtz541",
        "de-iskra-mt175",
        "de-iskra-mt631",
        "de-itron-openway",
    ],
    "de-32": ["de-easymeter-q3d", "de-easymeter-q3da", "de-easymeter-d3da", "de-hager-ehz-d0", "de-ehz-d0"],
    "fr-70": ["fr-linky-historique"],
    "fr-71": ["fr-linky-standard"],
    "no-34": ["no-aidon"],
    "no-35": ["no-kaifa"],
    "no-36": ["no-kamstrup", "no-kamstrup-ct"],
    "no-37": ["no-embriq"],
    "se-38": ["se-efs2"],
    "se-39": ["se-efs2"],
    "se-40": ["se-efs2"],
    "se-41": ["se-efs2"],
    "se-42": ["se-efs2"],
    "se-43": ["se-efs2"],
    "se-44": ["se-efs2"],
    "se-45": ["se-aidon-efs"],
    "se-46": ["no-kaifa", "se-kaifa"],
    "se-47": ["se-iskra-am550"],
    "dk-48": ["dk-kamstrup", "se-kamstrup"],
    "fi-51": ["fi-sk13-1", "fi-aidon-74xx"],
    "fi-52": ["fi-sk13-1"],
    "lt-53": ["lt-eso"],
    "pl-56": ["pl-stoen-gama", "pl-stoen-gama-encrypted", "pl-stoen-kaifa", "pl-stoen-kaifa-encrypted"],
    "cz-60": ["cz-sagemcom-xt211"],
    "cz-61": ["cz-egd"],
    "hu-65": ["hu-p1"],
    "hu-66": ["hu-p1"],
    "hu-67": ["hu-p1"],
    "si-68": ["si-iskra-am550", "p1-iskra-split-clock", "si-iskra-am550-dlms"],
    "hr-69": ["be-iskra-ie5", "hr-hep-ie5"],
}
#: rows that speak of P1 and are not read by profiles: another protocol on the same connector
OTHER_PROTOCOL = {"pl-59", "it-72"}


@pytest.mark.parametrize("row", sorted(PROFILES))
def test_the_profiles_of_an_operator_exist(row: str) -> None:
    assert set(PROFILES[row]) <= set(profiles.names())


def test_every_profile_but_the_last_resorts_serves_a_known_operator_or_says_why() -> None:
    extra = {"dk-nes", "nl-iskra-ie7", "p1-generic", "dlms-wrapper", "kamstrup-apdu"}
    extra |= {"iec62056-21-generic", "iec62056-21-net", "iec62056-21-channel-1", "iskra-mt174"}
    extra |= {"de-elster-v9", "de-emh-ehz-d0", "de-itron-ace3000", "de-itron-em214"}
    # meters of no row: SML of any maker, and the signed readings of charging stations
    extra |= {"sml-generic", "sml-import-power", "sml-status-edl", "sml-status-fnn", "sml-two-registers"}
    extra |= {"de-emh-emobility"}
    # meters on a wired M-Bus belong to the house, not to an operator
    extra |= {name for name in profiles.names() if profiles.load(name).link == "mbus-records"}
    assert {name for names in PROFILES.values() for name in names} | extra == set(profiles.names())


@pytest.mark.corpus
def test_no_row_of_the_directory_is_forgotten(corpus: Path) -> None:
    lines = (corpus.parent / "operators" / "interfaces.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    readable = {
        row["id"]
        for row in rows
        if any(word in str(row["payload"]) for word in ("P1 ASCII", "DSMR", "D0 ASCII", "DLMS", "teleinfo"))
    }
    assert readable - set(PROFILES) - OTHER_PROTOCOL == set()


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
