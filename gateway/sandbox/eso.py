"""Profile `order-pull` at /lt/gateway: lists of objects, orders that are polled and fetched, notifications, rights.

Paths come from the public notes; bodies, states and the creation of an order are of this sandbox alone (hubs.md 3):

POST /gateway/object/v2/{my|all}/active/list   ?first=&count=&sortKey=&sortOrder=ASC|DSC
POST /gateway/order/{type}                     {dateFrom, dateTo (not in it), objects} -> {orderId}; type report-obj ...
GET  /gateway/order[/v2]/{orderId}/{type}      {orderId, status: PROCESSING}, then DONE with data; v2 has the flag
GET  /gateway/statistic/list                   what each day has
POST /gateway/notification/{kind}              {objectNumber, date}; kind contract[/termination|/tariff-plan]
POST /gateway/notification/v2/{kind}/list      paged
POST /gateway/notification/cancellation        {notificationId}
POST /gateway/access-right                     {objectNumber}

A business rule that is broken is answered by 400 and {errors: [{code, message}]}.
"""

import datetime as dt
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from gateway.sandbox import eso_objects, eso_orders, eso_report
from gateway.sandbox.control import body as control_body
from gateway.sandbox.guard import PARTY, RefusedError
from gateway.sandbox.operations import ProblemError, parse, short
from gateway.sandbox.parties import Party

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: each report is an order of its own
TYPES: Final = ("report-obj", "report-obj-acr", "bill-bss-b2c", "bill-bss-b2b")
KINDS: Final = ("contract", "contract/termination", "contract/tariff-plan")
TABLES: Final = f"""{eso_objects.TABLES}
CREATE TABLE IF NOT EXISTS lt_orders(
  id INTEGER PRIMARY KEY, party TEXT NOT NULL, type TEXT NOT NULL, asked TEXT NOT NULL, polls INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lt_notifications(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, party TEXT NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL,
  date TEXT NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0);
"""
_FIRST_ORDER: Final = 4_711_001
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_Work = Callable[[sqlite3.Connection], Any]


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """Every path of the profile, and /control/lt."""
    hub = _Gateway(sandbox)
    types, kinds = "|".join(TYPES), "|".join(KINDS)
    return [
        web.post("/lt/gateway/object/v2/{whose:my|all}/active/list", hub.answer(hub.objects)),
        web.post(f"/lt/gateway/order/{{type:{types}}}", hub.answer(hub.order)),
        web.get(f"/lt/gateway/order/{{id:[0-9]{{1,18}}}}/{{type:{types}}}", hub.answer(hub.report)),
        web.get(
            "/lt/gateway/order/{v:v2}/{id:[0-9]{1,18}}/{type:report-obj|report-obj-acr}",
            hub.answer(hub.report),
        ),
        web.get("/lt/gateway/statistic/list", hub.answer(hub.statistics)),
        web.post(f"/lt/gateway/notification/{{kind:{kinds}}}", hub.answer(hub.notify)),
        web.post(f"/lt/gateway/notification/v2/{{kind:{kinds}}}/list", hub.answer(hub.notifications)),
        web.post("/lt/gateway/notification/cancellation", hub.answer(hub.cancel)),
        web.post("/lt/gateway/access-right", hub.answer(hub.access_right)),
        web.get("/control/lt", hub.switches),
        web.patch("/control/lt", hub.set_switches),
        web.put("/control/lt/values", hub.seed),
    ]


