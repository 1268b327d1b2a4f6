"""The corpus form of `meterd decode --cases`: a case a line in, an answer {id, readings, faults} a line out."""

import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from decoders.decoder import Decoder
from decoders.model import Fault, Result


class Case(msgspec.Struct):
    """What a case says about its bytes; the rest of it is for the judge. `context`: hex of earlier telegrams."""

    id: str
    encoding: str
    data: str
    context: list[str] | str | None = None

    def octets(self) -> bytes:
        """The bytes as on the wire; raises ValueError."""
        if self.encoding == "text":
            return self.data.encode("latin-1")
        if self.encoding == "hex":
            return bytes.fromhex(self.data)
        if self.encoding == "base64":
            return b64decode(self.data, validate=True)
        raise ValueError(f"encoding is {self.encoding!r}; allowed: text, hex, base64")

    def earlier(self) -> list[bytes]:
        """The telegrams before; raises ValueError."""
        context = [self.context] if isinstance(self.context, str) else self.context or []
        return [bytes.fromhex(telegram) for telegram in context]


def answer_all(
    path: Path, decoder: Callable[[], Decoder], shown: Callable[[Result], dict[str, Any] | None]
) -> list[str]:
    """Print an answer for every case; give a sentence for each line that is no case."""
    problems = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                answer = _answer(msgspec.json.decode(line, type=Case), decoder(), shown)
            except (msgspec.DecodeError, ValueError) as error:
                problems.append(f"{path}: line {number}: {error}")
                continue
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()
    return problems


def _answer(case: Case, decoder: Decoder, shown: Callable[[Result], dict[str, Any] | None]) -> dict[str, Any]:
    for telegram in case.earlier():
        decoder.feed(telegram)
    results = decoder.feed(case.octets()) + decoder.close()
    return {
        "id": case.id,
        "readings": [reading for result in results if (reading := shown(result)) is not None],
        "faults": [{"stage": result.stage, "code": result.code} for result in results if isinstance(result, Fault)],
    }
