"""One meter in one loop: what it counts, hands over and says, with a source that plays a script."""

import asyncio
import json
import logging
import re
import threading
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from fastcrc.crc16 import arc

from decoders.decoder import Decoder
from gateway import daemon as daemon_module
from gateway import lines, profiles, supervisor
from gateway.daemon import Daemon
from gateway.key_material import parse_keys
from gateway.line_watch import LineWatch
from gateway.loop_share import SHARE
from gateway.meter import LOOKS_S, PAUSE_S, Meter
from gateway.settings import ControlSettings, JournalSettings, MeterSettings, Settings
from gateway.sources import Chunk, PortEvent
from gateway.trust import Trust


class Script:
    """A source that yields what it was given, with pauses (float, s), then waits for ever."""

    name = "script"

    def __init__(self, *items):
        self.items = items
        self.closed = 0
        self.reopened = 0
        self.played = asyncio.Event()

    async def chunks(self):
        try:
            for item in self.items:
                if isinstance(item, float):
                    await asyncio.sleep(item)
                    continue
                yield Chunk.now(item) if isinstance(item, bytes) else PortEvent.now(item, f"it is {item}")
            self.played.set()
            await asyncio.sleep(3600)
        finally:
            self.closed += 1

    def reopen(self):
        self.reopened += 1


class Host:
    """What a meter needs around it."""

    def __init__(self):
        self.items = []
        self.kept = []
        self.apart = []
        self.notes = []

    def make_decoder(self, settings):
        return Decoder([profiles.load("nl-dsmr5")], ZoneInfo, tz=settings.timezone)

    least = "plain"

    def min_auth(self, profile):
        assert profile == "nl-dsmr5"
        return self.least

    def next_seq(self, meter):
        return len(self.items) + 1

    def hand_over(self, meter, item):
        self.items.append(item)

    def keep(self, meter, item):
        self.kept.append(item)

    def quarantine(self, meter, item, reason):
        self.apart.append((item, reason))

    def note(self, meter, event, **facts):
        self.notes.append((event, facts))


def play(*items, settings=None, host=None, stood_s=0.0):
    """Run a meter over a script until it waits, having stood still before; the meter and its host."""
    settings = settings or MeterSettings(name="main", port="/dev/null")
    host = host or Host()
    meter = Meter(settings, Script(*items), LineWatch(enabled=True, line="115200 8N1", interval_s=1), host)

    async def look():
        while True:
            await asyncio.sleep(0.1)
            meter.expire(time.monotonic())

    async def main():
        meter.expire(time.monotonic() - stood_s)
        looking = asyncio.create_task(look())
        ready = asyncio.Event()
        ready.set()
        task = asyncio.create_task(meter.run(ready))
        waiting = asyncio.create_task(meter._source.played.wait())
        await asyncio.wait([task, waiting], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.05)
        for ending in (task, waiting, looking):
            ending.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.cancelled()

    asyncio.run(main())
    assert meter._source.closed == 1, "the port is released"
    return meter, host


def decoded(octets):
    (reading,) = Host().make_decoder(MeterSettings(name="main", port="/dev/null")).feed(octets)
    return reading


def test_hands_over_item_p_with_its_counters(telegrams):
    made = telegrams(3)
    meter, host = play("open", *(octets for octets, _ in made))
    assert [item.reading.p_import_w for item in host.items] == [truth["p_import_w"] for _, truth in made]
    assert [item.seq for item in host.items] == [1, 2, 3]
    assert all(item.meter == "main" and item.valid_for_s == 3 for item in host.items)
    values = meter.counters.values
    assert (values["frames"], values["checksum_ok"], values["decoded"], values["opens"]) == (3, 3, 3, 1)
    assert values["bytes"] == sum(len(octets) for octets, _ in made)
    assert values["noise"] == 0


def test_what_waited_while_the_process_stood_still_is_kept_and_is_no_news(telegrams, caplog):
    made = [octets for octets, _ in telegrams(4)]
    with caplog.at_level(logging.INFO, "meterd"):
        meter, host = play("open", made[0], made[1] + made[2][:200], made[2][200:], 0.5, made[3], stood_s=30.0)
    assert [item.reading.t for item in host.kept] == [decoded(octets).t for octets in made[:3]]
    assert [item.reading.t for item in host.items] == [decoded(made[3]).t]
    assert meter.counters.values["decoded"] == 4
    assert sum(record.getMessage() == "stood_still" for record in caplog.records) == 1


