"""Pushes are laid out as real meters lay theirs out, say what is true, and are numbered upwards across restarts."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.simulator.meter import Meter
from gateway.simulator.push_meter import PushMeter, simulated
from gateway.simulator.pushes import PUBLIC_KEY, PUSHES

SHIPPED = Path(__file__).resolve().parent.parent / "corpus"
START = datetime(2026, 6, 20, 9, 17, 5, tzinfo=UTC)
HOUR = datetime(2026, 6, 20, 10, 0, 0, tzinfo=UTC)

#: variant, at which second of the hour, and the capture that it must look like
CAPTURES = [
    ("at-kaifa", 0, "mbus-link-push-encrypted", "fkw9-kaifa-real"),
    ("at-kaifa", 0, "mbus-link-push-encrypted", "dlmsparser-mbus-netz-noe-p1"),
    ("at-sagemcom", 0, "mbus-link-push-encrypted", "fkw9-sagemcom-t210d-real"),
    ("lg-e450", 0, "hdlc-push-encrypted", "dlmsparser-hdlc-lgz-e450-2"),
    ("dk-kamstrup", 0, "hdlc-push-encrypted", "dlmsparser-hdlc-kamstrup-omnipower"),
    ("no-aidon", 5, "hdlc-push", "amshan-hdlc-frame-with-escape-character-in-info"),
    ("no-aidon", 0, "llc-apdu", "amshan-aidon-no-list-3"),
    ("no-kaifa", 4, "hdlc-push", "amshan-hdlc-frame-with-flag-sequence-character-in-info"),
    ("no-kaifa", 10, "llc-apdu", "amshan-kaifa-no-list-3"),
    ("si-iskra", 5, "hdlc-push", "nodedsmr-slovenia-list-1"),
    ("si-iskra", 0, "hdlc-push", "nodedsmr-slovenia-list-2"),
]


def at(variant, second, seed=7):
    return PushMeter(seed, variant, HOUR).telegram_at(HOUR + timedelta(seconds=second))


def same_season(shape):
    """Winter captures and summer ones differ in the deviation (-60, -120) and nothing else."""
    return [(*entry[:3], entry[3].replace("ffc4", "ff88")) if entry[0] == "header" else entry for entry in shape]


@pytest.mark.parametrize(("variant", "second", "family", "name"), CAPTURES)
def test_a_push_is_laid_out_as_its_capture(variant, second, family, name, wire):
    octets, keys = wire.capture(SHIPPED, family, name)
    meter = PushMeter(7, variant, HOUR)
    mine = meter.telegram_at(HOUR + timedelta(seconds=second))
    theirs = wire.read(octets, keys, check_tag=bool(keys[1]))
    ours = wire.read(mine, (meter.keys.encryption, meter.keys.authentication))
    assert same_season(ours.shape) == same_season(theirs.shape)
    assert (ours.ciphered, ours.manufacturer) == (theirs.ciphered, theirs.manufacturer)
    if family != "llc-apdu":
        assert ours.frames == theirs.frames
        assert len(mine) == len(octets)
        assert ours.plain[:1] == theirs.plain[:1]
    assert [type(value) for value in ours.values] == [type(value) for value in theirs.values]


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("variant", "family", "name"),
    [
        ("at-kaifa-21", "mbus-link-push-encrypted", "tinetz-kaifa-doc"),
        ("ch-lg-e570", "hdlc-push-encrypted", "scs-lg-e570-encrypted-valid"),
    ],
)
def test_a_push_is_laid_out_as_its_capture_that_may_not_be_copied(variant, family, name, corpus, wire):
    octets, keys = wire.capture(corpus / "reference", family, name)
    meter = PushMeter(7, variant, HOUR)
    theirs = wire.read(octets, keys, check_tag=False)
    ours = wire.of(meter, HOUR)
    assert ours.shape == theirs.shape
    assert (ours.ciphered, ours.manufacturer, ours.frames) == (theirs.ciphered, theirs.manufacturer, theirs.frames)


@pytest.mark.corpus
def test_a_first_segment_looks_like_that_of_an_iskraemeco(corpus):
    lines = (corpus / "reference" / "hdlc-push.jsonl").read_text()
    octets = bytes.fromhex(re.search(r'"ams-iskraemeco-gh1072-1".*?"data": *"([0-9a-f]+)"', lines)[1])
    mine = at("ch-am550", 0)
    assert mine[:7] == octets[:7]  # flag, format with S bit and length, addresses, control
    assert mine[9:12] == octets[9:12] == b"\xe6\xe7\x00"
    assert len(octets) == 166
    assert mine[165:168] == b"\x7e\x7e\xa8"


@pytest.mark.parametrize(
    ("variant", "name"),
    [("lu-smarty", "nodedsmr-dsmr-luxembourgh-spec-example-without-aad"), ("at-est5", "esphomelibs-encrypted-est5")],
)
def test_an_encrypted_p1_telegram_has_the_objects_of_its_capture(variant, name, wire):
    octets, keys = wire.capture(SHIPPED, "p1-encrypted", name)
    theirs = wire.read(octets, keys, check_tag=False)
    meter = PushMeter(7, variant, HOUR)
    ours = wire.of(meter, HOUR)
    assert ours.ciphered[0] == theirs.ciphered[0]
    assert ours.ciphered[3] == theirs.ciphered[3] == 0x30
    mine, real = (dict(re.findall(rb"^(\d-\d:[\d.]+)(.*?)\r?$", one.plain, re.MULTILINE)) for one in (ours, theirs))
    assert mine.keys() <= real.keys()
    digits = lambda text: re.sub(rb"\d", b"0", text)  # noqa: E731
    differ = {code for code in mine if digits(mine[code]) != digits(real[code])}
    # names of other lengths
    assert differ <= {b"0-0:42.0.0", b"0-1:96.1.0"}
    if variant == "at-est5":
        assert list(mine) == list(real)


@pytest.mark.parametrize("variant", sorted(PUSHES))
def test_the_values_are_what_the_truth_says(variant, wire):
    meter = PushMeter(3, variant, START)
    for number in range(400):
        t = meter.time_of(number)
        pushed = wire.of(meter, t)
        truth = meter.truth_at(t)
        state = meter.state_at(t)
        for key, value in (("p_import_w", state.p_import), ("p_export_w", state.p_export)):
            assert truth.get(key, value) == value
        for key, value in (("a_import_wh", state.a_import.total), ("a_export_wh", state.a_export.total)):
            assert truth.get(key, value) in (value, value // 10 * 10)
        if pushed.plain[:1] == b"\x0f":
            for key in ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh"):
                assert key not in truth or {truth[key], truth[key] // 10} & set(pushed.values)
        assert pushed.counter == meter.security_at(t).get("counter")


@pytest.mark.parametrize(
    ("variant", "keys"),
    [
        ("no-aidon", [1, 1, 2, 1, 1, 1, 2]),
        ("no-kaifa", [1, 1, 1, 2, 1, 1, 1]),
        ("si-iskra", [2, 2, 2, 2, 2, 2, 2]),
    ],
)
def test_power_comes_more_often_than_energy(variant, keys):
    meter = PushMeter(3, variant, START)
    truths = [meter.truth_at(meter.time_of(number)) for number in range(7)]
    assert [len({"p_import_w", "p_export_w"} & truth.keys()) for truth in truths] == keys
    assert not any("a_import_wh" in truth for truth in truths)
    whole = PushMeter(3, variant, HOUR)
    rare = [n for n in range(1441) if "a_import_wh" in whole.truth_at(whole.time_of(n))]
    every = {"no-aidon": [0, 1440], "no-kaifa": [5], "si-iskra": [*range(0, 1441, 180)]}
    assert rare == every[variant]


def test_the_clock_says_its_offset_or_does_not_and_the_hour_that_comes_twice_is_then_uncertain():
    twice = datetime(2026, 10, 25, 0, 30, 0, tzinfo=UTC)
    assert PushMeter(1, "at-kaifa", twice).truth_at(twice)["t_meter"] == "2026-10-25T02:30:00+02:00"
    assert PushMeter(1, "at-kaifa", twice).truth_at(twice)["t"] == "2026-10-25T00:30:00Z"
    uncertain = PushMeter(1, "dk-kamstrup", twice).truth_at(twice)
    assert uncertain["t_meter"] == "2026-10-25T02:30:00"
    assert "t" not in uncertain
    later = twice + timedelta(hours=2)
    assert PushMeter(1, "dk-kamstrup", twice).truth_at(later)["t"] == "2026-10-25T02:30:00Z"


@pytest.mark.parametrize(("second", "variant"), [(0, "at-kaifa"), (0, "si-iskra"), (10, "no-kaifa"), (0, "lg-e450")])
def test_the_date_time_is_that_of_the_zone(second, variant, wire):
    meter = PushMeter(7, variant, HOUR)
    t = HOUR + timedelta(seconds=second)
    pushed = wire.of(meter, t)
    local = t.astimezone(ZoneInfo(meter.variant.clock_zone))
    octets = pushed.header_time
    assert (int.from_bytes(octets[:2], "big"), *octets[2:8]) == (
        local.year, local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second,
    )  # fmt: skip
    assert int.from_bytes(octets[9:11], "big", signed=True) in (-120, -0x8000)


@pytest.mark.parametrize("variant", [name for name, one in PUSHES.items() if one.envelope.control is not None])
def test_the_counter_rises_by_one_and_never_goes_back_after_a_restart(variant, wire):
    first = PushMeter(3, variant, START)
    counters = [wire.of(first, first.time_of(number)).counter for number in range(200)]
    assert counters == list(range(counters[0], counters[0] + 200))
    again = PushMeter(3, variant, first.time_of(200))
    assert wire.of(again, again.time_of(0)).counter > counters[-1]
    assert wire.of(first, first.time_of(17)).counter == counters[17]


def test_a_longer_interval_counts_pushes_not_seconds():
    meter = PushMeter(3, "dk-kamstrup", START, interval_s=60)
    counters = [meter.counter_at(meter.time_of(number)) for number in range(3)]
    assert counters == [counters[0], counters[0] + 1, counters[0] + 2]
    assert meter.time_of(2) == START + timedelta(seconds=120)


def test_titles_are_those_of_no_real_meter_and_one_for_each_seed():
    titles = {PushMeter(seed, "dk-kamstrup", START).system_title for seed in range(50)}
    assert len(titles) == 50
    assert all(title.startswith(b"KAM\xfa\xce") and len(title) == 8 for title in titles)


def test_luxembourg_has_one_authentication_key_and_others_a_random_one():
    assert PushMeter(1, "lu-smarty", START).keys.authentication == PUBLIC_KEY
    assert PushMeter(1, "at-est5", START).keys.authentication != PUBLIC_KEY
    assert PushMeter(1, "at-est5", START).keys.encryption != PushMeter(1, "at-est5", START).keys.encryption


def test_pushes_of_one_meter_do_not_change_when_asked_again():
    meter = PushMeter(3, "lg-e450", START)
    forward = [meter.telegram_at(meter.time_of(number)) for number in (0, 5, 500)]
    assert [meter.telegram_at(meter.time_of(number)) for number in (500, 5, 0)] == forward[::-1]
    assert len(set(forward)) == 3


def test_every_meter_is_made_by_its_name():
    assert isinstance(simulated(1, "lu-smarty", START), PushMeter)
    assert type(simulated(1, "dsmr5", START)) is Meter
    with pytest.raises(ValueError, match="dsmr5, emucs"):
        simulated(1, "dsmr6", START)
    with pytest.raises(ValueError, match="at-kaifa, at-kaifa-21"):
        PushMeter(1, "dsmr5", START)
    with pytest.raises(ValueError, match="zone"):
        PushMeter(1, "at-kaifa", START.replace(tzinfo=None))
