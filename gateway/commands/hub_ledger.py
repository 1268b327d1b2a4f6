"""What the halves of `meterd hub` share: the hub that is meant, the ledger for reading and for writing, who asks."""

import argparse
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import log
from gateway.commands import configuration
from gateway.hub_model import Message
from gateway.hub_settings import HubSettings
from gateway.item_p import utc
from gateway.settings import Settings
from gateway.stores.files import Damaged, StorageFault
from gateway.stores.hub_reading import HubRows
from gateway.stores.hubs import HubError, HubReader, HubStore
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_salvage import open_ledger
from gateway.toml_tables import near

if TYPE_CHECKING:
    from gateway.uploader.hub import HubAdapter


class RefusedError(Exception):
    """It cannot be done: one sentence that says what, where and what to do."""


def settings_of(args: argparse.Namespace) -> Settings:
    """The configuration, but for secrets, which are the uploader's; raises SettingsError."""
    return configuration.read(configuration.place(args.config), "hub")


def hub_of(settings: Settings, name: str) -> HubSettings:
    """The hub of a name; raises RefusedError."""
    for hub in settings.hub:
        if hub.name == name:
            return hub
    known = [hub.name for hub in settings.hub]
    there = f"there are {', '.join(known)}" if known else "there is no [[hub]] at all"
    raise RefusedError(f"the configuration has no [[hub]] with the name {name!r}{near(name, known)}: {there}")


def adapter_of(settings: Settings, hub: HubSettings) -> "HubAdapter":
    """The adapter of a hub; raises RefusedError."""
    problems = list(configuration.hub_problems(settings))
    if problems:
        raise RefusedError("; ".join(problems))
    from gateway.uploader import registry

    try:
        return registry.make(hub)
    except (ImportError, ValueError) as error:
        raise RefusedError(f"hub {hub.name}: {error}") from None


def ledger_of(args: argparse.Namespace) -> Path:
    """The ledger that is meant; raises SettingsError."""
    return Path(args.ledger or settings_of(args).ledger_path)


@contextmanager
def reading(args: argparse.Namespace) -> Iterator[HubReader]:
    """The ledger for reading. Raises RefusedError, SettingsError."""
    try:
        reader = HubReader(ledger_of(args))
        try:
            yield reader
        finally:
            reader.close()
    except LedgerError as error:
        raise RefusedError(str(error)) from None


@contextmanager
def writing(args: argparse.Namespace) -> Iterator[HubStore]:
    """The ledger for writing, beside whoever writes it. Raises RefusedError, SettingsError."""
    path = ledger_of(args)
    if not path.is_file():
        raise RefusedError(f"there is no ledger at {path}: name it with --ledger, or the configuration with -c")
    try:
        file = open_ledger(path).file
        try:
            yield HubStore(file)
        finally:
            file.close()
    except HubError as error:
        raise RefusedError(str(error)) from None
    except (LedgerError, StorageFault) as error:
        raise RefusedError(f"{error}; nothing was changed") from None
    except Damaged as error:
        raise RefusedError(
            f"the ledger is damaged ({error}): start meterd, which salvages it; nothing was changed"
        ) from None


def message_of(rows: HubRows, hub: str, number: int) -> Message:
    """The message of a number; raises RefusedError."""
    found = rows.message(hub, number)
    if found is None:
        known = rows.hubs()
        other = "" if hub in known else f", of which there are messages only of: {', '.join(known) or 'no hub'}"
        raise RefusedError(f"hub {hub} has no message {number} in {rows.path}{other}: see `meterd hub show {hub}`")
    return found


def who() -> str:
    """The user of the operating system, for the audit log; with whose sudo it became root."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} ({shown(behind)[:32]})" if uid == 0 and behind else name


def at(t: int | None) -> str | None:
    """A moment as text, in UTC."""
    return None if t is None else utc(datetime.fromtimestamp(t, UTC), "seconds")


def shown(text: str) -> str:
    """Words of others as a terminal may show them."""
    return text if text.isprintable() else log.escape(text)


def table(lines: list[tuple[str, ...]]) -> Iterator[str]:
    """Columns as wide as what is in them."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
