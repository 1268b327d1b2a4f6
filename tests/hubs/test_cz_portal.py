"""Deliveries and exports of PND: values in mWh at the right moments, and everything else refused."""

import datetime as dt
import random

import pytest
from lxml import etree

from gateway.imports.record import ImportFileError
from gateway.uploader.hubs import cz_portal
from gateway.uploader.schemas import folder
from tests.hubs.cz_parts import PRAGUE, SAMPLES, bounds, delivery, ean, envelope

DAY = dt.date(2026, 3, 3)


def test_a_delivery_is_mean_power_of_the_quarter_hour_before_the_stamp():
    found = cz_portal.delivery(delivery(days=[DAY], quantities=("+A", "-A")))
    assert (found.id, len(found.accounts)) == ("2026-03-04-1", 2)
    plus, minus = found.accounts
    assert (plus.point, plus.direction, minus.direction) == (ean(1), "import", "export")
    first, *_, last = plus.rows
    assert first == (bounds(DAY, 900)[0], bounds(DAY, 900)[1], 125_000, "measured")
    assert last.end == bounds(DAY, 900)[-1]
    assert cz_portal.whole_days(plus.rows) == {DAY}


@pytest.mark.parametrize(("day", "count"), [(dt.date(2026, 3, 29), 92), (dt.date(2026, 10, 25), 100)])
def test_days_at_the_changes_of_summer_time(day, count):
    (plus,) = cz_portal.delivery(delivery(days=[day])).accounts
    assert len(plus.rows) == count
    assert cz_portal.whole_days(plus.rows) == {day}
    assert cz_portal.whole_days(plus.rows[:-1]) == cz_portal.whole_days(plus.rows[1:]) == set()


def test_statuses_are_taken_as_they_are():
    words = ["naměřená data OK", "naměřená data, výpadek napětí", "neplatná data", "nedefinovaný status", "neznámá hodnota", "cokoli"]  # fmt: skip  # noqa: E501
    body = delivery(days=[DAY], value=lambda n: (None, "nedostupná data") if n % 7 == 6 else ("0.5", words[n % 7]))
    (plus,) = cz_portal.delivery(body).accounts
    said = [row.said for row in plus.rows[:7]]
    assert said == ["measured", "measured", "suspect", "unknown", "unknown", "unknown", "missing"]
    assert [row.quantity for row in plus.rows[5:7]] == [125_000, None]


GOOD = delivery(days=[DAY]).decode()
FIRST = "2026-03-03T00:15:00+01:00"


@pytest.mark.parametrize(
    "change",
    [
        (FIRST, "2026-03-03T00:15:00"), (FIRST, "2026-03-03T00:16:00+01:00"), (FIRST, "2026-03-03T00:45:00+01:00"),
        (FIRST, "2026-03-32T00:15:00+01:00"), (FIRST, "1969-12-31T00:15:00+01:00"), ('kw="0.500"', 'kw="-1"'),
        ('kw="0.500"', 'kw="0,5"'), ('kw="0.500"', 'kw="NaN"'), ('kw="0.500"', 'kw="0.5001"'),
        ('kw="0.500"', 'kw="1e3"'), ('quantity="+A"', 'quantity="Ri"'), (ean(1), "1"),
        ("urn:sandbox:meterd:pnd", "urn:x"), ("MeasuredData", "Other"), ('id="2026-03-04-1"', ""),
        ("<m:Profile", "<m:Strange"), ("</s:Body>", "</s:Body><s:Body/>"), ("<s:Envelope", "<!DOCTYPE a><s:Envelope"),
        ("schemas.xmlsoap.org/soap/envelope/", "www.w3.org/2003/05/soap-envelope"),
    ],
)  # fmt: skip
def test_a_wrong_delivery_is_refused(change):
    assert change[0] in GOOD
    with pytest.raises(ImportFileError):
        cz_portal.delivery(GOOD.replace(*change).encode())


@pytest.mark.parametrize(
    "body", [b"", b"\xff" * 99, b"<a/>", envelope(), envelope("<a/>"), GOOD.encode()[:-9], b" " * (5 << 20)]
)
def test_what_is_no_delivery_is_refused(body):
    with pytest.raises(ImportFileError):
        cz_portal.delivery(body)


def test_one_point_twice_is_refused():
    with pytest.raises(ImportFileError, match="two profiles of import"):
        cz_portal.delivery(delivery(days=[DAY], quantities=("+A", "+A")))


def test_an_answer_follows_the_schema():
    schema = etree.XMLSchema(etree.fromstring((folder() / "cz-sandbox" / "pnd-like.xsd").read_bytes()))
    for known, word in ((False, "stored"), (True, "known")):
        received = etree.fromstring(cz_portal.received("a-1", known=known))[0][0]
        schema.assertValid(received)
        assert (received.get("id"), received.get("result")) == ("a-1", word)


