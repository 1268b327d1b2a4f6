"""What tables of the configuration are made of: frozen structs that refuse unknown keys, and types of single values."""

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{1,32}\Z", description="1 to 32 of a-z, 0-9, _ and -")]
Positive = Annotated[int, Meta(ge=1)]
PointId = Annotated[str, Meta(pattern=r"\A[!-~]{1,64}\Z", description="1 to 64 characters without a blank")]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration: frozen, and a key that it does not know is an error."""
