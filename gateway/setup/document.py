"""The text of meterd.toml: the template filled in, or a meter added to what a person wrote; comments always stay."""

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from typing import Any

#: values of one table, by key
Table = Mapping[str, Any]

_HEADER = re.compile(r"^(?:# )?(\[\[?)([a-z0-9_.-]+)\]\]?\s*(?:#.*)?$")
_ACTIVE = re.compile(r"^[a-z0-9_-]+ *=")


class DocumentError(Exception):
    """A text to which nothing can be added: one sentence, and the lines that a person can add."""


def filled(template: str, meter: Table, tables: Mapping[str, Table | None], *, heard: str, today: date) -> str:
    """The template with these values in the places of its own examples; a table that is None is switched off.

    `heard` is a comment: on what the values rest.
    """
    lines = template.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("[["))
    note = [f"# Written by `meterd setup` on {today}, to be changed by hand; {heard}", ""]
    at = next((i for i in range(first, 0, -1) if not lines[i - 1].startswith("#")), 0)
    lines[at:at] = note
    _set(lines, "meter", meter, header="[[meter]]")
    for name, values in tables.items():
        if values is None:
            _switch_off(lines, name)
        else:
            _set(lines, name, values, header=f"[{name}]")
    text = "\n".join(lines) + "\n"
    _compare(text, {"meter": [dict(meter)]}, tables)
    return text


def added(text: str, meter: Table, *, heard: str, today: date) -> str:
    """A configuration with one more `[[meter]]` behind its last one; raises DocumentError where it takes none."""
    block = [f"# Added by `meterd setup` on {today}; {heard}", "[[meter]]", *lines_of(meter), ""]
    before = tomllib.loads(text)
    wanted = before | {"meter": [*before.get("meter", []), dict(meter)]}
    # only at line feeds: a line of a person's keeps its carriage return, and whatever else stands in it
    lines = text.removesuffix("\n").split("\n")
    for at in (_behind_last_meter(lines), len(lines)):
        gap = [""] if at and lines[at - 1].strip() else []
        changed = "\n".join([*lines[:at], *gap, *block, *lines[at:]]).rstrip("\n") + "\n"
        if _parsed(changed) == wanted:
            return changed
    raise DocumentError("the meters of this configuration are written in a form to which nothing can be added")


def lines_of(table: Table) -> list[str]:
    """A table, one line for each key."""
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    """A value as TOML writes it: JSON does for texts that are printable, numbers, truth values and lists of them."""
    return json.dumps(value, ensure_ascii=False)


def _set(lines: list[str], name: str, values: Table, header: str) -> None:
    """Put values into the first table of this name: in the place of its line, commented or not, else at its end."""
    begin, end = _section(lines, name)
    if begin == end:
        lines += ["", header]
        begin, end = len(lines) - 1, len(lines)
    lines[begin] = header
    for i in range(begin + 1, end):
        if _ACTIVE.match(lines[i]) and lines[i].split("=")[0].strip() not in values:
            lines[i] = f"# {lines[i]}"
    for key, value in values.items():
        place = re.compile(rf"^(# )?{re.escape(key)} *=")
        at = next((i for i in range(begin + 1, end) if place.match(lines[i])), None)
        if at is None:
            at = next(i for i in range(end, begin, -1) if lines[i - 1].strip())
            lines.insert(at, "")
            end += 1
        lines[at] = f"{key} = {_value(value)}"


def _switch_off(lines: list[str], name: str) -> None:
    begin, end = _section(lines, name)
    for i in range(begin, end):
        if lines[i] and not lines[i].startswith("#"):
            lines[i] = f"# {lines[i]}"


def _section(lines: list[str], name: str) -> tuple[int, int]:
    """The lines of the first table of this name, from its header to the next one; empty where there is none."""
    headers = [(i, match[2]) for i, line in enumerate(lines) if (match := _HEADER.match(line))]
    for (i, found), (following, _) in zip(headers, [*headers[1:], (len(lines), "")], strict=True):
        if found == name:
            return i, following
    return 0, 0


def _behind_last_meter(lines: list[str]) -> int:
    """Where the table behind the last `[[meter]]` begins, its comments included."""
    headers = [i for i, line in enumerate(lines) if line.lstrip().startswith("[")]
    meters = [i for i in headers if re.match(r"\s*\[\[\s*meter\s*\]\]", lines[i])]
    at = next((i for i in headers if meters and i > meters[-1]), len(lines))
    while at and lines[at - 1].startswith("#"):
        at -= 1
    return at


def _compare(text: str, meters: Mapping[str, Any], tables: Mapping[str, Table | None]) -> None:
    """What was written must be what was meant: a template of another form is told, never half filled."""
    parsed = _parsed(text) or {}
    wrong = [name for name, values in tables.items() if parsed.get(name) != (None if values is None else dict(values))]
    if wrong or parsed.get("meter") != meters["meter"]:
        raise DocumentError(f"the template cannot be filled in ({', '.join(wrong) or 'meter'})")


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
