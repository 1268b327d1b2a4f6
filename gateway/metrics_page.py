"""The page that Prometheus asks for: text on a TCP port, of this machine alone unless a person says otherwise."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway import metrics
from gateway.settings import MetricsSettings
from gateway.sinks.http import HttpClient, Request, Response, error
from gateway.sinks.listener import Listener

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

PATH = "/metrics"
#: text exposition format of Prometheus, version 0.0.4
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: a page is made once in so many seconds at most, however often it is asked for
FRESH_S = 1.0


class MetricsPage:
    """Answers GET /metrics with the status of the daemon, and with what the system says of the process."""

    def __init__(
        self,
        settings: MetricsSettings,
        status: Callable[[], Mapping[str, Any]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ImportError where prometheus_client is not installed."""
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._status = status
        self._monotonic = monotonic
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._made: tuple[float, bytes] | None = None
        self._scrapes = 0
        hosts = frozenset(host.lower() for host in settings.hosts)
        self.listener = Listener(
            "metrics", settings.listen, settings.max_clients, lambda it: HttpClient(it, self.answer, hosts)
        )

    async def run(self) -> None:
        """Listen until cancelled."""
        await self.listener.run()

    def collect(self) -> "Iterable[Family]":
        """Give prometheus_client every metric."""
        return metrics.families(self._status())

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        if request.path != PATH:
            return error(404, f"there is no such path: {PATH}")
        if request.method != "GET":
            return error(405, "only GET is answered here")._replace(allow="GET")
        self._scrapes += 1
        return Response(200, self._page(), CONTENT_TYPE)

    def status(self) -> dict[str, Any]:
        """What `meterd status --json` shows of it."""
        return {**self.listener.status(), "scrapes": self._scrapes}

    def _page(self) -> bytes:
        from prometheus_client import generate_latest

        now = self._monotonic()
        if self._made is None or now - self._made[0] >= FRESH_S:
            self._made = now, generate_latest(self._registry)
        return self._made[1]
