"""Formats of other systems: item P as the messages that their own readers expect, pure and exact (docs/compat.md).

A format takes a reading and gives the messages of it, or none where the reading lacks what its reader needs. It says
only what the reading says: nothing is carried from an earlier one, nothing absent becomes 0, nothing is retained.
"""

from collections.abc import Callable
from typing import TypeAlias

from gateway.item_p import ItemP
from gateway.settings import CompatSettings
from gateway.sinks.formats import aiida, dsmr_reader, victron
from gateway.sinks.topics import Message

Format: TypeAlias = Callable[[ItemP], list[Message]]

#: format of each `kind` of [[compat]]
KINDS: dict[str, Callable[[CompatSettings], Format]] = {
    "aiida-cim": aiida.make,
    "dsmr-reader": dsmr_reader.make,
    "victron": victron.make,
}
