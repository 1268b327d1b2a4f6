"""The InfluxDB sink against a strict server that fails in every way: nothing lost, nothing wrong, nobody held up."""

import contextlib
import importlib.util
import json
import random
import socket
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from gateway.influx_rules import SecretError, secret
from gateway.settings import InfluxSettings
from gateway.sinks.influx_answers import RETRY_AFTER_CAP_S, Trouble, judge, retry_after_s
from gateway.sinks.influx_courier import backoff_s
from gateway.sinks.influx_wire import Answer
from tests.influx_fake import PARTIAL, TOKEN, Fake, Reply
from tests.ports import free_port

_spec = importlib.util.spec_from_file_location("influx_parts", Path(__file__).with_name("influx_parts.py"))
parts = sys.modules["influx_parts"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parts)

ITEM_P = (("meter", "main"),)
VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


@pytest.fixture
def store(tmp_path):
    made = parts.Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def fake():
    """Start fakes; all end with the test."""
    with contextlib.ExitStack() as stack:

        def start(version="v2", *, identity=None, port=0, **keys):
            known = {"token": TOKEN} if version == "v2" else {"token": None}
            made = Fake(**(known | keys)).start(identity, port)
            stack.callback(made.stop)
            return made

        yield start


def wait(condition, what, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.01)


def delivered(store, count):
    return lambda: store.counts()["pending"] == 0 and store.outbox.newest > 0 and store.counts()["delivered"] == count


def wrong(server, seconds, meter="main"):
    """Seconds whose point is not what the meter said."""
    points = server.of("item_p")[("meter", meter),]
    return [s for s in seconds if points.get(parts.START_MS + 1000 * s, {}).get("a_import_wh") != 65_238_377 + s]


# -- all is well -----------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("gzip", [True, False])
def test_every_reading_arrives_with_every_value(store, fake, tmp_path, version, gzip):
    server = fake(version)
    store.add(*(parts.item(s) for s in range(1_200)), *(parts.item(s, "garage") for s in range(30)))
    with parts.delivering(parts.settings(server.port, tmp_path, version=version, gzip=gzip), store) as sink:
        wait(delivered(store, 1_230), "all readings")
        assert sink.status()["works"]
        assert "1230 delivered, 0 pending, 0 refused" in sink.status()["text"]
    assert server.faults == []
    assert wrong(server, range(1_200)) == []
    assert wrong(server, range(30), "garage") == []
    assert server.lines == 1_230 * 3
    assert {request.headers.get("Content-Encoding") for request in server.requests} == {"gzip" if gzip else None}
    assert len(server.requests) == 3, "one request for each page of 500"


def test_only_what_is_new_is_sent_after_a_restart(store, fake, tmp_path):
    server, config = fake(), parts.settings
    store.add(*(parts.item(s) for s in range(10)))
    with parts.delivering(config(server.port, tmp_path), store):
        wait(delivered(store, 10), "all readings")
    store.reopen()
    store.add(parts.item(10))
    with parts.delivering(config(server.port, tmp_path), store):
        wait(delivered(store, 11), "the new reading")
    assert server.lines == 11 * 3


def test_registers_and_prefix_as_configured(store, fake, tmp_path):
    server = fake()
    store.add(parts.item(0))
    config = parts.settings(server.port, tmp_path, prefix="h_", registers=("1-0:32.7.0",))
    with parts.delivering(config, store):
        wait(delivered(store, 1), "the reading")
    assert set(server.points) == {
        ("h_item_p", ITEM_P),
        ("h_register", (("meter", "main"), ("register", "1-0:32.7.0"))),
    }


def test_without_a_journal_nothing_is_tried(fake, tmp_path):
    server = fake()
    with parts.delivering(parts.settings(server.port, tmp_path), None) as sink:
        time.sleep(0.2)
        assert sink.status()["works"] is False
        assert "there is no journal" in sink.status()["text"]
    assert server.requests == []


# -- one time, two readings ------------------------------------------------------------------------------------------


def test_a_second_reading_of_the_same_time_gets_the_next_millisecond(store, fake, tmp_path):
    server = fake()
    same = [parts.item(5), parts.item(5), parts.item(5, p_import_w=7), parts.item(5, p_import_w=8), parts.item(6)]
    store.add(*same, parts.item(5, "garage", p_import_w=9))
    with parts.delivering(parts.settings(server.port, tmp_path), store) as sink:
        wait(delivered(store, 6), "all readings")
        assert sink.status()["moved"] == 2
    base = parts.START_MS + 5_000
    powers = {ms: point["p_import_w"] for ms, point in server.of("item_p")[ITEM_P].items()}
    assert powers == {base: 1_005, base + 1: 7, base + 2: 8, base + 1_000: 1_006}


