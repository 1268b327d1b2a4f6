"""A test hub on loopback, in a thread of its own, with real certificates, and clients of its parties."""

import asyncio
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox.effects import Accepted, accept
from gateway.sandbox.folder import Folder
from gateway.sandbox.server import Sandbox, serving

#: parties beside those of `init`: who must not see what others have
MORE = (
    {"name": "neighbour", "ids": {}, "roles": {"api": ["customer"]}},
    {"name": "aggregator", "ids": {}, "roles": {"api": ["eligible"]}},
)


class Hub:
    """A running hub: `clock` may be set, `client(party)` speaks to it over TLS."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.url = ""
        self.clock = 0.0
        self.sandbox: Sandbox
        self._clients: list[httpx.Client] = []
        self._logins: list[tuple[httpx.Client, str]] = []
        self._failed: BaseException | None = None
        self._stop: asyncio.Event

    def start(self, clock: Callable[[], float], **settings: Any) -> None:
        self._clock, self._settings = clock, settings
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        assert self._ready.wait(30)
        if self._failed:
            raise self._failed

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._loop.close()

    def restart(self) -> None:
        """Stop, and start anew on the same folder; clients have to be made anew."""
        self.stop()
        self._clients.clear()
        self.start(self._clock, **self._settings)

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        """What a statement of SQL gives, run where the hub runs its own."""
        work = self.sandbox.store.run(lambda db: db.execute(query).fetchall())
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def context(self, party: str | None = None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.folder.ca))
        if party:
            made.load_cert_chain(*self.folder.pair(f"clients/{party}"))
        return made

    def client(self, party: str | None = None, *, token: bool = True, certificate: bool = True) -> httpx.Client:
        made = httpx.Client(
            base_url=self.url, verify=self.context(party if certificate else None), trust_env=False, timeout=60
        )
        self._clients.append(made)
        if party and token:
            self._logins.append((made, party))
            made.headers["Authorization"] = f"Bearer {self.token(made, party)}"
        return made

    def at(self, clock: float) -> None:
        """Set the clock; tokens do not outlive it, so everybody logs in again."""
        self.clock = clock
        for client, party in self._logins:
            client.headers["Authorization"] = f"Bearer {self.token(client, party)}"

    def token(self, client: httpx.Client, party: str) -> str:
        secret = (self.folder.clients / f"{party}.secret").read_text().strip()
        form = {"grant_type": "client_credentials", "client_id": f"{party}-client", "client_secret": secret}
        answer = client.post("/oauth2/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def admin(self) -> httpx.Client:
        made = self.client()
        made.headers["Authorization"] = f"Bearer {self.folder.admin_token()}"
        return made

    def effects(self, **wanted: str) -> list[dict[str, Any]]:
        answer = self.admin().get("/control/effects", params=wanted)
        return [json.loads(line) for line in answer.text.splitlines()]

    def take(
        self, point: str, start: int, kwh: list[str | None], *, direction: str = "consumption", **more: Any
    ) -> None:
        """Let the hub have a series, as a profile takes it over."""
        it = {"profile": "dk", "unit": "KWH", "resolution": "PT15M", "quality": "A04", "step": 900} | more
        values = tuple((start + n * it["step"], q, it["quality"] if q else "A02") for n, q in enumerate(kwh))
        end, document = start + len(kwh) * it["step"], f"{point}-{start}-{id(kwh)}"
        series = Accepted(
            it["profile"], "gridco", point, direction, it["unit"], start, end, it["resolution"], document, "t", values
        )
        work = self.sandbox.store.run(lambda db: accept(db, series, int(self.clock)))
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        try:
            self.sandbox = Sandbox(self.folder, clock=self._clock, **self._settings)
            async with serving(self.sandbox) as port:
                self.url = f"https://127.0.0.1:{port}"
                self._ready.set()
                await self._stop.wait()
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._ready.set()
            await self._loop.shutdown_default_executor()


def _more(folder: Folder) -> None:
    """Add the parties of MORE, whose secrets are files as those of `init`."""
    path = folder.path / "parties.json"
    entries = json.loads(path.read_text())
    for entry in MORE:
        entries.append({**entry, "client_id": f"{entry['name']}-client"})
        (folder.clients / f"{entry['name']}.secret").write_text(f"secret of {entry['name']}\n")
    path.write_text(json.dumps(entries))


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a hub as `init` makes it, with the parties of MORE; hubs get copies of it."""
    folder = Folder(tmp_path_factory.mktemp("hub") / "folder")
    folder.make()
    _more(folder)
    return folder.path


@pytest.fixture
def hub_at(tmp_path: Path, hub_folder: Path) -> Iterator[Callable[..., Hub]]:
    """`hub_at(clock)`: a hub whose clock stands at that UTC second until it is set."""
    running: list[Hub] = []

    def start(clock: float, **settings: Any) -> Hub:
        hub = Hub(Folder(Path(shutil.copytree(hub_folder, tmp_path / f"hub{len(running)}"))))
        hub.clock = clock
        running.append(hub)
        hub.start(lambda: hub.clock, **settings)
        return hub

    yield start
    for hub in running:
        hub.stop()
