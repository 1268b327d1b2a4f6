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
    """The frame is whole, but its ciphering or block transfer is not accepted.

    `evidence` says what the header said (system title, counter, security control) or which APDU it is; no payload.
    """

    stage = "unwrap"

    def __init__(self, code: str, size: int = 0, evidence: str = "") -> None:
        super().__init__(code, size)
        self.evidence = evidence


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
    ("link", "header"): "the header of a frame is damaged, or the frame is of another protocol on this line",
    ("link", "interrupted"): "the meter interrupted its frame: nothing up to the next end is used",
    ("link", "segment_lost"): "a segment of the message is missing: none of it is used",
    ("link", "no_data"): "only requests and acknowledgements arrived: no meter answered",
    ("link", "segment_order"): "a segment of the message came twice or late: none of it is used",
    ("unwrap", "key_missing"): "the telegram is encrypted, and this meter has no key",
    ("unwrap", "tag"): "the authentication tag does not match: the telegram was changed, or a key is wrong",
    ("unwrap", "garbled"): "what was decrypted is no telegram: it was damaged, or the encryption key is wrong",
    ("unwrap", "key_rejected"): "the encryption key is wrong: three telegrams in a row do not open with it",
    (
        "unwrap",
        "auth_key_rejected",
    ): "the authentication key is wrong: three telegrams open, but their tags do not match",
    ("unwrap", "unauthenticated_refused"): "the telegram has a tag, but the operator's authentication key is missing",
    ("unwrap", "downgrade"): "the telegram is less protected than `min_auth` of this meter asks",
    ("unwrap", "replayed"): "the invocation counter was used before: an old telegram was sent again",
    ("unwrap", "rollback"): "the invocation counter went back: held until three newer telegrams prove the meter",
    ("unwrap", "identity_changed"): "another system title uses this meter's key: held until a person confirms it",
    ("unwrap", "counter_exhausted"): "the invocation counter reached its end: the operator must issue a new key",
    ("unwrap", "title_missing"): "the telegram names no system title: set `system_title` of this meter",
    ("unwrap", "suite"): "the telegram uses a security suite other than AES-128-GCM",
    ("unwrap", "compression"): "the telegram is compressed, which no known meter does",
    (
        "unwrap",
        "broadcast_key",
    ): "the telegram is encrypted with the broadcast key, which this meter's keys do not hold",
    ("unwrap", "general_ciphering"): "general-ciphering and general-ded-ciphering are not pushed by known meters",
    ("unwrap", "ciphered_service"): "a ciphered service of a client's dialogue, not a push",
    ("unwrap", "signing"): "general-signing is not pushed by known meters",
    ("unwrap", "unknown_apdu"): "the content is neither a data-notification nor a P1 telegram",
    ("unwrap", "nesting"): "APDUs are wrapped in each other deeper or otherwise than any meter does",
    ("unwrap", "length"): "a length inside the APDU does not fit its size",
    ("unwrap", "oversized"): "the blocks add up to more than any meter sends",
    ("unwrap", "block_lost"): "a block of the message is missing: none of it is used",
    ("unwrap", "block_order"): "a block of the message came twice or out of order: none of it is used",
    ("grammar", "line"): "a line is not a data object of IEC 62056-21",
    ("grammar", "number"): "a measured value is not a decimal number",
    ("grammar", "elements"): "the telegram holds more objects than any meter sends",
    ("grammar", "type"): "the data hold a type that their grammar does not know, or not at this place",
    ("grammar", "checksum"): "the checksum of a message inside does not match, or is of another kind",
    ("grammar", "length"): "a length leads beyond the end of the data",
    ("grammar", "rest"): "octets are left behind the last value",
    ("grammar", "control_information"): "the M-Bus telegram is of a kind (CI) that carries no records",
    ("grammar", "meter_error"): "the M-Bus meter answers that it has an error, and no values",
    ("grammar", "meter_ci"): "the M-Bus meter answers that it does not know the request",
    ("grammar", "meter_buffer"): "the M-Bus meter answers that the request is too long for it",
    ("grammar", "meter_records"): "the M-Bus meter answers that the request has too many records",
    ("grammar", "meter_truncated"): "the M-Bus meter answers that the request ends within a record",
    ("grammar", "meter_difes"): "the M-Bus meter answers that a record of the request has more than ten DIFE",
    ("grammar", "meter_vifes"): "the M-Bus meter answers that a record of the request has more than ten VIFE",
    ("grammar", "meter_busy"): "the M-Bus meter answers that it is too busy to answer",
    ("grammar", "meter_readouts"): "the M-Bus meter answers that it was read too often and saves its battery",
    ("profile", "ambiguous"): "several registers could be the same quantity of item P: it is left out",
    ("profile", "several_meters"): "several electricity meters answer on this bus: nothing tells which one is meant",
    ("profile", "unknown_layout"): "no profile fits the identification and structure of this telegram",
    ("profile", "unit"): "a register of item P has no unit, or not the unit of its quantity",
    ("profile", "negative"): "a register that cannot be negative is negative",
    ("profile", "duplicate"): "a register of item P occurs twice",
    ("profile", "no_values"): "the telegram holds no register and no sub-meter value",
}
