"""What eligible parties and administrators do in procedures 2 to 4, and what every login reads."""

import json
import uuid
from typing import Any

from gateway.sandbox import links, permissions, transmission
from gateway.sandbox.operations import Call, ProblemError, Reply
from gateway.sandbox.procedure_customer import MOST_S
from gateway.sandbox.procedure_data import Window, cells, instant, item_e, month, sums
from gateway.sandbox.procedure_pages import page, preset, sees_preset


def propose(call: Call) -> Reply:
    """Step 2.2: store a preset (item G)."""
    id_ = str(uuid.uuid4())
    made = {"presetId": id_, "created": instant(call.now), "eligibleParty": call.principal.id, **call.body}
    row = (id_, call.principal.id, json.dumps(made))
    number = call.db.execute("INSERT INTO api_presets VALUES (NULL, ?, ?, ?)", row).lastrowid
    return Reply(201, {"n": number, **made})


def presets(call: Call) -> Reply:
    """Presets: a party's own; of a customer those for everybody and for his points."""
    rows = call.db.execute(
        "SELECT n, body FROM api_presets WHERE n > ? ORDER BY n LIMIT ?", (call.query["after"], call.query["limit"])
    ).fetchall()
    found = [{"n": n, **json.loads(body)} for n, body in rows]
    return page([made for made in found if sees_preset(call, made)], call, [made["n"] for made in found])


def one_preset(call: Call) -> Reply:
    """One preset."""
    return Reply(200, preset(call))


def withdraw(call: Call) -> Reply:
    """Remove a preset; permissions that came of it stay."""
    if preset(call)["eligibleParty"] != call.principal.id:
        raise ProblemError(404, "there is no such preset")
    call.db.execute("DELETE FROM api_presets WHERE id = ?", (call.path["preset"],))
    return Reply(204)


def listed(call: Call) -> Reply:
    """Step 4.5: permissions as item K, active and ended."""
    permissions.expire(call.db, call.now)
    whose = _whose(call) | ({"point": call.query["meteringPoint"]} if call.query["meteringPoint"] else {})
    rows = permissions.of(call.db, whose, call.query["after"], call.query["limit"])
    state = call.query["state"]
    shown = [permissions.listed(it) for it in rows if state is None or (it["ended"] is None) == (state == "active")]
    return page(shown, call, [it["n"] for it in rows])


def one_permission(call: Call) -> Reply:
    """One permission as item K."""
    return Reply(200, permissions.listed(_permission(call)))


def permitted_data(call: Call) -> Reply:
    """Step 2.19 on request: item F of all that a permission covers and that is there, at most the last 1096 days."""
    permission = _own(call)
    if permission["ended"] is not None:
        raise ProblemError(409, f"the permission has ended: {permission['reason']}")
    window = transmission.window(permission["item"], call.now)
    window = window._replace(start=max(window.start, window.end - MOST_S))
    transmission.log(call.db, call.now, call.principal.id, window, permission=permission["id"])
    return Reply(200, transmission.item_f(permission, item_e(window, cells(call.db, window), call.now)))


def terminate(call: Call) -> Reply:
    """Steps 3.3 to 3.6: the party ends its service."""
    permission = _own(call)
    if permission["ended"] is not None:
        raise ProblemError(409, f"the permission has ended: {permission['reason']}")
    return Reply(201, permissions.end(call.db, permission, permissions.TERMINATED, call.now))


def deliveries(call: Call) -> Reply:
    """Steps 2.17 and 2.18: what is due by the schedules, and what was not acknowledged."""
    permissions.expire(call.db, call.now)
    transmission.collect(call.db, call.principal.id, call.now)
    rows = call.db.execute(
        "SELECT n, id, at, body FROM api_deliveries WHERE party = ? AND n > ? ORDER BY n LIMIT ?",
        (call.principal.id, call.query["after"], call.query["limit"]),
    )
    found = [
        {"n": n, "deliveryId": id_, "created": instant(at), "content": json.loads(body)} for n, id_, at, body in rows
    ]
    return page(found, call)


def acknowledge(call: Call) -> Reply:
    """A delivery was received: it is not given again."""
    gone = call.db.execute(
        "DELETE FROM api_deliveries WHERE id = ? AND party = ?", (call.path["delivery"], call.principal.id)
    )
    if not gone.rowcount:
        raise ProblemError(404, "there is no such delivery")
    return Reply(204)


def notices(call: Call) -> Reply:
    """What a login was told."""
    permissions.expire(call.db, call.now)
    told = permissions.ADMINISTRATORS if "administrator" in call.principal.roles else call.principal.id
    rows = call.db.execute(
        "SELECT n, at, item, body FROM api_notices WHERE recipient IN (?, ?) AND n > ? ORDER BY n LIMIT ?",
        (call.principal.id, told, call.query["after"], call.query["limit"]),
    )
    return page(
        [{"n": n, "created": instant(at), "item": item, "body": json.loads(body)} for n, at, item, body in rows], call
    )


def move_out(call: Call) -> Reply:
    """Steps 4.7 to 4.13: the customer left the point, and every permission of it ends."""
    permissions.expire(call.db, call.now)
    point = call.path["meteringPoint"]
    held = links.find(call.db, point)
    if held is None:
        raise ProblemError(404, "no customer has this metering point")
    links.leave(call.db, held, call.now)
    revoked = permissions.end_of_point(call.db, point, held.customer, call.now)
    return Reply(201, {"meteringPoint": point, "end": instant(call.now), "revoked": revoked})


def monthly_sums(call: Call) -> Reply:
    """Sums of a local month: of any point for an administrator, of his own for a customer."""
    asked = call.query
    start, end = month(asked["month"], asked["zone"])
    if "administrator" not in call.principal.roles:
        held = links.find(call.db, asked["meteringPoint"])
        if held is None or held.customer != call.principal.id or held.since > start:
            raise ProblemError(404, "the metering point was not this customer's in that month")
    window = Window(asked["meteringPoint"], asked["product"], "combined", start, end)
    transmission.log(call.db, call.now, call.principal.id, window, what="monthly sums")
    return Reply(200, {"items": sums(call.db, window, {"month": asked["month"], "zone": asked["zone"]})})


def _whose(call: Call) -> dict[str, str]:
    """Which permissions a login sees: columns of the table."""
    if "administrator" in call.principal.roles:
        return {}
    return {"customer" if "customer" in call.principal.roles else "party": call.principal.id}


def _own(call: Call) -> dict[str, Any]:
    """A permission of the party that asks."""
    found = _permission(call)
    if found["party"] != call.principal.id:
        raise ProblemError(404, "there is no such permission")
    return found


def _permission(call: Call) -> dict[str, Any]:
    permissions.expire(call.db, call.now)
    found = permissions.find(call.db, call.path["permission"])
    who = call.principal
    if found is None or ("administrator" not in who.roles and who.id not in (found["customer"], found["party"])):
        raise ProblemError(404, "there is no such permission")
    return found
