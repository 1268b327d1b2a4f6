"""The OTE-like service over real TLS: zeep as client, every reason to refuse, faults, hostile XML, one effect."""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import requests
import zeep
from lxml import etree

from gateway.sandbox import ote_rules
from tests.sandbox.conftest import Hub

ZONE = ZoneInfo("Europe/Prague")
NS = "urn:sandbox:meterd:ote"
EAN = "859182400200000010"
GAS = "27ZG100Z0000001X"
#: 2026-03-04 05:15 in Prague
NOW = dt.datetime(2026, 3, 4, 5, 15, tzinfo=ZONE).timestamp()
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


@pytest.fixture
def hub(hub_at: Callable[[float], Hub]) -> Hub:
    return hub_at(NOW)


def data(day: str = "2026-03-03", count: int = 96, **changes: Any) -> str:
    """A CDSDATA of one profile; `values` replaces single Data elements by period."""
    it = {
        "root": "CDSDATA", "id": "10000000000121", "sender": "8591824000991", "receiver": "8591824000007",
        "scheme": "14", "point": EAN, "role": "SBX-A-PLUS", "resolution": "15", "last": day, "values": {}, "times": 1,
    } | changes  # fmt: skip
    rows = [
        it["values"].get(n, f'<Data period="{n}" value="0.{n:03d}" unit="KWH" status="S1"/>')
        for n in range(1, count + 1)
    ]
    profile = f'<ProfileData profile-role="{it["role"]}" resolution="{it["resolution"]}">{"".join(rows)}</ProfileData>'
    days = f'date-from="{day}" date-to="{it["last"]}"'
    location = f'<Location opm-id="{it["point"]}" {days} version="1">{profile}</Location>'
    head = f'id="{it["id"]}" message-code="121" date-time="2026-03-04T05:15:00" dtd-version="1" dtd-release="1"'
    return (
        f'<{it["root"]} xmlns="{NS}" {head} answer-required="1" language="CS">'
        f'<SenderIdentification id="{it["sender"]}" coding-scheme="14"/>'
        f'<ReceiverIdentification id="{it["receiver"]}" coding-scheme="{it["scheme"]}"/>'
        f"{location * it['times']}</{it['root']}>"
    )


def gas(**changes: Any) -> str:
    base = {"root": "CDSGASDATA", "receiver": "27XGOTE-CZ-GAS-R", "scheme": "15", "role": "SBX-GAS", "resolution": "60"}
    return data(**{"count": 24, "day": "2026-03-02", **base, **changes})


def envelope(body: str, header: str = "") -> str:
    return f'<s:Envelope xmlns:s="{SOAP}">{header}<s:Body>{body}</s:Body></s:Envelope>'


