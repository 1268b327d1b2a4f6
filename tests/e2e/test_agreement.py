"""dsmr-parser reads the telegrams of the profiles too; where it says something else, the reason is written here."""

import warnings
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dsmr_parser import telegram_specifications as specifications
    from dsmr_parser.exceptions import ParseError
    from dsmr_parser.parsers import TelegramParser

#: profile -> the specification of dsmr-parser for its meters
SPECIFICATIONS = {
    "at-steiermark-est5": specifications.SAGEMCOM_T210_D_R,
    "be-emucs": specifications.BELGIUM_FLUVIUS,
    "be-fluvius-emucs": specifications.BELGIUM_FLUVIUS,
    "be-iskra-ie5": specifications.ISKRA_IE,
    "de-easymeter-q3d": specifications.Q3D,
    "hu-p1": specifications.EON_HUNGARY,
    "lt-eso": specifications.V5,
    "lu-smarty": specifications.LUXEMBOURG_SMARTY,
    "nl-dsmr2": specifications.V2_2,
    "nl-dsmr4": specifications.V4,
    "nl-dsmr5": specifications.V5,
    "nl-iskra-ie7": specifications.ISKRA_IE,
    "nl-lg-e350": specifications.V4,
    "se-efs2": specifications.SWEDEN,
}
#: what dsmr-parser cannot read at all
REFUSED = {
    "at-steiermark-est5-t210": "its specification expects the encrypted form of the same telegram",
    "hu-p1-sanxing": "the tariff is a text (TARIFF 1), it expects a number",
    "nl-lg-e350-3ph": "this meter sends no checksum, and its specification for DSMR 4 demands one",
}
_FLAG = "dsmr-parser ignores the S/W flag and asks the calendar"
_SPEC = "its specification knows tariffs only, and this meter sends the total"
#: telegram -> quantity -> why dsmr-parser says something else
EXPLAINED = {
    "be-iskra-ie5-3ph": {"t": f"{_FLAG}: summer time in February"},
    "de-easymeter-q3d-export": {
        "p_import_w": "the meter's one register is signed: dsmr-parser shows a negative import",
        "p_export_w": "the meter's one register is signed: dsmr-parser shows no export",
    },
    "lt-eso-standard": {"t": _FLAG, "a_export_wh": _SPEC},
    "lt-eso-maximal": {"t": _FLAG, "a_export_wh": _SPEC},
    "se-efs2-sagemcom": {"t": f"{_FLAG}: Swedish meters stay in standard time"},
    "se-efs2-kamstrup": {"t": f"{_FLAG}: Swedish meters stay in standard time"},
    "se-efs2-kaifa": {"t": f"{_FLAG}: Swedish meters stay in standard time"},
}
QUANTITIES = {
    "p_import_w": [["CURRENT_ELECTRICITY_USAGE"]],
    "p_export_w": [["CURRENT_ELECTRICITY_DELIVERY"]],
    "a_import_wh": [
        ["ELECTRICITY_IMPORTED_TOTAL"],
        ["ELECTRICITY_USED_TARIFF_1", "ELECTRICITY_USED_TARIFF_2"],
        ["ELECTRICITY_USED_TARIFF_1"],
    ],
    "a_export_wh": [
        ["ELECTRICITY_EXPORTED_TOTAL"],
        ["ELECTRICITY_DELIVERED_TARIFF_1", "ELECTRICITY_DELIVERED_TARIFF_2"],
    ],
}


def frames():
    """Name and octets of each telegram of a profile that dsmr-parser has a specification for."""
    for profile in map(profiles.load, profiles.names()):
        if profile.name in SPECIFICATIONS:
            for note in profile.frame:
                name = note.file.removeprefix("frames/").removesuffix(".p1").removesuffix(".d0")
                yield name, profile, profiles.shipped().joinpath(note.file).read_bytes()


FRAMES = list(frames())


def theirs(parsed, units):
    """Item P and time as dsmr-parser has them, in W and Wh by the units that it read (or the profile's)."""
    found = {}
    for quantity, choices in QUANTITIES.items():
        names = next((names for names in choices if all(hasattr(parsed, name) for name in names)), [])
        registers = [getattr(parsed, name) for name in names]
        exact = [one.value * (1000 if (one.unit or units(quantity)).startswith(("k", "K")) else 1) for one in registers]
        found[quantity] = int(sum(map(Decimal, exact))) if exact else None
    stamp = getattr(parsed, "P1_MESSAGE_TIMESTAMP", None)
    return found | ({"t": stamp.value} if stamp else {})


@pytest.mark.parametrize(("name", "profile", "octets"), FRAMES, ids=[name for name, _, _ in FRAMES])
def test_dsmr_parser_agrees_or_is_explained(name, profile, octets):
    decoder = Decoder(profiles.load_auto(profile.interface), ZoneInfo)
    (reading,) = decoder.feed(octets) + decoder.close()
    assert isinstance(reading, Reading)
    parser = TelegramParser(SPECIFICATIONS[profile.name])
    if name in REFUSED:
        with pytest.raises((ParseError, ValueError)):
            parser.parse(octets.decode("latin-1"), throw_ex=True)
        return

    def units(quantity):
        stem = getattr(profile.item_p, quantity.rpartition("_")[0]).rpartition(".")[0]
        return next((unit for code, unit in profile.units.items() if code.startswith(f"{stem}.")), "")

    peer = theirs(parser.parse(octets.decode("latin-1"), throw_ex=True), units)
    differs = {key for key, value in peer.items() if value != getattr(reading, key)}
    assert differs == EXPLAINED.get(name, {}).keys(), {key: (peer[key], getattr(reading, key)) for key in differs}


def test_every_explanation_is_needed():
    assert set(EXPLAINED) | set(REFUSED) <= {name for name, _, _ in FRAMES}
    assert not set(EXPLAINED) & set(REFUSED)
    assert len(FRAMES) >= 30
