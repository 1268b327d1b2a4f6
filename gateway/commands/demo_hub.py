"""The hub in the demo: yesterday's quarter-hours go to a test hub, which refuses them once, and takes them once mended.

The point is not known at the hub at first, as it happens with a new connection. Its reject arrives as an
acknowledgement, an operator registers the point, and `meterd hub retry` sends the day again, as a new message.
"""

import importlib.util
import json
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

#: the party of the test hub in whose name the demo sends, and who receives
PARTY, RECEIVER, CLIENT = "10X1001A1001B54W", "99X-SANDBOX-HUBX", "gridco"
NAME: Final = "test-hub"
#: what the extras `hubs` and `sandbox` bring
PACKAGES: Final = ("httpx", "lxml", "fastjsonschema", "aiohttp", "jsonschema")
#: between two looks, and what one may take (s)
LOOK_S, WAIT_S = 1.0, 30.0
POINT: Final = "LU0000010637000000000000000000001"
CONFIG = """
[[point]]
meter = "main"
id = "{point}"
timezone = "Europe/Luxembourg"

[notice]
mqtt = true
digest_s = 0

[[hub]]
name = "{name}"
kind = "eu-vhd"
url = "{address}/eu"
points = ["{point}"]
legal_basis = "demonstration: a simulated customer"
party = "{party}"
receiver = "{receiver}"
role = "A58"
since = "{since}"
at = "00:00"
jitter_s = 0
ca_file = "{folder}/hub/ca.pem"
cert_file = "{folder}/hub/clients/{client}.pem"
key_file = "{folder}/hub/clients/{client}.key"
"""


def config(folder: Path, address: str, since: datetime) -> str:
    """The tables of the configuration that have to do with the hub."""
    return CONFIG.format(
        name=NAME,
        point=POINT,
        address=address,
        party=PARTY,
        receiver=RECEIVER,
        client=CLIENT,
        folder=folder,
        since=since.date(),
    )


class Hub:
    """The test hub, as its operator sees it."""

    def __init__(self, folder: Path, address: str) -> None:
        self._address = address
        self._context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self._token = (folder / "admin.token").read_text().strip()

    def register(self) -> None:
        """Take the demo's point into the master data."""
        self._ask("/control/points", {"profile": "eu", "points": {POINT: {}}})

    def taken(self) -> list[dict[str, Any]]:
        """The series that the hub took over."""
        return [json.loads(line) for line in self._ask("/control/effects?after=0").splitlines()]

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        method = "GET" if body is None else "PUT"
        request = urllib.request.Request(self._address + path, data, headers, method=method)  # noqa: S310 - https, ours
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:  # noqa: S310
            content: bytes = answer.read()
        return content


class Upload:
    """The way of one day, watched by a thread that does what an operator would do."""

    def __init__(
        self, hub: Hub, folder: Path, meterd: list[str], say: Callable[[str], None], truth: Mapping[str, int]
    ) -> None:
        """`truth`: the day's energy in Wh by direction, as the simulated meter counted; `meterd`: how it is called."""
        self._hub, self._config, self._command, self._say, self._truth = hub, folder / "meterd.toml", meterd, say, truth
        self._refused: str | None = None
        #: None as long as it is on its way, then whether all of it arrived as it should
        self.right: bool | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="upload", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the day has arrived; False when that takes longer."""
        self._thread.join(seconds)
        return self.right is not None

    def stop(self) -> None:
        """End watching."""
        self._over.set()
        self._thread.join(LOOK_S + WAIT_S)

    def _watch(self) -> None:
        while self.right is None and not self._over.wait(LOOK_S):
            for message in self._messages()[:1]:
                if self._refused is None and message["state"] == "rejected":
                    self._repair(message)
                elif self._refused is not None and message["state"] == "confirmed":
                    self._compare(message)

    def _messages(self) -> list[dict[str, Any]]:
        """The messages to the hub, newest first."""
        return [json.loads(line) for line in self._meterd("show", NAME, "--json").splitlines()]

    def _repair(self, message: dict[str, Any]) -> None:
        self._refused = str(message["id"])
        why = "; ".join(" ".join(map(str, reason)) for reason in message["reasons"])
        self._say(f"hub      refused message {self._refused}: {why}")
        self._say(f"hub      its operator registers the point, and the day goes again: meterd hub retry {NAME}")
        self._hub.register()
        self._meterd("retry", NAME, self._refused)

    def _compare(self, message: dict[str, Any]) -> None:
        taken = self._hub.taken()
        found = {one["direction"]: sum(int(Decimal(kwh) * 1_000) for _, kwh, _ in one["values"]) for one in taken}
        right = found == self._truth and len(taken) == len(found)
        told = ", ".join(f"{direction} {wh} Wh" for direction, wh in sorted(found.items()))
        quarters = len(taken[0]["values"]) if taken else 0
        self._say(
            f"hub      confirmed message {message['id']}: {quarters} quarter-hours, {told}: "
            + ("what the meter counted" if right else f"WRONG, the meter counted {self._truth}")
        )
        self.right = right

    def _meterd(self, *arguments: str) -> str:
        command = [*self._command, "hub", *arguments, "-c", str(self._config)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WAIT_S)  # noqa: S603
        return done.stdout


def missing() -> str | None:
    """Why there is no hub in this demo; None when there is one."""
    names = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f"left out: needs {', '.join(names)} (pip install 'meterd[hubs,sandbox]')" if names else None