def test_readings_of_unknown_age_do_not_make_a_meter_available(telegrams):
    meter, host = play("open", telegrams(1)[0][0], stood_s=30.0)
    assert (len(host.kept), host.items) == (1, [])
    meter.judge(time.monotonic())
    assert not meter.available


def test_a_moment_of_standing_still_costs_nothing(telegrams):
    _, host = play("open", telegrams(1)[0][0], stood_s=0.5)
    assert (len(host.items), host.kept) == (1, [])


@pytest.mark.parametrize("size", [1, 7, 32, 1_000, 100_000])
def test_pieces_of_any_size_count_the_same(telegrams, size):
    stream = b"noise!" + b"".join(octets for octets, _ in telegrams(4))
    meter, host = play("open", *(stream[at : at + size] for at in range(0, len(stream), size)))
    values = meter.counters.values
    assert len(host.items) == values["decoded"] == values["frames"] == 4
    assert values["bytes"] == len(stream)
    assert values["noise"] >= 6


def test_a_telegram_that_is_cut_off_by_a_lost_port_is_counted(telegrams):
    octets = telegrams(1)[0][0]
    meter, host = play("open", octets[:500], "closed", "open", octets)
    assert len(host.items) == 1
    assert meter.counters.faults == {"link.truncated": 1}
    assert meter.counters.values["port_errors"] == 1
    assert meter.counters.values["opens"] == 2


def test_the_halves_of_two_openings_are_never_joined(telegrams):
    octets = telegrams(1)[0][0]
    _, host = play("open", octets[:500], "closed", "open", octets[500:])
    assert host.items == []


def test_nothing_is_decoded_before_the_journal_is_ready(telegrams):
    octets = telegrams(1)[0][0]

    async def main():
        host, ready = Host(), asyncio.Event()
        watch = LineWatch(enabled=True, line="", interval_s=1)
        meter = Meter(MeterSettings(name="main", port="/dev/null"), Script("open", octets), watch, host)
        task = asyncio.create_task(meter.run(ready))
        await asyncio.sleep(0.05)
        assert host.items == []
        arrived = datetime.now(UTC)
        ready.set()
        await asyncio.sleep(0.05)
        assert len(host.items) == 1
        assert host.items[0].t_rx <= arrived, "the time of receipt is the one of the octets"
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_min_auth_refuses(telegrams):
    octets = telegrams(1)[0][0]
    settings = MeterSettings(name="main", port="/dev/null", min_auth="verified")
    meter, host = play("open", octets, settings=settings)
    assert host.items == []
    assert meter.counters.faults == {"unwrap.downgrade": 1}
    meter.judge(time.monotonic())
    assert meter.state.state == "unauthenticated_refused"


def test_min_auth_of_the_profile_holds_where_the_meter_has_none(telegrams):
    host = Host()
    host.least = "unverified"
    octets = telegrams(1)[0][0]
    assert play("open", octets, host=host)[0].counters.faults == {"unwrap.downgrade": 1}
    plain = MeterSettings(name="main", port="/dev/null", min_auth="plain")
    assert len(play("open", octets, host=host, settings=plain)[1].items) == 1


def test_of_two_electricity_meters_on_one_bus_neither_is_read():
    """Before the second one answers, the first is alone."""

    class Bus(Host):
        def make_decoder(self, _):
            return Decoder([profiles.load("mbus-generic")], ZoneInfo)

        def min_auth(self, _):
            return "plain"

    def answer(number, watts):
        body = bytes.fromhex(f"080172{number}B515100207000000042B") + watts.to_bytes(4, "little")
        return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])

    one, two = answer("11111111", 100), answer("22222222", 2_000)
    meter, host = play("open", one, one, two, one, host=Bus())
    assert [item.reading.p_import_w for item in host.items] == [100, 100]
    assert meter.counters.faults["profile.several_meters"] == 2
    assert meter.last_error["code"] == "profile.several_meters"


