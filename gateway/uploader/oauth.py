"""OAuth2 client credentials (RFC 6749, clause 4.4): one token, kept in memory, renewed before it ends."""

import re
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from gateway.uploader.answers import AnswerError, json_value, mapping, retry_after_s
from gateway.uploader.hub import Answer, SessionError

MAX_ANSWER: Final = 65_536
MAX_TOKEN: Final = 16_384
#: lifetime of a token whose answer says none (RFC 6749, clause 5.1 leaves it out), and the longest that is believed (s)
DEFAULT_S: Final = 300
MAX_S: Final = 86_400
#: renewed so long before its end, for a request that is under way then (s), but at half of its life at the earliest
EARLY_S: Final = 60
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CODE = re.compile(r"[a-z_]{1,40}")
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
#: statuses of token services that a retry can heal
_HEALS = frozenset((408, 425, 429, 500, 502, 503, 504))


class Tokens:
    """The token of one client; `post(form)` sends a form to the token service, and raises SessionError."""

    def __init__(
        self,
        client_id: str,
        scope: str | None,
        post: Callable[[bytes], Answer],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client_id = client_id
        self._scope = scope
        self._post = post
        self._monotonic = monotonic
        self._token: str | None = None
        self._until = 0.0

    def token(self, secret: str) -> str:
        """A token that is valid for a while yet; raises SessionError, of which nothing reached the hub."""
        if self._token is None or self._monotonic() >= self._until:
            self._token = None
            self._token = self._fetch(secret)
        return self._token

    def forget(self) -> None:
        """The hub does not take this token (any more), or the secret changed."""
        self._token = None

    def _fetch(self, secret: str) -> str:
        form = {"grant_type": "client_credentials", "client_id": self._client_id, "client_secret": secret}
        if self._scope is not None:
            form["scope"] = self._scope
        asked = self._monotonic()
        try:
            answer = self._post(urlencode(form).encode())
        except SessionError as error:
            # whatever came of it, the hub itself got nothing of the message
            raise SessionError(
                f"token service: {error}", sent=False, person=error.person, retry_after_s=error.retry_after_s
            ) from None
        if answer.status != 200:
            raise _refused(answer)
        token, lasts = _read(answer)
        self._until = asked + max(lasts / 2, lasts - EARLY_S)
        return token


def _refused(answer: Answer) -> SessionError:
    """What the token service said instead of a token: its error code (RFC 6749, clause 5.2), never its words."""
    try:
        code = mapping(json_value(answer.body)).get("error")
    except AnswerError:
        code = None
    said = code if isinstance(code, str) and _CODE.fullmatch(code) else f"status {answer.status}"
    after = retry_after_s(answer, time.time())
    if answer.status in _HEALS:
        return SessionError(f"token service: no token now ({said})", sent=False, retry_after_s=after)
    text = f"token service: it refuses this client ({said}): check client_id, client_secret_file, scope and token_url"
    return SessionError(text, sent=False, person=True)


def _read(answer: Answer) -> tuple[str, int]:
    try:
        said = mapping(json_value(answer.body))
    except AnswerError as error:
        raise SessionError(f"token service: {error}", sent=False) from None
    token, kind, lasts = said.get("access_token"), said.get("token_type"), said.get("expires_in", DEFAULT_S)
    if isinstance(lasts, str) and lasts.isdecimal():
        lasts = int(lasts[:9])
    sound = isinstance(token, str) and len(token) <= MAX_TOKEN and _TOKEN.fullmatch(token)
    if not sound or not isinstance(kind, str) or kind.lower() != "bearer":
        raise SessionError("token service: its answer holds no bearer token", sent=False)
    if isinstance(lasts, bool) or not isinstance(lasts, int) or lasts <= 0:
        raise SessionError("token service: its token ends at once", sent=False)
    return str(token), min(MAX_S, lasts)
