"""Random damage of every genuine answer: a judgement of the right kind or a refusal, never another exception.

And never a success for a message whose id was damaged. Rejects of Denmark (test_dk_inbox), answers of OTE
(test_cz_ote), deliveries and exports of PND (test_cz_portal) and reports of ESO (test_lt_report) have more of it.
"""

import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.hub_settings import HubSettings
from gateway.imports.record import ImportFileError
from gateway.uploader import oauth
from gateway.uploader.hub import Answer, SessionError
from gateway.uploader.hubs import cz_ote, dk_build, ee_estfeed, eu_vhd, lt_eso, lt_names, lt_pages
from gateway.uploader.hubs.dk_answers import of_send
from gateway.uploader.hubs.dk_documents import read as read_dk
from tests.hubs import cz_parts
from tests.hubs.test_dk_answers import error, error_xml
from tests.hubs.test_eu_vhd import ack, in_error, rejected

SAMPLES = Path(__file__).parent / "samples"
DOCUMENT = "9b1d3c9e-6b0f-4b5d-9a6e-0d6a1f3c0001"
XML, JSON = {"content-type": "application/xml"}, {"content-type": "application/json"}
#: what a field is given in place of its value
VALUES = (
    None,
    True,
    0,
    -1,
    10**30,
    1e300,
    "",
    "\x1b[2J",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00Z",
    [],
    {},
    [[]],
    {"value": 5},
)


