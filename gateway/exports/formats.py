"""Every format of intervals, by the name that `meterd export --format` takes."""

from dataclasses import dataclass
from typing import Final

from gateway.exports import espi, item_e, pnd, rsm012, table, vhd
from gateway.exports.about import Writer


@dataclass(frozen=True, slots=True)
class Format:
    """A carrier of item E."""

    write: Writer
    #: what `meterd export -h` says of it
    says: str
    suffix: str


FORMATS: Final[dict[str, Format]] = {
    "item-e": Format(item_e.write, "item E as JSON (docs/schemas/item-e.schema.json)", "json"),
    "intervals-csv": Format(table.write, "CSV, one line for each interval", "csv"),
    "pnd": Format(pnd.write, "CSV in the style of CEZ Distribuce PND: mean kW, end stamps, cp1250", "csv"),
    "vhd": Format(vhd.write, "EU ValidatedHistoricalData v1.04, XML", "xml"),
    "rsm012-json": Format(rsm012.write_json, "Danish RSM-012, CIM JSON", "json"),
    "rsm012-xml": Format(rsm012.write_xml, "Danish RSM-012, CIM XML", "xml"),
    "espi": Format(espi.write, "Green Button, NAESB ESPI 3.3, XML", "xml"),
}
