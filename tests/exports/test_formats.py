"""Every format of item E: valid by the published schema, exact, complete, and nothing in it that is not validated."""

import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from lxml import etree

from gateway.exports.about import ExportError, by_day, decimal
from gateway.exports.formats import FORMATS
from gateway.exports.rsm012 import is_gs1
from gateway.exports.vhd import scheme
from gateway.intervals.model import ITEM_E, Unit

#: a day of 92, 96 and 100 quarter-hours
DAYS = {date(2026, 3, 29): 92, date(2026, 6, 1): 96, date(2026, 10, 25): 100}
WITH_SCHEMA = ("vhd", "rsm012-xml", "rsm012-json", "item-e", "espi")


@pytest.mark.parametrize("day", DAYS, ids=str)
@pytest.mark.parametrize("step", [900, 3_600])
@pytest.mark.parametrize("direction", ["import", "export"])
@pytest.mark.parametrize("name", WITH_SCHEMA)
def test_valid_by_its_schema(name, direction, step, day, make_series, export, validate):  # noqa: PLR0917  # fixtures
    series = make_series(day, step=step, direction=direction)
    assert len(series.intervals) == DAYS[day] // (step // 900)
    validate[name](export(name, series))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("vhd", b"<position>1</position>", b"<position>0</position>"),
        ("vhd", b"A04</energy", b"A99</energy"),
        ("vhd", b":00Z</start>", b":00:00Z</start>"),
        ("rsm012-xml", b"<cim:resolution>PT15M</cim:resolution>", b""),
        ("rsm012-xml", b"<cim:type>E66</cim:type>", b""),
        ("rsm012-json", b'"value":1}', b'"value":0}'),
        ("rsm012-json", b'"quantity":', b'"quantity":"x","q":'),
        ("item-e", b'"status": "valid"', b'"status": "good"'),
        ("item-e", b'"resolution": "PT15M"', b'"resolution": "PT10M"'),
        ("espi", b"espi:timePeriod", b"espi:timeSpan"),
    ],
)
def test_the_schemas_refuse_what_is_wrong(name, old, new, make_series, export, validate):  # noqa: PLR0917  # fixtures
    series = make_series(date(2026, 6, 1))
    octets = export(name, series)
    assert old in octets
    with pytest.raises(Exception, match=r"."):
        validate[name](octets.replace(old, new))


def quantities(name: str, octets: bytes) -> list[Decimal]:
    """What a document says, in Wh, found without the product's own readers."""
    if name == "item-e":
        return [Decimal(i["quantity"]) for s in json.loads(octets)["series"] for i in s["intervals"] if "quantity" in i]
    if name == "rsm012-json":
        found = json.loads(octets, parse_float=Decimal)["NotifyValidatedMeasureData_MarketDocument"]["Series"]
        return [Decimal(p["quantity"]) * 1000 for s in found for p in s["Period"]["Point"] if "quantity" in p]
    if name == "intervals-csv":
        return [Decimal(line.split(",")[9]) for line in octets.decode().splitlines()[1:] if line.split(",")[9]]
    if name == "pnd":
        cells = [line.split(";")[1] for line in octets.decode("cp1250").splitlines()[1:]]
        return [Decimal(cell.replace(",", ".")) * 250 for cell in cells if cell]
    tag, factor = {"vhd": ("energy_Quantity.quantity", 1000), "rsm012-xml": ("quantity", 1000), "espi": ("value", 1)}[
        name
    ]
    tree = etree.fromstring(octets)
    return [Decimal(e.text) * factor for e in tree.iter() if etree.QName(e).localname == tag]


@pytest.mark.parametrize("name", FORMATS)
def test_every_quantity_is_exact_and_only_item_e_is_said(name, make_series, export):
    series = make_series(date(2026, 10, 25))
    octets = export(name, series)
    assert quantities(name, octets) == [i.quantity for i in series.intervals if i.status in ITEM_E]


