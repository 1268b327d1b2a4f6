"""OTE-like documents and answers: what leaves, what is refused before it leaves, and what an answer may confirm."""

import dataclasses
import datetime as dt
import random
from decimal import Decimal

import pytest
import zeep
from lxml import etree

from gateway.hub_content import content
from gateway.hub_model import Reason
from gateway.imports.record import ImportFileError
from gateway.uploader.hub import BuildError, SessionError
from gateway.uploader.hubs import cz_ote, cz_parties
from gateway.uploader.registry import make
from gateway.uploader.schemas import folder
from tests.hubs.cz_parts import (
    PARTY,
    PUBLIC,
    SAMPLES,
    SANDBOX,
    Outbox,
    Wired,
    answered,
    build,
    ean,
    envelope,
    part,
    response,
    settings,
    stored,
)

NS = {"o": SANDBOX}
SCHEMA = folder() / "cz-sandbox" / "ote-like.xsd"
SPRING, AUTUMN = dt.date(2026, 3, 29), dt.date(2026, 10, 25)
DAY = dt.timedelta(days=1)
GAS_EIC = "27ZG100Z0000001K"


def draft(*parts, **changes):
    hub = settings(**changes)
    (one,) = cz_ote.adapter(hub).build(parts, build(hub))
    return one


def message(*parts, **changes):
    return stored(draft(*(parts or (part(),)), **changes))


# -- what leaves -------------------------------------------------------------------------------------------------------


def test_a_day_of_both_directions_is_one_location():
    one = draft(part(), part(direction="export", values=lambda n: (n, "estimated")))
    root = etree.fromstring(one.body)
    assert (root.tag, root.get("id"), root.get("message-code")) == (f"{{{SANDBOX}}}CDSDATA", one.document, "SBX")
    assert (root.get("dtd-version"), root.get("dtd-release"), root.get("answer-required"), root.get("language")) == (
        "1", "1", "1", "CS",
    )  # fmt: skip
    assert root.get("date-time") == "2026-03-04T05:53:20"
    sender, receiver = root.find("o:SenderIdentification", NS), root.find("o:ReceiverIdentification", NS)
    assert dict(sender.attrib) == {"id": PARTY, "coding-scheme": "14"}
    assert dict(receiver.attrib) == {"id": "8591824000007", "coding-scheme": "14"}
    (location,) = root.findall("o:Location", NS)
    assert dict(location.attrib) == {
        "opm-id": ean(1), "date-from": "2026-03-03", "date-to": "2026-03-03", "version": "1",
    }  # fmt: skip
    roles = [(one.get("profile-role"), one.get("resolution"), len(one)) for one in location]
    assert roles == [("SBX-A-PLUS", "15", 96), ("SBX-A-MINUS", "15", 96)]
    data = location[0][0]
    assert dict(data.attrib) == {"period": "1", "value": "0.126", "unit": "KWH", "status": "S1"}
    assert [one.get("status") for one in location[1]] == ["S2"] * 96
    assert len(one.document) == 14
    assert one.document.isdecimal()
    assert [row.transaction for row in one.parts] == [part().transaction, part(direction="export").transaction]
    assert one.parts[0].content == content(part().series.intervals, part().series.unit)


