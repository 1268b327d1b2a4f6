"""The mailbox: files that a person puts into a folder are taken exactly as a POST takes them (hubs.md 6, 5).

A file is looked at when it has not changed for two looks. Then it goes to `done/` or `refused/`, with the answer of the
hub beside it: `NAME.answer` (status and body). Which profile a file is for is seen from what it is:

    NotifyValidatedMeasureData, RequestWholesaleSettlement (JSON or XML)    dk
    VHD_Envelope v1.04                                                      eu
    CDSDATA, CDSGASDATA                                                     ote
    {"meteringData": ...} named UUID.json                                   ee, the name is the id of the message

The party is the one whose id the document has as sender; of `ee` it is the folder's owner, the first party that has an
id there. A folder NAME inside the mailbox belongs to the party of that name.
"""

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from gateway.sandbox import dk, ee, eu, ote
from gateway.sandbox.dk_read import NOTIFY, WHOLESALE
from gateway.sandbox.guard import RefusedError
from gateway.sandbox.parties import Party
from gateway.sandbox.store import StoreError

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: seconds between two looks, files of one look, octets of a file at most
_LOOK_S: Final = 0.5
_AT_ONCE: Final = 100
_LARGEST: Final = 64 * 1024 * 1024
_LOG: Final = logging.getLogger("sandbox")


class _Seen(NamedTuple):
    size: int
    changed: int


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """No route; the mailbox is a chore of the hub."""
    if sandbox.mailbox is not None:
        folder = sandbox.mailbox
        sandbox.chores.append(lambda: _watch(sandbox, folder))
    return []


async def _watch(sandbox: "Sandbox", folder: Path) -> None:
    """Look for files until cancelled."""
    seen: dict[Path, _Seen] = {}
    while True:
        found = dict(_files(sandbox, folder))
        for path in _still(seen, found)[:_AT_ONCE]:
            await _take(sandbox, folder, path)
            del found[path]
        seen = found
        await asyncio.sleep(_LOOK_S)


def _still(seen: dict[Path, _Seen], found: dict[Path, _Seen]) -> list[Path]:
    """Return the files that are as they were at the last look."""
    return [path for path, state in found.items() if seen.get(path) == state]


def _files(sandbox: "Sandbox", folder: Path) -> list[tuple[Path, _Seen]]:
    """Files of the mailbox and of the folders of parties, oldest name first, with size and time of change."""
    folders = [folder, *(folder / party.name for party in sandbox.parties.all)]
    found: list[tuple[Path, _Seen]] = []
    for place in folders:
        if place.is_dir():
            with os.scandir(place) as entries:
                plain = [e for e in entries if e.is_file(follow_symlinks=False) and not e.name.startswith(".")]
            for entry in sorted(plain, key=lambda e: e.name):
                status = entry.stat(follow_symlinks=False)
                found.append((Path(entry.path), _Seen(status.st_size, status.st_mtime_ns)))
    return found


async def _take(sandbox: "Sandbox", folder: Path, path: Path) -> None:
    """Take one file, and put it away with its answer; while the store does not work it stays where it is."""
    try:
        status, text = await _ingested(sandbox, folder, path)
    except StoreError as error:
        _LOG.error("%s: not taken: %s", path, error)
        return
    away = path.parent / ("done" if status < 300 else "refused")
    away.mkdir(exist_ok=True)
    target = away / path.name
    for i in range(1, 10_000):
        if not target.exists():
            break
        target = away / f"{path.stem}-{i}{path.suffix}"
    target.with_name(f"{target.name}.answer").write_text(f"{status}\n{text}", "utf-8")
    path.rename(target)


async def _ingested(sandbox: "Sandbox", folder: Path, path: Path) -> tuple[int, str]:
    """Status and text of the answer."""
    try:
        if path.stat().st_size > _LARGEST:
            return 413, "the file is too large\n"
        answer = await _ingest(sandbox, folder, path, path.read_bytes())
    except RefusedError as error:
        return error.status, f"{error}\n"
    except OSError as error:
        return 400, f"the file cannot be read: {error.strerror}\n"
    body = answer.body
    return answer.status, bytes(body).decode("utf-8", "replace") if isinstance(body, bytes | bytearray) else ""


async def _ingest(sandbox: "Sandbox", folder: Path, path: Path, content: bytes) -> web.Response:
    head = content[:20_000]
    if b"VHD_Envelope" in head:
        return await eu.ingest(sandbox, _party(sandbox, folder, path, "eu", head), content)
    if b"<CDSDATA" in head or b"<CDSGASDATA" in head:
        return await ote.ingest(sandbox, _party(sandbox, folder, path, "ote", head), content)
    if b"meteringData" in head:
        document = path.stem.lower()
        return await ee.ingest(sandbox, _party(sandbox, folder, path, "ee", head), ee.identified(document), content)
    for kind in (NOTIFY, WHOLESALE):
        if kind.encode() in head:
            xml = content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")
            return await dk.ingest(sandbox, _party(sandbox, folder, path, "dk", head), kind, content, xml)
    raise RefusedError(400, "this is no document that the hub knows")


def _party(sandbox: "Sandbox", folder: Path, path: Path, profile: str, head: bytes) -> Party:
    """Return whose file it is: by the folder, else by an id that stands in the document, else the first party."""
    named = sandbox.parties.named(path.parent.name) if path.parent != folder else None
    known = [party for party in sandbox.parties.all if profile in party.ids]
    inside = (party for party in known if party.ids[profile].encode() in head)
    found = named or next(inside, known[0] if known else None)
    if found is None:
        raise RefusedError(403, f"no party of parties.json has an id of the profile {profile}")
    return found
