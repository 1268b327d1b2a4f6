"""The common European format: documents by schema and rules, acknowledgements read strictly, both at the test hub."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import pytest

from gateway.hub_model import PartRow, Reason
from gateway.hub_settings import HubSettings
from gateway.imports.documents import vhd as read_vhd
from gateway.intervals.model import Unit
from gateway.uploader import schemas
from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Answer, Build, BuildError, SessionError
from gateway.uploader.hubs import eu_ack, eu_vhd
from tests.hubs.sandbox_hub import SandboxHub, until

#: party and hub, as the test hub knows them
EIC, HUB = "10X1001A1001B54W", "99X-SANDBOX-HUBX"
NOW = 1_772_600_000
SPRING, AUTUMN, PLAIN = date(2026, 3, 29), date(2025, 10, 26), date(2026, 3, 3)


@pytest.fixture
def built(make_part, make_build):
    """Build parts; keys are those of [[hub]]."""

    def make(*parts, **settings):
        given = {"party": EIC, "receiver": HUB, "role": "A58"} | settings
        about = make_build(NOW, "eu-vhd", **given)
        return eu_vhd.adapter(about.settings).build(parts or [make_part(PLAIN)], about)

    return make


# -- what leaves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "count"), [(PLAIN, 96), (SPRING, 92), (AUTUMN, 100)])
@pytest.mark.parametrize("step", [900, 3_600])
def test_a_day_as_it_is_read_back(make_part, built, day, count, step):
    part = make_part(day, step=step, statuses=("valid", "estimated", "edited", "missing", "raw", "suspect"), revision=7)
    (draft,) = built(part)
    (series,) = read_vhd(BytesIO(draft.body))
    said = {"valid": "measured", "estimated": "estimated", "edited": "edited"}
    shown = [
        (one.start, one.end, 1_000 * one.quantity if one.is_item_e else None, said.get(one.status, "missing"))
        for one in part.series.intervals
    ]
    assert [tuple(row) for row in series.rows] == shown
    assert len(shown) == count * 900 // step
    assert (series.point, series.direction) == (part.slot.point, "import")
    assert b"<version>7</version>" in draft.body
    assert draft.body.count(b"<Period>") == 1
    assert f"<mRID>{part.transaction}</mRID>".encode() in draft.body
    assert f"<mRID>{draft.document}</mRID>".encode() in draft.body
    (row,) = draft.parts
    assert (row.slot, row.end, row.revision, row.transaction) == (part.slot, part.end, 7, part.transaction)


def test_parties_by_their_schemes(built):
    (draft,) = built(party="5799999933318", receiver=HUB, role="A25")
    assert b'<sender_MarketParticipant.mRID codingScheme="A10">5799999933318<' in draft.body
    assert b"<sender_MarketParticipant.marketRole.type>A25<" in draft.body
    assert b'<receiver_MarketParticipant.mRID codingScheme="A01">99X-SANDBOX-HUBX<' in draft.body


def test_production_flows_up(make_part, built):
    (draft,) = built(make_part(PLAIN, direction="export"))
    assert b"<businessType>A01</businessType>" in draft.body
    assert b"<flowDirection.direction>A01</flowDirection.direction>" in draft.body


def test_bundles(make_part, built):
    parts = [make_part(PLAIN + timedelta(n)) for n in range(7)]
    drafts = built(*parts, bundle=3)
    assert [len(draft.parts) for draft in drafts] == [3, 3, 1]
    assert [row.transaction for draft in drafts for row in draft.parts] == [part.transaction for part in parts]
    assert len({draft.document for draft in drafts}) == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"revision": 1_000}, "A50"),
        ({"revision": 0}, "A50"),
        ({"unit": Unit("varh", 0)}, "A69"),
        ({"unit": Unit("Wh", -3)}, "A59"),
        ({"point": None}, "A69"),
        ({"point": "571313000000002001"}, "A69"),
        ({"without": 5}, "A04"),
        ({"without": 0}, "A04"),
        ({"negative": True}, "A46"),
        ({"resolution": "PT1H"}, "A49"),
    ],
)
def test_a_part_that_the_hub_would_refuse_does_not_leave(make_part, built, change, code):
    part = make_part(PLAIN)
    series = part.series
    if "without" in change:
        kept = [one for n, one in enumerate(series.intervals) if n != change["without"]]
        part = replace(part, series=replace(series, intervals=kept))
    elif "negative" in change:
        broken = [replace(one, quantity=-1) for one in series.intervals]
        part = replace(part, series=replace(series, intervals=broken))
    elif "revision" in change:
        part = replace(part, **change)
    else:
        part = replace(part, series=replace(series, **change))
    with pytest.raises(BuildError) as caught:
        built(make_part(PLAIN, direction="export"), part)
    assert (caught.value.code, caught.value.slots) == (code, (part.slot,))


@pytest.mark.parametrize(
    "settings",
    [{"party": None}, {"receiver": None}, {"party": "5799999933319"}, {"receiver": "123"}, {"role": "XX"}],
)
def test_parties_and_roles_that_are_none(built, settings):
    with pytest.raises(BuildError):
        built(**settings)


WRONG = {
    "a quality that is none": (b"quality>A04<", b"quality>A99<"),
    "a position that comes twice": (b"<position>2</position>", b"<position>1</position>"),
    "a position of 0": (b"<position>1</position>", b"<position>0</position>"),
    "a quantity with A02": (b"quality>A04<", b"quality>A02<"),
    "no quantity": (re.compile(rb"<energy_Quantity.quantity>[^<]*</energy_Quantity.quantity>"), b""),
    "more decimals": (b"</energy_Quantity.quantity>", b"1</energy_Quantity.quantity>"),
    "no resolution": (b"<resolution>PT15M</resolution>", b""),
    "another resolution": (b"PT15M", b"PT30M"),
    "seconds in a bound": (b":00Z</start><end>", b":00:00Z</start><end>"),
    "a bound beside the quarter": (b":00Z</start><end>", b":07Z</start><end>"),
    "no version": (re.compile(rb"<version>.*?</version>"), b""),
    "another version": (b"<version>1<", b"<version>2<"),
    "another type": (b"<type>A45</type>", b"<type>Z45</type>"),
    "a flow against its business": (b"direction>A02<", b"direction>A01<"),
    "no unit": (re.compile(rb"<energy_Measurement_Unit.name>.*?</energy_Measurement_Unit.name>"), b""),
    "an unknown element": (b"<MarketDocument>", b"<MarketDocument><x/>"),
    "another namespace": (b"https//eddie", b"https://eddie"),
    "a revision that is none": (b"<revisionNumber>", b"<revisionNumber>0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_document_that_is_wrong_does_not_leave(make_part, built, name):
    part = make_part(PLAIN)
    (draft,) = built(part)
    old, new = WRONG[name]
    body = old.sub(new, draft.body, 1) if isinstance(old, re.Pattern) else draft.body.replace(old, new, 1)
    assert body != draft.body
    eu_vhd._validate(draft.body, [part])
    with pytest.raises(BuildError):
        eu_vhd._validate(body, [part])


def test_samples_of_others(samples):
    folder = samples / "eu-eddie-cim"
    for name in ("output_vhd_v1.04_from_greenbutton.xml", "vhd-v1.04-96points.xml"):
        schemas.xsd(eu_vhd.SCHEMA).check_octets((folder / name).read_bytes())
    text = (folder / "validated-historical-data-market-documents.md").read_text()
    old, new = re.findall(r"```xml \[[^\n]*\]\n(.*?)```", text, re.DOTALL)
    schemas.xsd(eu_vhd.SCHEMA).check_octets(new.strip().encode())
    with pytest.raises(schemas.SchemaError):  # v0.82
        schemas.xsd(eu_vhd.SCHEMA).check_octets(old.strip().encode())


# -- acknowledgements --------------------------------------------------------------------------------------------------


def ack(*reasons, document="d1", series="", periods="", version="1.12") -> bytes:
    """An acknowledgement of the hub."""
    said = "".join(f"<Reason><code>{one}</code><text>why {one}</text></Reason>" for one in reasons)
    named = f"<received_MarketDocument.mRID>{document}</received_MarketDocument.mRID>" if document else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Acknowledgement_Envelope xmlns="https://eddie.energy/CIM/ACK_v{version}">'
        "<MarketDocument><mRID>a1</mRID><createdDateTime>2026-03-04T05:15:00Z</createdDateTime>"
        f'<sender_MarketParticipant.mRID codingScheme="A01">{HUB}</sender_MarketParticipant.mRID>'
        "<sender_MarketParticipant.marketRole.type>A39</sender_MarketParticipant.marketRole.type>"
        f'<receiver_MarketParticipant.mRID codingScheme="A01">{EIC}</receiver_MarketParticipant.mRID>'
        f"{named}{periods}{said}{series}</MarketDocument></Acknowledgement_Envelope>"
    ).encode()


def rejected(transaction, *codes, version="") -> str:
    said = "".join(f"<Reason><code>{one}</code></Reason>" for one in codes)
    number = f"<version>{version}</version>" if version else ""
    return f"<Rejected_TimeSeries><mRID>{transaction}</mRID>{number}{said}</Rejected_TimeSeries>"


def in_error(start, end, code="A04") -> str:
    return (
        f"<InError_Period><Reason><code>{code}</code></Reason><timeInterval><start>{start}</start><end>{end}</end>"
        "</timeInterval></InError_Period>"
    )


@pytest.fixture
def rows(make_part) -> list[PartRow]:
    """Two days of a message: t1 and t2."""
    parts = [make_part(PLAIN + timedelta(n)) for n in range(2)]
    return [
        PartRow(part.slot, part.end, 1, name, b"", "config") for name, part in zip(("t1", "t2"), parts, strict=True)
    ]


@pytest.mark.parametrize(
    ("body", "verdict", "told"),
    [
        (ack("A01"), "confirmed", set()),
        (ack("A02"), "rejected", set()),
        (ack("A02", "A57"), "rejected", set()),
        (ack("A02", series=rejected("t1", "A57") + rejected("t2", "A57")), "rejected", set()),
        (ack("A03", series=rejected("t2", "A57")), "rejected", {"t2"}),
        (ack("A03", series=rejected("t1", "A57", version="1")), "rejected", {"t1"}),
        (ack("A03", series=rejected("t1")), "rejected", {"t1"}),
        # says neither which, nor one that is ours, nor our version of it: all of it
        (ack("A03"), "rejected", set()),
        (ack("A03", series=rejected("t9", "A57")), "rejected", set()),
        (ack("A03", series=rejected("t1", "A57", version="2")), "rejected", set()),
        (ack("A03", series=rejected("t1", "A57") + rejected("t9", "A57")), "rejected", set()),
        # contradicts itself: what is named is refused
        (ack("A01", series=rejected("t1", "A01")), "rejected", {"t1"}),
        (ack("A01", "A02"), "rejected", set()),
        (ack("A01", "A59"), "rejected", set()),
        (ack("A59"), "rejected", set()),
        (ack("999"), "rejected", set()),
        # intervals that were not taken
        (ack("A21", periods=in_error("2026-03-03T04:00Z", "2026-03-03T05:00Z")), "rejected", {"t1"}),
        (ack("A21", periods=in_error("2025-03-03T04:00Z", "2025-03-03T05:00Z")), "rejected", set()),
        (ack("A01", periods=in_error("2026-03-04T04:00Z", "2026-03-04T05:00Z")), "rejected", {"t2"}),
        # a copy of what it has
        (ack("A51"), "confirmed", set()),
        (ack("A02", "A51"), "confirmed", set()),
        (ack("A02", "A51", series=rejected("t2", "A57")), "rejected", {"t2"}),
        (ack("A02", "A51", "A53"), "rejected", set()),
        (ack("A50"), "rejected", set()),
    ],
)
def test_what_an_acknowledgement_says(rows, body, verdict, told):
    made = eu_ack.judge(eu_ack.read(body), rows)
    assert (made.verdict, set(made.told)) == (verdict, told)
    assert bool(made.reasons) == (body != ack("A01"))


def test_reasons_are_told_in_words(rows):
    series = rejected("t1", "A57").replace(
        "<Reason>", in_error("2026-03-03T04:00Z", "2026-03-03T05:00Z") + "<Reason>", 1
    )
    made = eu_ack.judge(eu_ack.read(ack("A03", series=series)), rows)
    assert made.reasons[0] == Reason("A03", "why A03")
    assert set(made.told["t1"]) == {
        Reason("A57", "deadline limit exceeded"),
        Reason("A04", "2026-03-03T04:00Z to 2026-03-03T05:00Z: time interval incorrect"),
    }


@pytest.mark.parametrize(
    "body",
    [
        b"", b"OK", b"<html/>", b"\xff\xfe\x00", ack(), ack("Z99"), ack("A01", version="1.04"),
        ack("A01").replace(b"<mRID>a1</mRID>", b""), ack("A01").replace(b"A39", b"A999"),
        ack("A01").replace(b"05:15:00Z", b"05:15Z"), ack("A01").replace(b"<MarketDocument>", b"<MarketDocument><x/>"),
        ack("A21", periods=in_error("2026-02-30T04:00Z", "2026-03-03T05:00Z")),
        ack("A03", series="<Rejected_TimeSeries/>"), ack("A01")[:-30], ack("A01") + b"<x/>",
        b'<Acknowledgement_Envelope xmlns="https://eddie.energy/CIM/ACK_v1.12"/>',
        b"<!DOCTYPE a [<!ENTITY x 'A01'>]>" + ack("A01").split(b"?>", 1)[1].replace(b">A01<", b">&x;<"),
    ],
)  # fmt: skip
def test_what_is_no_acknowledgement(body):
    with pytest.raises(AnswerError):
        eu_ack.read(body)


def test_the_example_of_the_documentation_does_not_follow_its_schema(samples):
    text = (samples / "eu-eddie-cim" / "acknowledgement-market-documents.md").read_text()
    (example,) = re.findall(r"```xml\n(.*?)```", text, re.DOTALL)
    with pytest.raises(AnswerError, match="does not follow its schema"):
        eu_ack.read(example.encode())


# -- one attempt -------------------------------------------------------------------------------------------------------

XML = {"content-type": "application/xml"}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(200, XML, ack("A01")), "confirmed"),
        (Answer(200, XML, ack("A01", document="")), "confirmed"),
        (Answer(200, XML, ack("A02")), "rejected"),
        (Answer(202, {}, b""), "accepted"),
        (Answer(200, {}, b""), "accepted"),
        (Answer(202, XML, ack("A02")), "accepted"),
        # nobody knows
        (Answer(200, XML, ack("A01", document="d2")), "unknown"),
        (Answer(200, XML, b"<fault>failed</fault>"), "unknown"),
        (Answer(200, {"content-type": "text/html"}, b"<html>login</html>"), "unknown"),
        (Answer(400, XML, ack("A01")), "unknown"),
        (Answer(500, XML, ack("A01")), "unknown"),
        (Answer(502, {}, b"bad gateway"), "unknown"),
        # not taken
        (Answer(400, XML, ack("A02", "A53")), "rejected"),
        (Answer(400, {}, b"no document"), "rejected"),
        (Answer(413, {}, b""), "rejected"),
        (Answer(409, XML, ack("A02", "A51")), "confirmed"),
        (Answer(429, {"retry-after": "77"}, b""), "busy"),
        (Answer(503, {"retry-after": "77"}, b""), "busy"),
        (Answer(401, {}, b""), "blocked"),
        (Answer(403, {}, b"unknown certificate"), "blocked"),
        (Answer(301, {"location": "https://elsewhere"}, b""), "blocked"),
        (SessionError("late", sent=True), "unknown"),
        (SessionError("down", sent=False), "busy"),
        (SessionError("wrong certificate", sent=False, person=True), "blocked"),
    ],
)
def test_one_attempt(built, stored, asked, answer, verdict):
    (draft,) = built()
    message = stored(draft)
    if isinstance(answer, Answer):
        answer = replace(answer, body=answer.body.replace(b">d1<", f">{draft.document}<".encode()))
    session = asked(answer)
    got = eu_vhd.adapter(HubSettings(name="h", kind="eu-vhd")).send(session, message)
    if verdict == "confirmed" and b"A51" in got.raw:
        assert answer.status in (200, 409)
    assert got.verdict == verdict
    assert got.retry_after_s == (77 if verdict == "busy" and isinstance(answer, Answer) else None)
    ((method, path, headers, body),) = session.requests
    assert (method, path, body, headers["Content-Type"]) == ("POST", "/vhd", draft.body, "application/xml")


def test_the_queue_of_acknowledgements(built, stored, asked, known):
    first, second = (stored(built()[0], state="accepted") for _ in range(2))
    done = Answer(200, {}, b"")
    session = asked(
        Answer(200, XML | {"messageid": "m1"}, ack("A01", document=first.document)), done,
        Answer(200, XML | {"messageid": "m/2"}, ack("A02", document=second.document)), done,
        Answer(200, XML | {"messageid": "m3"}, ack("A02", document="nobody's")), done,
        Answer(200, XML | {"messageid": "m4"}, b"garbage"), done,
        Answer(200, XML | {"messageid": "m5"}, ack("A01", document="")), done,
        Answer(204, {}, b""),
    )  # fmt: skip
    got = []
    for inbound in eu_vhd.adapter(HubSettings(name="h", kind="eu-vhd")).inbox(session, known(first, second)):
        got.append(inbound)
        # acknowledged when the next one is asked for, not before
        assert sum(method == "DELETE" for method, *_ in session.requests) == len(got) - 1
    assert [one.id for one in got] == ["m1", "m/2", "m3", "m4", "m5"]
    assert [{name: said.verdict for name, said in one.receipts.items()} for one in got] == [
        {first.document: "confirmed"},
        {second.document: "rejected"},
        {"nobody's": "pending"},
        {},
        {},
    ]
    assert [one.severity for one in got] == [None, None, None, "error", "warning"]
    deleted = [path for method, path, *_ in session.requests if method == "DELETE"]
    assert deleted == ["/ack/m1", "/ack/m%2F2", "/ack/m3", "/ack/m4", "/ack/m5"]


@pytest.mark.parametrize("headers", [{"messageid": "m\x1b[1"}, {}])
def test_a_queue_of_which_nothing_is_taken_off_is_left(asked, known, headers):
    same, done = Answer(200, XML | headers, ack("A01", document="nobody's")), Answer(500, {}, b"")
    session, got = asked(*[same, done] * 10), []
    with pytest.raises(SessionError, match="comes again and again") as caught:
        got += eu_vhd.adapter(HubSettings(name="h", kind="eu-vhd")).inbox(session, known())
    assert str(caught.value).isprintable()
    assert len(session.requests) < 10


# -- the test hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path):
    made = SandboxHub(tmp_path / "hub").start()
    yield made
    made.stop()


@pytest.fixture
def days(make_part):
    """Parts of yesterday and the days before."""
    today = datetime.now(UTC).date()
    return [make_part(today - timedelta(n + 2), statuses=("valid", "estimated", "missing")) for n in range(3)]


def opened(hub, **more):
    settings = hub.settings("eu", "eu-vhd", receiver=HUB, token_url=None, **more)
    return settings, eu_vhd.adapter(settings), hub.session(settings)


def values(part):
    said = {"valid": "A04", "estimated": "A03", "missing": "A02"}
    return [
        [one.start, None if one.quantity is None else f"{one.quantity / 1_000:.3f}", said[one.status]]
        for one in part.series.intervals
    ]


@pytest.fixture
def built_at(hub, ids):
    """A session with the hub, its adapter, and what builds documents for it now."""

    def make(**more):
        settings, adapter, session = opened(hub, **more)
        about = Build(settings, int(datetime.now(UTC).timestamp()), ids)
        return adapter, session, lambda *parts: adapter.build(parts, about)[0]

    return make


@pytest.mark.parametrize("fault", ["drop_response", "garbage", "error_in_200", "encoding", "bomb", "drop_request"])
def test_a_document_arrives_once_whatever_happens_to_its_answer(hub, built_at, stored, days, fault):
    adapter, session, build = built_at()
    draft = build(*days)
    hub.sandbox.faults.set(fault, {"p": 1, "count": 1})
    assert adapter.send(session, stored(draft)).verdict == "unknown"
    again = adapter.send(session, stored(draft, attempts=2))
    assert (again.verdict, again.certificate) == ("confirmed", session.certificate)
    assert (again.reasons[-1].code if again.reasons else "A01") == ("A01" if fault == "drop_request" else "A51")
    effects = hub.effects()
    assert [(one["point"], one["version"], one["transaction"]) for one in effects] == [
        (part.slot.point, 1, part.transaction) for part in days
    ]
    assert [one["values"] for one in effects] == [values(part) for part in days]


def test_a_document_that_is_delivered_twice_is_confirmed(hub, built_at, stored, days):
    adapter, session, build = built_at()
    hub.sandbox.faults.set("duplicate", {"p": 1, "count": 1})
    assert adapter.send(session, stored(build(days[0]))).verdict == "confirmed"
    assert len(hub.effects()) == 1


def test_a_correction_is_the_next_version_and_an_old_one_is_refused(hub, built_at, stored, days):
    adapter, session, build = built_at()
    assert adapter.send(session, stored(build(days[0]))).verdict == "confirmed"
    better = [replace(one, quantity=7) for one in days[0].series.intervals if one.status != "missing"]
    series = replace(days[0].series, intervals=_filled(days[0], better))
    assert adapter.send(
        session, stored(build(replace(days[0], revision=2, transaction="t-2", series=series)))
    ).verdict == ("confirmed")
    stale = adapter.send(session, stored(build(replace(days[0], transaction="t-3"))))
    assert (stale.verdict, {reason.code for reason in stale.reasons}) == ("rejected", {"A02", "A50"})
    assert [one["version"] for one in hub.effects()] == [1, 2]


def _filled(part, better):
    known = {one.start: one for one in better}
    return [known.get(one.start, one) for one in part.series.intervals]


def test_one_day_of_three_is_refused(hub, built_at, stored, days):
    adapter, session, build = built_at()
    assert adapter.send(session, stored(build(replace(days[1], revision=3)))).verdict == "confirmed"
    got = adapter.send(session, stored(build(days[0], replace(days[1], transaction="stale"), days[2])))
    assert got.verdict == "rejected"
    assert set(got.told) == got.transactions == {"stale"}
    assert [one["transaction"] for one in hub.effects()][1:] == [days[0].transaction, days[2].transaction]


def test_acknowledgements_that_come_later(hub, built_at, stored, known, days):
    adapter, session, build = built_at()
    hub.sandbox.options.set("ack", "queued")
    messages = [stored(build(part), state="accepted") for part in days[:2]]
    assert [adapter.send(session, one).verdict for one in messages] == ["accepted"] * 2
    hub.sandbox.faults.set("stranger", {"p": 1, "count": 1})
    hub.sandbox.faults.set("undequeued", {"p": 1, "count": 1})
    found = []

    def fetch():
        found.extend(adapter.inbox(session, known(*messages)))
        return found

    until(fetch, lambda all_: sum("confirmed" in _verdicts(one) for one in all_) >= 2)
    ours = {one.id: one for one in found if "confirmed" in _verdicts(one)}
    assert {name for one in ours.values() for name in one.receipts} == {one.document for one in messages}
    assert sum("pending" in _verdicts(one) for one in found) >= 1
    assert list(adapter.inbox(session, known(*messages))) == []
    assert len(hub.effects()) == 2


def _verdicts(inbound):
    return {said.verdict for said in inbound.receipts.values()}


def test_whom_the_hub_does_not_know(hub, built_at, stored, days):
    adapter, session, build = built_at(cert_file=None, key_file=None)
    got = adapter.send(session, stored(build(days[0])))
    assert (got.verdict, got.status) == ("blocked", 403)
    adapter, session, build = built_at(party="10X1001A1001B55U")
    got = adapter.send(session, stored(build(days[0])))
    assert got.verdict == "rejected"
    assert "A59" in {reason.code for reason in got.reasons}
    assert hub.effects() == []


def test_an_overloaded_hub(hub, built_at, stored, days):
    adapter, session, build = built_at()
    hub.sandbox.faults.set("overload", {"p": 1, "value": 41, "count": 2})
    got = [adapter.send(session, stored(build(days[0]))) for _ in range(2)]
    assert [(one.verdict, one.retry_after_s) for one in got] == [("busy", 41)] * 2
    assert {one.status for one in got} == {429, 503}