def test_what_is_not_validated_has_no_value():
    statuses = ["valid", "estimated", "edited", "suspect", "raw", "missing"]
    one = draft(part(values=lambda n: (None if statuses[n % 6] == "missing" else n, statuses[n % 6])))
    data = etree.fromstring(one.body).findall(".//o:Data", NS)
    said = {status: {(one.get("status"), one.get("value") is None) for n, one in enumerate(data, 1) if statuses[n % 6] == status} for status in statuses}  # fmt: skip  # noqa: E501
    assert said == {
        "valid": {("S1", False)}, "estimated": {("S2", False)}, "edited": {("S3", False)},
        "suspect": {("S4", True)}, "raw": {("S4", True)}, "missing": {("S4", True)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "count"),
    [
        (part(SPRING), 92), (part(AUTUMN), 100), (part(SPRING, hourly=True), 23), (part(AUTUMN, hourly=True), 25),
        (part(SPRING - DAY, gas=True), 92), (part(SPRING, gas=True), 96),
        (part(AUTUMN - DAY, gas=True), 100), (part(AUTUMN, gas=True), 96),
        (part(SPRING - DAY, gas=True, hourly=True), 23), (part(AUTUMN - DAY, gas=True, hourly=True), 25),
    ],
)  # fmt: skip
def test_days_at_the_changes_of_summer_time(one, count):
    data = etree.fromstring(draft(one).body).findall(".//o:Data", NS)
    assert [int(item.get("period")) for item in data] == list(range(1, count + 1))
    total = sum(Decimal(item.get("value")) for item in data)
    assert total * 1000 == sum(interval.quantity for interval in one.series.intervals)


def test_gas_goes_apart_to_its_own_receiver_by_gas_days():
    hub = settings()
    parts = [part(), part(gas=True, point=GAS_EIC, hourly=True)]
    electricity, gas = cz_ote.adapter(hub).build(parts, build(hub))
    root = etree.fromstring(gas.body)
    assert root.tag == f"{{{SANDBOX}}}CDSGASDATA"
    assert dict(root.find("o:ReceiverIdentification", NS).attrib) == {"id": "27XGOTE-CZ-GAS-R", "coding-scheme": "15"}
    assert root.find("o:Location", NS).get("date-from") == "2026-03-03"
    assert [one.get("profile-role") for one in root.iter(f"{{{SANDBOX}}}ProfileData")] == ["SBX-GAS"]
    assert (electricity.about["commodity"], gas.about["commodity"]) == ("electricity", "gas")


def test_alone_no_point_keeps_another_back_and_bundles_are_bounded():
    parts = [
        part(dt.date(2026, 3, day), ean(n), direction=way)
        for n in range(3)
        for day in (2, 3)
        for way in ("import", "export")
    ]
    for bundle, sizes in {None: [2] * 6, 1: [1] * 12, 5: [4, 4, 4], 100: [12]}.items():
        hub = settings(bundle=bundle)
        drafts = cz_ote.adapter(hub).build(parts, build(hub))
        assert [len(one.parts) for one in drafts] == sizes, bundle
        assert sorted(row.transaction for one in drafts for row in one.parts) == sorted(
            one.transaction for one in parts
        )


def test_a_month_in_files_of_at_most_fifty_points():
    hub = settings()
    days = [dt.date(2026, 3, 1) + n * DAY for n in range(2)]
    parts = [part(day, ean(n), hourly=True) for n in range(60) for day in days]
    parts += [part(day, ean(n), gas=True, hourly=True) for n in range(60, 63) for day in days]
    adapter = cz_ote.adapter(hub)
    drafts = adapter.build(parts, build(hub, way="manual"))
    assert [one.way for one in drafts] == ["manual"] * 3
    points = [{row.slot.point for row in one.parts} for one in drafts]
    assert [len(one) for one in points] == [50, 10, 3]
    assert [one.about["commodity"] for one in drafts] == ["electricity", "electricity", "gas"]
    name = adapter.file_name(stored(drafts[2]))
    assert name == f"gas-2026-03-01-2026-03-02-{drafts[2].document}.xml"
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(etree.fromstring(drafts[0].body))


def test_a_correction_is_a_new_document_of_a_higher_version():
    first, second = draft(part()), draft(part(revision=2, values=lambda n: (n, "edited")))
    assert etree.fromstring(second.body).find("o:Location", NS).get("version") == "2"
    assert first.parts[0].content != second.parts[0].content


