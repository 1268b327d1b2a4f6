"""`meterd key prove`: which of the keys at hand opens captured telegrams, and what is wrong with those that do not."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from decoders.apdu import Unwrapper
from decoders.decoder import LINKS, Link
from decoders.errors import CODES, UnwrapError
from decoders.model import Frame
from gateway import profiles
from gateway.key_material import KeyFileError, Material, Secret
from gateway.settings import MeterSettings
from gateway.sources import Chunk, PortEvent, create

Verdict = Literal[
    "right", "swapped", "encryption_key_wrong", "authentication_key_wrong", "authentication_key_missing",
    "other_meter", "title_missing", "not_ciphered", "no_telegram",
]  # fmt: skip
#: telegrams that are enough: three that agree are certain
ENOUGH = 8
#: octets of a capture: more than a day of telegrams
MAX_OCTETS = 64 * 1024 * 1024
SENTENCES: dict[Verdict, str] = {
    "right": "the keys are right",
    "swapped": "the keys are swapped: what was given as authentication key is the encryption key",
    "encryption_key_wrong": "the encryption key is wrong: no telegram opens with it",
    "authentication_key_wrong": "the encryption key is right, the authentication key is wrong",
    "authentication_key_missing": "the encryption key is right; the telegrams have a tag: the other key is missing",
    "other_meter": "these are telegrams of another meter",
    "title_missing": "the telegrams do not say their system title: set `system_title` of this meter (docs/keys.md)",
    "not_ciphered": "the telegrams are not encrypted: this meter needs no key",
    "no_telegram": "there is no whole telegram in this: check the capture, or try `meterd decode --explain`",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """What came out, with what the telegrams said of themselves."""

    verdict: Verdict
    telegrams: int
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The verdict for a person."""
        said = SENTENCES[self.verdict]
        count = f"{self.telegrams} telegram{'' if self.telegrams == 1 else 's'}"
        return f"{said} ({count}{f'; {self.detail}' if self.detail else ''})"

    def as_dict(self) -> dict[str, Any]:
        """The verdict for a program."""
        return {"verdict": self.verdict, "telegrams": self.telegrams, "detail": self.detail, "text": self.sentence}


def prove(frames: list[Frame], material: Material, others: Mapping[str, Material], meter: MeterSettings) -> Proof:
    """Try keys on telegrams: as given, swapped, without authentication key, then those of the other meters."""
    attempt = partial(_attempt, frames, title=meter.system_title, empty_aad=_empty_aad(meter))
    seen = attempt(Material())
    if not seen.opened and not seen.ciphered:
        return Proof("no_telegram", len(frames), seen.detail)
    if not seen.ciphered:
        return Proof("not_ciphered", len(frames))
    titles = {said.split(",")[0].rpartition(" ")[2] for said in seen.evidence}
    if meter.system_title and meter.system_title.upper() not in titles:
        said = f"system title {', '.join(sorted(titles))}, the configuration says {meter.system_title.upper()}"
        return Proof("other_meter", seen.ciphered, said)
    return _judged(attempt, material, others, seen)


def _judged(
    attempt: "Callable[..., _Attempt]", material: Material, others: Mapping[str, Material], seen: "_Attempt"
) -> Proof:
    detail, encryption, authentication = seen.detail, material.encryption, material.authentication
    right = attempt(material)
    if right.opened:
        return Proof("right", seen.ciphered, f"{detail}; {_opened(right, seen, material)}")
    if right.codes["title_missing"]:
        return Proof("title_missing", seen.ciphered, detail)
    for verdict, keys, untagged, said in _alternatives(encryption, authentication, others):
        if keys.encryption and attempt(keys, untagged=untagged).opened:
            return Proof(verdict, seen.ciphered, detail + said)
    return Proof("encryption_key_wrong", seen.ciphered, detail)


def _alternatives(
    encryption: Secret | None, authentication: Secret | None, others: Mapping[str, Material]
) -> Iterator[tuple[Verdict, Material, bool, str]]:
    """What else may be true of keys that do not fit: verdict, keys that then open, without their tags, remark."""
    yield "swapped", Material(authentication, encryption), False, ""
    wrong: Verdict = "authentication_key_wrong" if authentication else "authentication_key_missing"
    yield wrong, Material(encryption), True, ""
    yield "swapped", Material(authentication), True, "; and the other one is not its authentication key"
    for name, other in others.items():
        yield "other_meter", Material(other.encryption), True, f"; the key of meter {name} opens them"


