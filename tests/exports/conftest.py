"""Series to export, and validators made from the published schemas."""

import json
import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from lxml import etree

from gateway.exports.about import About
from gateway.exports.formats import FORMATS
from gateway.intervals.model import WH, Interval, Series, missing, revised

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
HUBS = SCHEMAS / "hubs"
SENDER, RECEIVER = "5799999933318", "5790001330552"
POINT = "571313000000002000"
STATUSES = ("valid", "estimated", "edited", "missing", "suspect", "raw")


@pytest.fixture
def make_series() -> Callable[..., Series]:
    """Make a series of local days with statuses in turn, or one status; quantities are random and seeded."""

    def make(
        first: date,
        days: int = 1,
        *,
        zone: str = "Europe/Copenhagen",
        step: int = 900,
        status: str | None = None,
        **more,
    ) -> Series:
        info, chance = ZoneInfo(zone), random.Random(first.toordinal())
        start, end = (
            int(datetime(d.year, d.month, d.day, tzinfo=info).timestamp()) for d in (first, first + timedelta(days))
        )
        intervals = [
            _interval(t, t + step, status or STATUSES[n % 6], chance) for n, t in enumerate(range(start, end, step))
        ]
        given = {"point": POINT, "direction": "import", "resolution": "PT15M" if step == 900 else "PT1H"} | more
        return Series(
            meter="main", channel=0, kind="active", unit=WH, zone=zone, intervals=intervals, created=0, **given
        )

    return make


def _interval(start: int, end: int, status: str, chance: random.Random) -> Interval:
    quantity = None if status == "missing" else chance.randrange(0, 6_000)
    more = {"rules": ("V08",)} if status == "suspect" else {}
    return revised(
        missing(start, end), quantity=quantity, status=status, method="register", version=chance.randrange(1, 4), **more
    )


@pytest.fixture
def about_of() -> Callable[..., About]:
    """Make what an export says beside a series."""

    def make(series: Series, **changes) -> About:
        given = {"created": 1_772_600_000, "sender": SENDER, "receiver": RECEIVER} | changes
        return About(series.intervals[0].start, series.intervals[-1].end, **given)

    return make


@pytest.fixture
def export(about_of) -> Callable[..., bytes]:
    """Write a series in a format, whole."""
    return lambda name, series, **changes: b"".join(FORMATS[name].write(iter([series]), about_of(series, **changes)))


@pytest.fixture(scope="session")
def validate() -> dict[str, Callable[[bytes], None]]:
    """Validators by format; each raises where the octets do not follow the published schema."""
    vhd = etree.XMLSchema(
        etree.parse(HUBS / "eu-eddie-cim/v1_04/vhd/ValidatedHistoricalData_Document_v1.04_annotated.xsd")
    )
    rsm = etree.XMLSchema(
        etree.parse(HUBS / "dk-datahub3/xsd/urn-ediel-org-measure-notifyvalidatedmeasuredata-0-1.xsd")
    )
    return {
        "vhd": lambda octets: vhd.assertValid(etree.fromstring(octets)),
        "rsm012-xml": lambda octets: rsm.assertValid(etree.fromstring(octets)),
        "rsm012-json": _danish_json(),
        "item-e": _own_json(),
        "espi": _espi(),
    }


def _danish_json() -> Callable[[bytes], None]:
    folder = HUBS / "dk-datahub3/json-schema"
    schemas = {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    root = next(schema for name, schema in schemas.items() if name.startswith("Notify-Validated"))
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    resources = [Resource.from_contents(schema, default_specification=DRAFT7) for schema in schemas.values()]
    names = list(schemas)
    registry = Registry().with_resources(
        [*zip(names, resources, strict=True), *((r.id(), r) for r in resources if r.id())]
    )
    validator = jsonschema.Draft7Validator(root, registry=registry)
    return lambda octets: validator.validate(json.loads(octets))


def _own_json() -> Callable[[bytes], None]:
    schema = json.loads((SCHEMAS / "item-e.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    return lambda octets: validator.validate(json.loads(octets))


def _espi() -> Callable[[bytes], None]:
    """Every ESPI resource of a feed against the schema; its import of Atom, of which it uses nothing, is left out."""
    tree = etree.parse(HUBS / "us-green-button-espi/GB_XML_schema_usage_v3_3.xsd")
    for element in tree.getroot().findall("{http://www.w3.org/2001/XMLSchema}import"):
        tree.getroot().remove(element)
    schema = etree.XMLSchema(tree)

    def check(octets: bytes) -> None:
        feed = etree.fromstring(octets)
        contents = feed.findall("{http://www.w3.org/2005/Atom}entry/{http://www.w3.org/2005/Atom}content/*")
        assert contents
        for content in contents:
            schema.assertValid(etree.fromstring(etree.tostring(content)))

    return check