def test_numbers_of_messages_are_spread_and_have_fourteen_digits():
    numbers = {cz_parties.number(f"id-{n}") for n in range(5_000)}
    assert len(numbers) == 5_000
    assert all(len(one) == 14 and one[0] != "0" and one.isdecimal() for one in numbers)


def test_building_is_pure():
    assert draft(part()) == draft(part())


# -- what does not leave -----------------------------------------------------------------------------------------------


def broken(**changes):
    one = part()
    return dataclasses.replace(one, series=dataclasses.replace(one.series, **changes))


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (part(point="859182400200000017"), "check digit"),
        (part(point=GAS_EIC), "no supply point of electricity"),
        (part(gas=True, point="27ZG100Z0000001X"), "no supply point of gas"),
        (part(gas=True, direction="export"), "has no profile"),
        (broken(intervals=part().series.intervals[:-1]), "one whole day"),
        (broken(intervals=part(dt.date(2026, 3, 4)).series.intervals), "one whole day"),
        (broken(intervals=list(reversed(part().series.intervals))), "one whole day"),
        (broken(unit=part().series.unit._replace(name="m3")), "not active in m3"),
        (broken(unit=part().series.unit._replace(exponent=-1)), "finer than"),
        (part(values=lambda n: (-1 if n == 7 else n, "valid")), "period 7"),
        (part(values=lambda n: (10**13, "valid")), "period 1"),
    ],
)
def test_what_the_rules_refuse_does_not_leave(one, word):
    hub = settings()
    with pytest.raises(BuildError, match=word) as caught:
        cz_ote.adapter(hub).build([part(point=ean(9)), one], build(hub))
    assert caught.value.slots == (one.slot,)


def test_gas_by_calendar_days_does_not_leave():
    one = part(gas=True)
    calendar = dataclasses.replace(one, series=dataclasses.replace(one.series, intervals=part().series.intervals))
    with pytest.raises(BuildError, match="06:00 to 06:00"):
        draft(calendar)


@pytest.mark.parametrize("party", [None, "8591824000990", "859182400099", "27XGOTE-CZ-GAS-X"])
def test_nobody_sends_without_a_right_party(party):
    with pytest.raises(BuildError, match="party") as caught:
        draft(part(), party=party)
    assert caught.value.code == "party"


def test_the_receiver_of_one_commodity_is_not_that_of_the_other():
    one = draft(part(), receiver="27XGOTE-CZ-GAS-R")
    assert one.about["receiver"] == "8591824000007"
    assert draft(part(), receiver="8591824000984").about["receiver"] == "8591824000984"


def test_nothing_of_the_sandbox_goes_to_production():
    with pytest.raises(BuildError, match="nothing of the sandbox goes to production") as caught:
        draft(part(), environment="production")
    assert caught.value.code == "no_official_schema"


# -- official schemas --------------------------------------------------------------------------------------------------


XS = '<x:schema xmlns:x="http://www.w3.org/2001/XMLSchema"'
OTHER = "urn:example:ote"
EARLIER = "urn:sandbox:ote-like:cdsdata:0"


def official(place, namespace=EARLIER, *, name="cdsdata.xsd", pattern="[0-9]{18}"):
    """Schemas of another namespace, as if they were official: ours with its namespace and one pattern replaced."""
    text = SCHEMA.read_text().replace(SANDBOX, namespace).replace("[0-9]{18}|[0-9A-Z-]{15}[0-9A-Z]", pattern)
    (place / name).write_text(text)
    wsdl = (folder() / "cz-sandbox" / "ote-like.wsdl").read_text().replace(SANDBOX, namespace)
    (place / "service.wsdl").write_text(wsdl)
    return str(place)