def edited(octets, code, value):
    """The telegram with another value of a register, and the checksum that fits it."""
    body = re.sub(rb"(?<=%s\()[\d.]+" % re.escape(code), value, octets[: octets.rindex(b"!") + 1])
    return body + f"{arc(body):04X}\r\n".encode()


def test_energy_that_falls_is_set_aside_and_told_once(telegrams, caplog):
    first, second, third = (octets for octets, _ in telegrams(3))
    fallen = edited(second, b"1-0:1.8.1", b"000000.000")
    meter, host = play("open", first, fallen)
    assert [item.seq for item in host.items] == [1]
    ((item, reason),) = host.apart
    assert item.reading == decoded(fallen)
    assert re.fullmatch(r"a_import_wh \d+ Wh is less than \d+ Wh before: a register of energy only rises", reason)
    assert "quarantined" in meter.flags()
    assert [event for event, _ in host.notes] == ["rollback"]
    meter, host = play("open", first, fallen, third, fallen)
    assert (len(host.items), len(host.apart)) == (2, 2)
    assert [event for event, _ in host.notes] == ["rollback"], "told once"
    assert meter.last.reading == decoded(third)


def test_power_above_the_connection_is_set_aside_and_names_the_line(telegrams):
    octets = telegrams(1)[0][0]
    absurd = edited(octets, b"1-0:1.7.0", b"99.999")
    meter, host = play("open", absurd, absurd)
    assert host.items == []
    assert [reason for _, reason in host.apart] == ["p_import_w 99999 W is above max_power_w = 25875"] * 2
    meter.judge(time.monotonic())
    assert meter.state.state == "implausible"
    assert "2 readings" in meter.state.evidence
    assert "set max_power_w" in meter.state.evidence
    assert not meter.available
    assert meter.last is None, "nothing of it is shown"
    for limit in (100_000, 0):
        settings = MeterSettings(name="main", port="/dev/null", max_power_w=limit)
        assert len(play("open", absurd, settings=settings)[1].items) == 1
    meter, host = play("open", absurd, octets)
    meter.judge(time.monotonic())
    assert (meter.state.state, meter.state.flags) == ("ok", ("quarantined",)), "back by itself"


def test_state_tells_when_the_meter_was_seen_and_what_it_missed(telegrams):
    octets, _ = telegrams(1)[0]
    meter, host = play("open", octets)
    state, item = meter.as_dict(), host.items[0]
    assert (state["auth"], state["missed"], state["clock_offset_s"]) == ("plain", 0, item.clock_offset_s)
    assert datetime.fromisoformat(state["last_seen"]) == item.t_rx.replace(microsecond=0)
    assert datetime.fromisoformat(state["meter_time"]) == item.reading.t
    damaged = octets.replace(b"1-0:1.8.1(", b"1-0:1.8.1(9")
    assert play("open", octets, damaged)[0].as_dict()["missed"] == 1
    assert play("open")[0].as_dict()["last_seen"] is None


def test_the_configured_interval_wins(telegrams):
    settings = MeterSettings(name="main", port="/dev/null", interval_s=20)
    meter, host = play("open", telegrams(1)[0][0], settings=settings)
    assert host.items[0].valid_for_s == 60
    assert meter.watch.valid_for_s == 60


def test_state_has_no_power_and_no_identity(telegrams):
    octets, truth = telegrams(1)[0]
    meter, host = play("open", octets)
    meter.judge(time.monotonic())
    state = meter.as_dict()
    assert list(state) == [
        "meter", "state", "flags", "evidence", "since", "profile", "interface", "units", "last_error", "last_seen",
        "meter_time", "clock_offset_s", "auth", "missed", "waiting", "exchange", "sub_meters", "counters",
    ]  # fmt: skip
    assert host.items[0].reading.identity not in str(state)
    assert str(truth["a_import_wh"]) not in str(state)


def test_a_silent_port_is_reopened():
    meter, _ = play("open")
    assert meter.judge(time.monotonic() + 1) is False
    meter.judge(time.monotonic() + 3.5)
    meter.judge(time.monotonic() + 4.5)
    assert meter._source.reopened == 1


