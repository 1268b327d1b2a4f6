"""The daemon tells Home Assistant of its meters: the same after a restart, and no text of a telegram in it."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json
import re
import time

import pytest
from fastcrc.crc16 import arc

HOSTILE = [b"{{ states('lock.front_door') }}", b"homeassistant/+/#", b"\x01\x1b[31m\xff\xfe", b"7B7B" * 200]


def until(condition, what, deadline_s=30.0):
    """Poll until the condition is true, and give its value."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.01)
    return value


def sealed(body):
    return body + f"{arc(body):04X}\r\n".encode()


def changed(octets, code, value):
    """A telegram with another first value of an object, and the checksum that belongs to it."""
    body = octets[: octets.rindex(b"!") + 1]
    other = re.sub(rb"(?m)^" + re.escape(code) + rb"\([^)\r]*\)", lambda _: code + b"(" + value + b")", body)
    assert other != body
    return sealed(other)


def bundles(seen):
    return {topic: json.loads(payload) for topic, payload, _ in seen.messages if "/device/" in topic and payload}


@pytest.mark.parametrize("text", HOSTILE, ids=["template", "topic", "control", "long"])
def test_hostile_telegrams_get_nowhere_near_home_assistant(daemon, pty, broker, subscribe, telegrams, text):
    mqtt = broker()
    seen = subscribe(mqtt.port, "homeassistant/#")
    port = pty()
    running = daemon("main", mqtt=mqtt.port).start()
    for octets, _ in telegrams(4):
        hostile = changed(octets, b"0-0:96.1.1", text)
        port.send(changed(hostile, b"0-1:96.1.0", text) if b"0-1:96.1.0" in hostile else hostile)
    until(lambda: len(bundles(seen)) >= 1, "the meter")
    running.stop()
    shown = b"".join(topic.encode() + payload for topic, payload, _ in seen.messages)
    assert b"power_import" in shown
    for strange in (text, b"lock.front", b"states(", b"7B7B7B", b"\\u001b", b"\x1b"):
        assert strange not in shown


def test_ids_and_entities_are_the_same_after_a_restart(daemon, pty, broker, subscribe, telegrams):
    mqtt = broker()
    port, running = pty(), daemon("main", mqtt=mqtt.port)
    found = []
    for _ in range(2):
        seen = subscribe(mqtt.port, "homeassistant/device/#")
        running.start()
        before = len(seen.messages)
        for octets, _ in telegrams(3):
            port.send(octets)
        until(lambda seen=seen, before=before: len(bundles(seen)) == 2 and len(seen.messages) > before, "both")
        running.stop()
        found.append(bundles(seen))
        seen.close()
    assert found[0].keys() == found[1].keys()
    ids = [sorted(part["unique_id"] for one in each.values() for part in one["components"].values() if len(part) > 1)
           for each in found]  # fmt: skip
    assert ids[0] == ids[1]
    models = {one["device"].get("model") for one in found[0].values()}
    assert models == {"DSMR 5.0 and ESMR 5 meters", "gas meter"}


def test_energy_that_falls_is_published_by_nobody_until_three_readings_agree(daemon, pty, broker, subscribe, telegrams):
    mqtt = broker()
    seen, port = subscribe(mqtt.port), pty()
    running = daemon("main", mqtt=mqtt.port).start()
    (first, truth), *others = telegrams(5)
    port.send(first)
    until(lambda: seen.last("main/a_import_wh"), "the first register")
    exchanged = []
    for n, (octets, _) in enumerate(others):
        low = changed(octets, b"1-0:1.8.1", f"000000.{n:03d}*kWh".encode())
        exchanged.append(changed(low, b"1-0:1.8.2", b"000000.500*kWh"))
    for n, octets in enumerate(exchanged, 1):
        port.send(octets)
        until(lambda n=n: running.meter()["counters"]["decoded"] == n + 1, "a reading")
    until(lambda: len(seen.of("main/a_import_wh")) == 3, "the proven registers")
    assert [reading["quality"] for reading in seen.readings()] == ["measured"] * 3
    assert seen.of("main/a_import_wh") == [str(truth["a_import_wh"]).encode(), b"502", b"503"]
    assert len(seen.of("main/p_import_w")) == 3
    running.stop()
    log = running.log.read_text()
    assert log.count("event=quarantined") == log.count("event=rollback") == 1
    assert log.count("event=register_reset") == 1