def test_the_places_are_the_same_after_a_restart_between_them(store, fake, tmp_path):
    server = fake()
    store.add(parts.item(5), parts.item(5, p_import_w=7))
    with parts.delivering(parts.settings(server.port, tmp_path), store):
        wait(delivered(store, 2), "the first two")
    store.reopen()
    store.add(parts.item(5, p_import_w=8), parts.item(5))
    with parts.delivering(parts.settings(server.port, tmp_path), store):
        wait(delivered(store, 4), "the others")
    base = parts.START_MS + 5_000
    powers = {ms: point["p_import_w"] for ms, point in server.of("item_p")[ITEM_P].items()}
    assert powers == {base: 1_005, base + 1: 7, base + 2: 8}


def test_a_sub_meter_is_written_when_it_says_something_new(store, fake, tmp_path):
    server = fake()
    hours = [gas for s in range(20) if (gas := parts.gas(2 if s < 10 else 1, 1_234_567 + (s >= 10)))]
    store.add(*(parts.item(s, sub=gas) for s, gas in enumerate(hours)), parts.item(20, sub=parts.gas(1, 99)))
    with parts.delivering(parts.settings(server.port, tmp_path), store) as sink:
        wait(delivered(store, 21), "all readings")
        assert sink.status()["moved"] == 1
    [points] = server.of("sub").values()
    hour = 3_600_000
    assert {ms: point["value"] for ms, point in points.items()} == {
        parts.START_MS - 2 * hour: 1_234.567,
        parts.START_MS - hour: 1_234.568,
        parts.START_MS - hour + 1: 0.099,
    }
    assert sum(line.startswith("sub,") for request in server.requests for line in request.lines) == 3


def test_a_time_that_no_database_has_is_a_dead_letter(store, fake, tmp_path):
    server = fake()
    early = replace(parts.item(0), t=datetime(1969, 1, 1, tzinfo=UTC))
    store.add(early, parts.item(1))
    with parts.delivering(parts.settings(server.port, tmp_path), store):
        wait(lambda: store.counts()["delivered"] == 1, "the good one")
    assert store.counts()["dead_letter"] == 1


# -- rows that are refused -------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    "refusal",
    [
        PARTIAL,
        Reply(400, b'{"error":"partial write: points beyond retention policy dropped=1"}'),
        Reply(400, b'{"code":"invalid","message":"unable to parse"}'),
        Reply(400),
        Reply(422, b"<html>no</html>"),
    ],
    ids=["422", "v1", "400", "empty", "html"],
)
def test_a_refused_row_stands_alone_and_holds_up_nobody(store, fake, tmp_path, version, refusal):
    bad = parts.START_MS + 137_000
    # v1 writes the good rows of a batch with a bad one; v2 may do so or not
    server = fake(version, partial=version == "v1", refusal=refusal)
    server.refuses = lambda line: line.ms == bad and line.measurement == "item_p"
    store.add(*(parts.item(s) for s in range(500)))
    with parts.delivering(parts.settings(server.port, tmp_path, version=version), store) as sink:
        wait(lambda: store.counts()["pending"] == 0, "all readings")
        assert sink.status()["works"]
        assert sink.status()["last_refusal"].startswith(str(refusal.status))
    assert store.counts() == {"delivered": 499, "pending": 0, "evicted": 0, "dead_letter": 1}
    assert wrong(server, [s for s in range(500) if s != 137]) == []
    assert len(server.requests) < 25


def test_readings_that_are_all_refused_by_name_are_all_dead_letters(store, fake, tmp_path):
    server = fake(refuses=lambda line: line.measurement == "item_p")
    store.add(*(parts.item(s) for s in range(20)))
    with parts.delivering(parts.settings(server.port, tmp_path), store):
        wait(lambda: store.counts()["pending"] == 0, "all readings")
    assert store.counts()["dead_letter"] == 20


