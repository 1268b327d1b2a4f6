"""Estfeed: messages within its rules, a status that has to be asked for, and both at the test hub."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.hub_model import Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import Unit
from gateway.uploader.answers import MAX_REASONS, json_value
from gateway.uploader.hub import Answer, Build, BuildError, SessionError
from gateway.uploader.hubs import ee_estfeed, ee_rules
from tests.hubs.sandbox_hub import SandboxHub, until

EIC, METER, OTHER = "38X-EIN-ALL----B", "38ZEE-1000009--Z", "38ZEE-1000010--K"
NOW = 1_772_600_000
SPRING, AUTUMN, PLAIN = date(2026, 3, 29), date(2025, 10, 26), date(2026, 3, 3)
DUPLICATED = b'{"errors": [{"code": "opp.error.business.metering-data-is-duplicated", "message": "m"}]}'


@pytest.fixture
def estonian(make_part):
    """Make a part of an Estonian metering point."""

    def make(day=PLAIN, **more):
        return make_part(day, **({"zone": "Europe/Tallinn", "point": METER} | more))

    return make


@pytest.fixture
def built(estonian, make_build):
    """Build parts; keys are those of [[hub]]."""

    def make(*parts, now=NOW, **settings):
        given = {"party": EIC, "role": "GRID_OPERATOR"} | settings
        about = make_build(now, "ee-estfeed", **given)
        return ee_estfeed.adapter(about.settings).build(parts or [estonian()], about)

    return make


def read(draft):
    return json.loads(draft.body, parse_float=Decimal, parse_int=str)


# -- what leaves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "count"), [(PLAIN, 96), (SPRING, 92), (AUTUMN, 100)])
def test_a_day_of_both_directions(estonian, built, day, count):
    used = estonian(day, statuses=("valid", "estimated", "edited"))
    made = estonian(day, direction="export", statuses=("valid", "missing", "raw", "suspect"))
    (draft,) = built(used, made, now=int(datetime(2026, 4, 1, tzinfo=UTC).timestamp()))
    (meter,) = read(draft)["meteringData"]
    assert meter["meterEic"] == METER
    out, in_ = meter["periods"]
    assert [one["r"] for one in (out, in_)] == ["PT15M"] * 2
    assert [(_second(one["pS"]), one["outQty"]["rType"], one["outQty"]["kwh"]) for one in out["aI"]] == [
        (one.start, "M" if one.status == "valid" else "E", Decimal(one.quantity) / 1_000)
        for one in used.series.intervals
    ]
    valid = [one for one in made.series.intervals if one.status == "valid"]
    assert [(_second(one["pS"]), one["inQty"]["rType"], one["inQty"]["kwh"]) for one in in_["aI"]] == [
        (one.start, "M", Decimal(one.quantity) / 1_000) for one in valid
    ]
    assert len(out["aI"]) == count
    assert all(re.fullmatch(rb"[0-9]+\.[0-9]{3}", text) for text in re.findall(rb'"kwh": ([^}]*)}', draft.body))
    assert [row.transaction for row in draft.parts] == [used.transaction, made.transaction]


def _second(text) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_when_it_was_read_is_said_where_it_is_known(estonian, built):
    part = estonian()
    first, *others = part.series.intervals
    series = replace(part.series, intervals=[replace(first, made=1_772_590_000), *others])
    (draft,) = built(replace(part, series=series))
    quantities = [one["outQty"] for one in read(draft)["meteringData"][0]["periods"][0]["aI"]]
    assert quantities[0]["rTime"] == "2026-03-04T02:06:40Z"
    assert all("rTime" not in one for one in quantities[1:])


def test_large_messages_are_split(estonian, built):
    parts = [estonian(PLAIN - timedelta(n)) for n in range(7)]
    drafts = built(*parts, bundle=3)
    assert [len(draft.parts) for draft in drafts] == [3, 3, 1]
    assert len({draft.document for draft in drafts}) == 3
    assert all(ee_rules.UUID.fullmatch(draft.document) for draft in drafts)


def test_no_more_periods_than_estfeed_takes(estonian):
    parts = [estonian(PLAIN - timedelta(n)) for n in range(2)]
    many = [replace(one, slot=one.slot._replace(point=f"P{n}")) for n in range(200) for one in parts]
    sizes = [sum(len(one.series.intervals) for one in bundle) for bundle in ee_estfeed._bundles(many, 1_000)]
    assert sum(sizes) == 400 * 96
    assert max(sizes) <= ee_rules.MOST_PERIODS
    assert len(sizes) == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"unit": Unit("Wh", -1)}, "unit"),
        ({"unit": Unit("varh", 0)}, "unit"),
        ({"point": "571313000000002000"}, "eic"),
        ({"resolution": "PT1H"}, "opp.error.business.wrong-resolution"),
        ({"day": date(2025, 3, 1)}, "too_old"),
        ({"day": date(2026, 4, 20)}, "opp.error.business.period-start-too-far-in-future"),
        ({"statuses": ("missing", "raw", "suspect")}, "empty"),
        ({"negative": True}, "quantity"),
        ({"shifted": True}, "opp.error.business.wrong-resolution"),
    ],
)
def test_a_part_that_estfeed_would_refuse_does_not_leave(estonian, built, change, code):
    part = estonian(change.get("day", PLAIN), statuses=change.get("statuses", ("valid",)))
    if "unit" in change:
        part = replace(part, series=replace(part.series, unit=change["unit"]))
    if "point" in change or "resolution" in change:
        part = replace(part, slot=part.slot._replace(**change))
    if "negative" in change:
        broken = [replace(one, quantity=-1) for one in part.series.intervals]
        part = replace(part, series=replace(part.series, intervals=broken))
    if "shifted" in change:
        broken = [replace(one, start=one.start + 60) for one in part.series.intervals]
        part = replace(part, series=replace(part.series, intervals=broken))
    with pytest.raises(BuildError) as caught:
        built(estonian(point=OTHER), part)
    assert (caught.value.code, caught.value.slots) == (code, (part.slot,))


def test_a_value_that_comes_twice_does_not_leave(estonian, built):
    part = estonian()
    with pytest.raises(BuildError) as caught:
        built(part, replace(part, transaction="again"))
    assert caught.value.code == ee_rules.DUPLICATED


@pytest.mark.parametrize("settings", [{"party": None}, {"party": "5799999933318"}, {"role": None}])
def test_a_participant_that_is_none(built, settings):
    with pytest.raises(BuildError):
        built(**settings)


def test_the_sample_is_within_the_rules(samples):
    sample = json.loads((samples / "ee-estfeed" / "post-metering-data-electricity.json").read_text())
    text = re.sub(r'("kwh": [0-9]+\.[0-9]+)', lambda m: m[1].ljust(len(m[1]) + 3 - len(m[1].split(".")[1]), "0"),
                  json.dumps(sample["body"]))  # fmt: skip
    now = int(datetime(2026, 3, 4, tzinfo=UTC).timestamp())
    assert list(ee_rules.faults(json_value(text.encode()), now)) == []
    assert sample["_http"]["path"] == ee_estfeed.SEND
    assert set(sample["_http"]["headers"]) - {"Authorization"} <= set(ee_estfeed._headers(_message(sample)))


def _message(sample):
    class Message:
        document = sample["_http"]["headers"]["x-document-identification"]
        about = {"eic": EIC, "role": "GRID_OPERATOR"}  # noqa: RUF012

    return Message


# -- attempts and questions --------------------------------------------------------------------------------------------


def adapter():
    return ee_estfeed.adapter(HubSettings(name="h", kind="ee-estfeed"))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(202, {}, b""), "accepted"),
        (Answer(400, {}, DUPLICATED), "duplicate"),
        (Answer(409, {}, DUPLICATED), "duplicate"),
        (Answer(400, {}, b'{"errors": [{"code": "x", "message": "wrong"}]}'), "rejected"),
        (Answer(400, {}, DUPLICATED.replace(b"]}", b', {"code": "x"}]}')), "rejected"),
        (Answer(400, {}, b"<html>"), "rejected"),
        (Answer(413, {}, b""), "rejected"),
        (Answer(503, {"retry-after": "300"}, b""), "busy"),
        (Answer(429, {"retry-after": "300"}, b""), "busy"),
        (Answer(500, {}, b""), "unknown"),
        (Answer(504, {}, b""), "unknown"),
        (Answer(401, {}, b""), "blocked"),
        (Answer(403, {}, b"opp.error.business.market-participant-mismatch-error"), "blocked"),
        (SessionError("late", sent=True), "unknown"),
        (SessionError("down", sent=False, retry_after_s=300), "busy"),
    ],
)
def test_one_attempt(built, stored, asked, answer, verdict):
    (draft,) = built()
    session = asked(answer)
    got = adapter().send(session, stored(draft))
    assert got.verdict == verdict
    assert got.retry_after_s == (300 if verdict == "busy" else None)
    ((method, path, headers, body),) = session.requests
    assert (method, path, body) == ("POST", "/api/v2/metering-data/electricity", draft.body)
    assert headers == {
        "Content-Type": "application/json; charset=UTF-8",
        "Accept": "application/json",
        "x-document-identification": draft.document,
        "x-market-participant-eic": EIC,
        "x-market-participant-role": "GRID_OPERATOR",
        "x-commodity-type": "ELECTRICITY",
    }


def test_who_we_are_is_fixed_with_the_message(built, stored, asked):
    (draft,) = built()
    session = asked(Answer(202, {}, b""))
    changed = HubSettings(name="h", kind="ee-estfeed", party=OTHER, role="LINE_OPERATOR")
    ee_estfeed.adapter(changed).send(session, stored(draft))
    assert session.requests[0][2]["x-market-participant-eic"] == EIC
    assert session.requests[0][2]["x-market-participant-role"] == "GRID_OPERATOR"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(200, {}, b'{"status": "PROCESSING"}'), "accepted"),
        (Answer(200, {}, b'{"status": "SUCCESSFUL"}'), "confirmed"),
        (Answer(200, {}, b'{"status": "ERROR"}'), "rejected"),
        (Answer(200, {}, b'{"status": "ERROR", "errors": 5}'), "rejected"),
        (Answer(404, {}, b""), "pending"),
        # an answer that says nothing of the message is never the end of it
        (Answer(200, {}, b'{"documentIdentification": "other", "status": "SUCCESSFUL"}'), "busy"),
        (Answer(200, {}, b'{"originalDocumentIdentification": "other", "status": "ERROR"}'), "busy"),
        (Answer(200, {}, b'{"status": "ERROR", "status": "SUCCESSFUL"}'), "busy"),
        (Answer(200, {}, b'{"status": "DONE"}'), "busy"),
        (Answer(200, {}, b'{"status": ["ERROR"]}'), "busy"),
        (Answer(200, {}, b"[]"), "busy"),
        (Answer(200, {}, b"<html>"), "busy"),
        (Answer(200, {}, b""), "busy"),
        (Answer(400, {}, b""), "busy"),
        (Answer(500, {}, b""), "busy"),
        (Answer(503, {"retry-after": "300"}, b""), "busy"),
        (Answer(403, {}, b""), "blocked"),
        (SessionError("late", sent=True), "busy"),
        (SessionError("wrong certificate", sent=False, person=True), "blocked"),
    ],
)
def test_one_question(built, stored, asked, answer, verdict):
    (draft,) = built()
    got = adapter().query(asked(answer), stored(draft, state="accepted"))
    assert got.verdict == verdict


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["metering-data-is-duplicated"], ["rejected", "confirmed"]),
        (["metering-data-is-duplicated", "wrong-resolution"], ["rejected", "rejected"]),
    ],
)
def test_the_word_on_a_second_copy_is_no_refusal_of_the_first(built, stored, asked, codes, expected):
    (draft,) = built()
    errors = [{"code": f"opp.error.business.{code}", "message": ""} for code in codes]
    report = Answer(200, {}, json.dumps({"status": "ERROR", "errors": errors}).encode())
    messages = [stored(draft, state="accepted", attempts=attempts) for attempts in (1, 2)]
    assert [adapter().query(asked(report), one).verdict for one in messages] == expected


def test_an_error_report_goes_to_the_parts_that_it_names(estonian, built, stored, asked):
    (draft,) = built(estonian(), estonian(point=OTHER))
    report = {"status": "ERROR", "errors": [{"code": "c1", "message": f"{OTHER} 2026-03-03T00:00Z: wrong"}]}
    got = adapter().query(asked(Answer(200, {}, json.dumps(report).encode())), stored(draft))
    first, second = (row.transaction for row in draft.parts)
    assert (got.verdict, got.transactions) == ("rejected", {first, second})
    assert [one.code for one in got.told[second]] == ["c1"]
    assert [one.code for one in got.told[first]] == ["with_others"]


def test_a_report_of_thousands_is_kept_whole_and_told_in_part(built, stored, asked):
    (draft,) = built()
    report = {"status": "ERROR", "errors": [{"code": "c", "message": f"{METER} {n}"} for n in range(20_000)]}
    got = adapter().query(asked(Answer(200, {}, json.dumps(report).encode())), stored(draft))
    assert len(got.reasons) == len(got.told[draft.parts[0].transaction]) == MAX_REASONS
    assert len(got.raw) > 600_000


# -- the test hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path):
    made = SandboxHub(tmp_path / "hub").start()
    yield made
    made.stop()


@pytest.fixture
def opened(hub, ids):
    """A session with the hub, its adapter, and what builds messages for it now."""
    settings = hub.settings("ee", "ee-estfeed", role="GRID_OPERATOR")
    made = ee_estfeed.adapter(settings)
    about = Build(settings, int(datetime.now(UTC).timestamp()), ids)
    return made, hub.session(settings), lambda *parts: made.build(parts, about)[0]


@pytest.fixture
def days(estonian):
    """Parts of the days before yesterday."""
    today = datetime.now(UTC).date()
    return [estonian(today - timedelta(n + 2), statuses=("valid", "estimated", "missing")) for n in range(3)]


def settled(made, session, message):
    return until(lambda: made.query(session, message), lambda got: got.verdict not in ("pending", "accepted", "busy"))


def values(part):
    said = {"valid": "A04", "estimated": "A03"}
    return [
        [one.start, f"{one.quantity / 1_000:.3f}", said[one.status]]
        for one in part.series.intervals
        if one.quantity is not None
    ]


def test_a_message_is_taken_and_its_status_found(hub, opened, stored, days):
    made, session, build = opened
    message = stored(build(*days))
    assert made.send(session, message).verdict == "accepted"
    assert settled(made, session, message).verdict == "confirmed"
    effects = sorted(hub.effects(), key=lambda one: one["start"], reverse=True)
    assert [(one["point"], one["direction"], one["document"]) for one in effects] == [
        (METER, "consumption", message.document)
    ] * 3
    assert [[[start, f"{Decimal(q):.3f}", quality] for start, q, quality in one["values"]] for one in effects] == [
        values(part) for part in days
    ]


@pytest.mark.parametrize("fault", ["drop_response", "drop_request", "lost", "duplicate", "garbage", "error_in_200"])
def test_a_message_has_one_effect_whatever_happens_to_its_answer(hub, opened, stored, days, fault):
    made, session, build = opened
    message = stored(build(days[0]))
    hub.sandbox.faults.set(fault, {"p": 1, "count": 1, "profile": "ee"})
    first = made.send(session, message)
    assert first.verdict in ("unknown", "accepted", "duplicate")
    if fault == "lost":
        assert first.verdict == "accepted"
        assert made.query(session, message).verdict == "pending"  # and for ever: the window passes
    if fault in ("drop_response", "drop_request"):
        assert first.verdict == "unknown"
    again = made.send(session, message)
    assert again.verdict == ("accepted" if fault in ("lost", "drop_request") else "duplicate")
    assert settled(made, session, message).verdict == "confirmed"
    assert len(hub.effects()) == 1


def test_one_bad_value_fails_the_message(hub, opened, stored, days):
    made, session, build = opened
    draft = build(days[0], days[1])
    bad = draft.body.replace(b'"PT15M"', b'"PT10M"', 1)
    message = replace(stored(draft), body=bad)
    assert made.send(session, message).verdict == "accepted"
    got = settled(made, session, message)
    assert got.verdict == "rejected"
    assert {reason.code for reason in got.reasons} == {"opp.error.business.wrong-resolution"}
    assert hub.effects() == []


def test_a_full_queue(hub, opened, stored, days):
    made, session, build = opened
    hub.sandbox.options.set("queue_length", 0)
    got = made.send(session, stored(build(days[0])))
    assert (got.verdict, got.retry_after_s, got.status) == ("busy", 300, 503)
    assert hub.effects() == []


def test_a_token_that_expired(hub, opened, stored, days):
    made, session, build = opened
    hub.sandbox.faults.set("expired_token", {"p": 1, "count": 1, "profile": "ee"})
    message = stored(build(days[0]))
    assert made.send(session, message).verdict == "accepted"
    assert settled(made, session, message).verdict == "confirmed"
    hub.sandbox.faults.set("expired_token", {"p": 1, "profile": "ee"})
    assert made.send(session, stored(build(days[1]))).verdict == "blocked"


def test_whom_the_hub_does_not_know(hub, ids, stored, days):
    settings = hub.settings("ee", "ee-estfeed", role="GRID_OPERATOR", party="38X-OTHER-GRID-C")
    made = ee_estfeed.adapter(settings)
    (draft,) = made.build(days[:1], Build(settings, int(datetime.now(UTC).timestamp()), ids))
    got = made.send(hub.session(settings), stored(draft))
    assert (got.verdict, got.status) == ("blocked", 403)
    assert Slot(METER, "import", "active", "PT15M", days[0].slot.start) == draft.parts[0].slot
