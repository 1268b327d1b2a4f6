"""Words of others as they are kept: in one line of what can be printed, and not longer than a log can hold."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from gateway.hub_model import Reason

#: what is kept of reasons
MOST_REASONS, MOST_TEXT, MOST_DEPTH = 64, 500, 8

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def kept(reasons: Iterable[Reason]) -> tuple[tuple[str, str], ...]:
    """Reasons as they are kept: printable, and not longer than a log can hold."""
    found = list(reasons)[:MOST_REASONS]
    return tuple((printable(code, 64), printable(said, MOST_TEXT)) for code, said in found)


def printable(said: str, most: int = MOST_TEXT) -> str:
    """Words of others in one line of what can be printed."""
    return _UNPRINTABLE.sub(" ", said[: most * 2]).strip()[:most]


def plain(value: object, depth: int = 0) -> Any:
    """Facts as they are kept, whatever a hub put into them: JSON values, texts without what cannot be encoded."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 64 else str(value)[:MOST_TEXT]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if depth < MOST_DEPTH and isinstance(value, Mapping):
        return {plain(str(name)): plain(one, depth + 1) for name, one in value.items()}
    if depth < MOST_DEPTH and isinstance(value, list | tuple):
        return [plain(one, depth + 1) for one in value]
    return str(value).encode(errors="replace").decode()[:MOST_TEXT]


def name_of(said: str) -> str:
    """An id that a hub gave, as it is kept: as it stands where it is short and printable, else with its SHA-256."""
    clean = printable(said, 120)
    if clean == said and clean:
        return clean
    return f"{clean} {sha256(said.encode(errors='surrogatepass')).hexdigest()}"


def is_name(said: str) -> bool:
    """Whether a text of others can be looked up: what cannot be encoded names nothing of ours."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True
