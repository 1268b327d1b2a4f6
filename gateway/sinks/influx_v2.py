"""`/api/v2/write` of the InfluxDB API v2 through influxdb-client, synchronous and without its own retries.

The library brings the request; the connection is ours (influx_wire), so that it ends in time, and the body of an error
is read by us: the library would read it whole, whatever its size.
"""

import http.client
import ssl
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from gateway.settings import InfluxSettings
from gateway.sinks.influx_wire import Answer, Wire, answer


class _AnsweredError(Exception):
    """An answer other than 204: taken out of the library's hands."""

    def __init__(self, found: Answer) -> None:
        super().__init__()
        self.answer = found


def post(
    settings: InfluxSettings, secret: str | None, context: ssl.SSLContext | None, wire: Wire, body: bytes
) -> Answer:
    """Send lines on a connection of their own; raises OSError, http.client.HTTPException and urllib3's HTTPError."""
    client = InfluxDBClient(
        settings.url.rstrip("/"),
        secret or "",
        timeout=round(settings.timeout_s * 1_000),
        enable_gzip=settings.gzip,
        org=settings.org or "",
        retries=False,
        ssl_context=context,
    )
    pools = client.api_client.rest_client.pool_manager
    pools.pool_classes_by_scheme = _pools(wire)
    try:
        write = client.write_api(write_options=SYNCHRONOUS).write
        write(settings.bucket or "", settings.org or "", body, "ms")  # type: ignore[arg-type]  # its constants are texts
    except _AnsweredError as other:
        return other.answer
    finally:
        client.close()  # type: ignore[no-untyped-call]
        pools.clear()
    return Answer(204)


class _Response(http.client.HTTPResponse):
    """An answer that leaves the library here unless it is 204."""

    def begin(self) -> None:
        """Read the head; of an error also the beginning of the body."""
        super().begin()
        if self.status != 204:
            raise _AnsweredError(answer(self))


def _pools(wire: Wire) -> dict[str, Any]:
    """Pools whose connections are those of `wire`."""

    class Plain(HTTPConnection):
        response_class = _Response

        def _new_conn(self) -> Any:
            return wire.connect(self.host, self.port or 80)

    class Secure(HTTPSConnection):
        response_class = _Response

        def _new_conn(self) -> Any:
            return wire.connect(self.host, self.port or 443)

    plain = type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": Plain})
    return {"http": plain, "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": Secure})}