def test_a_flood_leaves_time_for_others(telegrams):
    """While a meter decodes without end, another task of the loop gets its turn often, and most of the time."""
    flood = b"".join(octets for octets, _ in telegrams(100))

    class Endless(Script):
        async def chunks(self):
            yield PortEvent.now("open", "")
            while True:
                yield Chunk.now(flood)

    async def main():
        ready = asyncio.Event()
        ready.set()
        watch = LineWatch(enabled=True, line="", interval_s=1)
        meter = Meter(MeterSettings(name="main", port="/dev/null"), Endless(), watch, Host())
        task = asyncio.create_task(meter.run(ready))
        turns, began, spent = 0, time.monotonic(), time.process_time()
        while (took := time.monotonic() - began) < 2.5:
            await asyncio.sleep(0.01)
            turns += 1
        spent = time.process_time() - spent
        task.cancel()
        await asyncio.wait([task])
        assert meter.counters.values["decoded"] > 100
        assert turns > 20, "on a machine that is busy with other things, too"
        # a second that began counts whole; without a share it would be all of the time
        assert spent < SHARE * (took + 1) + 0.3

    asyncio.run(main())


def test_a_meter_that_crashes_is_told_restarted_and_alone(telegrams, tmp_path, monkeypatch, caplog):
    """One decoder has a mistake; the other meter never notices, and the first one is tried again."""
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0.01,))
    made = telegrams(2)
    settings = Settings(
        meter=(MeterSettings(name="good", port="/dev/null"), MeterSettings(name="bad", port="/dev/zero")),
        journal=JournalSettings(path=str(tmp_path / "journal.db")),
        control=ControlSettings(socket=str(tmp_path / "control")),
    )

    class Broken:
        def feed(self, data):
            raise ZeroDivisionError(data)

    async def main():
        daemon = Daemon(settings, {})
        daemon.meters["good"]._source = Script("open", *(octets for octets, _ in made))
        daemon.meters["bad"]._source = Script("open", made[0][0])
        whole = daemon.make_decoder
        monkeypatch.setattr(daemon, "make_decoder", lambda s: whole(s) if s.name == "good" else Broken())
        running = asyncio.create_task(daemon.run())
        async with asyncio.timeout(20):
            while daemon.meters["bad"].counters.values["crashes"] < 3:
                await asyncio.sleep(0.01)
        status = daemon.status()
        daemon.stop()
        async with asyncio.timeout(10):
            await running
        return status

    with caplog.at_level(logging.INFO, "meterd"):
        status = asyncio.run(main())
    good, bad = status["meters"]
    assert good["counters"]["decoded"] == 2
    assert good["counters"]["crashes"] == 0
    assert bad["counters"]["decoded"] == 0
    crashes = [record.fields for record in caplog.records if record.msg == "meter_crashed"]
    assert {fields["meter"] for fields in crashes} == {"bad"}
    assert crashes[0]["error"].startswith("ZeroDivisionError at test_meter.py:")


class Told:
    """A sink that notes for each meter whether it was available, again and again."""

    delivery = "LATEST"

    def __init__(self):
        self.available = {}

    async def run(self):
        await asyncio.Event().wait()

    def deliver(self, item):
        self.available[item.meter] = True

    def report(self, meter, _state, *, available):
        self.available[meter] = available

    def status(self):
        return {}


def fails(*_):
    raise ZeroDivisionError("secret")