def test_the_sample_export_is_read():
    kind, (found,) = cz_portal.export((SAMPLES / "pnd-simplified.csv").read_bytes())
    assert kind == cz_portal.CSV
    assert (found.point, found.direction, len(found.rows)) == ("784703", "import", 96)
    assert found.rows[0] == (bounds(DAY, 900)[0], bounds(DAY, 900)[1], 125_000, "measured")
    assert cz_portal.whole_days(found.rows) == {DAY}


def test_the_sample_table_is_read_as_the_export():
    kind, found = cz_portal.export((SAMPLES / "pnd-table.json").read_bytes())
    assert kind == cz_portal.JSON
    assert [(one.point, one.direction) for one in found] == [("784703", "import"), ("784703", "export")]
    starts = bounds(DAY, 900)
    assert list(found[0].rows) == [
        (starts[0], starts[1], 125_000, "measured"),
        (starts[1], starts[2], 130_000, "measured"),
    ]
    assert [row.quantity for row in found[1].rows] == [0, 0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pnd-simplified.csv", (b"03.03.2026 00:15:00", b"03/03/2026 00:15:00")),
        ("pnd-simplified.csv", (b"03.03.2026 00:15:00", b"03.03.2026 01:15:00")),
        ("pnd-simplified.csv", (b"0,52", b"0,52x")),
        ("pnd-simplified.csv", (b"[kW]", b"[kWh]")),
        ("pnd-simplified.csv", (b"Datum", b"Date")),
        ("pnd-table.json", (b'"0,500"', b'"0,500,1"')),
        ("pnd-table.json", (b"0,500", b"1;2")),
        ("pnd-table.json", (b'"Datum"', b'"Day"')),
        ("pnd-table.json", (b'"values": [', b'"values": [1,')),
        ("pnd-table.json", (b'"size": 2,', b'"size": 2,,')),
        ("pnd-table.json", (b'"columns": [', b'"columns": [[],')),
        ("pnd-table.json", (b"03.03.2026 00:15", b"\x00")),
        ("pnd-table.json", (b'"statuses": {', b'"statuses": {"x": {"n": 1},')),
    ],
)
def test_wrong_exports_are_refused(name, change):
    data = (SAMPLES / name).read_bytes()
    assert change[0] in data
    with pytest.raises(ImportFileError):
        cz_portal.export(data.replace(*change, 1))


def test_an_export_that_is_cut_off_gives_no_wrong_value():
    head = '"Datum";"+A/784703 [kW]";"Status";\r\n03.03.2026 00:15:00;1,234;naměřená data OK;\r\n'.encode("cp1250")
    line = "03.03.2026 00:30:00;1,236;naměřená data OK;\r\n".encode("cp1250")
    found, refused = [], []
    for length in range(len(line) + 1):
        try:
            found.append([row.quantity for row in cz_portal.export(head + line[:length])[1][0].rows])
        except ImportFileError as error:
            refused.append(str(error))
    assert {tuple(one) for one in found} == {(308_500,), (308_500, 309_000)}
    assert all(text.startswith("line 3") for text in refused)


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"<a/>", b"{" * 100_000, b"\x00" * 99, b'{"columns": 1}'])
def test_what_is_no_export_is_refused(data):
    with pytest.raises(ImportFileError):
        cz_portal.export(data)


def test_36_months_are_read():
    start = dt.datetime(2023, 3, 1, tzinfo=PRAGUE)
    lines = ['"Datum";"+A/784703 [kW]";"Status";']
    day, last = start.date(), dt.date(2026, 3, 1)
    while day < last:
        for end in bounds(day, 900)[1:]:
            local = dt.datetime.fromtimestamp(end, PRAGUE)
            text = f"{local:%d.%m.%Y %H:%M:%S}" if local.hour or local.minute else f"{day:%d.%m.%Y} 24:00:00"
            lines.append(f"{text};0,5;naměřená data OK;")
        day += dt.timedelta(days=1)
    _, (found,) = cz_portal.export("\r\n".join(lines).encode("cp1250"))
    assert len(found.rows) == len(lines) - 1 == 96 * 1_096
    assert len(cz_portal.whole_days(found.rows)) == 1_096


def test_damage_is_refused_in_one_line_or_read():
    """Octets changed, removed and doubled at random: ImportFileError or quantities, never anything else."""
    draw = random.Random(28)
    sources = [
        (delivery(days=[DAY]), cz_portal.delivery),
        ((SAMPLES / "pnd-simplified.csv").read_bytes(), cz_portal.export),
        ((SAMPLES / "pnd-table.json").read_bytes(), cz_portal.export),
    ]
    refused = []
    for number in range(1_500):
        good, read = sources[number % 3]
        octets = bytearray(good)
        for _ in range(draw.randint(1, 5)):
            at = draw.randrange(len(octets))
            more = (b"", octets[at : at + 40], bytes(draw.randrange(256) for _ in range(3)), b"&a;", b"\x00", b"9" * 40)
            octets[at : at + draw.choice((0, 1, 20))] = draw.choice(more)
        try:
            read(bytes(octets))
        except ImportFileError as error:
            refused.append(str(error))
    assert 700 < len(refused) < 1_500
    assert [text for text in refused if len(text) > 700 or "\n" in text] == []
