"""The page of the test hub at /: what arrived, permissions, the access log, and switches of faults; no script at all.

It shows data of every customer, so it needs the token of `admin.token`, as the password of any user name. A form needs
the page's own token besides: a foreign page that a browser shows cannot know it.
"""

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import web

from gateway.sandbox import page_parts as parts
from gateway.sandbox.faults import FAULTS
from gateway.sandbox.procedure_data import instant
from gateway.sandbox.tokens import basic

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: octets of a form at most
MAX_FORM: Final = 4_096
_STYLE: Final = """
body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem auto;max-width:72rem;padding:0 1rem;color:#1c2430;background:#fff}
h2{margin-top:2rem;border-bottom:1px solid #c8d0da}
table{border-collapse:collapse;font-size:.9rem}th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
td{overflow-wrap:break-word}section{overflow-x:auto}thead th{border-bottom:1px solid #c8d0da}tr.on th{color:#b3261e}
figure{margin:1rem 0}figcaption{font-size:.9rem}svg{max-width:100%;height:auto}
form{display:flex;flex-wrap:wrap;gap:.4rem}
.ground{fill:#f1f4f8}.measured{fill:#1f6feb}.estimated{fill:#e08a00}.edited{fill:#8250df}
@media (prefers-color-scheme:dark){body{color:#e6e9ee;background:#12161c}.ground{fill:#1d242d}}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """The page and its form."""
    page = _Page(sandbox)
    return [web.get("/", page.show, allow_head=False), web.post("/page/faults", page.set_fault)]


class _Page:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._token = hmac.new(sandbox.admin_token.encode(), b"forms of the page", hashlib.sha256).hexdigest()

    async def show(self, request: web.Request) -> web.Response:
        """Answer the page."""
        if not self._is_admin(request):
            return self._ask()
        sandbox = self._sandbox
        found, given, seen = await sandbox.store.run(
            lambda db: (parts.latest(db), parts.permitted(db), parts.accesses(db))
        )
        arrivals = [
            (instant(it.at), it.profile, it.party, it.what, it.outcome)
            for it in reversed(sandbox.arrivals)
        ][: parts.ROWS]  # fmt: skip
        sections = {
            "Series": parts.series(found),
            "Messages": parts.table(("time", "profile", "party", "what", "verdict"), arrivals, "Nothing arrived yet."),
            "Permissions": parts.permission_table(given),
            "Access log": parts.table(("time", "point", "who", "what", "facts"), seen, "Nobody had access yet."),
            "Faults": parts.fault_rows(FAULTS, sandbox.faults.shown(), self._token),
        }
        return web.Response(text=_html(sandbox.stamp(), sections), content_type="text/html", headers=HEADERS)

    async def set_fault(self, request: web.Request) -> web.Response:
        """Take the form of one fault."""
        if not self._is_admin(request):
            return self._ask()
        raw = await request.read() if (request.content_length or 0) <= MAX_FORM else b""
        form = {name: values[-1] for name, values in _fields(raw).items()}
        if not hmac.compare_digest(form.get("token", "").encode(), self._token.encode()):
            return web.Response(status=403, text="the form is not of this page: load the page again\n")
        try:
            settings: dict[str, float] = {"p": float(form.get("p", ""))}
            if form.get("value", ""):
                settings["value"] = float(form["value"])
            self._sandbox.faults.set(form.get("name", ""), settings if settings["p"] else None)
        except ValueError as error:
            return web.Response(status=400, text=f"{ascii(str(error))[:300]}\n")
        return web.Response(status=303, headers={"Location": "/#faults", "Cache-Control": "no-store"})

    def _is_admin(self, request: web.Request) -> bool:
        pair = basic(request.headers.get("Authorization", ""))
        return pair is not None and hmac.compare_digest(pair[1].encode(), self._sandbox.admin_token.encode())

    def _ask(self) -> web.Response:
        """Ask for the password."""
        return web.Response(
            status=401, text="The password is the token in admin.token; the user name may be any.\n",
            headers={"WWW-Authenticate": 'Basic realm="meterd sandbox", charset="UTF-8"'},
        )  # fmt: skip


def _fields(raw: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(raw.decode("utf-8"), max_num_fields=10)
    except ValueError:
        return {}


def _html(now: str, sections: dict[str, str]) -> str:
    body = "".join(
        f'<section id="{name.lower().replace(" ", "-")}"><h2>{name}</h2>{content}</section>'
        for name, content in sections.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>meterd sandbox</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>meterd sandbox</h1><p>A test hub, and no national one. Its clock: {now}.</p>{body}</body></html>"
    )