@pytest.mark.parametrize("name", ["item-e", "intervals-csv", "pnd", "espi"])
def test_raw_data_on_request_is_marked(name, make_series, export, validate):
    series = make_series(date(2026, 6, 1))
    octets = export(name, series, raw=True)
    assert quantities(name, octets) == [i.quantity for i in series.intervals if i.quantity is not None]
    if name == "item-e":
        assert json.loads(octets)["validated"] is False
    if name in validate:
        validate[name](octets)
    marks = {
        "item-e": b'"status": "suspect"',
        "intervals-csv": b"Wh,suspect,",
        "pnd": "neplatná".encode("cp1250"),
        "espi": b">10<",
    }
    assert marks[name] in octets
    assert marks[name] not in export(name, series)


@pytest.mark.parametrize("name", ["vhd", "rsm012-json", "rsm012-xml"])
def test_hubs_get_no_raw_data(name, make_series, export):
    series = make_series(date(2026, 6, 1))
    with pytest.raises(ExportError, match="validated data only"):
        export(name, series, raw=True)


def test_positions_count_in_utc_and_missing_ones_say_so(make_series, export):
    series = make_series(date(2026, 10, 25))
    document = json.loads(export("rsm012-json", series))
    (transaction,) = document["NotifyValidatedMeasureData_MarketDocument"]["Series"]
    points = transaction["Period"]["Point"]
    assert [point["position"]["value"] for point in points] == list(range(1, 101))
    bounds = transaction["Period"]["timeInterval"]
    assert (bounds["start"]["value"], bounds["end"]["value"]) == ("2026-10-24T22:00Z", "2026-10-25T23:00Z")
    for point, interval in zip(points, series.intervals, strict=True):
        said = point.get("quality", {}).get("value")
        assert said == {"valid": None, "estimated": "A03", "edited": "A03"}.get(interval.status, "A02")
        assert ("quantity" in point) == (said != "A02")


def test_a_transaction_for_each_local_day_with_ids_of_its_own(make_series, export):
    series = make_series(date(2026, 3, 28), days=3)
    octets = export("rsm012-json", series)
    found = json.loads(octets)["NotifyValidatedMeasureData_MarketDocument"]["Series"]
    assert [len(one["Period"]["Point"]) for one in found] == [96, 92, 96]
    ids = re.findall(rb'"mRID": "([^"]+)"', octets)
    assert len(set(ids)) == len(ids) == 4
    assert all(len(one) <= 36 for one in ids)


def test_the_version_of_a_day_is_its_highest(make_series, export):
    series = make_series(date(2026, 6, 1), days=2, status="valid")
    intervals = [replace(one, version=7 if n == 100 else 1) for n, one in enumerate(series.intervals)]
    octets = export("vhd", replace(series, intervals=intervals))
    assert re.findall(rb"<version>(\d+)</version>", octets) == [b"1", b"7"]


def test_the_repeated_hour_stands_twice_in_a_pnd_file(make_series, export):
    series = make_series(date(2026, 10, 25), zone="Europe/Prague")
    lines = export("pnd", series).decode("cp1250").splitlines()
    stamps = [line.split(";")[0] for line in lines[1:]]
    assert len(stamps) == 100
    assert stamps[0] == "25.10.2026 00:15:00"
    assert stamps[-1] == "25.10.2026 24:00:00"
    assert stamps.count("25.10.2026 02:15:00") == 2


@pytest.mark.parametrize(
    ("zone", "start", "end", "offset"),
    [("Europe/Copenhagen", "3E0E2000", "AE0E3000", 3600), ("Europe/Lisbon", "3E0E1000", "AE0E2000", 0)],
)
def test_rules_of_summer_time_in_green_button(zone, start, end, offset, make_series, export):  # noqa: PLR0917  # fixtures
    series = make_series(date(2026, 6, 1), zone=zone)
    octets = export("espi", series).decode()
    assert f"<espi:dstStartRule>{start}</espi:dstStartRule>" in octets
    assert f"<espi:dstEndRule>{end}</espi:dstEndRule>" in octets
    assert f"<espi:tzOffset>{offset}</espi:tzOffset>" in octets


