"""The composition: link, unwrap, grammar and profile of one meter; only here does a DecodeError become a Fault."""

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from typing import Protocol, cast

from decoders.errors import DecodeError, LinkError, ProfileError
from decoders.grammars.p1 import P1Grammar
from decoders.links.p1 import P1Link
from decoders.model import Fault, Frame, Result, Stage, Telegram
from decoders.profile import Profile, fits
from decoders.reader import Reader


class Link(Protocol):
    """Cuts frames from a stream; stateful, bounded, never raises for what it is fed."""

    @property
    def noise(self) -> int:
        """Octets outside every frame so far."""
        ...

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete yet."""
        ...

    def feed(self, data: bytes) -> list[Frame | LinkError]:
        """The frames, and the failures, that these octets complete."""
        ...

    def close(self) -> list[Frame | LinkError]:
        """End of input."""
        ...


class Grammar(Protocol):
    """Reads the frames of one meter."""

    def parse(self, frame: Frame) -> Telegram:
        """The telegram in a frame; raises GrammarError."""
        ...


#: every link and grammar by the name that profiles use
LINKS: dict[str, Callable[[], Link]] = {"p1": P1Link}
GRAMMARS: dict[str, Callable[[], Grammar]] = {"p1": P1Grammar}


class Decoder:
    """Decodes the stream of one meter.

    `profiles` holds the meter's profile, or all candidates of `auto`; `zone_of` gives the tzinfo of an IANA name; `tz`
    overrides the zone of the profile. Neither feed nor close raises for what a meter can send.
    """

    def __init__(self, profiles: Sequence[Profile], zone_of: Callable[[str], tzinfo], *, tz: str | None = None) -> None:
        self._profiles = sorted(profiles, key=lambda profile: (-profile.match.priority, profile.name))
        self._zone_of = zone_of
        self._tz = tz
        self._link = LINKS[self._profiles[0].link]()
        self._grammar = GRAMMARS[self._profiles[0].grammar]()
        self._readers: dict[str, Reader] = {}
        self._layout: object = ()
        self._reader: Reader | None = None
        self.frames = 0
        self.checksum_ok = 0
        self.checksum_absent = 0

    @property
    def noise(self) -> int:
        """Octets outside every frame so far."""
        return self._link.noise

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete yet."""
        return self._link.pending

    def feed(self, data: bytes) -> list[Result]:
        """Take the next octets of the stream; give a Reading or a Fault for each frame that they complete."""
        return self._results(self._link.feed(data))

    def close(self) -> list[Result]:
        """End of input: what is cut off becomes a Fault, and so does an input without any frame."""
        results = self._results(self._link.close())
        if not results and not self.frames:
            results.append(Fault("link", "no_frame", self.noise))
        return results

    def _results(self, outcomes: Iterable[Frame | LinkError]) -> list[Result]:
        results: list[Result] = []
        for outcome in outcomes:
            self.frames += 1
            try:
                results.append(self._read(outcome))
            except DecodeError as error:
                results.append(Fault(cast(Stage, error.stage), error.code, error.size))
        return results

    def _read(self, outcome: Frame | LinkError) -> Result:
        if isinstance(outcome, LinkError):
            raise outcome
        if outcome.checksum == "ok":
            self.checksum_ok += 1
        else:
            self.checksum_absent += 1
        telegram = self._grammar.parse(outcome)
        reader = self.reader_for(telegram, outcome)
        return reader.read(telegram, auth="plain", size=outcome.size)

    def reader_for(self, telegram: Telegram, frame: Frame) -> Reader:
        """The reader of the profile that was named, else of the best fitting one; raises ProfileError, LinkError."""
        reader = self._reader
        if reader is None or telegram.layout is not self._layout:
            reader = self._reader = self._choose(telegram, frame.size)
            self._layout = telegram.layout
        if frame.checksum == "absent" and reader.profile.checksum == "required":
            raise LinkError("checksum_missing", frame.size)
        return reader

    def _choose(self, telegram: Telegram, size: int) -> Reader:
        profiles = self._profiles
        profile = profiles[0] if len(profiles) == 1 else next((p for p in profiles if fits(p, telegram)), None)
        if profile is None:
            raise ProfileError("unknown_layout", size)
        if profile.name not in self._readers:
            zone = self._tz or profile.clock.zone
            self._readers[profile.name] = Reader(profile, self._zone_of(zone) if zone else None)
        return self._readers[profile.name]
