"""TOML tables to frozen structs with every error at once: msgspec stops at the first one, a person wants them all."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

#: 10,000 meters with their points are some 2 MB
MAX_OCTETS = 8 << 20


class SettingsError(Exception):
    """A configuration that cannot be used; `problems` holds one sentence per error, each with file, table and key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(slots=True)
class Problems:
    """The errors of one file, in the order in which they were found."""

    file: Path
    lines: list[str] = field(default_factory=list)

    def add(self, where: str, what: str, allowed: str = "") -> None:
        """Note one error: `FILE: [table] key: what is wrong; allowed: ...`."""
        line = f"{self.file}: {where}: {what}" + (f"; allowed: {allowed}" if allowed else "")
        self.lines.append("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))

    def check(self) -> None:
        """Raise SettingsError when there is any."""
        if self.lines:
            raise SettingsError(self.lines)


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 8 MiB; raises SettingsError with the line and column of a syntax error."""
    problems = Problems(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_OCTETS + 1)
        if len(data) > MAX_OCTETS:
            raise SettingsError([f"{path}: larger than 8 MiB: this is no configuration"])
        tables = tomllib.loads(data.decode())
        for where in _nul(tables):
            problems.add(where, "holds the character NUL, which no name and no path may have")
        problems.check()
    except OSError as error:
        problems.lines.append(f"{path}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.lines.append(f"{path}: not UTF-8 at octet {error.start}: save the file as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.lines.append(f"{path}: TOML syntax: {error}")
    except RecursionError:
        problems.lines.append(f"{path}: TOML syntax: nested too deeply")
    else:
        return tables
    raise SettingsError(problems.lines)


def _nul(tables: Mapping[str, Any]) -> Iterator[str]:
    """Where a table holds a NUL in a text or in the name of a key: `[mqtt] ca_file`, `[[meter]] no. 2 port`."""
    for name, table in tables.items():
        many = isinstance(table, list)
        for number, one in enumerate(table if many else [table], 1):
            where = f"[[{name}]] no. {number}" if many else f"[{name}]"
            keys = one if isinstance(one, dict) else {"": one}
            for key, value in keys.items():
                # a list shows its texts escaped
                if "\0" in f"{key}{value}" or "\\x00" in str(value):
                    yield f"{where} {key}".rstrip()


def convert(raw: Any, struct: type[msgspec.Struct], where: str, problems: Problems) -> dict[str, Any]:
    """Convert a table key by key; what is wrong goes to `problems`, what is right comes back."""
    if not isinstance(raw, dict):
        problems.add(where, f"{show(raw)} where a table belongs")
        return {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    unknown(raw, fields, where, problems)
    values: dict[str, Any] = {}
    for name, known in fields.items():
        if name in raw:
            try:
                values[name] = msgspec.convert(raw[name], known.type)
            except msgspec.ValidationError:
                problems.add(f"{where} {name}", f"{show(raw[name])} is not allowed", allowed(known.type))
        elif known.required:
            problems.add(f"{where} {name}", "is missing", allowed(known.type))
    return values


def unknown(raw: Mapping[str, Any], known: Iterable[str], where: str, problems: Problems) -> None:
    """Refuse the keys that are not known, with the nearest one that is."""
    names = list(known)
    for key in raw:
        if key not in names:
            hint = near(key, names)
            shown = key if key.isidentifier() else show(key)
            problems.add(f"{where} {shown}".strip(), f"unknown key{hint}", "" if hint else ", ".join(names))


def near(name: str, names: Iterable[str], limit: int = 3) -> str:
    """` (did you mean ...?)` with the names most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=limit, cutoff=0.6)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def show(value: Any) -> str:
    """Show a value as a person wrote it, on one line, at most 60 characters."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def allowed(annotation: Any) -> str:
    """Say what a key takes: its choices, range or form."""
    from msgspec import inspect as types

    kind = types.type_info(annotation)
    if isinstance(kind, types.UnionType):
        kind = next(member for member in kind.types if not isinstance(member, types.NoneType))
    if isinstance(kind, types.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    if isinstance(kind, types.LiteralType):
        return ", ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in kind.values)
    if isinstance(kind, types.IntType | types.FloatType):
        return f"a {'whole ' if isinstance(kind, types.IntType) else ''}number{_range(kind.ge, kind.le)}"
    simple = {types.BoolType: "true or false", types.StrType: "text", types.VarTupleType: "a list of texts"}
    return simple.get(type(kind), "")


def _range(low: Any, high: Any) -> str:
    if low is None:
        return ""
    return f", {low:g} or more" if high is None else f" from {low} to {high}"
