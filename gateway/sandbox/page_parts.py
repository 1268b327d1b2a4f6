"""The parts of the page: tables and plots of what a test hub has, every foreign text escaped."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from gateway.sandbox import permissions
from gateway.sandbox.effects import unpacked
from gateway.sandbox.page_plots import plot, quality
from gateway.sandbox.procedure_data import instant

#: rows of a table, plots, and effects that are looked at for them, at most
ROWS: Final = 50
PLOTS: Final = 12
LOOKED_AT: Final = 500


class Series(NamedTuple):
    """The newest accepted series of a point, profile and direction."""

    n: int
    profile: str
    party: str
    point: str
    direction: str
    unit: str
    start: int
    end: int
    version: int
    vals: bytes


def latest(db: sqlite3.Connection) -> list[Series]:
    """The newest series of the points that were heard of last."""
    rows = db.execute(
        f"SELECT {', '.join(Series._fields)} FROM effects ORDER BY n DESC LIMIT ?",  # noqa: S608 - names of columns
        (LOOKED_AT,),
    )
    found: dict[tuple[str, str, str], Series] = {}
    for series in map(Series._make, rows):
        found.setdefault((series.profile, series.point, series.direction), series)
    return list(found.values())[:PLOTS]


def permitted(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """The newest permissions as item K."""
    (last,) = db.execute("SELECT coalesce(max(n), 0) FROM api_permissions").fetchone()
    return [permissions.listed(it) for it in permissions.of(db, {}, max(0, last - ROWS), ROWS)][::-1]


def accesses(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    """The newest entries of the access log."""
    rows = db.execute("SELECT at, point, party, what, facts FROM access ORDER BY n DESC LIMIT ?", (ROWS,))
    return [(instant(at), point, party, what, _facts(facts)) for at, point, party, what, facts in rows]


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> str:
    """A table of texts, or a sentence where there are no rows."""
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return f"<p>{escape(empty)}</p>"
    head = "".join(f'<th scope="col">{escape(it)}</th>' for it in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def series(found: Iterable[Series]) -> str:
    """Plot and values of each series."""
    return "".join(_series(it) for it in found) or "<p>Nothing arrived yet.</p>"


def permission_table(found: Iterable[Mapping[str, Any]]) -> str:
    """Permissions, active and ended."""
    heads = ("permission", "customer", "party", "point", "direction", "until", "state")
    rows = (
        (
            it["permissionId"], it["customer"], it["eligibleParty"], it["meteringPoint"], it["direction"],
            it["maximumLifetime"], f"{it['endReason']}, {it['end']}" if it["end"] else "active",
        )
        for it in found
    )  # fmt: skip
    return table(heads, rows, "No permission was given yet.")


def fault_rows(faults: Mapping[str, tuple[str, float | None]], shown: Mapping[str, Any], token: str) -> str:
    """A form for each fault: how often it happens, and its value."""
    rows = "".join(_fault(name, what, shown, token) for name, (what, _) in faults.items())
    heads = "".join(f'<th scope="col">{it}</th>' for it in ("fault", "what it does", "hits", "probability and value"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _series(it: Series) -> str:
    title = f"{it.point} {it.direction} ({it.profile}, by {it.party})"
    values = unpacked(it.vals)
    rows = [(instant(t), "" if quantity is None else quantity, quality(code)[1]) for t, quantity, code in values]
    shown = table(("start", it.unit, "quality"), rows, "It has no values.")
    when = f"{instant(it.start)} to {instant(it.end)}, version {it.version}"
    return (
        f"<figure>{plot(values, title)}<figcaption>{escape(title)}: {escape(when)}</figcaption>"
        f"<details><summary>{len(values)} intervals</summary>{shown}</details></figure>"
    )


def _fault(name: str, what: str, shown: Mapping[str, Any], token: str) -> str:
    on = shown["on"].get(name, {})
    value = on.get("value")
    form = (
        f'<form method="post" action="/page/faults"><input type="hidden" name="token" value="{escape(token)}">'
        f'<input type="hidden" name="name" value="{escape(name)}">'
        f'<input name="p" inputmode="decimal" size="5" value="{on.get("p", 0)}"'
        f' aria-label="probability of {escape(name)}">'
        f'<input name="value" inputmode="decimal" size="8" value="{"" if value is None else value}"'
        f' aria-label="value of {escape(name)}"><button>set</button></form>'
    )
    hits = shown["hits"].get(name, 0)
    state = ' class="on"' if on.get("p") else ""
    return f'<tr{state}><th scope="row">{escape(name)}</th><td>{escape(what)}</td><td>{hits}</td><td>{form}</td></tr>'


def _facts(text: str) -> str:
    return ", ".join(f"{key} {value}" for key, value in json.loads(text).items())
