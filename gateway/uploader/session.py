"""The HTTP session of one hub: budget, one connection, who we are, token, and credentials that may change meanwhile."""

import ssl
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from gateway import __version__
from gateway.hub_settings import HubSettings
from gateway.uploader import oauth, tls
from gateway.uploader.credentials import Loaded
from gateway.uploader.hub import MAX_ANSWER, Answer, SessionError
from gateway.uploader.identity import Identified
from gateway.uploader.mqtt_session import MqttSession
from gateway.uploader.wire import Wire

#: what may stand in a path as it is (RFC 3986, clause 3.3), `%` of what was quoted before
_PATH: Final = "/%:@!$&'()*+,;=-._~"
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
#: a token that is shorter is no secret (characters; RFC 6749, clause 10.10 asks for 128 bits)
_LEAST_TOKEN: Final = 16


class HttpSession(Identified):
    """Session of gateway.uploader.hub; used by the thread of its hub alone."""

    #: by whether it is for the hub; the token service of another host gets no certificate of ours
    _wires: Mapping[bool, Wire] = MappingProxyType({})
    _tokens: oauth.Tokens | None = None

    def close(self) -> None:
        """Close the connections; a request opens one anew."""
        for wire in self._wires.values():
            wire.close()

    def request(  # noqa: PLR0913 - what HTTP has
        self,
        method: str,
        path: str,
        *,
        operation: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        token: bool = True,
        max_answer: int = MAX_ANSWER,
    ) -> Answer:
        """One request; see Session.request. Redirects are not followed, compressed answers not read."""
        url = self._url(path, params)
        for _ in range(2):
            loaded = self._ready()
            bearer = self._bearer(loaded) if token else None
            self._budget.take(operation)
            sent = self._headers(headers or {}, bearer)
            answer = _without(bearer, self._exchange(method, url, sent, body, max_answer, hub=True))
            if answer.status != 401 or bearer is None or self._tokens is None:
                break
            self._tokens.forget()
        return answer

    def _url(self, path: str, params: Mapping[str, str] | None) -> str:
        base = (self._settings.url or "").rstrip("/")
        if not base:
            raise SessionError("this hub has no `url` in the configuration", sent=False, person=True)
        self._secure(base)
        joined = base + quote(path, safe=_PATH) if path else base
        return f"{joined}?{urlencode(params)}" if params else joined

    def _secure(self, url: str) -> None:
        """Refuse to send data or secrets in the clear, other than to this machine."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise SessionError(f"{parts.netloc}: a hub is spoken to by https only", sent=False, person=True)

    def _headers(self, given: Mapping[str, str], bearer: str | None) -> dict[str, str]:
        """What every request says: who we are, and that the answer is not to be compressed."""
        contact = (self._settings.contact or "").encode("ascii", "replace").decode()
        plain = "".join(c for c in contact if c.isprintable() and c not in "()\\")
        return {
            "User-Agent": f"meterd/{__version__}" + (f" (+{plain})" if plain else ""),
            "Accept-Encoding": "identity",
            **({"Authorization": f"Bearer {bearer}"} if bearer else {}),
            **given,
        }

    def _bearer(self, loaded: Loaded) -> str | None:
        settings = self._settings
        if settings.token_url is None:
            return None
        if settings.client_id is None or loaded.secret is None:
            text = "token_url needs client_id and client_secret_file: the hub's operator gives both"
            raise SessionError(text, sent=False, person=True)
        if self._tokens is None:
            self._tokens = oauth.Tokens(settings.client_id, settings.scope, self._ask_token, self._monotonic)
        return self._tokens.token(loaded.secret.reveal())

    def _ask_token(self, form: bytes) -> Answer:
        url = self._settings.token_url or ""
        self._secure(url)
        self._budget.take("token")
        headers = self._headers(oauth.FORM, None)
        hub = urlsplit(url).hostname == urlsplit(self._settings.url or "").hostname
        return self._exchange("POST", url, headers, form, oauth.MAX_ANSWER, hub=hub)

    def _exchange(  # noqa: PLR0913
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int, *, hub: bool
    ) -> Answer:
        shows = hub and self._loaded is not None and "cert_file" in self._loaded.paths
        return self._wires[hub].exchange(
            method, url, headers, body, timeout_s=self._settings.timeout_s, most=most, shows=shows
        )

    def _renew(self, loaded: Loaded) -> None:
        hub, other = self._contexts(loaded)
        self.close()
        self._wires = {True: Wire(hub, monotonic=self._monotonic), False: Wire(other, monotonic=self._monotonic)}
        if self._tokens is not None:
            self._tokens.forget()

    @staticmethod
    def _contexts(loaded: Loaded) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        paths = loaded.paths
        hub = tls.context(paths.get("ca_file"), paths.get("cert_file"), paths.get("key_file"))
        return hub, tls.context(paths.get("token_ca_file"), None, None)


def _without(token: str | None, answer: Answer) -> Answer:
    """An answer that does not give our own token back: what a hub says is kept, shown and logged.

    A token of a few letters guards nothing, and would be cut out of words and numbers.
    """
    if token is None or len(token) < _LEAST_TOKEN or token.encode() not in answer.body:
        return answer
    return Answer(answer.status, answer.headers, answer.body.replace(token.encode(), b"***"))


def open_session(
    settings: HubSettings, *, wait: Callable[[float], object] = time.sleep, told: Mapping[str, int] | None = None
) -> HttpSession | MqttSession:
    """The session that the url of a hub asks for: HTTPS, or MQTT over TLS. Opens nothing yet."""
    if (settings.url or "").startswith(("mqtts:", "mqtt:")):
        return MqttSession(settings, wait=wait, told=told)
    return HttpSession(settings, wait=wait, told=told)
