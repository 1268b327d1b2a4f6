"""The meter in a capture: its profile, or that it is encrypted, or why neither."""

import pytest

from decoders.cipher import Keys
from decoders.decoder import Security
from decoders.detect import ANYWHERE
from gateway.setup.candidates import candidates, recognised
from gateway.simulator.pushes import PUSHES

PROFILES = {"dsmr5": "nl-dsmr5", "dsmr22": "nl-dsmr2", "no-aidon": "no-aidon", "si-iskra": "si-iskra-am550-dlms"}
ENCRYPTED = {"lu-smarty": "lu-smarty-encrypted", "dk-kamstrup": "dk-kamstrup", "at-kaifa": "at-netznoe"}


@pytest.fixture(scope="module")
def everything():
    return candidates("auto")


def link_of(variant):
    return PUSHES[variant].envelope.link if variant in PUSHES else "p1"


def capture(meter, telegrams=2):
    return (
        meter.telegram(0)[30:] + b"".join(meter.telegram(n) for n in range(1, 1 + telegrams)) + meter.telegram(9)[:50]
    )


@pytest.mark.parametrize(("variant", "profile"), PROFILES.items())
def test_plain_meters_are_named(household, everything, variant, profile):
    found = recognised(capture(household(variant)), everything, link=link_of(variant))
    assert (found.profile.name, found.ciphered, found.trouble) == (profile, None, "")
    assert found.profile.country != ANYWHERE
    assert found.reading.p_import_w is not None


@pytest.mark.parametrize(("variant", "profile"), ENCRYPTED.items())
def test_encrypted_meters_are_told_then_named_by_their_key(household, everything, variant, profile):
    meter = household(variant)
    found = recognised(capture(meter), everything, link=link_of(variant))
    assert (found.reading, found.profile, found.is_certain) == (None, None, True)
    title = meter._meter.system_title.hex().upper()
    assert found.ciphered.system_title == title
    assert found.ciphered.counter > 0
    keys = Keys(meter.keys.encryption, meter._meter.keys.authentication)
    assert (
        recognised(capture(meter), everything, link=link_of(variant), security=Security(keys)).profile.name == profile
    )


def test_a_wall_clock_needs_a_zone(household, everything):
    meter = household("dsmr5")
    found = recognised(capture(meter), [p for p in everything if p.name == "p1-generic"], link="p1")
    assert "zone_unknown" in found.reading.flags
    found = recognised(
        capture(meter), [p for p in everything if p.name == "p1-generic"], link="p1", tz="Europe/Amsterdam"
    )
    assert found.reading.t is not None


def test_what_no_profile_reads_is_trouble(everything):
    found = recognised(b"/XYZ5 strange\r\n\r\n0-0:96.1.0(31)\r\n!\r\n" * 3, everything, link="p1")
    assert not found.is_certain
    assert found.trouble


def test_a_name_that_is_none():
    with pytest.raises(KeyError):
        candidates("nl-dsmr9")
