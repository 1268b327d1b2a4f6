"""ValidatedHistoricalData through a real mosquitto with mutual TLS, acknowledged on a topic."""

import re
from datetime import date

import pytest
from lxml import etree

from gateway.hub_settings import HubSettings
from gateway.uploader import schemas
from gateway.uploader.hubs import eu_vhd
from gateway.uploader.session import open_session
from tests.certificates import Authority
from tests.hubs.sandbox_hub import until
from tests.mqtt_hub import MqttHub, mutual_tls

EIC, HUB = "10X1001A1001B54W", "99X-SANDBOX-HUBX"


def acknowledgement(document: bytes) -> bytes:
    """The hub's word on a document that follows its schema."""
    schemas.xsd(eu_vhd.SCHEMA).check(etree.fromstring(document))
    (name,) = re.findall(rb"<MarketDocument>\s*<mRID>(.*?)</mRID>", document)
    return accepted(name.decode())


def accepted(name: str) -> bytes:
    return (
        '<Acknowledgement_Envelope xmlns="https://eddie.energy/CIM/ACK_v1.12"><MarketDocument>'
        f"<mRID>ack-of-{name}</mRID><createdDateTime>2026-03-04T05:15:00Z</createdDateTime>"
        f'<sender_MarketParticipant.mRID codingScheme="A01">{HUB}</sender_MarketParticipant.mRID>'
        "<sender_MarketParticipant.marketRole.type>A39</sender_MarketParticipant.marketRole.type>"
        f'<receiver_MarketParticipant.mRID codingScheme="A01">{EIC}</receiver_MarketParticipant.mRID>'
        f"<received_MarketDocument.mRID>{name}</received_MarketDocument.mRID><Reason><code>A01</code></Reason>"
        "</MarketDocument></Acknowledgement_Envelope>"
    ).encode()


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def port(broker, authority) -> int:
    return broker(*mutual_tls(authority, authority.sign("broker"))).port


@pytest.fixture
def hub(port, authority):
    made = MqttHub(port, authority, authority.sign("hub"))
    yield made
    made.close()


@pytest.fixture
def session(port, authority):
    mine = authority.sign("party")
    given = {
        "name": "h",
        "kind": "eu-vhd",
        "url": f"mqtts://localhost:{port}/eddie/hub",
        "ca_file": str(authority.ca),
        "cert_file": str(mine.cert),
        "key_file": str(mine.key),
        "party": EIC,
        "receiver": HUB,
    }
    made = open_session(HubSettings(**given))
    yield made
    made.close()


@pytest.fixture
def message(make_part, make_build, stored):
    """A day as it is stored."""
    about = make_build(1_772_600_000, "eu-vhd", party=EIC, receiver=HUB, role="A58")
    return stored(eu_vhd.adapter(about.settings).build([make_part(date(2026, 3, 3))], about)[0])


def test_the_whole_way_of_a_day(hub, session, message, known):
    """Built, published, acknowledged on the topic, fetched once; then the broker keeps nothing more."""
    adapter = eu_vhd.adapter(HubSettings(name="h", kind="eu-vhd"))
    hub.answers = acknowledgement
    assert list(adapter.inbox(session, known())) == []  # from now on the broker keeps what comes for us
    got = adapter.send(session, message)
    assert (got.verdict, got.certificate) == ("accepted", session.certificate)
    assert hub.documents.get(timeout=30) == message.body
    (inbound,) = until(lambda: list(adapter.inbox(session, known(message))), bool)
    assert inbound.receipts[message.document].verdict == "confirmed"
    session.close()
    hub.publish(accepted("nobody-sent-this"))
    (strange,) = until(lambda: list(adapter.inbox(session, known(message))), bool)
    assert {name: said.verdict for name, said in strange.receipts.items()} == {"nobody-sent-this": "pending"}
    session.close()
    assert list(adapter.inbox(session, known(message))) == []
