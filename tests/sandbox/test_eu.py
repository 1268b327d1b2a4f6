"""The EU profile over mutual TLS: VHD v1.04 in, acknowledgements v1.12 that their XSD accepts, versions and ids."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from lxml import etree

SAMPLES = Path(__file__).parent / "samples" / "eu-eddie-cim"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas" / "hubs" / "eu-eddie-cim"
XML = {"Content-Type": "application/xml"}
#: 2026-03-04T08:00:00Z
NOW = 1_772_611_200
SPACE = "{https://eddie.energy/CIM/ACK_v1.12}"
POINT = '<marketEvaluationPoint.mRID codingScheme="NLT">LT0000000000099999917</marketEvaluationPoint.mRID>'


@pytest.fixture
def hub(hub_at: Callable[[float], Any]) -> Any:
    found = hub_at(NOW)
    found.sandbox.options.delay_s = 0.0
    return found


@pytest.fixture
def client(hub: Any) -> httpx.Client:
    return hub.client("gridco", token=False)


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(SCHEMAS / "v1_12" / "ack" / "Acknowledgement_Document_v1.12_annotated.xsd")))


def document(*changes: tuple[str, str], id_: str | None = None) -> bytes:
    """The sample under an id of its own; each change is replaced where it stands first."""
    text = (SAMPLES / "vhd-v1.04-96points.xml").read_text()
    text = text.replace("0d7a5f2e-6d0c-4a0a-9f39-0e50a6b1c001", id_ or str(uuid.uuid4()))
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text.encode()


def reasons(content: bytes, schema: etree.XMLSchema) -> tuple[list[str], dict[str, list[str]]]:
    """Codes of an acknowledgement, and those of each rejected series; its XSD is held against it."""
    root = etree.fromstring(content)
    schema.assertValid(root)
    market = root[0]
    codes = [code.text for code in market.iterfind(f"{SPACE}Reason/{SPACE}code")]
    rejected = {
        series.findtext(f"{SPACE}mRID"): [code.text for code in series.iterfind(f"{SPACE}Reason/{SPACE}code")]
        for series in market.iterfind(f"{SPACE}Rejected_TimeSeries")
    }
    return codes, rejected


def sent(client: httpx.Client, schema: etree.XMLSchema, body: bytes) -> tuple[list[str], list[str]]:
    """Send a document, and give the codes of the whole and of its only series."""
    answer = client.post("/eu/vhd", content=body, headers=XML)
    assert answer.status_code == 200, answer.text
    whole, series = reasons(answer.content, schema)
    assert etree.fromstring(answer.content).findtext(f".//{SPACE}mRID") == answer.headers["MessageId"]
    return whole, next(iter(series.values()), [])


def test_the_sample_is_accepted(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    assert sent(client, schema, document(id_="one")) == (["A01"], [])
    (effect,) = hub.effects(profile="eu")
    assert (effect["point"], effect["direction"], effect["resolution"]) == (
        "LT0000000000099999917",
        "consumption",
        "PT15M",
    )
    assert (effect["start"], effect["end"], effect["version"], effect["document"]) == (
        1_772_488_800,
        1_772_575_200,
        1,
        "one",
    )
    assert effect["values"][0] == [1_772_488_800, "0.125", "A04"]
    assert effect["values"][1] == [1_772_489_700, "0.130", "A04"]


def test_ids_and_versions(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    assert sent(client, schema, document(id_="one")) == (["A01"], [])
    assert sent(client, schema, document(id_="one")) == (["A02", "A51"], [])
    assert sent(client, schema, document(id_="two")) == (["A02"], ["A50"])
    # What was refused as a whole may come again under its id.
    second = (("<version>1<", "<version>2<"), (">0.125<", ">7.5<"))
    assert sent(client, schema, document(*second, id_="two")) == (["A01"], [])
    assert sent(client, schema, document(("<version>1<", "<version>2<"), id_="three")) == (["A02"], ["A50"])
    assert [(e["version"], e["values"][0][1]) for e in hub.effects()] == [(1, "0.125"), (2, "7.5")]


def test_a_document_of_two_series_can_be_half_accepted(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    text = document(id_="half").decode()
    start, end = text.index("<TimeSeries>"), text.index("</TimeSeries>") + len("</TimeSeries>")
    other = text[start:end].replace("b1c101", "b1c102").replace("99999917", "99999919").replace(">A02<", ">A01<", 1)
    bad = other.replace("<position>5<", "<position>6<", 1).replace(">A04</businessType>", ">A01</businessType>")
    both = (text[:end] + bad + text[end:]).encode()
    for _ in range(2):
        answer = client.post("/eu/vhd", content=both, headers=XML)
        whole, series = reasons(answer.content, schema)
        assert series == {"0d7a5f2e-6d0c-4a0a-9f39-0e50a6b1c102": ["A49"]}
        assert whole == (["A03"] if _ == 0 else ["A02", "A51"])
    assert len(hub.effects()) == 1


def resolution(text: str) -> tuple[str, str]:
    return "<resolution>PT15M<", f"<resolution>{text}<"


INNER = "<start>2026-03-02T22:00Z</start>\n          <end>2026-03-03T22:00Z</end>"
CASES: list[tuple[list[tuple[str, str]], list[str], list[str]]] = [
    ([("10X1001A1001B54W", "10X1001A1001B55U")], ["A02", "A59"], []),
    ([(">A58<", ">A13<")], ["A02", "A59"], []),
    ([("99X-SANDBOX-HUBX", "99X-SANDBOX-HUBY")], ["A02", "A53"], []),
    ([("<type>A45<", "<type>A16<")], ["A02", "A94"], []),
    ([("<process.processType>A16<", "<process.processType>A05<")], ["A02", "A94"], []),
    ([("<mRID>0d7a5f2e-6d0c-4a0a-9f39-0e50a6b1c101</mRID>", "")], ["A02", "A69"], []),
    ([(POINT, "")], ["A02"], ["A69"]),
    ([("<flowDirection.direction>A02", "<flowDirection.direction>A03")], ["A02"], ["A59"]),
    ([("<flowDirection.direction>A02", "<flowDirection.direction>A01")], ["A02"], ["A59"]),
    ([("<energy_Measurement_Unit.name>KWH", "<energy_Measurement_Unit.name>MAW")], ["A02"], ["A59"]),
    ([resolution("P1M")], ["A02"], ["A41"]),
    ([resolution("PT30M")], ["A02"], ["A49"]),
    ([resolution("PT7M")], ["A02"], ["A04"]),
    ([resolution("P0Y0M0DT0H15M0.000S")], ["A01"], []),
    ([(INNER, INNER.replace("02T22", "03T23"))], ["A02"], ["A04"]),
    ([(INNER, INNER.replace("02T22", "02T21"))], ["A02"], ["A04"]),
    ([("<position>5<", "<position>6<")], ["A02"], ["A49"]),
    ([(">0.125<", ">-0.125<")], ["A02"], ["A46"]),
    ([("<energy_Quantity.quantity>0.125</energy_Quantity.quantity>", "")], ["A02"], ["A69"]),
    ([("<energy_Quantity.quality>A04", "<energy_Quantity.quality>A02")], ["A02"], ["A59"]),
    ([(">0.125<", ">" + "9" * 200 + "<")], ["A02"], ["A59"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_reasons(
    hub: Any, client: httpx.Client, schema: etree.XMLSchema, case: tuple[list[tuple[str, str]], list[str], list[str]]
) -> None:
    changes, whole, series = case
    assert sent(client, schema, document(*changes)) == (whole, series)
    assert len(hub.effects()) == (whole == ["A01"])


def test_what_lies_too_far_back_and_whose_point_it_is(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    hub.sandbox.options.oldest_days = 1
    assert sent(client, schema, document()) == (["A02"], ["A57"])
    hub.sandbox.options.oldest_days = 1000
    points = {"LT0000000000099999917": {"owner": "10X1001A1001B55U"}}
    hub.admin().put("/control/points", json={"profile": "eu", "points": points})
    assert sent(client, schema, document()) == (["A02"], ["A59"])
    hub.sandbox.options.points = "registered"
    assert sent(client, schema, document(("99999917", "99999918"))) == (["A02"], ["A59"])


def test_unchanged_is_reported_or_rejected(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    assert sent(client, schema, document()) == (["A01"], [])
    assert sent(client, schema, document(("<version>1<", "<version>2<"))) == (["A01"], [])
    (line,) = hub.admin().get("/control/notes").text.splitlines()
    assert (json.loads(line)["what"], json.loads(line)["version"]) == ("unchanged", 2)
    hub.sandbox.options.reject_unchanged = True
    assert sent(client, schema, document(("<version>1<", "<version>3<"))) == (["A02"], ["A59"])


def test_acknowledgements_wait_in_a_queue(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    hub.admin().patch("/control/options", json={"ack": "queued"})
    for id_ in ("one", "two"):
        assert client.post("/eu/vhd", content=document(id_=id_), headers=XML).status_code == 202
    deadline = time.monotonic() + 60
    while hub.admin().get("/control").json()["waiting"] != {"eu": 2}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first = client.get("/eu/ack")
    assert client.get("/eu/ack").content == first.content
    assert reasons(first.content, schema) == (["A01"], {})
    assert etree.fromstring(first.content).findtext(f".//{SPACE}received_MarketDocument.mRID") == "one"
    assert hub.client("othergrid", token=False).get("/eu/ack").status_code == 204
    assert client.delete(f"/eu/ack/{first.headers['MessageId']}").status_code == 200
    assert client.delete(f"/eu/ack/{first.headers['MessageId']}").status_code == 400
    second = client.get("/eu/ack")
    assert reasons(second.content, schema)[0] == ["A02"]
    assert client.delete(f"/eu/ack/{second.headers['MessageId']}").status_code == 200
    assert client.get("/eu/ack").status_code == 204


def test_an_acknowledgement_of_nothing_that_was_sent(hub: Any, client: httpx.Client, schema: etree.XMLSchema) -> None:
    hub.sandbox.faults.set("stranger", {"p": 1, "count": 1})
    assert reasons(client.get("/eu/ack").content, schema)[0] == ["A02"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a/>",
        b"<VHD_Envelope xmlns='https//eddie.energy/CIM/VHD_v1.04'/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        document(("</version>", "</version><wrong/>")),
        document(("<version>1<", "<version>1000<")),
        document(("2026-03-02T22:00Z", "2026-03-02T22:00:00Z")),
        document(("quality>A04<", "quality>A99<")),
    ],
)
def test_what_is_no_document(hub: Any, client: httpx.Client, body: bytes) -> None:
    answer = client.post("/eu/vhd", content=body, headers=XML)
    assert (answer.status_code, answer.text.count("\n")) == (400, 1)
    assert hub.effects() == []


def test_the_sample_of_eddie_is_read_and_refused_for_its_parties(client: httpx.Client, schema: etree.XMLSchema) -> None:
    body = (SAMPLES / "output_vhd_v1.04_from_greenbutton.xml").read_bytes()
    assert sent(client, schema, body)[0] == ["A02", "A59", "A59", "A53"]


def test_only_a_client_certificate_of_a_party_opens_it(hub: Any) -> None:
    without = hub.client("gridco", certificate=False)
    answer = without.post("/eu/vhd", content=document(), headers=XML)
    assert (answer.status_code, answer.text) == (403, "this profile needs a client certificate\n")
    assert hub.client("gridco", token=False).post("/eu/vhd", content=b"", headers=JSON).status_code == 415


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("name", ["expired", "foreign"])
def test_a_certificate_that_does_not_hold_ends_the_handshake(hub: Any, name: str) -> None:
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError, httpx.WriteError)):
        hub.client(name, token=False).get("/eu/ack")
