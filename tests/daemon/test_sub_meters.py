"""Sub-meters over telegrams: known by number, newest time wins, stale is silent, an exchange is an exchange."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.decoder import Decoder
from decoders.model import Reading, SubReading, decimal
from gateway import profiles
from gateway.item_p import LiveSub, stamp
from gateway.pseudonym import pseudonym
from gateway.sub_meters import LEAST, MAX_DEVICES, UNKNOWN, SubMeters, new_readings

SALT = b"0123456789abcdef"
START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
MAIN = Reading(
    profile="nl-dsmr5", interface="p1", auth="plain", quality="measured", t=None, t_meter=None, p_import_w=132,
    p_export_w=0, p_net_w=132, a_import_wh=1_000, a_export_wh=0, reg_t=None, registers=(), register_times=(), sub=(),
    identity=None, interval_s=1, flags=(), size=800,
)  # fmt: skip
A, B, C = "G0000000000000001", "G0000000000000002", "W0000000000000003"


def gas(litres: int, minutes: float | None = 0, *, device: str | None = A, channel: int = 1, medium: str = "gas"):
    t = None if minutes is None else START + timedelta(minutes=minutes)
    quality = "suspect" if t is None or litres < 0 else "measured"
    return SubReading(channel, medium, device, t, None, litres, -3, "m3", quality)


class Line:
    """A meter that sends a telegram now and then; minutes count from the start."""

    def __init__(self, saved: bytes | None = None):
        self.subs = SubMeters(SALT, saved)
        self.seq = 0
        self.events: list[tuple[str, dict]] = []

    def item(self, at: float, *subs: SubReading, believed: bool = True, **changes):
        self.seq += 1
        t_rx = START + timedelta(minutes=at)
        t = t_rx if believed else t_rx - timedelta(hours=40)
        reading = replace(MAIN, **({"t": t, "sub": subs} | changes))
        return stamp(reading, "main", seq=self.seq, t_rx=t_rx, max_clock_offset_s=3_600)

    def send(self, at: float, *subs: SubReading, **changes) -> list[tuple[int, str | None, str, int | None]]:
        """Channel, device, quantity, and seq of what holds after a telegram."""
        live = self.subs.take(self.item(at, *subs, **changes))
        self.events += [(event.name, event.facts) for event in self.subs.events()]
        return [
            (one.reading.channel, one.device, decimal(one.reading.integer, one.reading.exponent), one.seq)
            for one in live
        ]

    def known(self, at: float, *subs: SubReading):
        """Two telegrams, so that the devices are known."""
        self.send(at, *subs)
        return self.send(at, *subs)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def name(device: str) -> str:
    return pseudonym(SALT, device)


@pytest.fixture
def line():
    return Line()


def test_a_device_counts_from_the_second_telegram_that_names_it(line):
    assert line.send(0, gas(1_000)) == []
    assert line.send(0.1, gas(1_000)) == [(1, name(A), "1.000", 2)]
    assert line.events == [("sub_meter_found", {"channel": 1, "medium": "gas", "device": name(A)})]


def test_a_damaged_number_in_one_telegram_is_no_device(line):
    line.known(0, gas(1_000))
    assert line.send(0.1, gas(1_000, device=B)) == []
    assert line.send(0.2, gas(1_000)) == [(1, name(A), "1.000", 2)]
    assert line.names == ["sub_meter_found"]


def test_a_repeated_reading_stays_the_reading_that_it_is(line):
    first = line.known(0, gas(1_000))
    for second in range(1, 300):
        assert line.send(second / 60, gas(1_000)) == first
    assert line.send(5, gas(1_040, 5)) == [(1, name(A), "1.040", 302)]


def test_the_same_quantity_at_a_later_time_is_new(line):
    line.known(0, gas(1_000))
    assert line.send(5, gas(1_000, 5)) == [(1, name(A), "1.000", 3)]


def test_another_quantity_at_the_same_time_is_new(line):
    line.known(0, gas(1_000))
    assert line.send(1, gas(1_001)) == [(1, name(A), "1.001", 3)]


def test_an_older_time_never_wins(line):
    line.known(10, gas(1_000, 10))
    assert line.send(11, gas(990, 5)) == [(1, name(A), "1.000", 2)]


def test_of_one_device_on_two_channels_the_newest_time_wins(line):
    line.known(10, gas(900, 0, channel=1), gas(1_000, 10, channel=2))
    assert line.send(11, gas(900, 0, channel=1), gas(1_000, 10, channel=2)) == [(2, name(A), "1.000", 2)]


# -- times that are none ---------------------------------------------------------------------------------------------


def test_an_invalid_time_is_left_out_and_suspect(line):
    line.known(0, gas(1_000, None))
    (live,) = line.subs.take(line.item(1, gas(1_000, None)))
    assert (live.reading.t, live.reading.quality) == (None, "suspect")


def test_a_value_of_now_needs_no_time(line):
    """A meter of its own on an M-Bus: what it says is what it shows while it says it."""
    now = replace(gas(1_000, None), quality="measured")
    line.known(0, now)
    (live,) = line.subs.take(line.item(1, replace(now, integer=1_001)))
    assert (live.reading.t, live.reading.quality) == (None, "measured")
    (live,) = line.subs.take(line.item(2, replace(now, integer=1_002, t_meter="2026-11-21T12:02:00")))
    assert live.reading.quality == "suspect"


def test_an_invalid_time_with_the_same_quantity_says_nothing_new(line):
    before = line.known(0, gas(1_000))
    assert line.send(1, gas(1_000, None)) == before
    assert line.send(2, gas(1_002, None)) == [(1, name(A), "1.002", 4)]


@pytest.mark.parametrize("minutes", [62, 60 * 24 * 365 * 40])
def test_a_time_in_the_future_is_none_and_shuts_nothing_out(line, minutes):
    line.known(0, gas(1_000, 0))
    (live,) = line.subs.take(line.item(1, gas(1_001, minutes)))
    assert (live.reading.t, live.reading.quality) == (None, "suspect")
    assert line.send(5, gas(1_002, 5)) == [(1, name(A), "1.002", 4)]


def test_with_a_clock_that_is_not_believed_no_time_is(line):
    line.known(0, gas(1_000, 0))
    (live,) = line.subs.take(line.item(5, gas(1_001, 5), believed=False))
    assert (live.reading.t, live.reading.quality) == (None, "suspect")


def test_a_meter_without_a_clock_is_compared_with_ours(line):
    assert line.known(0, gas(1_000, 0)) != []
    item = line.item(60 * 30, gas(1_000, 0), t=None)
    assert line.subs.take(item) == ()


# -- stale -----------------------------------------------------------------------------------------------------------


def test_a_time_that_stands_still_is_silent_until_it_moves(line):
    line.known(0, gas(1_000, 0))
    line.send(60, gas(1_100, 60))
    limit = 60 + LEAST.total_seconds() / 60
    assert line.send(limit - 0.1, gas(1_100, 60)) != []
    assert line.send(limit, gas(1_100, 60)) == []
    assert line.send(limit + 60, gas(1_100, 60)) == []
    assert line.events[-1][0] == "sub_meter_silent"
    assert line.names.count("sub_meter_silent") == 1
    assert line.subs.as_list()[0]["silent"] is True
    assert len(line.send(limit + 61, gas(1_200, limit + 61))) == 1
    assert line.events[-1][0] == "sub_meter_back"


def test_a_meter_that_speaks_once_a_day_is_not_silent_all_day(line):
    day = 24 * 60
    line.known(0, gas(1_000, 0))
    assert len(line.send(day, gas(1_000, 0))) == 1
    line.send(day + 1, gas(1_100, day))
    assert len(line.send(3 * day, gas(1_100, day))) == 1
    assert line.send(5 * day, gas(1_100, day)) == []


def test_what_is_stale_at_first_sight_is_never_live(line):
    old = gas(1_000, -UNKNOWN.total_seconds() / 60)
    assert line.known(0, old) == []
    assert line.names == ["sub_meter_found", "sub_meter_silent"]


# -- exchange and moves ----------------------------------------------------------------------------------------------


def test_a_new_number_on_a_channel_is_an_exchange_and_the_old_total_final(line):
    line.known(0, gas(5_000_123, 0))
    assert line.send(60, gas(7, 60, device=B)) == []
    assert line.send(60.1, gas(7, 60, device=B)) == [(1, name(B), "0.007", 4)]
    facts = {"channel": 1, "medium": "gas", "device": name(B), "before": name(A), "final": "5000.123 m3"}
    assert line.events[-1] == ("sub_meter_exchanged", facts)
    old, new = sorted(line.subs.as_list(), key=lambda row: row["since"])
    assert (old["device"], old["final"]) == (name(A), {"quantity": "5000.123", "unit": "m3"})
    assert old["ended"] == "2026-11-21T13:00:06Z"
    assert (new["device"], new["replaced"], new["ended"]) == (name(B), name(A), None)
    assert "final" not in new


def test_an_exchange_is_noticed_after_a_restart(line):
    line.known(0, gas(5_000_123, 0))
    later = Line(line.subs.export())
    later.known(600, gas(7, 600, device=B))
    assert later.names == ["sub_meter_exchanged"]
    assert later.events[0][1]["final"] == "5000.123 m3"


def test_a_restart_without_an_exchange_is_silent_and_tells_the_same_seq(line):
    before = line.known(0, gas(1_000, 0))
    later = Line(line.subs.export())
    assert later.send(1, gas(1_000, 0)) == before
    assert later.events == []


def test_after_an_exchange_to_another_channel_the_old_meter_never_wins(line):
    line.known(0, gas(5_000_000, 0))
    both = gas(5_000_000, 0), gas(3, 5, device=B, channel=2)
    line.known(5, *both)
    assert line.names == ["sub_meter_found", "sub_meter_found"]
    limit = UNKNOWN.total_seconds() / 60
    live = line.send(limit, both[0], gas(900, limit, device=B, channel=2))
    assert [(channel, device) for channel, device, _, _ in live] == [(2, name(B))]
    assert line.events[-1] == (
        "sub_meter_silent",
        {"channel": 1, "medium": "gas", "device": name(A), "read": "2026-11-21T12:00:00Z"},
    )


def test_a_new_meter_beside_one_that_is_silent_took_its_place(line):
    line.known(0, gas(5_000_000, 0))
    limit = UNKNOWN.total_seconds() / 60
    line.send(limit, gas(5_000_000, 0))
    line.known(limit + 1, gas(5_000_000, 0), gas(3, limit, device=B, channel=2))
    assert line.events[-1][0] == "sub_meter_exchanged"
    assert line.subs.as_list()[0]["ended"] is not None


def test_two_meters_of_one_medium_live_side_by_side(line):
    live = line.known(10, gas(6, 0), gas(28_103, 2, device=B, channel=4))
    assert [(channel, device) for channel, device, _, _ in live] == [(1, name(A)), (4, name(B))]


def test_a_device_that_moves_keeps_its_identity(line):
    line.known(0, gas(1_000, 0))
    assert line.send(90, gas(1_010, 60, channel=3)) == [(3, name(A), "1.010", 3)]
    facts = {"channel": 3, "medium": "gas", "device": name(A), "before": 1}
    assert line.events[-1] == ("sub_meter_moved", facts)
    assert len(line.subs.as_list()) == 1


def test_a_move_without_a_new_reading_is_seen(line):
    line.known(0, gas(1_000, 0))
    assert line.send(1, gas(1_000, 0, channel=2)) == [(2, name(A), "1.000", 2)]


def test_a_device_that_jumps_to_and_fro_fills_no_log(line):
    line.known(0, gas(1_000, 0))
    for n in range(100):
        line.send(n / 60, gas(1_000, 0, channel=1 + n % 2))
    assert line.names == ["sub_meter_found"]


def test_another_medium_is_no_exchange(line):
    line.known(0, gas(1_000, 0))
    line.known(1, gas(1, 1, device=C, medium="water"))
    assert line.names == ["sub_meter_found", "sub_meter_found"]


def test_a_device_without_number_is_known_by_its_channel(line):
    heat = gas(240_860, 0, device=None, medium="heat")
    assert line.known(0, heat) == [(1, None, "240.860", 2)]
    assert line.known(1, heat, replace(heat, channel=2))[1][:2] == (2, None)


def test_an_old_meter_that_speaks_again_is_no_longer_ended(line):
    line.known(0, gas(1_000, 0))
    line.known(60, gas(1, 60, device=B))
    line.send(120, gas(1_050, 120))
    assert [row["ended"] for row in line.subs.as_list()] == [None, None]


# -- quantities ------------------------------------------------------------------------------------------------------


def test_a_total_that_falls_is_suspect_once(line):
    line.known(0, gas(1_000, 0))
    qualities = []
    for minutes, litres in ((5, 3), (10, 4), (15, 5)):
        (live,) = line.subs.take(line.item(minutes, gas(litres, minutes)))
        qualities.append(live.reading.quality)
    assert qualities == ["suspect", "measured", "measured"]


def test_quantities_of_any_width_are_kept_exactly():
    line = Line()
    wide = replace(gas(0, 0), integer=-(10**40) - 7, exponent=-9)
    line.known(0, wide)
    (live,) = Line(line.subs.export()).subs.take(line.item(1, wide))
    assert (live.reading.integer, live.reading.exponent) == (wide.integer, -9)


# -- bounds and storage ----------------------------------------------------------------------------------------------


def test_a_line_that_names_ever_new_devices_is_bounded(line):
    for n in range(200):
        line.known(n / 10, gas(n, 0, device=f"X{n}"))
    assert len(line.subs.as_list()) == MAX_DEVICES == len(line.events)
    assert line.known(60 * 25, gas(1, 60 * 25, device="later")) != []
    assert len(line.subs.as_list()) == MAX_DEVICES


def test_nothing_that_names_a_device_is_stored_or_shown(line):
    line.known(0, gas(1_000, 0), gas(1, 0, device=C, channel=2, medium="water"))
    told = repr((line.subs.export(), line.subs.as_list(), line.events))
    assert A not in told
    assert C not in told


def test_what_is_stored_changes_seldom(line):
    line.known(0, gas(1_000, 0))
    stored = {line.subs.export()}
    for second in range(600):
        line.send(second / 60, gas(1_000 + second, second / 60))
        stored.add(line.subs.export())
    assert len(stored) <= 3


@pytest.mark.parametrize("saved", [b"{}", b"[1]", b"\xff", b'[["a"]]', b'[["a","gas",1,"x","1","m3"]]'])
def test_what_cannot_have_been_stored_is_refused(saved):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the decoder says
        SubMeters(SALT, saved)


def test_each_stored_reading_is_found_once():
    line = Line()
    items = [line.item(second / 60, gas(1_000 + second // 300, second // 300 * 5)) for second in range(900)]
    found = [(live.reading.integer, live.seq) for _, live in new_readings(items, SALT)]
    assert found == [(1_000, 2), (1_001, 301), (1_002, 601)]


# -- telegrams of real meters ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captured(checkout) -> dict[str, Reading]:
    """Each plain P1 telegram of the corpus that has sub-meters, by the name of its case."""
    auto = [profiles.load(name) for name in profiles.names() if profiles.load(name).link == "p1"]
    found = {}
    for line in (checkout / "tests/corpus/p1-ascii.jsonl").read_text().splitlines():
        case = json.loads(line)
        decoder = Decoder(auto, ZoneInfo, tz="Europe/Amsterdam")
        octets = case["data"].encode("latin-1")
        for result in [*decoder.feed(octets), *decoder.close()]:
            if isinstance(result, Reading) and result.sub:
                found[case["id"]] = result
    return found


def test_sub_meters_of_the_corpus_are_live_when_their_telegram_is(captured):
    assert len(captured) >= 15
    for case, reading in captured.items():
        t_rx = reading.t or max(sub.t for sub in reading.sub if sub.t)
        item = stamp(reading, "main", seq=1, t_rx=t_rx, max_clock_offset_s=3_600)
        subs = SubMeters(SALT)
        subs.take(item)
        live = subs.take(item)
        assert [(one.reading.channel, one.reading.integer) for one in live] == [
            (sub.channel, sub.integer) for sub in reading.sub
        ], case
        for one, sub in zip(live, reading.sub, strict=True):
            ahead = sub.t is not None and sub.t > t_rx + timedelta(hours=1)
            assert one.reading.t == (None if ahead else sub.t), case


def test_of_the_corpus_one_gas_meter_is_ahead_and_one_telegram_has_two(captured):
    """An anonymised capture whose gas meter is 16 days ahead, and the specification's example of Luxembourg."""
    ahead = captured["p1-dsmrparser-v4-2"]
    assert ahead.sub[0].t > ahead.t + timedelta(days=15)
    two = captured["p1-nodedsmr-dsmr-luxembourgh-spec-example"]
    assert [(sub.channel, sub.medium) for sub in two.sub] == [(1, "gas"), (4, "gas")]