@pytest.mark.parametrize("part", ["expire", "judge", "as_dict"])
def test_a_line_that_cannot_be_judged_is_offline_and_alone(part, telegrams, tmp_path, monkeypatch, caplog):
    """An error in meterd itself: the meter goes offline, the others are judged, the watchdog is fed."""
    monkeypatch.setattr(daemon_module, "TICK_S", 0.02)
    monkeypatch.setattr(lines, "TICK_S", 0.02)
    monkeypatch.setattr(lines, "REFRESH_S", 0.0)
    settings = Settings(
        meter=tuple(MeterSettings(name=name, port="/dev/null", interval_s=200) for name in ("good", "bad")),
        journal=JournalSettings(path=str(tmp_path / "journal.db")),
        control=ControlSettings(socket=str(tmp_path / "control")),
    )
    sink, alive = Told(), []
    monkeypatch.setattr("gateway.sinks.registry.create", lambda *_a, **_k: {"test": sink})
    monkeypatch.setattr("gateway.sd_notify.watchdog_s", lambda: 0.03)
    monkeypatch.setattr("gateway.sd_notify.notify", lambda **fields: alive.append(fields))

    async def main():
        daemon = Daemon(settings, {})
        for meter in daemon.meters.values():
            meter._source = Script("open", telegrams(1)[0][0])
        running = asyncio.create_task(daemon.run())
        async with asyncio.timeout(60):
            while sink.available != {"good": True, "bad": True}:
                await asyncio.sleep(0.005)
            monkeypatch.setattr(daemon.meters["bad"], part, fails)
            while sink.available["bad"]:
                await asyncio.sleep(0.005)
            sink.available.clear()
            alive.clear()
            while sink.available != {"good": True, "bad": False} or {"WATCHDOG": "1"} not in alive:
                await asyncio.sleep(0.005)
        monkeypatch.undo()
        daemon.stop()
        async with asyncio.timeout(10):
            await running

    with caplog.at_level(logging.INFO, "meterd"):
        asyncio.run(main())
    failures = [record.fields["meter"] for record in caplog.records if record.msg == "watch_failed"]
    assert failures == ["bad"]
    assert "secret" not in caplog.text


def test_silence_ends_a_message_that_is_cut_off(checkout):
    """Half of an M-Bus message, then silence: the half is one fault, once, and the next message is whole."""
    case = json.loads((checkout / "tests/corpus/mbus-link-push-encrypted.jsonl").read_text().splitlines()[0])
    octets, first = bytes.fromhex(case["data"]), 256
    trust = Trust(MeterSettings(name="main", port="/dev/null", min_auth="unverified"))
    trust.use(parse_keys(case["keys"]["encryption"]))

    class Push(Host):
        def make_decoder(self, settings):
            return Decoder([profiles.load("at-netznoe")], ZoneInfo, tz="Europe/Vienna", security=trust.security())

        def min_auth(self, profile):
            return "unverified"

    watch = LineWatch(enabled=True, line="", interval_s=5)
    meter = Meter(trust._settings, Script(), watch, Push(), trust)
    meter._take(octets, Chunk.now(octets))
    cut = Chunk.now(octets[:first])
    meter._take(cut.data, cut)
    meter._waiting = cut.monotonic
    assert meter.silence == cut.monotonic + PAUSE_S
    meter.expire(meter.silence - 0.1)
    meter.expire(meter.silence)
    meter.expire(meter.silence + LOOKS_S + 0.1)
    assert meter.counters.faults == {}, "the process stood still between the looks"
    for later in (0.2, 0.3, 0.4):
        meter.expire(cut.monotonic + PAUSE_S + LOOKS_S + later)
    assert meter.silence is None
    assert meter.counters.faults.total() == 1
    assert len(meter._host.items) == 1


def test_profiles_for_auto_are_loaded_once_and_beside_the_loop(tmp_path, monkeypatch):
    loads = []
    whole = daemon_module.load_auto
    monkeypatch.setattr(daemon_module, "load_auto", lambda: loads.append(threading.get_ident()) or whole())
    settings = Settings(
        meter=tuple(MeterSettings(name=name, port="/dev/null", enabled=name != "off") for name in ("a", "b", "off")),
        journal=JournalSettings(path=str(tmp_path / "journal.db")),
        control=ControlSettings(socket=str(tmp_path / "control")),
    )

    async def main():
        daemon = Daemon(settings, {})
        for meter in daemon.meters.values():
            meter._source = Script("open")
        running = asyncio.create_task(daemon.run())
        async with asyncio.timeout(20):
            while not (tmp_path / "control").exists():
                await asyncio.sleep(0.01)
        decoder = daemon.make_decoder(settings.meter[0])
        daemon.stop()
        async with asyncio.timeout(10):
            await running
        return len(decoder._profiles)

    assert asyncio.run(main()) == len(profiles.names())
    assert len(loads) == 1
    assert loads[0] != threading.get_ident()