def damaged(good: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The octets with up to 4 faults: changed, lost, doubled, put in; a third of them by fields, where it is JSON."""
    chance = random.Random(seed)
    for number in range(count):
        if number % 3 == 0 and good[:1] in b"{[":
            yield _fields(good, chance)
            continue
        octets = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            at, size = chance.randrange(len(octets)), chance.choice((1, 1, 3, 30))
            put = (b"", b"9" * 50, b"1e400", b"\x00", b"&a;", b"\xff", bytes((chance.randrange(256),)))
            octets[at : at + size] = chance.choice((*put, octets[at : at + 60]))
            octets = octets or bytearray(b" ")
        yield bytes(octets)


def _fields(good: bytes, chance: random.Random) -> bytes:
    """A document of which fields were lost, renamed, retyped or doubled."""
    document = json.loads(good)
    for _ in range(chance.randint(1, 3)):
        found = list(_places(document))
        if not found:
            break
        parent, key = chance.choice(found)
        how = chance.randrange(5)
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            parent[f"{key}2"] = parent.pop(key)
        elif how == 2:
            parent[key] = [parent[key], copy.deepcopy(parent[key])]
        else:
            parent[key] = copy.deepcopy(chance.choice(VALUES))
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(child)


# -- Denmark -----------------------------------------------------------------------------------------------------------


class Ours:
    """A message and a request of ours, both open."""

    def __init__(self, message: Any) -> None:
        self.message, self.notes = message, {}

    def document(self, document: str) -> Any:
        return self.message if document == DOCUMENT else None

    def awaiting(self, _operation: str | None = None) -> list[Any]:
        return [self.message]

    def note(self, key: str) -> bytes | None:
        return self.notes.get(key)

    def remember(self, key: str, value: bytes) -> None:
        self.notes[key] = value


TRANSACTIONS = ("9b1d3c9e-6b0f-4b5d-9a6e-0d6a1f3c1001", "2c1a0e12-85c2-4e0e-8f2a-7e5f0c281001")


@pytest.mark.parametrize("name", [
    "rsm009-reject.json", "rsm009-reject.xml", "brs028-reject.json", "rsm018-reminder.json",
    "rsm019-notify-wholesale-monthly.json",
])  # fmt: skip
def test_mutated_documents_of_datahub(make_part, make_build, stored, name) -> None:
    about = make_build(1_772_600_000, role="MDR")
    draft = next(iter(dk_build.drafts([make_part(date(2026, 3, 3))], about)))
    part = draft.parts[0]._replace(transaction=TRANSACTIONS[0])
    draft = replace(draft, document=DOCUMENT, parts=(part,), about={"transaction": TRANSACTIONS[1]})
    path = SAMPLES / "dk-datahub3" / "built" / name
    media = f"application/{path.suffix[1:]}"
    settings, good = HubSettings(name="dk", kind="dk-datahub3"), path.read_bytes()
    kinds = Counter()
    for octets in (good, *damaged(good, 400, 12)):
        ours = Ours(stored(draft, state="accepted"))
        found = read_dk("b", octets, media, settings, ours)
        kinds[found.kind] += 1
        assert len(found.text) < 1_000
        assert found.text.isprintable()
        for document, receipt in found.receipts.items():
            assert document == DOCUMENT
            assert receipt.verdict == ("confirmed" if found.kind == "rsm-019" else "rejected")
            named = DOCUMENT if found.kind == "rsm-009" else TRANSACTIONS[1]
            assert named.encode() in octets
            assert receipt.transactions <= {TRANSACTIONS[0]}
    assert len(kinds) > 1


@pytest.mark.parametrize("kind", [JSON, XML])
@pytest.mark.parametrize("attempts", [1, 2])
def test_mutated_refusals_of_datahub_take_nothing(stored, asked, kind, attempts) -> None:
    class Message:
        pass

    Message.attempts = attempts
    for code in ("00101", "00302"):
        good = (error if kind is JSON else error_xml)(code, "00102")
        for octets in damaged(good, 300, 13):
            found = of_send(Answer(400, kind, octets), asked(), Message)
            assert found.verdict in ("rejected", "unknown", "duplicate")
            assert found.verdict != "duplicate" or b"0010" in octets


# -- Estonia -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def estonian(make_part, make_build, stored):
    """A message of two metering points."""
    about = make_build(1_772_600_000, "ee-estfeed", party="38X-EIN-ALL----B", role="GRID_OPERATOR")
    points = ("38ZEE-1000009--Z", "38ZEE-1000010--K")
    parts = [make_part(date(2026, 3, 3), zone="Europe/Tallinn", point=point) for point in points]
    return stored(ee_estfeed.adapter(about.settings).build(parts, about)[0], state="accepted")


@pytest.mark.parametrize("word", ["SUCCESSFUL", "PROCESSING", "ERROR"])
def test_mutated_statuses_of_estfeed(estonian, asked, word) -> None:
    errors = [{"code": "opp.error.business.wrong-resolution", "message": "38ZEE-1000009--Z 2026-03-03T00:00Z"}]
    said = {"documentIdentification": estonian.document, "status": word, "statusTime": "2026-11-22T11:41:51Z"}
    good = json.dumps(said | ({"errors": errors} if word == "ERROR" else {})).encode()
    adapter, verdicts = ee_estfeed.adapter(HubSettings(name="h", kind="ee-estfeed")), Counter()
    allowed = {"SUCCESSFUL": "confirmed", "PROCESSING": "accepted", "ERROR": "rejected"}
    for octets in (good, *damaged(good, 900, 14)):
        got = adapter.query(asked(Answer(200, JSON, octets)), estonian)
        verdicts[got.verdict] += 1
        assert got.verdict in ("busy", allowed[word])
        if got.verdict != "busy":
            assert word.encode() in octets
            other = b"Identification" in octets and estonian.document.encode() not in octets.lower()
            assert not other or got.verdict == "rejected" or _names_none(octets)
        assert len(got.reasons) <= 50
        assert got.told.keys() <= {part.transaction for part in estonian.parts}
    assert len(verdicts) == 2


def _names_none(octets: bytes) -> bool:
    """Whether the field of the id is gone, and not damaged."""
    found = json.loads(octets)
    return all(found.get(key) is None for key in ("documentIdentification", "originalDocumentIdentification"))


@pytest.mark.parametrize("status", [400, 409, 422])
def test_mutated_refusals_of_estfeed_take_nothing(estonian, asked, status) -> None:
    code = "opp.error.business.metering-data-is-duplicated"
    good = json.dumps(
        {"errors": [{"code": code, "message": "received before"}, {"code": "x"}][: status - 399]}
    ).encode()
    adapter = ee_estfeed.adapter(HubSettings(name="h", kind="ee-estfeed"))
    for octets in damaged(good, 400, 15):
        got = adapter.send(asked(Answer(status, JSON, octets)), estonian)
        assert got.verdict in ("rejected", "duplicate")
        assert got.verdict == "rejected" or code.encode() in octets


# -- the common European format ----------------------------------------------------------------------------------------

ACKS = {
    "accepted": ack("A01", document=DOCUMENT),
    "refused": ack("A02", "A57", document=DOCUMENT),
    "repeated": ack("A51", document=DOCUMENT),
    "in part": ack("A03", document=DOCUMENT, series=rejected("t1", "A57", version="1")),
    "periods": ack("A21", document=DOCUMENT, periods=in_error("2026-03-03T04:00Z", "2026-03-03T05:00Z")),
}


@pytest.fixture
def european(make_part, make_build, stored):
    """A document, and the adapter that made it."""
    about = make_build(1_772_600_000, "eu-vhd", party="10X1001A1001B54W", receiver="99X-SANDBOX-HUBX", role="A58")
    adapter = eu_vhd.adapter(about.settings)
    draft = adapter.build([make_part(date(2026, 3, 3))], about)[0]
    return adapter, stored(replace(draft, document=DOCUMENT), state="accepted")


@pytest.mark.parametrize("name", ACKS)
@pytest.mark.parametrize("status", [200, 400])
def test_mutated_acknowledgements(european, asked, known, name, status) -> None:
    adapter, message = european
    verdicts = Counter()
    for octets in (ACKS[name], *damaged(ACKS[name], 300, 16)):
        answer = Answer(status, XML | {"messageid": "m1"}, octets)
        got = adapter.send(asked(answer), message)
        verdicts[got.verdict] += 1
        assert got.verdict in ("confirmed", "rejected", "unknown")
        receipts = [got]
        if status == 200:
            (inbound,) = adapter.inbox(asked(answer, Answer(200, {}, b""), Answer(204, {}, b"")), known(message))
            assert inbound.text.isprintable()
            receipts += [receipt for document, receipt in inbound.receipts.items() if document == DOCUMENT]
        for receipt in receipts:
            if receipt.verdict == "confirmed":
                assert DOCUMENT.encode() in octets
                assert b"A01" in octets or b"A51" in octets
    assert len(verdicts) >= (2 if status == 200 else 1)


# -- Czechia -----------------------------------------------------------------------------------------------------------


def test_mutated_files_of_ote_settle_no_other_message(stored) -> None:
    good = (SAMPLES / "cz" / "RESPONSE-accepted.xml").read_bytes()
    adapter = cz_ote.adapter(cz_parts.settings())
    (draft,) = adapter.build([cz_parts.part()], cz_parts.build(cz_parts.settings()))
    draft = replace(draft, document="10000000000121")
    verdicts, told = Counter(), []
    for octets in (good, *damaged(good, 900, 17)):
        message = cz_parts.stored(draft)
        try:
            inbound = adapter.read_answer(octets, cz_parts.Outbox([message]))
        except ImportFileError as refused:
            told.append(str(refused))
            continue
        for document, receipt in inbound.receipts.items():
            verdicts[receipt.verdict] += 1
            assert f'"{document}"'.encode() in octets
            assert receipt.verdict != "confirmed" or (b'"A01"' in octets and b'"8591824000007"' in octets)
    assert verdicts["confirmed"]
    assert all(text.isprintable() for text in told)


# -- Lithuania ---------------------------------------------------------------------------------------------------------

FLOW = json.loads((SAMPLES / "lt" / "order-flow-SANDBOX.json").read_text())


@pytest.fixture
def ordered(make_build, stored):
    """An order of a day."""
    about = make_build(1_772_600_000, "lt-eso", points=("99999917",))
    return stored(lt_eso.adapter(about.settings).request("order", {"from": "2026-03-03"}, about))


def test_mutated_answers_to_an_order(ordered, asked) -> None:
    """The hub numbers an order itself: nothing but its report tells that the number was damaged (test_lt_report)."""
    adapter, verdicts = lt_eso.adapter(HubSettings(name="h", kind="lt-eso")), Counter()
    good = json.dumps(FLOW["1_create"]["response"]["body"]).encode()
    broken = b'{"errors": [{"code": 17, "message": "no right"}]}'
    for octets in (good, *damaged(good, 600, 18), *damaged(broken, 300, 19)):
        got = adapter.send(asked(Answer(200, JSON, octets)), ordered)
        verdicts[got.verdict] += 1
        assert got.verdict in ("accepted", "rejected", "unknown")
        if got.verdict == "accepted":
            assert json.loads(octets)["orderId"] == int(got.reference) > 0
    assert verdicts.keys() == {"accepted", "rejected", "unknown"}


@pytest.mark.parametrize("part", ["2_poll", "3_data"])
def test_mutated_reports_close_an_order_by_its_own_number_alone(ordered, asked, known, part) -> None:
    flow = FLOW[part]
    good = json.dumps((flow.get("response") or flow["response_pending"])["body"]).encode()
    message = replace(ordered, state="accepted", reference="4711001")
    settings = HubSettings(name="h", kind="lt-eso", points=("99999917",))
    for octets in (good, *damaged(good, 300, 20)):
        open_ = known(message)
        adapter = lt_eso.LtEso(settings, clock=lambda: 1_772_600_000.0)
        for name in lt_names.LISTS:
            open_.remember(f"lt-read {name}", b"1772600000 x")
        for inbound in adapter.inbox(asked(Answer(200, JSON, octets)), open_):
            assert inbound.text.isprintable()
            for receipt in inbound.receipts.values():
                if receipt.verdict == "confirmed":
                    assert json.loads(octets)["orderId"] == 4_711_001
                    assert json.loads(octets)["status"] == "DONE"


@pytest.mark.parametrize("name", ["objects", "statistics", "contract"])
def test_mutated_lists(asked, name) -> None:
    listing = lt_names.LISTS[name]
    entries = {
        "objects": {"objectNumber": "1", "objectType": "a", "meters": [{"meterNumber": "SAG1", "meterType": "SMART"}]},
        "statistics": {"date": "2026-03-03", "objects": 5, "values": 480, "estimated": 3},
        "contract": {"notificationId": 7, "objectNumber": "1", "date": "2026-03-03", "status": "NEW"},
    }
    good = json.dumps({listing.entries: [entries[name]], "first": 0, "count": 100, "total": 1}).encode()
    whole = 0
    for octets in (good, *damaged(good, 400, 21)):
        try:
            found = lt_pages.read(asked(*[Answer(200, JSON, octets)] * 20), listing, operation="list")
        except (lt_pages.RefusedError, lt_pages.AnswerError):
            continue
        whole += bool(found.entries)
        assert all(one[listing.key] is not None for one in found.entries)
        assert len(found.drifts) <= 20
    assert whole


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_mutated_tokens_are_used_whole_or_not_at_all() -> None:
    good = json.dumps({"access_token": "0123456789abcdef0123", "token_type": "Bearer", "expires_in": 900}).encode()
    refused, taken = [], 0
    for octets in (good, *damaged(good, 900, 22)):
        answer = Answer(200, JSON, octets)
        try:
            token = oauth.Tokens("c", None, lambda _form, answer=answer: answer, lambda: 0.0).token("s")
        except SessionError as why:
            refused.append(why)
        else:
            taken += 1
            assert json.loads(octets)["access_token"] == token
            assert token.isprintable()
            assert " " not in token
    assert taken
    assert refused
    assert not any(why.sent or "0123456789abcdef" in str(why) or not str(why).isprintable() for why in refused)
