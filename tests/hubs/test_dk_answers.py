"""What DataHub answers to a POST, and what the way to it may make of that: only 202 without a body is success."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.hub_model import Draft
from gateway.uploader.hub import Answer, SessionError
from gateway.uploader.hubs.dk_datahub3 import adapter

JSON = {"content-type": "application/json; charset=utf-8"}
XML = {"content-type": "application/xml; charset=utf-8"}
HTML = {"content-type": "text/html"}
DRAFT = Draft("readings", "send", "doc-1", b"{}", "application/json")


def error(*codes: str) -> bytes:
    """A 400 as DataHub's code writes it."""
    shown = [{"Code": code, "Message": f"Message of {code}", "Target": "MessageId"} for code in codes]
    if len(shown) == 1:
        return json.dumps({"Error": shown[0]}).encode()
    many = {"Code": "BadRequest", "Message": "Multiple errors in message", "Target": "", "Details": {"Errors": shown}}
    return json.dumps({"Error": many}).encode()


def error_xml(*codes: str) -> bytes:
    shown = [f"<Code>{code}</Code><Message>Message of {code}</Message><Target>MessageId</Target>" for code in codes]
    if len(shown) == 1:
        return f"<Error>{shown[0]}</Error>".encode()
    inside = "".join(f"<Error>{one}</Error>" for one in shown)
    head = "<Code>BadRequest</Code><Message>Multiple errors in message</Message><Target></Target>"
    return f"<Error>{head}<Details>{inside}</Details></Error>".encode()


@pytest.fixture
def receipt(asked, stored, make_build):
    """What a send says of one answer."""

    def send(answer: Answer | Exception, attempts: int = 1):
        session = asked(answer)
        found = adapter(make_build(0).settings).send(session, stored(DRAFT, attempts=attempts))
        ((method, path, headers, body),) = session.requests
        assert (method, path, body) == ("POST", "/v1.0/cim/notifyvalidatedmeasuredata", b"{}")
        assert headers == {"Content-Type": "application/json", "Accept": "application/json"}
        return found

    return send


def test_202_without_a_body_is_accepted(receipt) -> None:
    found = receipt(Answer(202, {}, b""))
    assert (found.verdict, found.status, found.reasons) == ("accepted", 202, ())


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, b""),
        (200, JSON, error("00302")),
        (200, JSON, error("00101")),
        (200, HTML, b"<html>Welcome</html>"),
        (201, {}, b""),
        (202, JSON, error("00302")),
        (202, HTML, b"<html>Welcome</html>"),
        (204, {}, b""),
        (206, {}, b""),
    ],
)
def test_no_other_success_is_believed(receipt, status, headers, body) -> None:
    for attempts in (1, 2):
        found = receipt(Answer(status, headers, body), attempts)
        assert found.verdict == "unknown"
        assert found.reasons


@pytest.mark.parametrize("render", [error, error_xml])
@pytest.mark.parametrize(
    ("codes", "first", "again"),
    [
        (("00101",), "duplicate", "duplicate"),
        (("00102",), "rejected", "duplicate"),
        (("00101", "00102", "00102"), "duplicate", "duplicate"),
        (("00302",), "rejected", "rejected"),
        (("00002",), "rejected", "rejected"),
        (("00002", "00402"), "rejected", "rejected"),
        (("00002", "00102"), "rejected", "rejected"),
        # known there, and the credentials changed meanwhile
        (("00002", "00101"), "rejected", "duplicate"),
        (("00205",), "rejected", "rejected"),
    ],
)
def test_400_tells_reasons_or_a_duplicate(receipt, render, codes, first, again) -> None:
    headers = JSON if render is error else XML
    for attempts, verdict in ((1, first), (2, again), (9, again)):
        found = receipt(Answer(400, headers, render(*codes)), attempts)
        assert found.verdict == verdict
        assert [reason.code for reason in found.reasons] == list(codes)
        assert found.reasons[0].text == f"Message of {codes[0]}"