def _opened(right: "_Attempt", seen: "_Attempt", material: Material) -> str:
    said = f"{right.opened} of {seen.ciphered} opened, {', '.join(sorted(right.auth))}"
    if material.authentication and right.auth == {"unverified"}:
        said += "; no telegram has a tag, so nothing proves the authentication key"
    return said


@dataclass(slots=True)
class _Attempt:
    """What came of all telegrams under one pair of keys."""

    opened: int
    ciphered: int
    evidence: list[str]
    codes: Counter[str]
    auth: set[str]

    @property
    def detail(self) -> str:
        """What the first telegram said, or why none was usable."""
        if self.evidence:
            return self.evidence[0]
        return CODES["unwrap", self.codes.most_common(1)[0][0]] if self.codes else ""


def _attempt(
    frames: Iterable[Frame], material: Material, *, title: str | None, empty_aad: bool, untagged: bool = False
) -> _Attempt:
    """Open telegrams; `untagged`: without a look at their tags."""
    unwrapper = Unwrapper(
        material.keys(),
        system_title=bytes.fromhex(title) if title else None,
        unverified_by_person=untagged,
        empty_aad=empty_aad and not untagged,
    )
    result = _Attempt(0, 0, [], Counter(), set())
    for frame in frames:
        try:
            plain = unwrapper.unwrap(frame)
        except UnwrapError as error:
            result.codes[error.code] += 1
            result.ciphered += error.evidence.count("system title")
            result.evidence += [error.evidence] if "system title" in error.evidence else []
        else:
            if plain is not None:
                result.opened += 1
                result.auth.add(plain.auth)
    return result


def _empty_aad(meter: MeterSettings) -> bool:
    cipher = None if meter.profile == "auto" else profiles.load(meter.profile).cipher
    return cipher is not None and cipher.aad == "empty"


def frames_of(files: Iterable[Path], *, hexadecimal: bool) -> list[Frame]:
    """The first telegrams in captures; raises KeyFileError."""
    links = _links()
    for path in files:
        with path.open("rb") as file:
            data = file.read(MAX_OCTETS)
        try:
            octets = bytes.fromhex(data.decode("ascii")) if hexadecimal else data
        except ValueError:
            raise KeyFileError(f"{path}: --hex is given, but there is something else than hexadecimal digits") from None
        for frames, link in links:
            frames += [found for found in (*link.feed(octets), *link.close()) if isinstance(found, Frame)]
    return _most(links)


def frames_of_port(meter: MeterSettings, seconds: int) -> list[Frame]:
    """The first telegrams that arrive at the port of a meter; raises KeyFileError where it cannot be opened."""
    profile = None if meter.profile == "auto" else profiles.load(meter.profile)
    baud = meter.baud or (profile.line.baud if profile else 115_200)
    framing = meter.framing or (profile.line.framing if profile else "8N1")
    source = create(meter, baud=baud, framing=framing)
    links = _links()

    async def listen() -> None:
        chunks = cast(AsyncGenerator[Chunk | PortEvent, None], source.chunks())
        async with aclosing(chunks):
            async for item in chunks:
                if isinstance(item, PortEvent):
                    _check(item)
                    continue
                for frames, link in links:
                    frames += [found for found in link.feed(item.data) if isinstance(found, Frame)]
                if any(len(frames) >= ENOUGH for frames, _ in links):
                    return

    async def main() -> None:
        try:
            async with asyncio.timeout(seconds):
                await listen()
        except TimeoutError:
            return

    asyncio.run(main())
    return _most(links)


def _check(event: PortEvent) -> None:
    if event.state in ("no_port", "port_busy"):
        raise KeyFileError(f"{event.detail}; while the daemon reads the port, prove the key on a capture instead")


def _links() -> list[tuple[list[Frame], Link]]:
    return [([], make()) for name, make in LINKS.items() if name != "p1"]


def _most(links: list[tuple[list[Frame], Link]]) -> list[Frame]:
    """The telegrams of the link that cut the most octets out of the stream: only the right one finds whole frames."""
    return max((frames for frames, _ in links), key=lambda frames: sum(frame.size for frame in frames))
