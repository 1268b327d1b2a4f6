"""Pushes through meterd's own decoder and counter rules, by each meter's profile: the truth, and no reading of a fault.

The decoder shares nothing with the simulator, so that a mistake would have to be made twice to stay hidden here.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from decoders import counters
from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.model import Reading, decimal
from gateway import profiles
from gateway.simulator.faults import Request, parse
from gateway.simulator.push_faults import PushFaults, kinds
from gateway.simulator.push_meter import PushMeter
from gateway.simulator.pushes import PUSHES

#: shortly before an hour, when the rare lists come
START = datetime(2026, 6, 20, 9, 58, 5, tzinfo=UTC)
PROFILES = {
    "at-kaifa": "at-netznoe",
    "at-kaifa-21": "at-ksmwest-kaifa",
    "at-sagemcom": "at-netznoe",
    "lg-e450": "at-steiermark-e450",
    "ch-lg-e570": "ch-lg-cii",
    "dk-kamstrup": "dk-kamstrup",
    "ch-am550": "ch-iskra-am550",
    "no-aidon": "no-aidon",
    "no-kaifa": "no-kaifa",
    "si-iskra": "si-iskra-am550-dlms",
    "lu-smarty": "lu-smarty-encrypted",
    "at-est5": "at-steiermark-est5-encrypted",
}
SHOWN = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "t_meter")
CASES = [(variant, kind) for variant in PUSHES for kind in kinds(PUSHES[variant])]


class Gateway:
    """A decoder with the keys of a meter, and the counter rules behind it."""

    def __init__(self, meter, keys=None, profile=None):
        self.variant = meter.variant
        self.least = meter.security_at(START)["auth"]
        keys = keys or Keys(meter.keys.encryption, meter.keys.authentication)
        candidates = [profiles.load(profile or PROFILES[meter.variant.name])]
        self.decoder = Decoder(
            candidates, ZoneInfo, tz=meter.variant.clock_zone, security=Security(keys, min_auth=self.least)
        )
        self.state = counters.State()
        self.faults = []

    def feed(self, octets):
        """Item P of what is accepted; why the rest is not."""
        return self.judge(self.decoder.feed(octets))

    def pass_silence(self):
        """Between two pushes the line is silent for longer than a meter pauses within one."""
        for track in self.decoder._tracks:
            self.faults += [error.code for error in track.link.expire()]

    def judge(self, results):
        accepted = []
        for result in results:
            if not isinstance(result, Reading):
                self.faults.append(result.code)
                continue
            if result.seen is not None:
                verdict = counters.judge(self.state, result.seen, self.least)
                self.state = counters.commit(self.state, result.seen, verdict)
                if verdict.refusal:
                    self.faults.append(verdict.refusal)
                    continue
            accepted.append(shown(result))
        return accepted


def shown(reading):
    facts = {key: getattr(reading, key) for key in SHOWN} | {"auth": reading.auth}
    if reading.t:
        facts["t"] = utc(reading.t)
    if reading.sub:
        facts["sub"] = [(sub.channel, utc(sub.t), decimal(sub.integer, sub.exponent)) for sub in reading.sub]
    return {key: value for key, value in facts.items() if value is not None}


def utc(t):
    return t.isoformat().replace("+00:00", "Z")


def expected(meter, t):
    truth = meter.truth_at(t) | {"auth": meter.security_at(t)["auth"]}
    if "sub" in truth:
        truth["sub"] = [(sub["channel"], sub["t"], sub["quantity"]) for sub in truth["sub"]]
    return truth


@pytest.mark.parametrize("variant", list(PUSHES))
def test_a_stream_gives_exactly_the_truth(variant):
    meter = PushMeter(3, variant, START)
    gateway = Gateway(meter)
    for number in range(300):
        t = meter.time_of(number)
        found = gateway.feed(meter.telegram_at(t))
        if meter.variant.envelope.link == "mbus" or found:
            assert found == [expected(meter, t)]
    assert gateway.faults == []
    assert gateway.decoder.noise == 0


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_a_fault_gives_no_reading_and_costs_no_other(variant, kind):
    meter = PushMeter(5, variant, START)
    spoiler = PushFaults([Request(kind, rate=0.2)], meter)
    gateway = Gateway(meter)
    found, must, struck = [], [], 0
    for number in range(200):
        t = meter.time_of(number)
        outcome = spoiler.apply(number, meter.telegram_at(t))
        struck += outcome.fault is not None
        found += gateway.feed(outcome.octets)
        if kind in ("missing", "swapped"):
            # the first segment of one message and the last of the next are told apart by time alone
            gateway.pass_silence()
        if outcome.arrives:
            must.append(expected(meter, t))
    found += gateway.judge(gateway.decoder.close())
    assert struck >= 15
    assert found == must
    if kind != "silence":
        assert gateway.faults or gateway.decoder.noise


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("replay", {"replayed"}),
        ("rollback", {"rollback"}),
        ("downgrade", {"downgrade"}),
        ("tag", {"tag"}),
        ("title", {"identity_changed"}),
    ],
)
def test_an_attack_is_called_by_its_name(kind, codes):
    meter = PushMeter(5, "dk-kamstrup", START)
    spoiler, gateway = PushFaults([parse(f"{kind}@5,9,13-15")], meter), Gateway(meter)
    for number in range(20):
        gateway.feed(spoiler.apply(number, meter.telegram_at(meter.time_of(number))).octets)
    assert len(gateway.faults) == 5
    assert set(gateway.faults) <= codes | {"auth_key_rejected", "key_rejected"}
    assert gateway.faults[0] in codes


@pytest.mark.parametrize("variant", ["dk-kamstrup", "lg-e450", "lu-smarty", "at-kaifa"])
def test_another_key_gives_nothing(variant):
    meter = PushMeter(5, variant, START)
    gateway = Gateway(meter, Keys(bytes(16), meter.keys.authentication))
    assert not any(gateway.feed(meter.telegram_at(meter.time_of(number))) for number in range(10))
    assert gateway.faults[-1] == "key_rejected"


def test_10_000_replays_give_nothing():
    meter = PushMeter(5, "dk-kamstrup", START)
    gateway = Gateway(meter)
    pushes = [meter.telegram_at(meter.time_of(number)) for number in range(100)]
    assert all(gateway.feed(push) for push in pushes)
    assert not any(gateway.feed(pushes[number % 100]) for number in range(10_000))
    assert gateway.faults == ["replayed"] * 10_000
