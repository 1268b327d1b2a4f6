"""What each sink is made of: where that is the same after a change of the configuration, the sink stays as it is."""

import hashlib
from collections.abc import Hashable
from pathlib import Path

import msgspec

from gateway.settings import Settings
from gateway.sinks.registry import SINKS


def made_of(settings: Settings) -> dict[str, Hashable]:
    """By the name that `registry.create` gives each sink: its table, the meters it knows, the files that it reads."""
    found: dict[str, Hashable] = {}
    for kind in SINKS:
        tables = getattr(settings, kind)
        if isinstance(tables, tuple):
            found |= {f"{kind} {n}": (*_of_one(kind, one, settings),) for n, one in enumerate(tables, 1)}
        elif tables is not None:
            names = tuple(meter.name for meter in settings.meter)
            found[kind] = (tables, names, _files(tables))
    return found


def _of_one(kind: str, table: "msgspec.Struct", settings: Settings) -> tuple[Hashable, ...]:
    """A table of a list is about one meter, and may need the zone or the broker that another table has."""
    zone = {meter.name: meter.timezone for meter in settings.meter}[table.meter]  # type: ignore[attr-defined]
    broker = settings.broker(table) if kind == "compat" else None  # type: ignore[arg-type]
    return table, zone, broker, _files(table if broker is None else broker)


def _files(table: msgspec.Struct) -> tuple[str | None, ...]:
    """Digests of the files that a table names: a password, certificates."""
    names = [field.name for field in msgspec.structs.fields(table) if field.name.endswith("_file")]
    return tuple(_digest(getattr(table, name)) for name in names)


def _digest(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