def test_a_schema_in_the_folder_gives_namespace_and_judges(tmp_path, caplog):
    caplog.set_level("INFO")
    place = official(tmp_path, OTHER)
    one = draft(part(), schema_folder=place, environment="production")
    assert etree.fromstring(one.body).tag == f"{{{OTHER}}}CDSDATA"
    assert one.about["schema"] == f"cdsdata.xsd of schema_folder (namespace {OTHER})"
    assert f"CDSDATA is validated by cdsdata.xsd of schema_folder (namespace {OTHER})" in caplog.text
    sent = stored(one)
    adapter = cz_ote.adapter(settings(schema_folder=place))
    wired = Wired(answered(envelope(response(sent, namespace=OTHER))), answered(envelope(response(sent))))
    assert adapter.send(wired, sent).verdict == "confirmed"
    assert (wired.asked[0]["path"], wired.asked[0]["headers"]["SOAPAction"]) == ("", f'"{OTHER}/SendData"')
    assert adapter.send(wired, sent).verdict == "unknown", "an answer in our own namespace is none of the official one"


def test_a_sandbox_namespace_in_the_folder_is_no_way_to_production(tmp_path):
    place = official(tmp_path)
    assert draft(part(), schema_folder=place).about["schema"].startswith("cdsdata.xsd of schema_folder")
    with pytest.raises(BuildError, match="nothing of the sandbox"):
        draft(part(), schema_folder=place, environment="production")


def test_a_schema_in_the_folder_refuses(tmp_path):
    with pytest.raises(BuildError, match=r"cdsdata\.xsd of schema_folder .* refuses CDSDATA: line 5") as caught:
        draft(part(), schema_folder=official(tmp_path, pattern="1[0-9]{17}"))
    assert caught.value.code == "schema"


