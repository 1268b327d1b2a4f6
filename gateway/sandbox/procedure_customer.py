"""What a customer does: procedure 1 whole, and his part of procedures 2 and 4."""

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from gateway.sandbox import links, permissions, transmission
from gateway.sandbox.operations import Call, ProblemError, Reply
from gateway.sandbox.parties import Parties
from gateway.sandbox.procedure_data import Window, cells, instant, item_e, seconds
from gateway.sandbox.procedure_pages import page, preset

TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_requests(
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, customer TEXT NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS api_requests_of_customer ON api_requests(customer, n);
"""
#: data of one answer go back so far at most (s): what the Directive has kept
MOST_S: Final = 1_096 * 86_400
_TEXTS: Final = {
    "not-linked": "the metering point is not linked to this customer",
    "before-link": "the period begins before the metering point was this customer's",
    "period": "the end of the period is not after its start, or more than 1096 days after it",
    "future": "the period begins in the future",
    "no-data": "nothing is stored of this product and direction in the period",
    "unknown-party": "no eligible party has this name",
    "lifetime": "the maximum lifetime is not in the future",
    "preset-point": "the preset is for another metering point",
}


class Customer:
    """Handlers of a customer's operations."""

    def __init__(self, parties: Parties) -> None:
        self._parties = parties

    def link(self, call: Call) -> Reply:
        """Step 1.5."""
        held = links.link(call.db, call.body["meteringPoint"], call.principal.id, call.now)
        if held is None:
            raise ProblemError(409, "the metering point is another customer's")
        return Reply(201, held.shown())

    def linked(self, call: Call) -> Reply:
        """Points of the customer."""
        found = links.of(call.db, call.principal.id, call.query["after"], call.query["limit"])
        return page([held.shown() for held in found], call)

    def request(self, call: Call) -> Reply:
        """Steps 1.6 to 1.11: item C is validated, stored and answered with D."""
        asked = call.body
        codes = self._of_link(call, asked) + self._of_period(call, asked)
        if not codes and not cells(call.db, _window(asked)):
            codes = ["no-data"]
        made = {
            "requestId": str(uuid.uuid4()), "created": instant(call.now), "request": asked,
            "validation": validation(codes),
        }  # fmt: skip
        row = (made["requestId"], call.principal.id, call.now, json.dumps(made))
        number = call.db.execute("INSERT INTO api_requests VALUES (NULL, ?, ?, ?, ?)", row).lastrowid
        made = {"n": number, **made}
        permissions.tell(call.db, call.now, call.principal.id, "D", made)
        if not codes:
            permissions.tell(call.db, call.now, permissions.ADMINISTRATORS, "D", made)
        return Reply(201, made)

    def requests(self, call: Call) -> Reply:
        """Requests of the customer."""
        rows = call.db.execute(
            "SELECT n, body FROM api_requests WHERE customer = ? AND n > ? ORDER BY n LIMIT ?",
            (call.principal.id, call.query["after"], call.query["limit"]),
        )
        return page([{"n": n, **json.loads(body)} for n, body in rows], call)

    def one_request(self, call: Call) -> Reply:
        """One request."""
        return Reply(200, _request(call))

    def own_data(self, call: Call) -> Reply:
        """Step 1.12: item E, logged as an access."""
        made = _request(call)
        asked = made["request"]
        if made["validation"]["result"] != "valid":
            raise ProblemError(409, "the request is not valid")
        if self._of_link(call, asked):
            raise ProblemError(409, "the metering point is not this customer's any more")
        window = _window(asked)
        transmission.log(call.db, call.now, call.principal.id, window, request=made["requestId"])
        return Reply(200, item_e(window, cells(call.db, window), call.now))

    def permit(self, call: Call) -> Reply:
        """Steps 2.7 to 2.16: item H is validated; what is valid is confirmed as item I."""
        return self._permit(call, call.body, [])

    def accept(self, call: Call) -> Reply:
        """The same, with the terms of a preset (G)."""
        found = preset(call)
        taken = ("eligibleParty", "readingStart", "readingEnd", "direction", "purpose", "transmissionSchedule")
        wrong = found["meteringPoint"] not in (None, call.body["meteringPoint"])
        terms = {**call.body, **{name: found[name] for name in taken}}
        return self._permit(call, terms, ["preset-point"] if wrong else [])

    def revoke(self, call: Call) -> Reply:
        """Step 4.6: the customer revokes."""
        permissions.expire(call.db, call.now)
        permission = permissions.find(call.db, call.path["permission"])
        if permission is None or permission["customer"] != call.principal.id:
            raise ProblemError(404, "there is no such permission")
        if permission["ended"] is not None:
            raise ProblemError(409, f"the permission has ended: {permission['reason']}")
        return Reply(201, permissions.end(call.db, permission, permissions.REVOKED, call.now))

    def access_log(self, call: Call) -> Reply:
        """Who got which record of the customer's points while they were his (Art. 5(1)(c))."""
        rows = call.db.execute(
            "SELECT a.n, a.at, a.point, a.party, a.what, a.facts FROM api_links AS l"
            " JOIN access AS a ON a.point = l.point"
            " WHERE l.customer = ? AND a.n > l.first_access AND (l.last_access IS NULL OR a.n <= l.last_access)"
            " AND a.n > ? ORDER BY a.n LIMIT ?",
            (call.principal.id, call.query["after"], call.query["limit"]),
        )
        return page([_access(row) for row in rows], call)

    def permission_log(self, call: Call) -> Reply:
        """What was granted, revoked and ended (Art. 8(1)(e))."""
        permissions.expire(call.db, call.now)
        rows = call.db.execute(
            "SELECT n, at, event, permission, party FROM api_permission_log WHERE customer = ? AND n > ?"
            " ORDER BY n LIMIT ?",
            (call.principal.id, call.query["after"], call.query["limit"]),
        )
        names = ("n", "created", "event", "permissionId", "eligibleParty")
        return page([dict(zip(names, (n, instant(at), *rest), strict=True)) for n, at, *rest in rows], call)

    def _permit(self, call: Call, terms: Mapping[str, Any], codes: list[str]) -> Reply:
        codes = [*codes, *self._of_link(call, terms)]
        party = self._parties.named(terms["eligibleParty"])
        if party is None or "eligible" not in party.roles.get("api", ()):
            codes.append("unknown-party")
        if terms["readingEnd"] is not None and seconds(terms["readingEnd"]) <= seconds(terms["readingStart"]):
            codes.append("period")
        if seconds(terms["maximumLifetime"]) <= call.now:
            codes.append("lifetime")
        confirmed = None if codes else permissions.confirm(call.db, call.principal.id, terms, call.now)
        return Reply(201, {"validation": validation(codes), "permission": confirmed})

    def _of_link(self, call: Call, asked: Mapping[str, Any]) -> list[str]:
        held = links.find(call.db, asked["meteringPoint"])
        if held is None or held.customer != call.principal.id:
            return ["not-linked"]
        return ["before-link"] if seconds(asked["readingStart"]) < held.since else []

    def _of_period(self, call: Call, asked: Mapping[str, Any]) -> list[str]:
        start, end = seconds(asked["readingStart"]), seconds(asked["readingEnd"])
        codes = [] if 0 < end - start <= MOST_S else ["period"]
        return [*codes, "future"] if start > call.now else codes


def validation(codes: list[str]) -> dict[str, Any]:
    """Item D."""
    reasons = [{"code": code, "text": _TEXTS[code]} for code in codes]
    return {"result": "invalid" if codes else "valid", "reasons": reasons}


def _request(call: Call) -> dict[str, Any]:
    row = call.db.execute(
        "SELECT n, body FROM api_requests WHERE id = ? AND customer = ?", (call.path["request"], call.principal.id)
    ).fetchone()
    if row is None:
        raise ProblemError(404, "there is no such request")
    return {"n": row[0], **json.loads(row[1])}


def _window(asked: Mapping[str, Any]) -> Window:
    start, end = seconds(asked["readingStart"]), seconds(asked["readingEnd"])
    return Window(asked["meteringPoint"], asked["product"], asked["direction"], start, end)


def _access(row: tuple[int, int, str, str, str, str]) -> dict[str, Any]:
    n, at, point, who, what, text = row
    facts = json.loads(text)
    permission = facts.pop("permission", None)
    return {
        "n": n, "created": instant(at), "meteringPoint": point, "who": who, "record": {"what": what, **facts},
        "permissionId": permission,
    }  # fmt: skip
