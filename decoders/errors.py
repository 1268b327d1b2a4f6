"""What can be wrong with received bytes: one root, four stages, a bounded code each, never a payload."""

from typing import ClassVar


class DecodeError(ValueError):
    """Bytes that give no reading. Carries a code from CODES and a size in octets, never the octets."""

    stage: ClassVar[str] = ""

    def __init__(self, code: str, size: int = 0) -> None:
        super().__init__(f"{self.stage}: {code}")
        self.code = code
        self.size = size


class LinkError(DecodeError):
    """The frame itself is broken: delimiters, lengths, checksum."""

    stage = "link"


class UnwrapError(DecodeError):
    """The frame is whole, but its ciphering or block transfer is not accepted."""

    stage = "unwrap"


class GrammarError(DecodeError):
    """The plain bytes do not follow the grammar of their protocol."""

    stage = "grammar"


class ProfileError(DecodeError):
    """The telegram is well-formed, but does not say what its profile promises."""

    stage = "profile"


#: Every code that a Fault can carry, with the sentence that a person reads. Documented in docs/faults.md.
CODES: dict[tuple[str, str], str] = {
    ("link", "no_frame"): "bytes arrived, but no frame begins in them",
    ("link", "truncated"): "a frame began and was cut off or overrun by the next one",
    ("link", "oversized"): "a frame is longer than any meter sends",
    ("link", "checksum"): "the checksum does not match: the bytes were damaged on the line",
    ("link", "checksum_missing"): "the telegram carries no checksum although this meter always sends one",
    ("grammar", "line"): "a line is not a data object of IEC 62056-21",
    ("grammar", "number"): "a measured value is not a decimal number",
    ("grammar", "elements"): "the telegram holds more objects than any meter sends",
    ("profile", "unknown_layout"): "no profile fits the identification and structure of this telegram",
    ("profile", "unit"): "a register of item P has no unit, or not the unit of its quantity",
    ("profile", "negative"): "a register that cannot be negative is negative",
    ("profile", "duplicate"): "a register of item P occurs twice",
    ("profile", "no_values"): "the telegram holds no value of item P and no sub-meter value",
}
