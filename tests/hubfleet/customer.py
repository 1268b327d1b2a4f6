"""A customer of the test hub: gives and revokes permissions by its REST API, at any time (docs/hubs/procedures.md)."""

import datetime as dt
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

#: the hub does wrong at logins, too: how often one is tried, and the pause between (s)
LOGINS, PAUSE_S = 50, 0.2


class Customer:
    """Logged in as `customer`; permits to `supplier`. Raises OSError where the hub refuses."""

    def __init__(self, address: str, files: Path) -> None:
        self._address = address
        self._secret = (files / "clients/customer.secret").read_text().strip()
        self._context = ssl.create_default_context(cafile=str(files / "ca.pem"))

    def permit(self, point: str, since: int) -> str:
        """Permit a point's consumption from a second on (item H); its id."""
        self._say("metering-points", {"meteringPoint": point})
        asked = {
            "meteringPoint": point,
            "eligibleParty": "supplier",
            "product": "active",
            "direction": "consumption",
            "readingStart": dt.datetime.fromtimestamp(since, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "readingEnd": None,
            "purpose": "advice",
            "transmissionSchedule": "as-available",
            "maximumLifetime": "2090-01-01T00:00:00Z",
        }
        return str(self._say("permissions", asked)["permission"]["permissionId"])

    def revoke(self, permission: str) -> None:
        """Revoke a permission (item L)."""
        self._say(f"permissions/{permission}/revocation", None)

    def _say(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}/api/v1/{path}", content, headers, method="POST")
        with urllib.request.urlopen(request, timeout=60, context=self._context) as answer:
            said: dict[str, Any] = json.load(answer)
        return said

    def _token(self) -> str:
        form = {"grant_type": "client_credentials", "client_id": "customer-client", "client_secret": self._secret}
        content = urllib.parse.urlencode(form).encode()
        why: Exception | None = None
        for _ in range(LOGINS):
            try:
                address = f"{self._address}/oauth2/token"
                with urllib.request.urlopen(address, content, timeout=60, context=self._context) as answer:
                    return str(json.load(answer)["access_token"])
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                why = error
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                time.sleep(PAUSE_S)
        raise OSError(f"no login: {why}")
