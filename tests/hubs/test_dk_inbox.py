"""What DataHub has for us: rejects, reminders and sums, each once; what is garbled or strange changes nothing."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hub_model import Reason, Slot
from gateway.hub_settings import HubSettings
from gateway.uploader.hub import Answer, SessionError
from gateway.uploader.hubs.dk_datahub3 import MOST_BUNDLES, adapter
from gateway.uploader.hubs.dk_documents import read

HERE = Path(__file__).parent / "samples" / "dk-datahub3" / "built"
DAY = date(2026, 3, 3)
EMPTY, DONE = Answer(204, {}, b""), Answer(200, {}, b"")
ACK = "Acknowledgement_MarketDocument"
PARTY = "5799999933318"
SETTINGS = HubSettings(name="hub", kind="dk-datahub3", party=PARTY)


def sample(name: str) -> bytes:
    return (HERE / name).read_bytes()


def bundle(body: bytes, identity: str = "b1", media: str = "application/json") -> Answer:
    return Answer(200, {"content-type": f"{media}; charset=utf-8", "messageid": identity}, body)


@pytest.fixture
def sent(make_part, make_build, stored):
    """A message of two days as it was accepted."""
    parts = [make_part(DAY), make_part(DAY, direction="export")]
    about = make_build(parts[0].end + 3_600)
    (draft,) = adapter(about.settings).build(parts, about)
    return stored(draft, state="accepted")


def acknowledgement(document: str, *series: tuple[str, tuple[str, ...]], **more) -> bytes:
    value = json.loads(sample("rsm009-reject.json"))
    head = value[ACK]
    head["received_MarketDocument.mRID"] = document
    head["Series"] = [
        {"mRID": name, "Reason": [{"code": {"value": code}, "text": f"fejl {code} / error {code}"} for code in codes]}
        for name, codes in series
    ]
    head |= more
    return json.dumps(value).encode()


def acknowledgement_xml(document: str, *series: tuple[str, tuple[str, ...]]) -> bytes:
    text = sample("rsm009-reject.xml").decode()
    head, rest = text.split("  <cim:Series>", 1)
    many = "".join(
        f"<cim:Series><cim:mRID>{name}</cim:mRID>"
        + "".join(
            f"<cim:Reason><cim:code>{code}</cim:code><cim:text>fejl {code} / error {code}</cim:text></cim:Reason>"
            for code in codes
        )
        + "</cim:Series>"
        for name, codes in series
    )
    start = head.index("<cim:received_MarketDocument.mRID>")
    end = head.index("</cim:received_MarketDocument.mRID>")
    return (
        head[:start]
        + f"<cim:received_MarketDocument.mRID>{document}"
        + head[end:]
        + many
        + rest.split("</cim:Series>")[1]
    ).encode()


def visit(session, open_, hub: HubSettings = SETTINGS) -> list:
    return list(adapter(hub).inbox(session, open_))


def test_both_queues_are_asked_for_in_our_format(asked, known) -> None:
    for form in ("json", "xml"):
        session = asked(EMPTY, EMPTY)
        assert visit(session, known(), replace_format(form)) == []
        media = f"application/{form}"
        assert session.requests == [
            ("GET", f"/v1.0/cim/{queue}", {"Content-Type": media, "Accept": media}, b"")
            for queue in ("Timeseries", "Aggregations")
        ]


def replace_format(form: str) -> HubSettings:
    return HubSettings(name="hub", kind="dk-datahub3", party=PARTY, format=form)


@pytest.mark.parametrize("render", [acknowledgement, acknowledgement_xml])
def test_a_reject_names_our_transactions_with_their_own_reasons(asked, known, sent, render) -> None:
    first, second = (part.transaction for part in sent.parts)
    body = render(sent.document, (first, ("E87",)), (second, ("D12", "E86")))
    media = "application/json" if render is acknowledgement else "application/xml"
    session = asked(bundle(body, media=media), DONE, EMPTY, EMPTY)
    (found,) = visit(session, known(sent))
    assert (found.id, found.kind, found.body, found.severity) == ("b1", "rsm-009", body, None)
    (receipt,) = found.receipts.values()
    assert list(found.receipts) == [sent.document]
    assert (receipt.verdict, receipt.transactions) == ("rejected", {first, second})
    assert receipt.told == {
        first: (Reason("E87", "fejl E87 / error E87"),),
        second: (Reason("D12", "fejl D12 / error D12"), Reason("E86", "fejl E86 / error E86")),
    }
    assert session.requests[1][:2] == ("DELETE", "/v1.0/cim/dequeue/b1")


def test_it_is_dequeued_after_it_was_stored_and_not_before(asked, known, sent) -> None:
    session = asked(bundle(acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))), DONE, EMPTY, EMPTY)
    visiting = adapter(SETTINGS).inbox(session, known(sent))
    next(visiting)
    assert [method for method, *_ in session.requests] == ["GET"]
    assert list(visiting) == []
    assert [method for method, *_ in session.requests] == ["GET", "DELETE", "GET", "GET"]


def test_an_unstored_bundle_stays(asked, known, sent) -> None:
    session = asked(bundle(acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))))
    visiting = adapter(SETTINGS).inbox(session, known(sent))
    next(visiting)
    visiting.close()
    assert [method for method, *_ in session.requests] == ["GET"]


def test_one_part_of_two_is_rejected(asked, known, sent) -> None:
    first = sent.parts[0].transaction
    session = asked(bundle(acknowledgement(sent.document, (first, ("E10",)))), DONE, EMPTY, EMPTY)
    (found,) = visit(session, known(sent))
    assert found.receipts[sent.document].transactions == {first}


def test_a_reject_of_the_whole_message(known, sent) -> None:
    body = acknowledgement(sent.document, Reason=[{"code": {"value": "E10"}, "text": "x"}])
    found = read("b1", body, "application/json", SETTINGS, known(sent))
    receipt = found.receipts[sent.document]
    assert (receipt.verdict, receipt.transactions, receipt.reasons) == ("rejected", frozenset(), (Reason("E10", "x"),))


@pytest.mark.parametrize(
    "body",
    [
        acknowledgement("never-sent", ("t-9", ("E87",))),
        acknowledgement("", ("t-9", ("E87",))),
        sample("rsm009-reject.json"),
    ],
)
def test_a_message_that_was_never_sent_changes_nothing_and_is_told(known, sent, body) -> None:
    found = read("b1", body, "application/json", SETTINGS, known(sent))
    assert (found.kind, found.receipts, found.severity) == ("rsm-009", {}, "warning")
    assert "never sent" in found.text


def test_a_transaction_that_was_never_sent_does_not_reject_the_message(known, sent) -> None:
    found = read("b1", acknowledgement(sent.document, ("t-9", ("E87",))), "application/json", SETTINGS, known(sent))
    assert (found.receipts, found.severity) == ({}, "warning")
    both = acknowledgement(sent.document, ("t-9", ("E87",)), (sent.parts[1].transaction, ("E10",)))
    found = read("b2", both, "application/json", SETTINGS, known(sent))
    assert found.receipts[sent.document].transactions == {sent.parts[1].transaction}


def test_an_acceptance_is_no_reject(known, sent) -> None:
    body = acknowledgement(sent.document, *((part.transaction, ("A01",)) for part in sent.parts))
    assert read("b1", body, "application/json", SETTINGS, known(sent)).receipts == {}


def test_a_reject_without_reasons_is_a_reject(known, sent) -> None:
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ()))
    receipt = read("b1", body, "application/json", SETTINGS, known(sent)).receipts[sent.document]
    assert (receipt.verdict, receipt.reasons[0].code) == ("rejected", "no_reason")


def test_what_is_for_somebody_else_changes_nothing(known, sent) -> None:
    other = {"receiver_MarketParticipant.mRID": {"codingScheme": "A10", "value": "5790000432752"}}
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)), **other)
    found = read("b1", body, "application/json", SETTINGS, known(sent))
    assert (found.kind, found.receipts, found.severity) == ("misdirected", {}, "error")


def test_a_bundle_that_comes_again_is_given_again_and_dequeued_again(asked, known, sent) -> None:
    """The store knows that it was processed; the queue must lose it all the same."""
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))
    session = asked(bundle(body), DONE, bundle(body), Answer(400, {}, b""), EMPTY, EMPTY)
    assert [found.id for found in visit(session, known(sent))] == ["b1", "b1"]
    assert [path for method, path, *_ in session.requests if method == "DELETE"] == ["/v1.0/cim/dequeue/b1"] * 2


def test_a_bundle_that_comes_for_ever_ends_the_visit(asked, known, sent) -> None:
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))
    session = asked(*[bundle(body), DONE] * 9)
    with pytest.raises(SessionError, match="again and again"):
        visit(session, known(sent))


def test_a_queue_without_end_ends_the_visit(asked, known, sent) -> None:
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))
    session = asked(*(one for n in range(MOST_BUNDLES) for one in (bundle(body, f"b{n}"), DONE)))
    visiting = adapter(SETTINGS).inbox(session, known(sent))
    for _ in range(MOST_BUNDLES):
        next(visiting)
    with pytest.raises(SessionError, match="others wait"):
        next(visiting)


def test_what_the_way_garbled_is_not_dequeued(asked, known, sent) -> None:
    right = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))
    session = asked(bundle(b"\x00garbage"), bundle(right))
    with pytest.raises(SessionError, match="differently"):
        visit(session, known(sent))
    assert [method for method, *_ in session.requests] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "unreadable"),
        (b'{"Acknowledgement_MarketDocument": 7}', "unreadable"),
        (b'{"A": {}, "B": {}}', "unreadable"),
        (json.dumps({"NotifyAggregatedMeasureData_MarketDocument": {"mRID": "1"}}).encode(), "unknown-document"),
        (sample("rsm012-pt1h-24points.json").replace(b"5790001330552", PARTY.encode()), "unknown-document"),
    ],
)
def test_what_cannot_be_read_is_kept_told_and_dequeued_when_it_stays_so(asked, known, body, kind) -> None:
    session = asked(*[bundle(body)] * 4, DONE, EMPTY, EMPTY)
    (found,) = visit(session, known())
    assert (found.kind, found.body, found.receipts) == (kind, body, {})
    assert found.severity in ("warning", "error")
    assert found.text


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"content-type": "text/html", "messageid": "b1"}, b"<html>"),
        Answer(200, {"content-type": "application/json"}, b"{}"),
        Answer(200, {"content-type": "application/json", "messageid": "../../x"}, b"{}"),
        Answer(200, {"content-type": "application/json", "messageid": "b" * 101}, b"{}"),
        Answer(202, {}, b""),
        Answer(401, {}, b""),
        Answer(403, {}, b""),
        Answer(500, {}, b""),
        Answer(503, {"retry-after": "9"}, b""),
        Answer(302, {"location": "https://elsewhere.example/"}, b""),
        SessionError("gone", sent=True),
    ],
)
def test_a_queue_that_cannot_be_read_is_trouble_and_not_empty(asked, known, answer) -> None:
    with pytest.raises(SessionError):
        visit(asked(answer), known())


def test_trouble_says_whether_a_person_is_needed(asked, known) -> None:
    with pytest.raises(SessionError) as caught:
        visit(asked(Answer(403, {}, b"")), known())
    assert caught.value.person
    with pytest.raises(SessionError) as caught:
        visit(asked(Answer(503, {"retry-after": "9"}, b"")), known())
    assert (caught.value.person, caught.value.retry_after_s) == (False, 9)


def test_a_dequeue_that_fails_ends_the_visit(asked, known, sent) -> None:
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))
    with pytest.raises(SessionError, match="not dequeued"):
        visit(asked(bundle(body), Answer(500, {}, b"")), known(sent))


def test_a_reminder_wants_the_danish_day_in_both_directions(asked, known) -> None:
    session = asked(bundle(sample("rsm018-reminder.json")), DONE, EMPTY, EMPTY)
    (found,) = visit(session, known())
    start = int(datetime(2026, 3, 3, 23, tzinfo=UTC).timestamp())
    assert found.kind == "rsm-018"
    assert found.wanted == tuple(
        Slot("571313000000002000", direction, "active", "PT15M", start) for direction in ("import", "export")
    )
    assert "571313000000002000 2026-03-04" in found.text
    assert found.receipts == {}


def test_a_reminder_in_xml_of_a_day_in_summer_time(known) -> None:
    body = f"""<cim:ReminderOfMissingMeasureData_MarketDocument
      xmlns:cim="urn:ediel.org:measure:reminderofmissingmeasuredata:0:1">
      <cim:mRID>r</cim:mRID>
      <cim:receiver_MarketParticipant.mRID codingScheme="A10">{PARTY}</cim:receiver_MarketParticipant.mRID>
      <cim:Series><cim:mRID>s</cim:mRID>
      <cim:request_DateAndOrTime.dateTime>2026-07-01T22:00:00Z</cim:request_DateAndOrTime.dateTime>
      <cim:MarketEvaluationPoint><cim:mRID codingScheme="A10">571313000000002000</cim:mRID></cim:MarketEvaluationPoint>
      <cim:MarketEvaluationPoint><cim:mRID codingScheme="A10">571313000000002001</cim:mRID></cim:MarketEvaluationPoint>
      </cim:Series></cim:ReminderOfMissingMeasureData_MarketDocument>""".encode()
    found = read("b", body, "application/xml", SETTINGS, known())
    assert {slot.start for slot in found.wanted} == {int(datetime(2026, 7, 1, 22, tzinfo=UTC).timestamp())}
    assert {slot.point for slot in found.wanted} == {"571313000000002000"}


def test_a_reminder_of_nothing(known) -> None:
    value = json.loads(sample("rsm018-reminder.json"))
    del value["ReminderOfMissingMeasureData_MarketDocument"]["Series"][0]["request_DateAndOrTime.dateTime"]
    found = read("b", json.dumps(value).encode(), "application/json", SETTINGS, known())
    assert (found.wanted, found.severity) == ((), "warning")


@pytest.fixture
def request_of(make_build, stored):
    """A request for the sums of March, as it was accepted, with a given transaction id."""

    def make(transaction: str):
        about = make_build(int(datetime(2026, 4, 2, 8, tzinfo=UTC).timestamp()), role="DDQ", points=())
        draft = adapter(about.settings).request("sums", {"month": "2026-03"}, about)
        return stored(replace(draft, about=dict(draft.about) | {"transaction": transaction}), state="accepted")

    return make


def test_sums_answer_the_request_and_are_kept(asked, known, request_of) -> None:
    asking = request_of("2c1a0e12-85c2-4e0e-8f2a-7e5f0c281001")
    session = asked(EMPTY, bundle(sample("rsm019-notify-wholesale-monthly.json")), DONE, EMPTY)
    open_ = known(asking)
    (found,) = visit(session, open_)
    assert (found.kind, found.severity) == ("rsm-019", "info")
    assert found.receipts[asking.document].verdict == "confirmed"
    (fact,) = found.facts["sums"]
    assert fact["energy_wh"] == 18_427_310
    assert found.facts["requests"] == [asking.document]
    # another bundle of the same answer, after the request is over
    later = known(replace(asking, state="confirmed"))
    later.notes = open_.notes
    again = read("b2", sample("rsm019-notify-wholesale-monthly.json"), "application/json", SETTINGS, later)
    assert again.facts["requests"] == [asking.document]


def test_sums_that_nobody_asked_for_are_kept_and_told(known, request_of) -> None:
    body = sample("rsm019-notify-wholesale-monthly.json")
    found = read("b", body, "application/json", SETTINGS, known(request_of("another")))
    assert (found.receipts, found.severity) == ({}, "warning")
    assert found.facts["sums"][0]["energy_wh"] == 18_427_310


def test_more_sums_than_are_kept_as_facts_are_told(known) -> None:
    value = json.loads(sample("rsm019-notify-wholesale-monthly.json"))
    value["NotifyWholesaleServices_MarketDocument"]["Series"] *= 201
    found = read("b", json.dumps(value).encode(), "application/json", SETTINGS, known())
    assert (len(found.facts["sums"]), found.facts["count"]) == (200, 201)
    assert "201 sums of DataHub, of which the first 200" in found.text


def test_a_reject_of_the_request(known, request_of) -> None:
    asking = request_of("2c1a0e12-85c2-4e0e-8f2a-7e5f0c281001")
    found = read("b", sample("brs028-reject.json"), "application/json", SETTINGS, known(asking))
    receipt = found.receipts[asking.document]
    assert (found.kind, receipt.verdict, receipt.reasons[0].code) == ("rsm-017", "rejected", "E17")
    assert (found.facts["type"], found.facts["reason"]) == ("ERR", "A02")
    other = read("b", sample("brs028-reject.json"), "application/json", SETTINGS, known(request_of("another")))
    assert (other.receipts, other.severity) == ({}, "warning")


NAMES = [
    "Acknowledgement_MarketDocument",
    "RejectRequestWholesaleSettlement_MarketDocument",
    "NotifyWholesaleServices_MarketDocument",
    "ReminderOfMissingMeasureData_MarketDocument",
]
KEYS = [
    "mRID",
    "Series",
    "Reason",
    "code",
    "text",
    "value",
    "codingScheme",
    "received_MarketDocument.mRID",
    "Period",
    "Point",
    "timeInterval",
    "start",
    "end",
    "energySum_Quantity.quantity",
    "request_DateAndOrTime.dateTime",
    "MarketEvaluationPoint",
    "originalTransactionIDReference_Series.mRID",
    "quantity_Measure_Unit.name",
    "type",
    "process.processType",
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["doc-1", "571313000000002000", "2026-03-03T23:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01T00:00Z", "KWH"]
    ),
)
TREES = st.recursive(
    LEAVES,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inside, max_size=6),
    max_leaves=25,
)


def as_xml(name: str, tree: Any) -> str:
    """A tree of JSON as elements; lists repeat them."""
    if isinstance(tree, dict):
        inside = "".join(as_xml(key, value) for key, value in tree.items())
    elif isinstance(tree, list):
        return "".join(as_xml(name, value) for value in tree)
    else:
        inside = escape("".join(c for c in str(tree) if c.isprintable()))
    return f"<{name}>{inside}</{name}>"


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.sampled_from(NAMES), TREES, st.sampled_from(["application/json", "application/xml"]))
def test_no_document_raises_or_confirms(name, tree, media) -> None:
    class Nothing:
        def document(self, _):
            return None

        def awaiting(self, _):
            return ()

        def note(self, _):
            return None

    inside = tree if not isinstance(tree, list) else {"Series": tree}
    body = json.dumps({name: tree}) if media == "application/json" else as_xml(name, inside)
    found = read("b", body.encode(), media, SETTINGS, Nothing())
    assert found.receipts == {}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_reject_raises_nothing_and_rejects_no_more_than_it_names(sent_once, data) -> None:
    """Octets of a right reject are cut, doubled or changed: nothing but a reject of our transactions may come of it."""
    message, open_ = sent_once
    name = data.draw(st.sampled_from(["json", "xml"]))
    render = acknowledgement if name == "json" else acknowledgement_xml
    body = bytearray(render(message.document, (message.parts[0].transaction, ("E87",))))
    for _ in range(data.draw(st.integers(1, 4))):
        at, size = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 40))
        body[at : at + size] = data.draw(st.binary(max_size=20))
        if not body:
            body = bytearray(b" ")
    found = read("b", bytes(body), f"application/{name}", SETTINGS, open_)
    for receipt in found.receipts.values():
        assert receipt.verdict == "rejected"
        assert receipt.transactions <= {part.transaction for part in message.parts}


@pytest.fixture(scope="module")
def sent_once():
    from gateway.hub_model import Message, PartRow

    slot = Slot("571313000000002000", "import", "active", "PT15M", 0)
    rows = tuple(PartRow(slot._replace(start=n), n + 1, 1, f"transaction-{n}", b"", "config") for n in range(2))
    message = Message(
        1, "hub", "readings", "send", "doc-1", b"", "", "application/json", rows, {}, "auto", "accepted", 0, 0, 0, 0, 1
    )

    class Ours:
        def document(self, document):
            return message if document == "doc-1" else None

    return message, Ours()


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"<!DOCTYPE a [<!ENTITY b 'c'><!ENTITY d '&b;&b;'>]><a>&d;</a>", "application/xml"),
        (b"<?xml version='1.0'?><!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "application/xml"),
        (b"[" * 100_000, "application/json"),
        (b"{" + b'"a":{' * 50_000, "application/json"),
        (b"<a>" * 100_000, "application/xml"),
        (b'{"Acknowledgement_MarketDocument": {"mRID": 1e999999999}}', "application/json"),
        (
            b'{"Acknowledgement_MarketDocument": {"Series": [' + b'{"mRID":"x"},' * 300_000 + b'{"mRID":"x"}]}}',
            "application/json",
        ),
        ("<a>æ</a>".encode("latin-1"), "application/xml"),
        (b"", "application/json"),
    ],
)
def test_bombs_are_kept_unread(known, body, media) -> None:
    found = read("b", body, media, SETTINGS, known())
    assert (found.kind, found.receipts) == ("unreadable", {})
    assert len(found.text) < 600


def test_controls_and_length_of_a_reason_are_cut(known, sent) -> None:
    body = acknowledgement(sent.document, (sent.parts[0].transaction, ("E87",)))
    value = json.loads(body)
    value[ACK]["Series"][0]["Reason"][0]["text"] = "\x1b[31mred\n" + "x" * 10_000
    found = read("b", json.dumps(value).encode(), "application/json", SETTINGS, known(sent))
    (reason,) = found.receipts[sent.document].reasons
    assert len(reason.text) <= 300
    assert reason.text.isprintable()