def test_a_server_that_refuses_everything_without_a_word_costs_no_row(store, fake, tmp_path):
    page = Reply(400, b"<html>The plain HTTP request was sent to HTTPS port</html>")
    server = fake(behave=lambda _request: page)
    store.add(*(parts.item(s) for s in range(5)))
    with parts.delivering(parts.settings(server.port, tmp_path), store) as sink:
        wait(lambda: "takes no row" in sink.status()["text"], "the trouble")
        assert store.counts()["dead_letter"] == 0
        server.behave = lambda _request: None
        wait(delivered(store, 5), "all readings")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_meter_that_is_refused_without_a_word_holds_up_no_other(store, fake, tmp_path, version):
    """Its readings alone fill the first pages: whether they are to blame a reading of another meter tells."""
    server = fake(version, refuses=lambda line: ("meter", "garage") in line.tags, refusal=Reply(400, b"no"))
    store.add(*(parts.item(s, "garage") for s in range(60)), *(parts.item(s) for s in range(60, 70)))
    options = {"version": version, "batch": 20}
    with parts.delivering(parts.settings(server.port, tmp_path, **options), store) as sink:
        wait(lambda: store.counts()["pending"] == 0, "all readings")
        assert sink.status()["works"]
    assert store.counts() == {"delivered": 10, "pending": 0, "evicted": 0, "dead_letter": 60}
    assert wrong(server, range(60, 70)) == []


def test_a_meter_behind_which_nobody_waits_keeps_its_readings(store, fake, tmp_path):
    server = fake(refuses=lambda line: ("meter", "garage") in line.tags, refusal=Reply(400, b"no"))
    store.add(*(parts.item(s) for s in range(5)), *(parts.item(s, "garage") for s in range(5, 45)))
    with parts.delivering(parts.settings(server.port, tmp_path, batch=5), store) as sink:
        wait(lambda: "takes no row" in sink.status()["text"], "the trouble")
        assert store.counts() == {"delivered": 5, "pending": 40, "evicted": 0, "dead_letter": 0}
        server.refuses = lambda _line: False
        wait(lambda: store.counts()["delivered"] == 45, "all readings")


def test_requests_that_are_too_large_get_smaller(store, fake, tmp_path):
    server = fake(behave=lambda request: Reply(413, b"") if len(request.lines) > 60 else None)
    store.add(*(parts.item(s) for s in range(500)))
    with parts.delivering(parts.settings(server.port, tmp_path), store):
        wait(delivered(store, 500), "all readings")
    assert sum(len(request.lines) > 60 for request in server.requests) < 10
    assert store.counts()["dead_letter"] == 0


def test_a_refused_row_says_why_and_quotes_nothing(store, fake, tmp_path):
    conflict = (
        'field type conflict: input field "value" on measurement "register" is type float, already exists as type'
    )
    reply = Reply(400, json.dumps({"error": f"partial write: {conflict} integer {TOKEN}"}).encode())
    server = fake(refuses=lambda line: line.ms == parts.START_MS, refusal=reply)
    store.add(parts.item(0), parts.item(1))
    with parts.delivering(parts.settings(server.port, tmp_path), store) as sink:
        wait(lambda: store.counts()["pending"] == 0, "both")
        reason = sink.status()["last_refusal"]
    assert reason == "400: a field has another type in the database already (register value: integer, not float)"


# -- troubles --------------------------------------------------------------------------------------------------------


def raw(octets=b"", *, then=lambda _handler: None):
    """Answer with octets as they are, then do something to the connection."""

    def answer(handler):
        handler.wfile.write(octets)
        handler.wfile.flush()
        then(handler)

    return Reply(raw=answer)


def endless(handler):
    """Send a body without end until the reader goes; it must not read much of it."""
    with contextlib.suppress(OSError):
        for _ in range(1_000):
            handler.wfile.write(b"x" * 65_536)
        READ_WHOLE.append(handler)


#: connections on which somebody read 64 MiB of an error
READ_WHOLE = []


def drip(handler):
    """Send an octet now and then, for ever."""
    with contextlib.suppress(OSError):
        for octet in b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000:
            handler.wfile.write(bytes([octet]))
            handler.wfile.flush()
            time.sleep(0.05)