def test_which_schema_is_used_is_said_in_one_line(caplog):
    caplog.set_level("INFO")
    draft(part())
    assert "hub ote: CDSDATA is validated by meterd's own sandbox schema, not OTE's" in caplog.text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<no xml", "no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a/>', "document type"),
        (f'{XS}><x:import namespace="a" schemaLocation="http://a.test/b.xsd"/></x:schema>', "nothing is fetched"),
        (f'{XS}><x:element name="CDSDATA" type="nowhere"/></x:schema>', "no XSD that can be used"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_serve_stops_everything(tmp_path, text, word):
    (tmp_path / "one.xsd").write_text(text)
    with pytest.raises(BuildError, match=word):
        draft(part(), schema_folder=str(tmp_path))
    receipt = cz_ote.adapter(settings(schema_folder=str(tmp_path))).send(Wired(), message())
    assert (receipt.verdict, receipt.reasons[0].code) == ("blocked", "schema_folder")


def test_two_schemas_of_one_element_are_refused(tmp_path):
    official(tmp_path)
    with pytest.raises(BuildError, match=r"declares .* in cdsdata\.xsd and in other\.xsd"):
        draft(part(), schema_folder=official(tmp_path, "urn:other", name="other.xsd"))


# -- samples and other readers -----------------------------------------------------------------------------------------


def test_the_sample_of_a_document_follows_the_schema_in_its_own_namespace(tmp_path):
    official(tmp_path)
    schema = etree.XMLSchema(etree.parse(tmp_path / "cdsdata.xsd"))
    sample = etree.parse(SAMPLES / "CDSDATA-SANDBOX-NOT-VERIFIED.xml")
    schema.assertValid(sample)
    for path, attribute, value in (
        ("{*}Location", "opm-id", "1234"), (".//{*}Data", "period", "0"), (".//{*}Data", "value", "0.1234"),
        (".//{*}Data", "unit", "MWH"), (".//{*}Data", "status", "X"), (".", "dtd-version", "2"), (".", "id", "a1"),
        (".//{*}ProfileData", "resolution", "30"), ("{*}SenderIdentification", "coding-scheme", "16"),
    ):  # fmt: skip
        wrong = etree.fromstring(etree.tostring(sample))
        wrong.find(path).set(attribute, value)
        assert not schema.validate(wrong), (path, attribute)


def test_zeep_reads_our_document_by_the_description(tmp_path):
    client = zeep.Client(str(folder() / "cz-sandbox" / "ote-like.wsdl"))
    one = draft(part(SPRING), part(SPRING, direction="export", values=lambda _: (None, "missing")))
    element = client.get_element(f"{{{SANDBOX}}}CDSDATA")
    found = element.parse(etree.fromstring(one.body), client.wsdl.types)
    assert (found.id, found.Location[0]["opm-id"]) == (one.document, ean(1))
    assert found.Location[0]["date-from"] == SPRING
    assert found.Location[0].version == 1
    plus, minus = found.Location[0].ProfileData
    assert [(data.period, data.value) for data in plus.Data[:2]] == [(1, Decimal("0.126")), (2, Decimal("0.127"))]
    assert [data.value for data in minus.Data] == [None] * 92
    made = client.create_message(client.service, "SendData", **zeep.helpers.serialize_object(found))
    ours = etree.fromstring(one.body)
    theirs = next(made.iter(f"{{{SANDBOX}}}CDSDATA"))
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(etree.fromstring(etree.tostring(theirs)))
    assert [dict(data.attrib) for data in theirs.iter(f"{{{SANDBOX}}}Data")] == [
        dict(data.attrib) for data in ours.iter(f"{{{SANDBOX}}}Data")
    ]


# -- answers -----------------------------------------------------------------------------------------------------------


def judge(sent, body, status=200, **headers):
    wired = Wired(answered(body, status, **headers))
    return cz_ote.adapter(settings()).send(wired, sent)


def test_an_accepted_message_is_confirmed():
    sent = message()
    receipt = judge(sent, envelope(response(sent)))
    assert (receipt.verdict, receipt.reference, receipt.status) == ("confirmed", "60000000000017", 200)
    assert receipt.reasons == (Reason("0200", "Zpráva úspěšně přijata"),)
    assert receipt.certificate == "1f"
    assert receipt.raw == envelope(response(sent))


def test_the_request_is_soap_with_the_stored_octets():
    sent = message()
    wired = Wired(answered(b""))
    cz_ote.adapter(settings()).send(wired, sent)
    (asked,) = wired.asked
    assert (asked["method"], asked["path"], asked["token"]) == ("POST", "/cdsdata", False)
    assert asked["headers"]["SOAPAction"] == f'"{SANDBOX}/SendData"'
    assert asked["headers"]["Content-Type"] == "text/xml; charset=utf-8"
    assert sent.body.partition(b"?>\n")[2].strip() in asked["body"]
    inside = etree.fromstring(asked["body"]).find(f".//{{{SANDBOX}}}CDSDATA")
    assert etree.tostring(inside, method="c14n", exclusive=True) == etree.tostring(
        etree.fromstring(sent.body), method="c14n", exclusive=True
    )


def test_a_refusal_keeps_code_and_czech_text():
    sent = message()
    reasons = [("0200", "A01", "přijata"), ("0307", "A02", "Počet period"), ("0305", "A02", "Neplatné OPM")]
    receipt = judge(sent, envelope(response(sent, reasons=reasons)))
    assert receipt.verdict == "rejected"
    assert receipt.reasons == (Reason("0307", "Počet period"), Reason("0305", "Neplatné OPM"))


def test_a_refusal_may_name_us_otherwise_but_a_confirmation_may_not():
    sent = message()
    refused = [("0303", "A02", "Odesílatel")]
    assert judge(sent, envelope(response(sent, receiver="8591824000984", reasons=refused))).verdict == "rejected"
    assert judge(sent, envelope(response(sent, receiver="8591824000984"))).verdict == "unknown"


def test_gas_is_answered_by_gasresponse_only():
    sent = message(part(gas=True))
    assert judge(sent, envelope(response(sent))).verdict == "confirmed"
    assert judge(sent, envelope(response(sent, root="RESPONSE"))).verdict == "unknown"
    sent = message()
    assert judge(sent, envelope(response(sent, root="GASRESPONSE"))).verdict == "unknown"


def test_the_sample_of_an_answer_is_read():
    sent = stored(draft(part()), document="10000000000121")
    sample = (SAMPLES / "RESPONSE-accepted.xml").read_bytes().partition(b"?>")[2]
    assert judge(sent, envelope(sample)).verdict == "confirmed"
    for old, new in (
        (b'"A01"', b'"A02"'), (b"10000000000121", b"10000000000122"), (PUBLIC.encode(), b"urn:other"),
        (b"<Reference", b"<Referenz"), (b'type="A01"', b""), (b'"60000000000017"', b'"x"'),
    ):  # fmt: skip
        assert old in sample
        assert judge(sent, envelope(sample.replace(old, new))).verdict != "confirmed", old


def test_the_sample_of_another_kind_confirms_nothing():
    sample = (SAMPLES / "RESDATA-PD1.xml").read_bytes().partition(b"?>")[2]
    assert judge(message(), envelope(sample)).verdict == "unknown"


@pytest.mark.parametrize(
    ("code", "status", "verdict"),
    [
        ("soap:Client", 500, "rejected"), ("Client", 200, "rejected"), ("s:Client.Data", 500, "rejected"),
        ("soap:Client", 400, "rejected"), ("soap:Server", 500, "unknown"), ("soap:Server", 200, "unknown"),
        ("soap:Server", 503, "busy"), ("soap:Client", 403, "blocked"), ("soap:Client.Authentication", 500, "blocked"),
        ("soap:VersionMismatch", 500, "blocked"), ("soap:MustUnderstand", 500, "blocked"), ("", 500, "unknown"),
    ],
)  # fmt: skip
def test_faults(code, status, verdict):
    fault = f"<s:Fault xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><faultcode>{code}</faultcode><faultstring>Chyba &lt;1&gt;</faultstring></s:Fault>"  # noqa: E501
    receipt = judge(message(), envelope(fault), status)
    assert (receipt.verdict, receipt.reasons[0].text) == (verdict, "Chyba <1>")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(204, "unknown"), (202, "unknown"), (302, "blocked"), (400, "rejected"), (401, "blocked"), (403, "blocked"),
     (404, "blocked"), (429, "busy"), (500, "unknown"), (502, "unknown"), (503, "busy")],
)  # fmt: skip
def test_statuses_without_an_envelope(status, verdict):
    assert judge(message(), b"<html>nginx</html>", status).verdict == verdict


