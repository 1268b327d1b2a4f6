"""The test hub (gateway.sandbox) in a thread of its own, and what it keeps: for tests of adapters over real TLS."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any, Self

from gateway.hub_settings import HubSettings
from gateway.sandbox.effects import log
from gateway.sandbox.folder import Folder
from gateway.sandbox.server import Sandbox, serving
from gateway.uploader.session import HttpSession


class SandboxHub:
    """Runs between `start` and `stop`; faults and options are set on `sandbox`."""

    def __init__(self, folder: Path) -> None:
        self.folder = Folder(folder)
        self.folder.make()
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._sessions: list[HttpSession] = []

    def start(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        assert self.port
        return self

    def stop(self) -> None:
        for one in self._sessions:
            one.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._loop.close()

    def settings(self, profile: str, kind: str, **more: Any) -> HubSettings:
        """[[hub]] of the party gridco, which has a certificate and an OAuth2 client."""
        party = next(one for one in self.sandbox.parties.all if one.name == "gridco")
        cert, key = self.folder.pair("clients/gridco")
        base = f"https://localhost:{self.port}"
        given = {
            "name": "sandbox",
            "kind": kind,
            "url": f"{base}/{profile}",
            "party": party.id(profile),
            "legal_basis": "test",
            "ca_file": str(self.folder.ca),
            "cert_file": str(cert),
            "key_file": str(key),
            "token_url": f"{base}/oauth2/token",
            "client_id": "gridco-client",
            "client_secret_file": str(self.folder.clients / "gridco.secret"),
            "requests_per_minute": 60_000,
            "timeout_s": 30,
        } | more
        return HubSettings(**{name: value for name, value in given.items() if value is not None})

    def session(self, settings: HubSettings) -> HttpSession:
        self._sessions.append(HttpSession(settings))
        return self._sessions[-1]

    def effects(self) -> list[dict[str, Any]]:
        """Every accepted series, as the oracle sees it."""
        work = asyncio.run_coroutine_threadsafe(
            self.sandbox.store.run(lambda db: [json.loads(json.dumps(one)) for one in log(db, 0, 10_000)]), self._loop
        )
        return work.result(60)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        try:
            self.sandbox = Sandbox(self.folder)
            async with serving(self.sandbox) as port:
                self.port = port
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()
            await self._loop.shutdown_default_executor()


def until(ask, wanted, deadline_s: float = 60):
    """Ask until `wanted` holds of the answer."""
    end = time.monotonic() + deadline_s
    while not wanted(answer := ask()):
        assert time.monotonic() < end, answer
        time.sleep(0.05)
    return answer