#: name -> (what the server does, what the sink says)
TROUBLES = {
    "429": (Reply(429), "429: too many requests"),
    "503": (Reply(503, b"busy"), "503: it cannot write now"),
    "500": (Reply(500, b'{"error":"timeout"}'), "500: it cannot write now"),
    "401": (Reply(401), "401: it does not accept the"),
    "403": (Reply(403), "403: the"),
    "404": (Reply(404, b"404 page not found"), "404: there is no such"),
    "redirect": (Reply(307, b"", {"Location": "http://127.0.0.1:1/"}), "307: it leads to another address"),
    "200": (Reply(200, b"<html>log in</html>"), "200: this is no answer of a database"),
    "405": (Reply(405), "405: it does not take requests of this kind"),
    "endless body": (raw(b"HTTP/1.1 500 No\r\n\r\n", then=endless), "500: it cannot write now"),
    "endless head": (raw(b"HTTP/1.1 204 Yes\r\n", then=endless), "answered something that is no HTTP"),
    "garbage": (raw(b"\x00\xff\x16\x03 SSH-2.0\r\n\r\n"), "answered something that is no HTTP"),
    "early close": (raw(), "closed the connection without an answer"),
    "one octet at a time": (raw(then=drip), "did not answer within"),
    "silence": (raw(then=lambda handler: handler.connection.settimeout(60) or _read(handler)), "did not answer within"),
    "wrong length": (raw(b"HTTP/1.1 500 No\r\nContent-Length: 99999\r\n\r\nx"), "500: it cannot write now"),
}


def _read(handler):
    with contextlib.suppress(OSError):
        handler.connection.recv(1)


@VERSIONS
@pytest.mark.parametrize("name", TROUBLES)
def test_a_trouble_is_named_costs_nothing_and_heals(store, fake, tmp_path, version, name):
    reply, text = TROUBLES[name]
    server = fake(version, behave=lambda _request: reply)
    store.add(*(parts.item(s) for s in range(20)))
    slow = name in ("one octet at a time", "silence")
    config = parts.settings(server.port, tmp_path, version=version, timeout_s=1 if slow else 20)
    with parts.delivering(config, store) as sink:
        wait(lambda: sink.status()["attempts"] >= 2, "two attempts")
        status = sink.status()
        assert text in status["trouble"]
        assert status["works"] is False
        assert store.counts() == {"delivered": 0, "pending": 20, "evicted": 0, "dead_letter": 0}
        server.behave = lambda _request: None
        wait(delivered(store, 20), "all readings")
        assert sink.status()["trouble"] is None
    assert wrong(server, range(20)) == []
    assert READ_WHOLE == []


@VERSIONS
def test_a_server_that_is_away_comes_back(store, fake, tmp_path, version):
    port = free_port()
    store.add(*(parts.item(s) for s in range(20)))
    with parts.delivering(parts.settings(port, tmp_path, version=version), store) as sink:
        wait(lambda: "refused the connection" in (sink.status()["trouble"] or ""), "the trouble")
        fake(version, port=port)
        wait(delivered(store, 20), "all readings")


@VERSIONS
def test_a_name_that_nobody_knows(store, tmp_path, version):
    store.add(parts.item(0))
    config = parts.settings(1, tmp_path, version=version, url="http://no-such-host.invalid:8086")
    with parts.delivering(config, store) as sink:
        wait(lambda: "cannot be resolved" in (sink.status()["trouble"] or ""), "the trouble")


def test_a_redirect_gets_no_token(store, fake, tmp_path):
    other = fake()
    server = fake(behave=lambda _request: Reply(308, b"", {"Location": f"http://127.0.0.1:{other.port}/api/v2/write"}))
    store.add(parts.item(0))
    with parts.delivering(parts.settings(server.port, tmp_path), store) as sink:
        wait(lambda: sink.status()["attempts"] >= 2, "two attempts")
    assert other.requests == []


def test_a_token_that_is_changed_works_without_a_restart(store, fake, tmp_path):
    server, config = fake(), parts.settings(1, tmp_path)
    token = Path(config.token_file)
    token.write_text("wrong\n")
    store.add(parts.item(0))
    with parts.delivering(parts.settings(server.port, tmp_path), store) as sink:
        wait(lambda: "influx.token_file" in (sink.status()["trouble"] or ""), "the trouble")
        token.unlink()
        wait(lambda: "cannot be read" in (sink.status()["trouble"] or ""), "the other trouble")
        token.write_text(TOKEN)
        wait(delivered(store, 1), "the reading")


def test_a_broken_connection_makes_requests_smaller(store, fake, tmp_path):
    server = fake(behave=lambda request: raw() if len(request.lines) > 60 else None)
    store.add(*(parts.item(s) for s in range(300)))
    with parts.delivering(parts.settings(server.port, tmp_path), store):
        wait(delivered(store, 300), "all readings over a line that breaks")


