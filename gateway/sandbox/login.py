"""`POST /oauth2/token`: OAuth2 client credentials, with the secret in the form or as Basic."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.sandbox.tokens import basic

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """The one route of the login."""

    async def token(request: web.Request) -> web.Response:
        try:
            form = dict(parse_qsl((await request.read()).decode("utf-8"), max_num_fields=20))
        except ValueError:
            return _refuse(400, "invalid_request")
        if form.get("grant_type") != "client_credentials":
            return _refuse(400, "unsupported_grant_type")
        pair = basic(request.headers.get("Authorization", ""))
        client, secret = pair or (form.get("client_id", ""), form.get("client_secret", ""))
        sandbox.tokens.lifetime_s = sandbox.options.token_s
        issued = sandbox.tokens.issue(client, secret)
        if issued is None:
            return _refuse(401, "invalid_client")
        answer = {"access_token": issued, "token_type": "Bearer", "expires_in": sandbox.tokens.lifetime_s}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    return [web.post("/oauth2/token", token)]


def _refuse(status: int, error: str) -> web.Response:
    headers = {"WWW-Authenticate": "Basic"} if status == 401 else {}
    return web.json_response({"error": error}, status=status, headers=headers)
