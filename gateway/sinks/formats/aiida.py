"""The JSON of AIIDA's CIM data source: one `TimeSeries` of the RealTimeData document v1.12 for each reading.

Source: eddie-energy/eddie, aiida/docs/1-running/data-sources/mqtt/cim/cim-data-source.md and the schema RTD v1.12.
AIIDA stamps a record with its own time and calls every value AS_PROVIDED, whatever `quality` says here. So only
measured readings go there, and (compat.CompatSink) only at the moment at which they arrive.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from decoders.model import decimal
from gateway.compat_rules import data_source
from gateway.item_p import ItemP, utc
from gateway.settings import CompatSettings
from gateway.sinks.registers import exact
from gateway.sinks.topics import JSON, Message

#: QuantityTypeKind of item P: kW and kWh
_ITEM_P = (("p_import_w", "2"), ("p_export_w", "3"), ("a_import_wh", "0"), ("a_export_wh", "1"))
#: name of a register -> (QuantityTypeKind, power of ten from the unit of the name to that of the kind)
_REGISTERS = {
    "l1_voltage_v": ("4", 0),
    "l2_voltage_v": ("5", 0),
    "l3_voltage_v": ("6", 0),
    "l1_current_a": ("7", 0),
    "l2_current_a": ("8", 0),
    "l3_current_a": ("9", 0),
    "power_factor": ("10", 0),
    "l1_p_import_w": ("17", -3),
    "l2_p_import_w": ("18", -3),
    "l3_p_import_w": ("19", -3),
    "q_import_var": ("20", -3),
    "q_export_var": ("24", -3),
    "frequency_hz": ("35", 0),
}

_encode = msgspec.json.Encoder().encode


def make(settings: CompatSettings) -> Callable[[ItemP], list[Message]]:
    """Build the format; `topic` is the one that AIIDA shows, `country` that of the connection (ISO 3166)."""
    resource = {"value": data_source(settings.topic), "codingScheme": f"N{settings.country}"}

    def messages(item: ItemP) -> list[Message]:
        quantities = [_quantity(value, kind) for value, kind in _values(item)]
        if item.reading.quality != "measured" or not quantities:
            return []
        series = {
            "version": "1.0",
            "registeredResource.mRID": resource,
            "dateAndOrTime.dateTime": utc(item.t, "seconds"),
            "Quantity": quantities,
        }
        return [Message(settings.topic, _encode(series), expires=True, content_type=JSON)]

    return messages


def _values(item: ItemP) -> Iterator[tuple[str, str]]:
    for name, kind in _ITEM_P:
        value = getattr(item.reading, name)
        if value is not None:
            yield decimal(value, -3), kind
    found = exact(item.reading.registers)
    for name, (kind, power) in _REGISTERS.items():
        if name in found:
            integer, exponent = found[name]
            yield decimal(integer, exponent + power), kind


def _quantity(value: str, kind: str) -> dict[str, Any]:
    return {"quantity": msgspec.Raw(value.encode()), "type": kind, "quality": "AS_PROVIDED"}
