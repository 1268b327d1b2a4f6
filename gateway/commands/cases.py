"""The corpus form of `meterd decode --cases`: a case a line in, an answer {id, readings, faults} a line out."""

import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from decoders.cipher import Keys
from decoders.decoder import Decoder
from decoders.model import Fault, Reading, Result

#: how a result is printed; None where it is no reading
Shown = Callable[[Result], dict[str, Any] | None]


class MakeDecoder(Protocol):
    """Makes a decoder with the keys of a case."""

    def __call__(self, keys: Keys | None, *, empty_aad: bool) -> Decoder:
        """`empty_aad`: tags are verified over no additional data."""
        ...


class CaseKeys(msgspec.Struct):
    """The keys of a case in hexadecimal digits: they are published, and no household's any more."""

    encryption: str = ""
    authentication: str = ""


class Case(msgspec.Struct):
    """What a case says about its bytes; the rest of it is for the judge. `context`: hex of earlier telegrams."""

    id: str
    encoding: str
    data: str
    context: list[str] | str | None = None
    keys: CaseKeys | None = None

    def octets(self) -> bytes:
        """The bytes as on the wire; raises ValueError."""
        if self.encoding == "text":
            return self.data.encode("latin-1")
        if self.encoding == "hex":
            return bytes.fromhex(self.data)
        if self.encoding == "base64":
            return b64decode(self.data, validate=True)
        raise ValueError(f"encoding is {self.encoding!r}; allowed: text, hex, base64")

    def opening(self) -> Keys | None:
        """The keys; raises ValueError. Samples of the specifications are allowed here."""
        if self.keys is None or not self.keys.encryption:
            return None
        authentication = self.keys.authentication
        return Keys(bytes.fromhex(self.keys.encryption), bytes.fromhex(authentication) if authentication else None)

    def earlier(self) -> list[bytes]:
        """The telegrams before; raises ValueError."""
        context = [self.context] if isinstance(self.context, str) else self.context or []
        return [bytes.fromhex(telegram) for telegram in context]


def answer_all(path: Path, decoder: MakeDecoder, shown: Shown) -> list[str]:
    """Print an answer for every case; give a sentence for each line that is no case."""
    problems = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                case = msgspec.json.decode(line, type=Case)
                answer = _answer(case, decoder, shown)
            except (msgspec.DecodeError, ValueError) as error:
                problems.append(f"{path}: line {number}: {error}")
                continue
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()
    return problems


def _answer(case: Case, decoder: MakeDecoder, shown: Shown) -> dict[str, Any]:
    """Decode a case. Without authentication key, its tags may still verify over no data: that is tried first."""
    keys = case.opening()
    results = _results(case, decoder(keys, empty_aad=True)) if keys and not keys.authenticates else []
    if not any(isinstance(result, Reading) and result.auth == "verified" for result in results):
        results = _results(case, decoder(keys, empty_aad=False))
    return {
        "id": case.id,
        "readings": [reading for result in results if (reading := shown(result)) is not None],
        "faults": [_fault(result) for result in results if isinstance(result, Fault)],
    }


def _results(case: Case, decoder: Decoder) -> list[Result]:
    for telegram in case.earlier():
        decoder.feed(telegram)
    return decoder.feed(case.octets()) + decoder.close()


def _fault(fault: Fault) -> dict[str, str]:
    """A fault with its evidence, where there is any: system title and counter."""
    said = {"stage": fault.stage, "code": fault.code}
    return said | {"evidence": fault.evidence} if fault.evidence else said