@pytest.mark.parametrize(
    ("name", "changes", "about", "says"),
    [
        ("vhd", {"point": None}, {}, "set `point`"),
        ("vhd", {}, {"sender": None}, "--sender"),
        ("vhd", {}, {"receiver": "x" * 17}, "--receiver"),
        ("vhd", {"unit": Unit("GJ", -3), "kind": "heat"}, {}, "no unit for GJ"),
        ("rsm012-json", {"point": "571313000000002001"}, {}, "GSRN"),
        ("rsm012-json", {}, {"sender": "5799999933319"}, "check digit"),
        ("rsm012-xml", {"resolution": "P1D"}, {}, "D23"),
        ("rsm012-xml", {"kind": "reactive"}, {}, "active energy"),
        ("pnd", {"resolution": "P1D"}, {}, "PT15M or PT1H"),
        ("pnd", {"kind": "volume"}, {}, "active energy"),
        ("espi", {"unit": Unit("m3", -3), "kind": "volume"}, {}, "in Wh"),
    ],
)
def test_what_a_format_cannot_carry_is_refused(name, changes, about, says, make_series, export):  # noqa: PLR0917  # fixtures
    series = make_series(date(2026, 6, 1))
    with pytest.raises(ExportError, match=says):
        export(name, replace(series, **changes), **about)


def test_a_day_that_is_too_short_or_off_the_grid_is_refused(make_series, export):
    series = make_series(date(2026, 6, 1))
    with pytest.raises(ExportError, match="E50"):
        export("rsm012-json", replace(series, intervals=series.intervals[:15]))
    shifted = [replace(one, start=one.start + 60, end=one.end + 60) for one in series.intervals]
    with pytest.raises(ExportError, match="D66"):
        export("rsm012-json", replace(series, intervals=shifted))


def test_two_series_in_a_pnd_file_are_refused_and_none_too(make_series, about_of):
    series = make_series(date(2026, 6, 1))
    with pytest.raises(ExportError, match="one meter and one direction"):
        list(FORMATS["pnd"].write(iter([series, series]), about_of(series)))
    with pytest.raises(ExportError, match="no series"):
        list(FORMATS["pnd"].write(iter([]), about_of(series)))


HOSTILE = "=cmd|'/C calc'!A0,\"\n<x>&amp;]]>"


@pytest.mark.parametrize("name", ["vhd", "espi", "item-e", "intervals-csv", "pnd"])
def test_a_hostile_point_stays_text(name, make_series, export, validate):
    series = replace(make_series(date(2026, 6, 1)), point=HOSTILE)
    octets = export(name, series)
    if name == "vhd":
        assert etree.fromstring(octets).findtext(".//{*}marketEvaluationPoint.mRID") == HOSTILE
    if name in validate:
        validate[name](octets)
    if name == "intervals-csv":
        assert b",=cmd" not in octets


def test_a_gas_day_begins_at_six(make_series):
    series = replace(make_series(date(2026, 6, 1), days=2), gas_day=True)
    starts = [datetime.fromtimestamp(day[0].start, UTC).hour for day in by_day(series)]
    assert starts == [22, 4, 4]


@pytest.mark.parametrize(
    ("integer", "exponent", "text"), [(125, -3, "0.125"), (0, -3, "0.000"), (12, 0, "12"), (5, 2, "500")]
)
def test_decimals(integer, exponent, text):
    assert decimal(integer, exponent) == text


def test_check_digits():
    assert is_gs1("5790001330552", 13)
    assert is_gs1("571313000000002000", 18)
    assert not is_gs1("5790001330553", 13)
    assert not is_gs1("57900013305", 13)
    assert not is_gs1("579000133055²", 13)


def test_coding_schemes():
    assert scheme("5790001330552") == "A10"
    assert scheme("10X1001A1001B54W") == "A01"
    assert scheme("somebody") is None


def test_memory_is_that_of_a_day(make_series, about_of):
    """Ten times the period takes no more memory: what is written is not kept."""
    day = make_series(date(2026, 6, 1), status="valid")

    def peak(days: int, name: str) -> int:
        span = 96 * 900
        lazy: Callable = lambda: (  # noqa: E731
            replace(one, start=one.start + n * span, end=one.end + n * span)
            for n in range(days)
            for one in day.intervals
        )
        tracemalloc.start()
        for _ in FORMATS[name].write(iter([replace(day, intervals=lazy())]), about_of(day)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for name in FORMATS:
        assert peak(40, name) < 2 * peak(4, name) + 200_000
