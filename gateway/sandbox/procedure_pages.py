"""What the handlers of the procedures share: pages of lists, and presets (item G)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.sandbox import links
from gateway.sandbox.operations import Call, ProblemError, Reply

TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_presets(
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, party TEXT NOT NULL, body TEXT NOT NULL);
"""


def page(items: Sequence[dict[str, Any]], call: Call, seen: Sequence[int] | None = None) -> Reply:
    """A page of what a query gave; `seen` are the positions that it looked at, where some are left out."""
    looked_at = [item["n"] for item in items] if seen is None else seen
    more = len(looked_at) == call.query["limit"]
    return Reply(200, {"items": list(items), "next": looked_at[-1] if more else None})


def preset(call: Call) -> dict[str, Any]:
    """The preset of a path, as it is stored. Raises ProblemError 404."""
    row = call.db.execute("SELECT n, body FROM api_presets WHERE id = ?", (call.path["preset"],)).fetchone()
    made = {"n": row[0], **json.loads(row[1])} if row else {}
    if not made or not sees_preset(call, made):
        raise ProblemError(404, "there is no such preset")
    return made


def sees_preset(call: Call, made: Mapping[str, Any]) -> bool:
    """A party sees its own presets; a customer those for everybody and for his points."""
    if "customer" not in call.principal.roles:
        return bool(made["eligibleParty"] == call.principal.id)
    held = links.find(call.db, made["meteringPoint"]) if made["meteringPoint"] else None
    return made["meteringPoint"] is None or (held is not None and held.customer == call.principal.id)
