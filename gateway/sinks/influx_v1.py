"""`/write` of the InfluxDB API v1 as one POST; user and password travel in a header, never in the URL."""

import gzip
import http.client
import ssl
from base64 import b64encode
from contextlib import suppress
from urllib.parse import urlencode, urlsplit

from gateway.settings import InfluxSettings
from gateway.sinks.influx_wire import Answer, Wire, answer


def post(
    settings: InfluxSettings, secret: str | None, context: ssl.SSLContext | None, wire: Wire, body: bytes
) -> Answer:
    """Send lines on a connection of their own; raises OSError and http.client.HTTPException."""
    url = urlsplit(settings.url)
    host = url.hostname or ""
    port = url.port or (443 if context else 80)
    connection = http.client.HTTPConnection(host, port)
    try:
        sock = wire.connect(host, port)
        connection.sock = sock
        if context:
            connection.sock = context.wrap_socket(sock, server_hostname=host)
        data = gzip.compress(body, 6) if settings.gzip else body
        target = f"{url.path.rstrip('/')}/write?{_query(settings)}"
        # who refuses a request by its head alone may answer and close before the rest of it has left
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", target, data, _head(settings, secret))
        return answer(connection.getresponse())
    finally:
        connection.close()


def _query(settings: InfluxSettings) -> str:
    names = {"db": settings.database, "rp": settings.retention_policy, "precision": "ms"}
    return urlencode({name: value for name, value in names.items() if value})


def _head(settings: InfluxSettings, password: str | None) -> dict[str, str]:
    head = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close", "User-Agent": "meterd"}
    if settings.gzip:
        head["Content-Encoding"] = "gzip"
    if settings.username:
        pair = f"{settings.username}:{password or ''}".encode()
        head["Authorization"] = f"Basic {b64encode(pair).decode('ascii')}"
    return head