def test_answers_that_are_lost_make_no_second_point(store, fake, tmp_path):
    dice = random.Random(6)
    server = fake()

    def judged_and_lost(request):
        reply = server._judge(request)
        return raw() if dice.random() < 0.4 else reply

    server.behave = judged_and_lost
    store.add(*(parts.item(s) for s in range(400)))
    with parts.delivering(parts.settings(server.port, tmp_path, batch=40), store):
        wait(delivered(store, 400), "all readings")
    assert len(server.of("item_p")[ITEM_P]) == 400
    assert wrong(server, range(400)) == []


# -- how long is waited ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("7", None, 7),
        ("0", None, 0),
        ("99999", None, RETRY_AFTER_CAP_S),
        ("Sun, 22 Nov 2026 08:00:30 GMT", "Sun, 22 Nov 2026 08:00:00 GMT", 30),
        ("Sun, 22 Nov 2026 07:00:00 GMT", "Sun, 22 Nov 2026 08:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "Sun, 22 Nov 2026 08:00:00 GMT", RETRY_AFTER_CAP_S),
        ("soon", None, None),
        ("-5", None, None),
        ("\u0667", None, None),
        ("1e9", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_retry_after(retry_after, date, seconds):
    assert retry_after_s(Answer(429, b"", retry_after, date)) == seconds


def test_retry_after_by_our_own_clock():
    later = datetime.now(UTC) + timedelta(seconds=60)
    assert 50 < retry_after_s(Answer(503, b"", format_datetime(later, usegmt=True), None)) <= 60


def test_retry_after_is_obeyed(store, fake, tmp_path):
    pauses = []

    def backoff(attempt, trouble):
        pauses.append(backoff_s(attempt, trouble))
        return 0.01

    server = fake(behave=lambda _request: Reply(429, b"", {"Retry-After": "42"}))
    store.add(parts.item(0))
    with parts.delivering(parts.settings(server.port, tmp_path), store, backoff=backoff):
        wait(lambda: len(pauses) > 2, "some attempts")
    assert set(pauses) == {42.0}


def test_the_pause_grows_with_full_jitter():
    random.seed(1)
    heals, person = Trouble("x"), Trouble("x", 120)
    assert all(1 <= backoff_s(1, heals) <= 2 for _ in range(100))
    late = [backoff_s(50, person) for _ in range(1_000)]
    assert min(late) < 10
    assert 110 < max(late) <= 120
    assert max(backoff_s(50, heals) for _ in range(1_000)) <= 30


def test_other_answers_name_no_time():
    config = InfluxSettings(url="http://h:1", org="o", bucket="b")
    assert judge(Answer(401, b"", "5"), config).retry_after_s is None
    assert judge(Answer(503, b"", "5"), config).retry_after_s == 5


# -- the end ---------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("name", ["silence", "one octet at a time", "endless body", "429", "no reader"])
def test_it_ends_within_two_seconds_whatever_goes_on(store, fake, tmp_path, version, name):
    store.add(*(parts.item(s) for s in range(2_000)))
    with contextlib.ExitStack() as stack:
        if name == "no reader":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listener.getsockname()[1]
        else:
            reply = TROUBLES[name][0]
            port = fake(version, behave=lambda _request: reply).port
        config = parts.settings(port, tmp_path, version=version, timeout_s=60, gzip=False, batch=2_000)
        threads = threading.active_count()
        with parts.delivering(config, store, backoff=lambda _attempt, _trouble: 60.0) as sink:
            wait(lambda: sink.status()["requests"] > 0, "a request")
            began = time.monotonic()
        assert time.monotonic() - began < 30, "it waited for a request that may take a minute"
        wait(lambda: threading.active_count() <= threads + 2, "the threads to end")
    assert store.counts()["delivered"] == 0


# -- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"two lines\nof text\n", "more than one line"),
        (b"a b", "more than one line"),
        ("t\u00f6ken".encode(), "more than one line"),
        (b"x" * 5_000, "more than one line"),
        (b"abc\r\nX-Header: 1", "more than one line"),
    ],
)
def test_a_token_file_that_cannot_be_used(tmp_path, content, text):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SecretError, match=text) as caught:
        secret("token_file", str(path))
    assert content.decode("latin-1").strip() in ("", str(caught.value)) or content.decode("latin-1") not in str(
        caught.value
    )
    path.write_bytes(b"good-token==\n")
    assert secret("token_file", str(path)) == "good-token=="


def test_a_password_may_be_any_line(tmp_path):
    path = tmp_path / "password"
    path.write_text("p\u00e4ss: w\u00f6rd\n")
    assert secret("password_file", str(path)) == "p\u00e4ss: w\u00f6rd"
