"""Every Danish sample: right ones pass, wrong ones are refused with the code that DataHub would give."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from lxml import etree
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from gateway.uploader.hubs import dk_build, dk_sums_rules
from gateway.uploader.hubs.dk_reading import JSON, XML, Document
from gateway.uploader.hubs.dk_rules import broken
from gateway.uploader.hubs.dk_transaction import transactions

HERE = Path(__file__).parent / "samples" / "dk-datahub3"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas" / "hubs" / "dk-datahub3"
JSON_SCHEMAS = {
    "NotifyValidatedMeasureData": "Notify-Validated-measure-data",
    "Acknowledgement": "Acknowledgement",
    "NotifyWholesaleServices": "Notify-wholesale-services",
    "RejectRequestWholesaleSettlement": "Reject-request-wholesale-settlement",
    "ReminderOfMissingMeasureData": "Reminder-of-missing-measure-data",
    "RequestWholesaleSettlement": "Request-wholesale-settlement",
}


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.fixture(scope="session")
def by_schema():
    """Validate octets by the published schema of their kind, with tools that the product does not use."""
    folder = SCHEMAS / "json-schema"
    schemas = {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    resources = {name: Resource.from_contents(schema, DRAFT7) for name, schema in schemas.items()}
    registry = Registry().with_resources([*resources.items(), *((r.id(), r) for r in resources.values() if r.id())])
    xsds = {}

    def validate(octets: bytes) -> None:
        if octets.lstrip(b"\xef\xbb\xbf").startswith(b"<"):
            root = etree.fromstring(octets)
            name = etree.QName(root).namespace.replace(":", "-").replace(".", "-")
            schema = xsds.setdefault(name, etree.XMLSchema(etree.parse(SCHEMAS / "xsd" / f"{name}.xsd")))
            schema.assertValid(root)
            return
        value = json.loads(octets.decode("utf-8-sig"))
        name = JSON_SCHEMAS[next(iter(value)).removesuffix("_MarketDocument")]
        root = schemas[f"{name}-assembly-model.schema.json"]
        jsonschema.Draft7Validator(root, registry=registry).validate(value)

    return validate


def read(name: str) -> bytes:
    return (HERE / name).read_bytes()


def test_every_xsd_finds_what_it_includes() -> None:
    for path in (SCHEMAS / "xsd").glob("urn-ediel*.xsd"):
        etree.XMLSchema(etree.parse(path))


@pytest.mark.parametrize("path", sorted((HERE / "built").glob("*.*")), ids=lambda path: path.name)
def test_built_samples_follow_their_schema(path: Path, by_schema) -> None:
    by_schema(path.read_bytes())


@pytest.mark.parametrize("path", sorted((HERE / "built").glob("rsm012-*")), ids=lambda path: path.name)
def test_built_readings_break_no_rule(path: Path) -> None:
    form = dk_build.FORMS["xml" if path.suffix == ".xml" else "json"]
    assert dk_build.check(path.read_bytes(), form, at("2026-11-01"))[1] is None


def test_built_request_breaks_no_rule() -> None:
    assert dk_sums_rules.check(read("built/brs028-request-wholesale.json"), JSON, at("2026-04-02")) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        # 6 points for 24 hours, and one of quality A05
        ("IncomingMessages__MeteredDataForMeteringPoint.json", "D12"),
        # ends before it begins, and its metering point has a wrong check digit
        ("IncomingMessages__MeteredDataForMeteringPoint.xml", "gsrn"),
        # RSM-015: requests of readings
        ("MessageParsers__Json__RequestValidatedMeasurements__ValidRequestValidatedMeasurements.json", "00401"),
        ("MessageParsers__Xml__RequestValidatedMeasurements__ValidRequestValidatedMeasurements.xml", "00401"),
        (
            "MessageParsers__Json__RequestValidatedMeasurements__ValidRequestValidatedMeasurementsWithTwoTransactions.json",
            "00401",
        ),
        (
            "MessageParsers__Xml__RequestValidatedMeasurements__ValidRequestValidatedMeasurementsWithTwoTransactions.xml",
            "00401",
        ),
        # ebIX is another carrier
        ("IncomingMessages__EbixMeteredDataForMeteringPoint.xml", "00401"),
    ],
)
def test_upstream_readings_are_refused(name: str, code: str) -> None:
    form = dk_build.FORMS["xml" if name.endswith(".xml") else "json"]
    _, reason = dk_build.check(read(f"upstream/{name}"), form, at("2024-08-01"))
    assert reason is not None
    assert reason.code == code


def test_upstream_readings_break_the_rules_that_are_known_of_them() -> None:
    def codes(name: str, media: str, now: str) -> set[str]:
        (found,) = transactions(Document(read(f"upstream/{name}"), media).root)
        return {reason.code for reason in broken(found, at(now))}

    assert codes("IncomingMessages__MeteredDataForMeteringPoint.json", JSON, "2024-08-01") == {"D12", "E87"}
    assert codes("IncomingMessages__MeteredDataForMeteringPoint.xml", XML, "2022-12-17") == {"gsrn", "E87", "E50"}


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("IncomingMessages__RequestWholesaleSettlement.json", {"D23", "E17", "E86", "gln"}),
        (
            "IncomingMessages__RequestWholesaleSettlementWithUnusedBusinessReason.json",
            {"00402", "D23", "E17", "E86", "gln"},
        ),
        ("IncomingMessages__FailSchemeValidationRequestWholesaleSettlement.json", {"00302"}),
        ("IncomingMessages__FailSchemeValidationAggregatedMeasureData.json", {"00302"}),
        ("IncomingMessages__RequestAggregatedMeasureDataAsDdk.json", {"00401"}),
        ("IncomingMessages__RequestAggregatedMeasureDataAsMdr.json", {"00401"}),
    ],
)
def test_upstream_requests_are_refused(name: str, codes: set[str]) -> None:
    octets, now = read(f"upstream/{name}"), at("2022-12-17")
    reason = dk_sums_rules.check(octets, JSON, now)
    assert reason is not None
    assert reason.code in codes
    if not codes & {"00302", "00401"}:
        assert {one.code for one in dk_sums_rules.broken(Document(octets, JSON).root, now)} == codes


def test_no_sample_is_forgotten() -> None:
    """Each upstream sample is judged here: the ebIX ones are another carrier, which is not written."""
    told = Path(__file__).read_text("utf-8")
    for path in (HERE / "upstream").iterdir():
        assert path.name in told or "Ebix__RequestValidated" in path.name