def test_no_status_but_200_confirms():
    sent = message()
    for status in (201, 202, 206, 302, 400, 409, 500, 503):
        assert judge(sent, envelope(response(sent)), status).verdict not in ("confirmed", "accepted"), status


def test_how_long_to_wait_is_obeyed():
    assert judge(message(), b"", 503, **{"retry-after": "77"}).retry_after_s == 77


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (SessionError("refused", sent=False), "busy"),
        (SessionError("certificate", sent=False, person=True), "blocked"),
        (SessionError("lost", sent=True), "unknown"),
    ],
)
def test_no_answer(error, verdict):
    assert cz_ote.adapter(settings()).send(Wired(error), message()).verdict == verdict


def hostile(sent):
    """Name -> answer with status 200 that must confirm nothing."""
    good = response(sent)
    laughs = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]>'
    outside = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    whole = envelope(good)
    return {
        "nothing": b"",
        "no xml": b"\x00\xff\xfe{]<" * 50,
        "half": whole[: len(whole) // 2],
        "more behind": whole + whole,
        "bomb": bomb.encode() + whole.replace(b"0200", b"&a9;"),
        "bomb utf-16": (bomb + whole.decode()).encode("utf-16"),
        "external entity": outside.encode() + whole.replace("Zpráva".encode(), b"&e;"),
        "document type": b"<!DOCTYPE x>" + whole,
        "wrong encoding": b'<?xml version="1.0" encoding="UTF-8"?>' + whole.decode().encode("cp1250"),
        "unknown encoding": b'<?xml version="1.0" encoding="EBCDIC-CP-US"?>' + whole,
        "utf-7": b'<?xml version="1.0" encoding="utf-7"?>' + whole,
        "two": envelope(good, good),
        "two bodies": whole.replace(b"</s:Body>", b"</s:Body><s:Body/>"),
        "none": envelope(),
        "text beside": envelope("accepted", good),
        "naked": good.encode(),
        "soap 1.2": whole.replace(
            b"http://schemas.xmlsoap.org/soap/envelope/", b"http://www.w3.org/2003/05/soap-envelope"
        ),
        "must understand": whole.replace(b"<s:Body>", b'<s:Header><a s:mustUnderstand="1"/></s:Header><s:Body>'),
        "deep": envelope("<a>" * 5_000 + good + "</a>" * 5_000),
        "inside another": envelope(f"<x>{good}</x>"),
        "fault and answer": envelope("<s:Fault><faultcode>s:Server</faultcode></s:Fault>", good),
        "other namespace": envelope(response(sent, namespace="urn:other")),
        "no namespace": envelope(good.replace(f' xmlns="{SANDBOX}"', "")),
        "other message": envelope(response(sent, reference="10000000000000")),
        "no reference": envelope(good.replace("<Reference ", "<Referenc ")),
        "two references": envelope(response(sent, more=f'<Reference id="{sent.document}"/>')),
        "empty reference": envelope(response(sent, reference="")),
        "reference with more": envelope(response(sent, reference=f"{sent.document} 1")),
        "no reason": envelope(response(sent, reasons=[])),
        "reason without type": envelope(good.replace(' type="A01"', "")),
        "reason small": envelope(good.replace('"A01"', '"a01"')),
        "reason longer": envelope(good.replace('"A01"', '"A011"')),
        "reason twice": envelope(response(sent, reasons=[("0200", "A01", ""), ("0301", "A02", "")])),
        "other sender": envelope(response(sent, sender="8591824000984")),
        "other receiver": envelope(response(sent, receiver="8591824000984")),
        "ours back": envelope(sent.body.partition(b"?>")[2]),
        "strange child": envelope(response(sent, more="<Accepted/>")),
        "foreign child": envelope(response(sent, more='<Reason xmlns="urn:x" code="1" type="A01"/>')),
        "public, strange child": envelope(response(sent, namespace=PUBLIC, more="<Rejected/>")),
        "public, foreign reason": envelope(
            response(sent, namespace=PUBLIC, reasons=[], more='<Reason xmlns="urn:x" code="1" type="A01"/>')
        ),
        "huge text": envelope(response(sent, more="<x>" + "a" * (2 << 20) + "</x>")),
        "many reasons": envelope(response(sent, reasons=[("1", "A01", "")] * 120_000)),
    }


@pytest.mark.parametrize("name", hostile(message()))
def test_a_hostile_answer_confirms_nothing_and_breaks_nothing(name):
    sent = message()
    receipt = judge(sent, hostile(sent)[name])
    assert receipt.verdict in ("unknown", "rejected"), receipt
    assert all(len(reason.text) <= 300 and "root:" not in reason.text for reason in receipt.reasons)


@pytest.mark.parametrize("name", sorted(set(hostile(message())) - {"naked"}))
def test_a_hostile_file_confirms_nothing(name):
    sent = message()
    said = read(hostile(sent)[name], sent)
    if isinstance(said, ImportFileError):
        assert not str(said).startswith("the answer")
        assert len(str(said)) < 500
    else:
        assert all(receipt.verdict == "rejected" for receipt in said.receipts.values())


def read(data, sent):
    try:
        return cz_ote.adapter(settings()).read_answer(data, Outbox([sent]))
    except ImportFileError as error:
        return error


def test_damaged_answers_never_confirm_another_message():
    """Octets changed, removed and doubled at random: an answer confirms only with our number, our parties and A01."""
    sent, draw = message(), random.Random(20_261)
    good = envelope(response(sent))
    verdicts = set()
    for _ in range(3_000):
        octets = bytearray(good)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(octets))
            choice = draw.randrange(4)
            if choice == 0:
                octets[at] = draw.randrange(256)
            elif choice == 1:
                del octets[at : at + draw.randint(1, 30)]
            elif choice == 2:
                octets[at:at] = octets[at : at + draw.randint(1, 60)]
            else:
                octets[at:at] = bytes(draw.randrange(256) for _ in range(3))
        receipt = judge(sent, bytes(octets))
        verdicts.add(receipt.verdict)
        if receipt.verdict == "confirmed":
            text = octets.decode("utf-8", "replace")
            assert f'"{sent.document}"' in text
            assert text.count('"A01"') >= 1
            assert '"8591824000007"' in text
            assert f'"{PARTY}"' in text
    assert verdicts >= {"confirmed", "unknown"}, "the damage is such that some of it matters and some does not"


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_the_answer_in_a_file_settles_its_message():
    sent = message()
    adapter = cz_ote.adapter(settings())
    for data in (response(sent).encode(), envelope(response(sent))):
        inbound = adapter.read_answer(data, Outbox([sent]))
        assert inbound.receipts[sent.document].verdict == "confirmed"
        assert (inbound.kind, inbound.severity) == ("response", None)
        assert inbound.facts["reasons"] == [["0200", "Zpráva úspěšně přijata"]]
    refused = adapter.read_answer(response(sent, reasons=[("0307", "A02", "Počet")]).encode(), Outbox([sent]))
    assert refused.receipts[sent.document].reasons == (Reason("0307", "Počet"),)
    assert f"message {sent.document} is rejected: 0307 Počet" in refused.text