class _Gateway:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._switches = eso_report.Switches()

    def answer(self, make: Callable[[web.Request, Any], _Work]) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler: `make` gives the work of a request, whose result is the answer."""

        async def handle(request: web.Request) -> web.Response:
            try:
                value = await _value(request)
                result = await self._sandbox.store.run(make(request, value))
            except eso_orders.BusinessError as error:
                result = {"errors": [{"code": error.code, "message": str(error)}]}
            failed = "errors" in result
            outcome = f"{result['errors'][0]}" if failed else "answered"
            self._sandbox.arrived("lt", request[PARTY], f"{request.method} {request.path}", outcome)
            raw = _ENCODER.encode(result)
            return web.Response(status=400 if failed else 200, body=raw, content_type="application/json")

        return handle

    def objects(self, request: web.Request, _value: Any) -> _Work:
        """A page of the objects of a party, or of all."""
        party, (first, count, key, order) = _party(request), eso_orders.paging(request, eso_objects.SORT_KEYS)
        mine = request.match_info["whose"] == "my"

        def work(db: sqlite3.Connection) -> Any:
            found = eso_objects.mine(db, party.name) if mine else eso_objects.all_of_them(db)
            return eso_objects.page(found, first, count, key, order)

        return work

    def order(self, request: web.Request, value: Any) -> _Work:
        """Take an order."""
        party, type_ = _party(request), request.match_info["type"]
        asked = eso_orders.asked(value)
        polls = self._switches.polls

        def work(db: sqlite3.Connection) -> Any:
            eso_orders.may(db, party, asked["objects"])
            (last,) = db.execute("SELECT coalesce(max(id), ?) FROM lt_orders", (_FIRST_ORDER - 1,)).fetchone()
            row = (last + 1, party.name, type_, json.dumps(asked), polls)
            db.execute("INSERT INTO lt_orders VALUES (?, ?, ?, ?, ?)", row)
            return {"orderId": last + 1}

        return work

    def report(self, request: web.Request, _value: Any) -> _Work:
        """State of an order, with its data when it is done."""
        party, type_, number = _party(request), request.match_info["type"], int(request.match_info["id"])
        flagged = "v" in request.match_info
        now, switches = self._sandbox.now(), self._switches

        def work(db: sqlite3.Connection) -> Any:
            asked = eso_orders.polled(db, party, number, type_)
            if asked is None:
                return {"orderId": number, "status": "PROCESSING"}
            eso_orders.may(db, party, asked["objects"])
            eso_orders.log(db, party, asked, number, now)
            data = (
                eso_orders.bills(db, asked)
                if type_.startswith("bill")
                else eso_orders.data(db, asked, switches, now, flagged=flagged)
            )
            return {"orderId": number, "status": "DONE", "data": data}

        return work

    def statistics(self, request: web.Request, _value: Any) -> _Work:
        """What the last 30 days have, over the objects of the party."""
        party, (first, count, _, order) = _party(request), eso_orders.paging(request, ("date",))
        now, switches = self._sandbox.now(), self._switches

        def work(db: sqlite3.Connection) -> Any:
            found = eso_objects.mine(db, party.name)
            today = dt.datetime.fromtimestamp(now, eso_report.ZONE).date()
            days = [today - dt.timedelta(n) for n in (range(1, 31) if order == "DSC" else range(30, 0, -1))]
            shown = [eso_orders.statistic(db, found, day, switches, now) for day in days[first : first + count]]
            return {"total": len(days), "first": first, "count": count, "statistics": shown}

        return work

    def notify(self, request: web.Request, value: Any) -> _Work:
        """Take a notification."""
        party, kind, at = _party(request), request.match_info["kind"], self._sandbox.now()
        number, day = eso_orders.text(value, "objectNumber"), eso_orders.day(value, "date")

        def work(db: sqlite3.Connection) -> Any:
            eso_orders.may(db, party, [number])
            row = (at, party.name, kind, number, day.isoformat())
            done = db.execute("INSERT INTO lt_notifications VALUES (NULL, ?, ?, ?, ?, ?, 0)", row)
            return {"notificationId": done.lastrowid}

        return work

    def notifications(self, request: web.Request, _value: Any) -> _Work:
        """A page of the notifications of a party."""
        party, kind = _party(request), request.match_info["kind"]
        first, count, _, order = eso_orders.paging(request, ("notificationId",))
        direction = "DESC" if order == "DSC" else "ASC"

        def work(db: sqlite3.Connection) -> Any:
            where = (party.name, kind)
            (total,) = db.execute(
                "SELECT count(*) FROM lt_notifications WHERE party = ? AND kind = ?", where
            ).fetchone()
            rows = db.execute(
                f"SELECT id, object, date, cancelled FROM lt_notifications WHERE party = ? AND kind = ?"  # noqa: S608
                f" ORDER BY id {direction} LIMIT ? OFFSET ?",
                (*where, count, first),
            )
            shown = [
                {
                    "notificationId": id_,
                    "objectNumber": number,
                    "date": day,
                    "status": "CANCELLED" if gone else "ACTIVE",
                }
                for id_, number, day, gone in rows
            ]
            return {"total": total, "first": first, "count": count, "notifications": shown}

        return work

    def cancel(self, request: web.Request, value: Any) -> _Work:
        """Cancel a notification."""
        party, number = _party(request), value.get("notificationId") if isinstance(value, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**62:
            raise eso_orders.BusinessError(eso_orders.BAD_REQUEST, "notificationId: a whole number is needed")

        def work(db: sqlite3.Connection) -> Any:
            changed = db.execute(
                "UPDATE lt_notifications SET cancelled = 1 WHERE id = ? AND party = ?", (number, party.name)
            )
            if not changed.rowcount:
                raise eso_orders.BusinessError(eso_orders.UNKNOWN_NOTIFICATION, f"there is no notification {number}")
            return {"notificationId": number, "status": "CANCELLED"}

        return work

    def access_right(self, request: web.Request, value: Any) -> _Work:
        """Give a party the right to an object, and write it into the log."""
        party, number, at = _party(request), eso_orders.text(value, "objectNumber"), self._sandbox.now()

        def work(db: sqlite3.Connection) -> Any:
            if not eso_objects.meters(db, number):
                raise eso_orders.BusinessError(eso_orders.UNKNOWN_OBJECT, f"there is no object {short(number)}")
            db.execute("INSERT OR IGNORE INTO lt_rights VALUES (?, ?, ?)", (party.name, number, at))
            return {"objectNumber": number, "status": "ACTIVE"}

        return work

    async def switches(self, _request: web.Request) -> web.Response:
        """Show the switches."""
        return web.json_response(vars(self._switches))

    async def set_switches(self, request: web.Request) -> web.Response:
        """Change switches: the others stay as they are."""
        for name, value in (await control_body(request)).items():
            try:
                self._switches.set(name, value)
            except ValueError as error:
                raise RefusedError(400, str(error)) from None
        return await self.switches(request)

    async def seed(self, request: web.Request) -> web.Response:
        """Store values of a fixed object: {objectNumber, meterType, category, values: [[start, amount, flag] ...]}."""
        try:
            values = list(_seeds(await control_body(request)))
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError(400, f"no values of a fixed object: {short(str(error))}") from None
        await self._sandbox.store.run(lambda db: eso_objects.seed(db, values))
        return web.json_response({"values": len(values)})


def _seeds(given: Mapping[str, Any]) -> Any:
    number, category = given["objectNumber"], given["category"]
    meters = [it for it in eso_objects.FIXED[number] if it.type == given["meterType"] and category in it.categories]
    if not meters:
        raise ValueError("no meter of this object has this type and category")
    for start, amount, flag in given["values"]:
        if not isinstance(start, int) or start % 900 or flag not in ("VALIDATED", "ESTIMATED"):
            raise ValueError(f"{start} {flag}: start on a quarter-hour, VALIDATED or ESTIMATED")
        if amount is not None and (not isinstance(amount, str) or not amount.replace(".", "", 1).isdecimal()):
            raise ValueError(f"{amount}: kWh as decimal text, or null")
        yield number, meters[0], eso_objects.Reading(start, start + 900, category, amount, flag)


async def _value(request: web.Request) -> Any:
    """The JSON value of a body; None without one."""
    if (request.content_length or 0) > eso_orders.MAX_BODY:
        raise RefusedError(413, "the body is too large")
    raw = await request.read()
    try:
        return parse(raw) if raw else None
    except ProblemError as error:
        raise eso_orders.BusinessError(eso_orders.BAD_REQUEST, str(error)) from None


def _party(request: web.Request) -> Party:
    party: Party = request[PARTY]
    return party