def test_details_as_a_list_are_read_too(receipt) -> None:
    body = {"Error": {"Code": "BadRequest", "Message": "", "Details": [{"Code": "00002", "Message": "no"}]}}
    found = receipt(Answer(400, JSON, json.dumps(body).encode()))
    assert [tuple(reason) for reason in found.reasons] == [("00002", "no")]


def test_more_errors_than_are_kept(receipt) -> None:
    """A message of 2,000 transactions that is sent again is told 2,001 errors: all count, 50 are kept."""
    codes = ("00101", *["00102"] * 2_000)
    found = receipt(Answer(400, JSON, error(*codes)), 2)
    assert found.verdict == "duplicate"
    assert len(found.reasons) == 50
    assert receipt(Answer(400, JSON, error(*codes, "00302"))).verdict == "rejected"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (HTML, b"<html>Bad request</html>"),
        ({}, error("00302")),
        ({"content-type": "text/plain"}, b"Content-Type must be one of application/json, application/xml"),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b'{"Error": {}}'),
        (JSON, b'{"Error": "00101"}'),
        (JSON, b'{"Error": {"Code": 101, "Message": ""}}'),
        (JSON, b'{"Error": {"Code": "BadRequest", "Message": ""}}'),
        (JSON, b'{"Error": {"Code": "BadRequest", "Message": "", "Details": {"Errors": []}}}'),
        (JSON, b'{"Error": {"Code": "00101", "Message": "x"}, "More": 1}'),
        (JSON, b'{"Error": {"Code": "00101", "Code": "00302", "Message": "x"}}'),
        (JSON, error_xml("00101")),
        (XML, error("00101")),
        (XML, b"<Other><Code>00101</Code></Other>"),
        (XML, b'<!DOCTYPE Error [<!ENTITY a "00101">]><Error><Code>&a;</Code></Error>'),
        (JSON, error("00101").decode().encode("utf-16")),
    ],
)
def test_a_400_that_is_not_datahubs_settles_nothing(receipt, headers, body) -> None:
    for attempts in (1, 2):
        found = receipt(Answer(400, headers, body), attempts)
        assert found.verdict == "unknown"
        assert found.reasons[0].code == "bad_answer"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (301, "blocked"),
        (307, "blocked"),
        (401, "blocked"),
        (403, "blocked"),
        (404, "blocked"),
        (413, "rejected"),
        (415, "blocked"),
        (429, "busy"),
        (500, "unknown"),
        (502, "unknown"),
        (503, "busy"),
        (504, "unknown"),
    ],
)
def test_other_statuses(receipt, status, verdict) -> None:
    found = receipt(Answer(status, {"retry-after": "7"} | HTML, b"<html>00101 accepted</html>"))
    assert (found.verdict, found.status, found.retry_after_s) == (verdict, status, 7)


@pytest.mark.parametrize(
    ("sent", "person", "verdict"), [(True, False, "unknown"), (False, False, "busy"), (False, True, "blocked")]
)
def test_no_answer(receipt, sent, person, verdict) -> None:
    found = receipt(SessionError("nothing came", sent=sent, person=person, retry_after_s=5))
    assert (found.verdict, found.retry_after_s) == (verdict, 5)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.integers(100, 599).filter(lambda status: status != 202),
    st.sampled_from([JSON, XML, HTML, {}]),
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.one_of(
                st.none(), st.booleans(), st.floats(), st.text(max_size=9), st.sampled_from(["00101", "BadRequest"])
            ),
            lambda inside: (
                st.lists(inside, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["Error", "Code", "Message", "Details", "Errors"]), inside, max_size=4
                )
            ),
            max_leaves=9,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.integers(1, 3),
)
def test_hostile_answers_are_never_accepted(status, headers, body, attempts) -> None:
    from gateway.hub_settings import HubSettings
    from gateway.uploader.hubs.dk_answers import of_send

    class Message:
        pass

    Message.attempts = attempts

    class Session:
        certificate = None

    assert HubSettings(name="x", kind="dk-datahub3")
    found = of_send(Answer(status, headers, body), Session(), Message())
    assert found.verdict not in ("accepted", "confirmed", "pending")
    if found.verdict == "duplicate":
        assert status == 400
        assert b"00101" in body