# -- whatever comes --------------------------------------------------------------------------------------------------

telegrams = st.lists(
    st.lists(
        st.builds(
            gas,
            st.integers(-5, 50),
            st.none() | st.integers(-3_000, 3_000),
            device=st.sampled_from([A, B, None]),
            channel=st.integers(1, 4),
            medium=st.sampled_from(["gas", "water"]),
        ),
        max_size=4,
    ),
    max_size=25,
)


@given(telegrams, st.integers(0, 24))
def test_the_time_of_a_device_never_runs_backwards_also_over_restarts(sent, restart):
    line, newest = Line(), {}
    for n, subs in enumerate(sent):
        if n == restart:
            line = Line(line.subs.export())
        live = line.subs.take(line.item(n * 60, *subs))
        assert len({(one.device, one.reading.medium, one.device or one.reading.channel) for one in live}) == len(live)
        for one in live:
            key = one.device, one.reading.medium, one.device or one.reading.channel
            if one.reading.t is not None:
                assert one.reading.t <= START + timedelta(minutes=n * 60 + 60)
                # what is stored lags behind by minutes, so that a restart may tell one reading again
                assert one.reading.t >= newest.get(key, one.reading.t) or n >= restart
                newest[key] = one.reading.t
            assert any(one.reading.integer == sub.integer for past in sent[: n + 1] for sub in past)


@given(telegrams)
def test_a_repetition_of_every_telegram_changes_nothing(sent):
    line = Line()
    for n, subs in enumerate(sent):
        item = line.item(n * 60, *subs)
        line.subs.take(item)
        second: tuple[LiveSub, ...] = line.subs.take(item)
        line.subs.events()
        assert line.subs.take(item) == second
        assert line.subs.events() == []
