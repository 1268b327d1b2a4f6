"""Trust of one meter: what is admitted, what is kept for the next start, and what is said of it."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from decoders.counters import Identity, Seen
from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles
from gateway.key_material import Material, Secret
from gateway.keys import Held
from gateway.line_watch import LineWatch
from gateway.meter import Meter
from gateway.settings import MeterSettings
from gateway.sources import Chunk
from gateway.trust import Trust

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
TITLE = bytes.fromhex("5341476742000001")


def settings(**more):
    return MeterSettings(name="main", port="/dev/null", **more)


def material(encryption=None, authentication=None):
    return Material(Secret(encryption or os.urandom(16)), Secret(authentication or os.urandom(16)))


def reading(seen, auth="verified"):
    return Reading(
        "p", "p1", auth, "measured", NOW, None, 1, None, None, None, None, None, (), (), (), None, 10, (), 500, seen
    )  # fmt: skip


def judged(trust, counter, *, keys, auth="verified", title=TITLE, clock=None):
    identity = Identity(title.hex().upper(), keys.encryption.fingerprint)
    fault, event = trust.admit(reading(Seen(auth, identity, counter, clock), auth), NOW)
    return fault.code if fault else event


def used(trust, keys):
    trust.use(keys)
    return trust


def test_ten_thousand_replayed_telegrams_give_no_reading_on_the_path_of_the_daemon(telegrams):
    """Telegrams through decoder, trust and hand-over of a meter: the first time all, then 10,000 replays and none."""
    keys = material()
    ek, ak = keys.encryption.reveal(), keys.authentication.reveal()
    sent = []
    for counter, (text, _) in enumerate(telegrams(100), 1):
        sealed = AESGCM(ek).encrypt(TITLE + counter.to_bytes(4, "big"), text, b"\x30" + ak)[:-4]
        content = b"\x30" + counter.to_bytes(4, "big") + sealed
        sent.append(b"\xdb\x08" + TITLE + b"\x82" + len(content).to_bytes(2, "big") + content)

    class Host:
        items: ClassVar = []

        def make_decoder(self, _):
            from zoneinfo import ZoneInfo

            return Decoder([profiles.load("lu-smarty-encrypted")], ZoneInfo, security=trust.security())

        def min_auth(self, _):
            return "verified"

        def next_seq(self, _):
            return 1

        def hand_over(self, _, item):
            self.items.append(item)

        def note(self, _, event, **_facts):
            assert event == "meter_clock", "the capture is old"

    trust = used(Trust(settings(), None, "verified"), keys)
    meter = Meter(settings(), None, LineWatch(enabled=True, line="", interval_s=10), Host(), trust)
    for push in sent:
        meter._take(push, Chunk.now(push))
    assert len(Host.items) == 100
    for _ in range(100):
        for push in sent:
            meter._take(push, Chunk.now(push))
    assert len(Host.items) == 100
    assert meter.counters.faults == {"unwrap.replayed": 10_000}


def test_the_state_outlives_a_restart():
    keys = material()
    trust = used(Trust(settings()), keys)
    assert [judged(trust, n, keys=keys) for n in (5, 6, 7, 6)] == [None, None, None, "replayed"]
    saved = trust.export()
    assert trust.export() is saved, "nothing is written where nothing changed"
    again = used(Trust(settings()), keys)
    assert again.restore(saved) is None
    assert again.min_auth == "verified", "pinned by three telegrams"
    assert [judged(again, n, keys=keys) for n in (5, 7, 8)] == ["replayed", "replayed", None]
    assert judged(again, 9, keys=keys, auth="unverified") == "downgrade"
    assert again.export() != saved


def test_nothing_of_a_key_is_saved_but_its_fingerprint():
    keys = material()
    trust = used(Trust(settings()), keys)
    judged(trust, 5, keys=keys)
    assert keys.encryption.reveal().hex() not in trust.export().decode()
    assert keys.encryption.fingerprint in trust.export().decode()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"counters":{"chains":7}}', b'{"counters":{},"min_auth":"none"}', b"\xff"]
)
def test_what_cannot_have_been_saved_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        Trust(settings()).restore(data)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({}, {}, None),
        ({}, {"min_auth": "plain"}, ("verified (pinned)", "plain (config)")),
        ({"min_auth": "plain"}, {"min_auth": "verified"}, ("plain (config)", "verified (config)")),
        ({"min_auth": "plain"}, {}, ("plain (config)", "verified (pinned)")),
    ],
)
def test_a_change_of_min_auth_is_known(before, after, change):
    keys = material()
    trust = used(Trust(settings(**before)), keys)
    for n in range(3):
        judged(trust, n + 1, keys=keys)
    again = Trust(settings(**after))
    assert again.restore(trust.export()) == change


def test_plain_telegrams_need_no_counter_and_pin_nothing_higher():
    trust = Trust(settings())
    for _ in range(5):
        assert trust.admit(reading(None, "plain"), NOW) == (None, None)
    assert trust.min_auth == "plain"
    assert trust.history("system title AA") == ""


def test_a_lost_counter_is_held_until_three_newer_telegrams():
    keys = material()
    trust = used(Trust(settings()), keys)
    assert judged(trust, 5_000, keys=keys, clock=100) is None
    assert [judged(trust, n, keys=keys, clock=100 + n) for n in (1, 2, 3, 4)] == [
        "rollback", "rollback", "counter_resumed", None,
    ]  # fmt: skip
    assert [judged(trust, n, keys=keys, clock=100 + n) for n in (1, 2, 3)] == ["replayed"] * 3


def test_only_the_key_of_the_held_meter_confirms_it():
    keys, other = material(), bytes.fromhex("5341476742000002")
    trust = used(Trust(settings()), keys)
    judged(trust, 5, keys=keys)
    assert judged(trust, 9, keys=keys, title=other) == "identity_changed"
    assert trust.use(material()) is False
    assert judged(trust, 10, keys=keys, title=other) == "identity_changed"
    assert trust.use(keys) is True
    assert judged(trust, 11, keys=keys, title=other) is None
    assert judged(trust, 6, keys=keys) == "identity_changed", "now the old one is the stranger"


def test_what_is_said_of_the_keys():
    keys = material()
    trust = Trust(settings())
    assert trust.sentence() == "no key is in use"
    trust.hold(Held(Material(keys.encryption), {"encryption": "store x"}, ("y is wrong",)))
    assert (
        trust.sentence() == f"in use: encryption key {keys.encryption.fingerprint}, no authentication key; y is wrong"
    )
    trust.use(keys)
    assert trust.history("system title 01") == ""
    judged(trust, 5, keys=keys)
    assert "ok with this key until 2026-11-22T01:00:00Z: ask the operator" in trust.history(
        f"system title {TITLE.hex().upper()}"
    )
    assert "is this another meter?" in trust.history("system title 5341476742000002, counter 4")
    trust.use(material())
    assert trust.history("").startswith(f"the line was ok with the key {keys.encryption.fingerprint} until")
    shown = json.dumps(trust.as_dict())
    assert keys.encryption.reveal().hex() not in shown


def test_the_title_of_the_configuration_tells_another_meter():
    trust = used(Trust(settings(system_title="5341476742000009")), material())
    assert "system title 5341476742000009: is this another meter?" in trust.history(
        "system title 5341476742000001, counter"
    )
    assert trust.history("system title 5341476742000009, counter") == ""


@pytest.mark.parametrize(("set_by_person", "expected"), [(None, False), ("unverified", True), ("plain", False)])
def test_only_a_person_opens_without_the_authentication_key(set_by_person, expected):
    security = Trust(settings(min_auth=set_by_person), None, "unverified").security(empty_aad=True)
    assert (security.unverified_by_person, security.empty_aad) == (expected, True)
    assert security.min_auth == (set_by_person or "unverified")


def test_the_time_of_the_last_good_telegram_is_kept():
    keys = material()
    trust = used(Trust(settings()), keys)
    trust.admit(
        reading(Seen("verified", Identity("A" * 16, keys.encryption.fingerprint), 1, None)), NOW + timedelta(hours=1)
    )
    again = used(Trust(settings()), keys)
    again.restore(trust.export())
    assert "until 2026-11-22T02:00:00Z" in again.history("system title AAAAAAAAAAAAAAAA")
