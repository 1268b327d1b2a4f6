"""The `[[meter]]` of a meter that was found: what differs from the defaults of its profile, and nothing else."""

from collections.abc import Mapping
from typing import Any

from decoders.profile import Profile
from gateway.setup.document import lines_of

#: the line parameters of a configuration that names no profile
DEFAULT_LINE = (115_200, "8N1")


def meter_table(
    name: str, port: str, profile: Profile | None, line: tuple[int | None, str | None], **optional: str | int | None
) -> dict[str, Any]:
    """The keys of `[[meter]]`; `line` is (baud, framing) with None for what a bridge sets or nobody knows."""
    baud, framing = line
    known = (profile.line.baud, profile.line.framing) if profile else DEFAULT_LINE
    values: dict[str, Any] = {"name": name, "port": port}
    values |= {"profile": profile.name} if profile else {}
    values |= {"baud": baud} if baud not in (None, known[0]) else {}
    values |= {"framing": framing} if framing not in (None, known[1]) else {}
    return values | {key: value for key, value in optional.items() if value is not None}


def as_text(values: Mapping[str, Any]) -> str:
    """The table as a person pastes it."""
    return "\n".join(["[[meter]]", *lines_of(values)])