def post(hub: Hub, body: str | bytes, party: str = "gridco", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else body.encode()
    client = hub.client(party, token=False)
    return client.post("/ote/cdsdata", content=content, headers={"Content-Type": "text/xml; charset=utf-8", **headers})


def reasons(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    found = etree.fromstring(answer.content).findall(f".//{{{NS}}}Reason")
    return [(reason.get("code"), reason.get("type")) for reason in found]


def test_zeep_speaks_to_it_by_the_description_alone(hub: Hub) -> None:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(hub.folder.ca)
    session.cert = tuple(map(str, hub.folder.pair("clients/gridco")))
    client = zeep.Client(f"{hub.url}/ote/cdsdata?wsdl", transport=zeep.transports.Transport(session=session))
    values = [{"period": n, "value": f"0.{n:03d}", "unit": "KWH", "status": "S1"} for n in range(1, 97)]
    head = {"id": "77", "message-code": "121", "date-time": "2026-03-04T05:15:00", "dtd-version": "1"}
    answer = client.service.SendData(
        **head | {"dtd-release": "1"},
        SenderIdentification={"id": "8591824000991", "coding-scheme": "14"},
        ReceiverIdentification={"id": "8591824000007", "coding-scheme": "14"},
        Location=[{
            "opm-id": EAN, "date-from": dt.date(2026, 3, 3), "date-to": dt.date(2026, 3, 3), "version": 1,
            "ProfileData": [{"profile-role": "SBX-A-PLUS", "resolution": "15", "Data": values}],
        }],
    )  # fmt: skip
    assert (answer.Reference.id, answer.Reason[0].code, answer.Reason[0].type) == ("77", "0200", "A01")
    assert answer.Reason[0]._value_1 == "Zpráva úspěšně přijata"
    session.close()
    (effect,) = hub.effects(profile="ote")
    start = int(dt.datetime(2026, 3, 3, tzinfo=ZONE).timestamp())
    assert (effect["point"], effect["direction"], effect["start"], effect["end"]) == (
        EAN,
        "consumption",
        start,
        start + 86400,
    )
    assert effect["values"][95] == [start + 95 * 900, "0.096", "A04"]


@pytest.mark.parametrize(
    ("now", "body", "start", "seconds"),
    [
        ((2026, 3, 30), data("2026-03-29", 92), (2026, 3, 29), 92 * 900),
        ((2026, 10, 26), data("2026-10-25", 100), (2026, 10, 25), 100 * 900),
        ((2026, 3, 30, 7), gas(day="2026-03-28", count=23), (2026, 3, 28, 6), 23 * 3600),
        ((2026, 10, 26, 7), gas(day="2026-10-24", count=25), (2026, 10, 24, 6), 25 * 3600),
    ],
)
def test_days_of_summer_time(
    hub_at: Callable[[float], Hub], now: tuple[int, ...], body: str, start: tuple[int, ...], seconds: int
) -> None:
    hub = hub_at(dt.datetime(*now, tzinfo=ZONE).timestamp())  # type: ignore[arg-type]
    assert reasons(post(hub, envelope(body))) == [("0200", "A01")]
    (effect,) = hub.effects()
    begin = int(dt.datetime(*start, tzinfo=ZONE).timestamp())  # type: ignore[arg-type]
    assert (effect["start"], effect["end"] - effect["start"]) == (begin, seconds)


def missing(n: int, **changes: str) -> dict[int, str]:
    given = {"period": str(n), "value": "1", "unit": "KWH", "status": "S1"} | changes
    return {n: f"<Data {' '.join(f'{key}={value!r}' for key, value in given.items() if value != '-')}/>"}


REFUSED = {
    "0303": data(sender="8591824000984"),
    "0304": data(receiver="8591824000984"),
    "0305": data(point="859182400200000017"),
    "0306": data("2026-03-04"),
    "0307": data(count=92),
    "0308": data(values=missing(7, value="0.1234")),
    "0309": data(values=missing(7, unit="MWH")),
    "0310": data(values=missing(7, status="S4")),
    "0311": data(role="SBX-GAS"),
    "0312": data(resolution="30"),
    "0313": data(times=2),
    "0301": data().replace('profile-role="', 'role="'),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_breaks_a_rule_is_refused_whole(hub: Hub, code: str) -> None:
    answer = post(hub, envelope(REFUSED[code]))
    assert reasons(answer) == [(code, "A02")]
    assert hub.effects() == []
    assert f'id="{data()[0:0]}10000000000121"' in answer.text
    # The id is still free, as it is where a message was refused.
    assert reasons(post(hub, envelope(data()))) == [("0200", "A01")]


@pytest.mark.parametrize(
    "body",
    [
        data(values=missing(7, period="8")), data(values=missing(7, value="-1")), data(values=missing(7, value="1e3")),
        data(values=missing(7, value="-")), data(values=missing(7, status="X")), data(last="2026-03-04"),
        data("1999-12-31"), data("2026-03-03Z"),
        gas(point="27ZG100Z00000010"), data(role="SBX-X"), gas(day="2026-03-04"),
        data(point=GAS),
    ],
)  # fmt: skip
def test_other_ways_to_break_a_rule(hub: Hub, body: str) -> None:
    ((_, type_),) = reasons(post(hub, envelope(body)))
    assert type_ == "A02"
    assert hub.effects() == []


def test_missing_and_estimated_values_are_marked(hub: Hub) -> None:
    values = missing(1, value="-", status="S4") | missing(2, status="S2") | missing(3, status="S3")
    assert reasons(post(hub, envelope(data(values=values)))) == [("0200", "A01")]
    assert [value[1:] for value in hub.effects()[0]["values"][:4]] == [
        [None, "A02"], ["1", "A03"], ["1", "A01"], ["0.004", "A04"],
    ]  # fmt: skip


def test_a_gas_point_is_an_eic_or_an_ean(hub: Hub) -> None:
    eic = next(
        f"27ZG100Z0000001{last}"
        for last in ote_rules._EIC
        if ote_rules.is_point("CDSGASDATA", f"27ZG100Z0000001{last}")
    )
    assert reasons(post(hub, envelope(gas(point=eic)))) == [("0200", "A01")]
    answer = post(hub, envelope(gas(id="2", times=1)))
    assert "GASRESPONSE" in answer.text
    assert {effect["point"] for effect in hub.effects()} == {eic, EAN}


def test_the_same_message_again_has_one_effect(hub: Hub) -> None:
    first = post(hub, envelope(data()))
    spaced = envelope("\n" + data() + "\n", "<s:Header/>")
    assert post(hub, spaced).content == first.content
    assert reasons(post(hub, envelope(data(values=missing(1))))) == [("0302", "A02")]
    assert len(hub.effects()) == 1
    # Another party may use the same id, and a correction has a new one.
    assert reasons(post(hub, envelope(data(sender="8591824000984")), "othergrid")) == [("0200", "A01")]
    assert reasons(post(hub, envelope(data(id="122", values=missing(1))))) == [("0200", "A01")]
    assert [effect["version"] for effect in hub.effects()] == [1, 2, 3]


def test_a_lost_message_is_accepted_and_forgotten(hub: Hub) -> None:
    hub.sandbox.faults.set("lost", {"p": 1, "profile": "ote", "count": 1})
    assert reasons(post(hub, envelope(data()))) == [("0200", "A01")]
    assert hub.effects() == []
    assert reasons(post(hub, envelope(data()))) == [("0200", "A01")]
    assert len(hub.effects()) == 1


def test_what_changes_nothing_is_noted(hub: Hub) -> None:
    hub.sandbox.faults.set("lost", {"p": 1, "profile": "ote", "count": 1})
    for number in ("1", "2", "3"):
        assert reasons(post(hub, envelope(data(id=number)))) == [("0200", "A01")]
    notes = [json.loads(line) for line in hub.admin().get("/control/notes").text.splitlines()]
    assert [(it["what"], it["document"]) for it in notes] == [("lost", "1"), ("unchanged", "3")]
    assert [effect["unchanged"] for effect in hub.effects()] == [False, True]


BOMB = '<!DOCTYPE z [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
FAULTS = {
    "no XML": ("<", "Client"),
    "no envelope": ("<a/>", "Client"),
    "SOAP 1.2": ('<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"/>', "VersionMismatch"),
    "two messages": (envelope(data() + data()), "Client"),
    "nothing": (envelope(""), "Client"),
    "another namespace": (envelope(data().replace(NS, "http://www.ote-cr.cz/schema/cds/data")), "Client"),
    "a header": (
        envelope(data(), '<s:Header><x xmlns="urn:x" s:mustUnderstand="1"/></s:Header>'), "MustUnderstand"
    ),
    "entities": (BOMB + envelope(data()), "Client"),
    "UTF-16": (envelope(data()).encode("utf-16"), "Client"),
    "Latin 1": (b'<?xml version="1.0" encoding="iso-8859-1"?>' + envelope(data()).encode(), "Client"),
    "no id": (envelope(data(id="")), "Client"),
    "deep": ("<a>" * 5000, "Client"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_no_message_is_a_fault(hub: Hub, what: str) -> None:
    body, code = FAULTS[what]
    answer = post(hub, body)
    assert answer.status_code == 500
    assert etree.fromstring(answer.content).findtext(".//faultcode") == f"soap:{code}"
    assert hub.effects() == []


def test_a_client_certificate_is_needed(hub: Hub) -> None:
    without = hub.client("gridco", certificate=False)
    assert without.post("/ote/cdsdata", content=envelope(data())).status_code == 403
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        hub.client("foreign", token=False).post("/ote/cdsdata", content=envelope(data()))


def test_other_requests(hub: Hub) -> None:
    client = hub.client("gridco", token=False)
    assert client.get("/ote/cdsdata").status_code == 404
    assert etree.fromstring(client.get("/ote/cdsdata?xsd").content).get("targetNamespace") == NS
    assert client.post("/ote/cdsdata", content=b"{}", headers={"Content-Type": "application/json"}).status_code == 415
    assert client.put("/ote/cdsdata").status_code == 405
