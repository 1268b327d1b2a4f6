"""OAuth2 client credentials (RFC 6749, 4.4): `POST /oauth2/token` gives bearer tokens that expire.

Tokens live in memory: after a restart of the hub every client has to ask again, as with an expired one.
"""

import base64
import binascii
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_plus

from gateway.sandbox.parties import Parties, Party

#: tokens that are kept; the oldest go
CAPACITY: Final = 10_000


class Tokens:
    """Bearer tokens and whose they are; `lifetime_s` may be set while running."""

    def __init__(self, parties: Parties, clock: Callable[[], float], lifetime_s: int = 3599) -> None:
        self.lifetime_s = lifetime_s
        self._parties = parties
        self._clock = clock
        self._kept: dict[str, tuple[Party, float]] = {}

    def issue(self, client_id: str, secret: str) -> str | None:
        """Give a new token; None when this is no client of ours, or not its secret."""
        party = self._parties.client(client_id, secret)
        if party is None:
            return None
        while len(self._kept) >= CAPACITY:
            del self._kept[next(iter(self._kept))]
        token = secrets.token_urlsafe(32)
        self._kept[token] = (party, self._clock() + self.lifetime_s)
        return token

    def holder(self, authorization: str) -> Party | None:
        """Return whose bearer token this header has; None when it is none, unknown or expired."""
        scheme, _, token = authorization.partition(" ")
        party, until = self._kept.get(token.strip(), (None, 0.0))
        if scheme.lower() != "bearer" or party is None:
            return None
        if until <= self._clock():
            del self._kept[token.strip()]
            return None
        return party

    def expire(self, authorization: str | None = None) -> None:
        """Forget the token of a header, or all of them: as though their time had come."""
        if authorization is None:
            self._kept.clear()
        else:
            self._kept.pop(authorization.partition(" ")[2].strip(), None)


def basic(authorization: str) -> tuple[str, str] | None:
    """Client id and secret of a Basic header (RFC 6749, 2.3.1); None when it is none."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, colon, secret = base64.b64decode(coded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (unquote_plus(client), unquote_plus(secret)) if colon else None
