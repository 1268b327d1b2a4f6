"""The test hub: one HTTPS server, its profiles over one store, and what they share.

A profile is a module with `routes(sandbox) -> list[web.RouteDef]`; `PROFILES` names them. Its handlers find who speaks
in `request[guard.PARTY]` (absent where a path needs nobody); how a path is guarded says `guard.GUARDS`.
"""

import asyncio
import contextlib
import importlib
import logging
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.sandbox import control, guard, mischief, tls
from gateway.sandbox.connections import Connections, OwnFaults
from gateway.sandbox.faults import Faults
from gateway.sandbox.faults import parse as parse_fault
from gateway.sandbox.folder import Folder, FolderError
from gateway.sandbox.judging import judge_for_ever
from gateway.sandbox.options import Options
from gateway.sandbox.parties import Party
from gateway.sandbox.store import Store
from gateway.sandbox.tokens import Tokens

#: modules of the profiles, and of the REST API of the procedures
PROFILES: Final = ("login", "dk", "reminders", "ee", "eu", "mailbox", "ote", "eso", "procedures", "page")
#: rounds of the loop at the end
_ROUNDS: Final = 10


class Arrival(NamedTuple):
    """One line of what arrived lately, for the page."""

    at: int
    profile: str
    party: str
    what: str
    outcome: str


@dataclass
class Sandbox:
    """What the profiles of one test hub share; made inside a running loop."""

    folder: Folder
    faults: Faults = field(default_factory=Faults)
    clock: Callable[[], float] = time.time
    mailbox: Path | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        """Read who is who, and open the store; raises FolderError."""
        self.modules = [importlib.import_module(f"gateway.sandbox.{name}") for name in PROFILES]
        if self.mailbox is not None and not self.mailbox.is_dir():
            raise FolderError(f"{self.mailbox} is no folder: make it, or name another one with --mailbox")
        self.parties = self.folder.parties()
        self.admin_token = self.folder.admin_token()
        self.tokens = Tokens(self.parties, self.clock)
        self.store = Store(self.folder.database, "".join(getattr(module, "TABLES", "") for module in self.modules))
        #: what arrived lately, newest last
        self.arrivals: deque[Arrival] = deque(maxlen=500)
        #: coroutines that work while the hub runs: each profile may add its own
        self.chores: list[Callable[[], Any]] = []

    def now(self) -> int:
        """UTC s, as the hub believes it is (fault `skew`)."""
        return int(self.clock() + self.faults.value("skew"))

    def stamp(self) -> str:
        """The time of the hub as YYYY-MM-DDThh:mm:ssZ."""
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def arrived(self, profile: str, party: Party | None, what: str, outcome: str) -> None:
        """Remember for the page that something arrived."""
        self.arrivals.append(Arrival(self.now(), profile, party.name if party else "", what[:200], outcome[:500]))

    def _judge(self) -> None:
        """Let what waits be judged by the profiles that judge."""
        names = dict(zip(PROFILES, self.modules, strict=True))
        judges = {name: module.judge for name, module in names.items() if hasattr(module, "judge")}
        self.chores.append(lambda: judge_for_ever(self, judges))

    def app(self) -> web.Application:
        """Make the application with every route."""
        layers = [guard.middleware(self), mischief.middleware(self)]
        app = web.Application(client_max_size=guard.MAX_BODY, middlewares=layers)
        self._judge()
        for module in self.modules:
            app.add_routes(module.routes(self))
        app.add_routes(control.routes(self))
        return app


async def run(sandbox: Sandbox, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until a signal comes; `ready` gets the port as soon as it is open. Raises OSError, FolderError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with serving(sandbox, host, port) as opened:
        ready(opened)
        await stop.wait()


@contextlib.asynccontextmanager
async def serving(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Serve inside the block, which gets the port; everything that was answered is stored when it ends."""
    context = tls.context(
        sandbox.folder,
        lambda: sandbox.faults.hit("wrong_certificate") is not None,
        lambda why: sandbox.arrived("", None, "a client certificate in the TLS handshake", f"refused: {why}"),
    )
    log = logging.getLogger("sandbox.http")
    log.filters = [OwnFaults()]
    runner = web.AppRunner(sandbox.app(), access_log=None, logger=log, auto_decompress=False, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - since setup
    connections = Connections(runner.server)
    server = await asyncio.get_running_loop().create_server(
        connections.new, host, port, ssl=context, ssl_handshake_timeout=10, backlog=256
    )
    chores = [asyncio.ensure_future(chore()) for chore in sandbox.chores]
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await runner.cleanup()
        # Who left in the middle of a handshake is known to the loop alone, which takes a few rounds to see it.
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        sandbox.store.close()


__all__ = ["Arrival", "Faults", "Sandbox", "parse_fault", "run", "serving"]