def test_what_a_person_carries_is_never_sent():
    sent = stored(draft(part()), way="manual")
    receipt = cz_ote.adapter(settings()).send(Wired(), sent)
    assert (receipt.verdict, receipt.reasons[0].code) == ("accepted", "carried")


def test_the_same_file_is_the_same_inbound():
    sent = message()
    adapter, data = cz_ote.adapter(settings()), response(sent).encode()
    assert adapter.read_answer(data, Outbox([sent])) == adapter.read_answer(data, Outbox([sent]))


def test_an_answer_to_another_message_changes_nothing_and_is_an_event():
    sent = message()
    inbound = cz_ote.adapter(settings()).read_answer(response(sent).encode(), Outbox())
    assert (inbound.receipts, inbound.severity) == ({}, "warning")
    assert f"message {sent.document}" in inbound.text
    assert "never sent from here" in inbound.text
    wrong = cz_ote.adapter(settings()).read_answer(response(sent, receiver="8591824000984").encode(), Outbox([sent]))
    assert (wrong.receipts, wrong.severity) == ({}, "warning")


@pytest.mark.parametrize(("state", "severity"), [("confirmed", None), ("rejected", "warning"), ("dead", "warning")])
def test_a_final_message_stays_what_it_is(state, severity):
    sent = stored(draft(part()), state=state)
    inbound = cz_ote.adapter(settings()).read_answer(response(sent).encode(), Outbox([sent]))
    assert (inbound.receipts, inbound.severity) == ({}, severity)


def test_there_is_nothing_to_ask():
    adapter = make(settings())
    assert adapter.query(Wired(), message()).verdict == "pending"
    assert list(adapter.inbox(Wired(), Outbox())) == []
    assert (adapter.requests(), list(adapter.daily(build(settings()), Outbox()))) == ({}, [])
    with pytest.raises(BuildError):
        adapter.request("sums", {}, build(settings()))
