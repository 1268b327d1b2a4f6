import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decoders.model import SubReading
from gateway.item_p import ItemP
from gateway.pseudonym import pseudonym
from gateway.sinks import topics

SALT = b"0123456789abcdef"
MAIN = topics.meter_topics("meterd", "main")


def numbers(messages: list[topics.Message]) -> dict[str, bytes]:
    return {message.topic.rpartition("/")[2]: message.payload for message in messages[1:]}


def test_reading_comes_first_and_then_every_quantity(make_item: Callable[..., ItemP]) -> None:
    messages = list(topics.reading(MAIN, make_item()))
    assert messages[0].topic == "meterd/main/reading"
    assert json.loads(messages[0].payload)["a_import_wh"] == 65238377
    assert numbers(messages) == {
        "p_import_w": b"132",
        "p_export_w": b"0",
        "p_net_w": b"132",
        "a_import_wh": b"65238377",
        "a_export_wh": b"5",
        "a_import_kwh": b"65238.377",
        "a_export_kwh": b"0.005",
    }


def test_absent_is_not_published(make_item: Callable[..., ItemP]) -> None:
    item = make_item(p_export_w=None, p_net_w=None, a_import_wh=None, a_export_wh=None)
    assert numbers(list(topics.reading(MAIN, item))) == {"p_import_w": b"132"}


@pytest.mark.parametrize("retain_energy", [False, True])
def test_power_is_never_retained_and_expires(make_item: Callable[..., ItemP], retain_energy: bool) -> None:
    for message in topics.reading(MAIN, make_item(), retain_energy=retain_energy):
        is_energy = "/a_" in message.topic
        assert message.retain is (is_energy and retain_energy)
        assert message.expires is not is_energy


def test_kwh_is_exact_where_a_float_is_not(make_item: Callable[..., ItemP]) -> None:
    item = make_item(a_import_wh=9007199254740993)
    assert numbers(list(topics.reading(MAIN, item)))["a_import_kwh"] == b"9007199254740.993"


def test_negative_net_power(make_item: Callable[..., ItemP]) -> None:
    item = make_item(p_import_w=0, p_export_w=2500, p_net_w=-2500)
    assert numbers(list(topics.reading(MAIN, item)))["p_net_w"] == b"-2500"


def test_sub_reading_names_its_device_by_a_pseudonym(make_item: Callable[..., ItemP]) -> None:
    (message,) = topics.sub_readings(MAIN, make_item(seq=7))
    sub = json.loads(message.payload)
    assert message[0:1] + message[2:4] == ("meterd/main/sub/1/reading", 0, False)
    assert sub["device"] == pseudonym(SALT, "G0012345")
    assert (sub["quantity"], sub["unit"], sub["seq"]) == ("1234.567", "m3", 7)
    assert b"G0012345" not in message.payload


def test_client_id_is_own_stable_and_tells_nothing_of_the_salt() -> None:
    assert topics.client_id(SALT) == topics.client_id(SALT) != topics.client_id(SALT[::-1])
    assert len(topics.client_id(SALT)) == len("meterd-01234567")


@pytest.mark.parametrize("name", ["", "a/b", "a+", "#", "A", "a\x00", "x" * 33, "näme", "$sys"])
def test_a_name_that_is_no_topic_level_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="meter name"):
        topics.meter_topics("meterd", name)


@pytest.mark.parametrize("base", ["", "/", "a/", "/a", "a//b", "a/+", "#", "$SYS/x", "a\n"])
def test_a_base_that_is_no_prefix_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match=r"mqtt\.base"):
        topics.status_topic(base)


HOSTILE = st.text(st.sampled_from('#+/$\x00\n"\\{}é\u202e\ud800a1')) | st.text()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=HOSTILE, channel=st.integers(-(10**12), 10**12))
def test_no_text_of_a_meter_reaches_a_topic(make_item: Callable[..., ItemP], text: str, channel: int) -> None:
    printable = text.encode("utf-8", "replace").decode()
    sub = SubReading(channel, printable, text, None, printable, 1, 0, printable, "measured")
    item = make_item(
        identity=text, t_meter=printable, sub=(sub,), registers=((printable, 1, 0, printable),), profile=printable
    )
    messages = [*topics.reading(MAIN, item, registers=True), *topics.sub_readings(MAIN, item)]
    expected = {MAIN.reading, *MAIN.quantity.values()}
    if 0 <= channel <= 255:
        expected.add(f"meterd/main/sub/{channel}/reading")
    assert {message.topic for message in messages} == expected
    for message in messages:
        assert json.loads(message.payload) is not None


def test_a_late_reading_is_no_live_one(make_item: Callable[..., ItemP]) -> None:
    item = make_item(seq=7)
    known = topics.meter_topics("meterd", "main")
    late = topics.late_reading(known, item, "0123456789abcdef")
    assert (late.topic, late.qos, late.retain, late.expires) == ("meterd/main/backfill/reading", 1, False, False)
    said = json.loads(late.payload)
    assert late.id == said.pop("id") == "0123456789abcdef-main-7"
    assert said.pop("backfill") is True
    (first, *_) = topics.reading(known, item)
    assert said == json.loads(first.payload)


def test_what_may_be_retained_of_a_meter_is_forgotten(make_item: Callable[..., ItemP]) -> None:
    known = topics.meter_topics("meterd", "main")
    live = topics.reading(known, make_item(), retain_energy=True)
    told = [topics.availability(known, available=True), topics.state(known, b"{}"), *live]
    gone = topics.forget(known)
    assert {message.topic for message in told if message.retain} == {message.topic for message in gone}
    assert all(message.payload == b"" and message.retain and message.qos == 1 for message in gone)
