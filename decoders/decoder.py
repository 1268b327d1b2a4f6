"""The composition: link, unwrap, grammar and profile of one meter; only here does a DecodeError become a Fault.

With `auto` the link is not known either. Then every link of a candidate gets every octet until one of them cuts out a
whole frame, and that one stays: their framings differ so much that what is whole for one is noise for the others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast

from decoders.errors import DecodeError, LinkError, ProfileError
from decoders.grammars.cosem import AxdrGrammar
from decoders.grammars.iec62056_21 import Iec62056Grammar
from decoders.grammars.mbus_records import MbusRecordsGrammar
from decoders.grammars.p1 import P1Grammar
from decoders.grammars.sml import SmlGrammar
from decoders.grammars.teleinfo import TeleinfoGrammar
from decoders.links.bare import BareLink
from decoders.links.hdlc import HdlcLink
from decoders.links.iec62056_21 import Iec62056Link
from decoders.links.mbus import MbusLink
from decoders.links.mbus_records import MbusRecordsLink
from decoders.links.p1 import P1Link, inner_frame
from decoders.links.p1_sealed import P1SealedLink
from decoders.links.sml import SmlLink
from decoders.links.teleinfo import TeleinfoLink
from decoders.links.wrapper import WrapperLink
from decoders.model import Auth, Fault, Frame, Reading, Result, Stage, Telegram
from decoders.profile import Profile, fits
from decoders.reader import Reader

if TYPE_CHECKING:
    from decoders.apdu import Plain, Unwrapper
    from decoders.cipher import Keys
    from decoders.counters import Seen
    from decoders.mode5 import Mode5

#: outcomes of a link that are kept until it is known which link is the meter's
HELD = 16
#: failures after which a checked link is believed, and frames after which an unchecked one is
CONVINCING = 3
#: links without a checksum of their own: what looks like their frames may stand inside the damaged frame of another
UNCHECKED = frozenset(("wrapper", "bare"))
#: system titles of links whose meters leave it empty and cipher with this one
TITLES = {"p1-sealed": bytes(8)}


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

    def expire(self) -> list[Frame | LinkError]:
        """The line was silent: what is open will not be completed. More may follow."""
        ...

    def close(self) -> list[Frame | LinkError]:
        """End of input."""
        ...


class Grammar(Protocol):
    """Reads the plain frames of one meter."""

    def parse(self, frame: Frame) -> Telegram:
        """The telegram in a frame; raises GrammarError."""
        ...


#: every link and grammar by the name that profiles use
LINKS: dict[str, Callable[[], Link]] = {
    "p1": P1Link,
    "hdlc": HdlcLink,
    "mbus": MbusLink,
    "wrapper": WrapperLink,
    "bare": BareLink,
    "p1-sealed": P1SealedLink,
    "sml": SmlLink,
    "iec62056-21": Iec62056Link,
    "teleinfo": TeleinfoLink,
    "mbus-records": MbusRecordsLink,
}
GRAMMARS: dict[str, Callable[[], Grammar]] = {
    "p1": P1Grammar,
    "axdr": AxdrGrammar,
    "sml": SmlGrammar,
    "mbus-records": MbusRecordsGrammar,
    "iec62056-21": Iec62056Grammar,
    "teleinfo": TeleinfoGrammar,
}
#: links whose frames are no APDUs, and the grammar of each
PLAIN = {name: name for name in ("p1", "sml", "mbus-records", "iec62056-21", "teleinfo")}


#: what `observe` sees of a frame, in order: frame, plain content of an APDU, telegram, profile, then the result
Step: TypeAlias = "Frame | Plain | Telegram | Profile | Result"


class Security(NamedTuple):
    """What a meter's telegrams are opened with, and how authentic they must be; see `apdu.Unwrapper`."""

    keys: "Keys | None" = None
    system_title: bytes | None = None
    min_auth: Auth = "plain"
    unverified_by_person: bool = False
    empty_aad: bool = False


class Track:
    """One candidate for the link of a meter, with what opens its frames; failures wait until the link is known."""

    def __init__(self, name: str, security: Security) -> None:
        self.name = name
        self.link = LINKS[name]()
        self.held: deque[Frame | LinkError] = deque(maxlen=HELD)
        #: whole ones so far, while it was not known whose the line is
        self.frames = 0
        #: it failed so often that its failures are told at once
        self.suspected = False
        self._security = security
        self._unwrapper: Unwrapper | None = None
        self._mode5: Mode5 | None = None

    def take_held(self) -> list[Frame | LinkError]:
        """What waited, once."""
        held = list(self.held)
        self.held.clear()
        return held

    @property
    def is_all(self) -> bool:
        """Whether every octet so far belongs to a whole frame."""
        return self.link.noise == 0 and all(isinstance(outcome, Frame) for outcome in self.held)

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete yet, or of a message that is not."""
        return self.link.pending + (self._unwrapper.pending if self._unwrapper else 0)

    def close(self) -> None:
        """End of input; raises UnwrapError when the last block of a message is missing."""
        if self._unwrapper:
            self._unwrapper.close()

    def in_clear(self, frame: Frame) -> "tuple[Frame, Auth]":
        """A frame of a link whose frames are no APDUs; raises UnwrapError. Those of M-Bus may be ciphered."""
        if self.name != "mbus-records":
            return frame, "plain"
        if self._mode5 is None:
            from decoders.mode5 import Mode5

            self._mode5 = Mode5(self._security.keys, self._security.min_auth)
        return self._mode5.unwrap(frame)

    @property
    def unwrapper(self) -> "Unwrapper":
        """What opens the frames; made when the first one is there, because cryptography is heavy to import."""
        if self._unwrapper is None:
            from decoders.apdu import Unwrapper

            title = self._security.system_title or TITLES.get(self.name)
            self._unwrapper = Unwrapper(**self._security._replace(system_title=title)._asdict())
        return self._unwrapper


class Decoder:
    """Decodes the stream of one meter.

    `profiles` holds the meter's profile, or all candidates of `auto`; `zone_of` gives the tzinfo of an IANA name; `tz`
    overrides the zone of the profile; `link` names the link where it is known, else every link of a profile is tried;
    `security` holds the keys; `observe` is shown each step as it is taken. Neither
    feed nor close raises for what a meter sends.
    """

    def __init__(  # noqa: PLR0913  # what is known of a meter
        self,
        profiles: Sequence[Profile],
        zone_of: Callable[[str], tzinfo],
        *,
        tz: str | None = None,
        link: str | None = None,
        security: Security | None = None,
        observe: Callable[[Step], None] | None = None,
    ) -> None:
        self._profiles = sorted(profiles, key=lambda profile: (-profile.match.priority, profile.name))
        self._zone_of = zone_of
        self._tz = tz
        wanted = {link} if link else {profile.link for profile in self._profiles}
        self._tracks = [Track(name, security or Security()) for name in LINKS if name in wanted]
        self._observe = observe or (lambda _: None)
        self._grammars = {name: make() for name, make in GRAMMARS.items()}
        self._readers: dict[str, Reader] = {}
        #: damaged frames of checked links, while the link is not known
        self._failed = 0
        self._layout: object = ()
        self._reader: Reader | None = None
        self.frames = 0
        self.checksum_ok = 0
        self.checksum_absent = 0

    @property
    def noise(self) -> int:
        """Octets outside every frame so far."""
        return min(track.link.noise for track in self._tracks)

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete yet."""
        return max(track.pending for track in self._tracks)

    def feed(self, data: bytes) -> list[Result]:
        """Take the next octets of the stream; give a Reading or a Fault for each frame that they complete."""
        return self._outcomes([(track, track.link.feed(data)) for track in self._tracks])

    def expire(self) -> list[Result]:
        """The line was silent for longer than a meter pauses within a message: what is open will not be completed."""
        return self._outcomes([(track, track.link.expire()) for track in self._tracks])

    def close(self) -> list[Result]:
        """End of input: what is cut off becomes a Fault, and so does an input without any frame."""
        results = self._outcomes([(track, track.link.close()) for track in self._tracks])
        if not self.frames:
            results += self._best_of_held()
        for track in self._tracks:
            results += self._told(track.close)
        if not results and not self.frames:
            results.append(Fault("link", "no_frame", self.noise))
        return results

    def _outcomes(self, outcomes: list[tuple[Track, list[Frame | LinkError]]]) -> list[Result]:
        """Results of the meter's link; while it is not known, only what makes it known."""
        if len(outcomes) == 1:
            return self._results(*outcomes[0])
        waiting = [(track, [*track.take_held(), *found]) for track, found in outcomes]
        self._failed += sum(sum(map(_damaged, found)) for track, found in outcomes if track.name not in UNCHECKED)
        for (track, found), (_, new) in zip(waiting, outcomes, strict=True):
            track.frames += sum(isinstance(outcome, Frame) for outcome in new)
            # a damaged frame of a checked link may hold what an unchecked one takes for a frame of its own
            if track.frames >= (max(CONVINCING, 2 * self._failed + 1) if track.name in UNCHECKED else 1):
                return self._settle(track, found)
        results: list[Result] = []
        for track, found in waiting:
            track.suspected = track.suspected or sum(map(_damaged, found)) >= CONVINCING
            if track.suspected and track.name not in UNCHECKED and not results:
                results = self._results(track, found)
            else:
                track.held += found
        return results

    def _settle(self, track: Track, found: list[Frame | LinkError]) -> list[Result]:
        """From now on this is the meter's link."""
        self._tracks = [track]
        return self._results(track, found)

    def _best_of_held(self) -> list[Result]:
        """At the end of the input: damage in a checked link is more likely than a frame of an unchecked one in it.

        Unless there is nothing but frames of the unchecked one: then the damage is a chance inside their ciphertext.
        """
        held = [track for track in self._tracks if any(map(_damaged, track.held))]
        track = min(held, key=lambda track: (not track.is_all, track.name in UNCHECKED), default=None)
        return self._settle(track, track.take_held()) if track else []

    def _results(self, track: Track, outcomes: Iterable[Frame | LinkError]) -> list[Result]:
        results: list[Result] = []
        for outcome in outcomes:
            self.frames += 1
            results += self._told(self._read, track, outcome)
        return results

    def _told(self, step: Callable[..., Result | None], *given: Track | Frame | LinkError) -> list[Result]:
        """The result of a step, or its failure as one."""
        try:
            result = step(*given)
        except DecodeError as error:
            result = Fault(cast(Stage, error.stage), error.code, error.size, getattr(error, "evidence", ""))
        if result is None:
            return []
        self._observe(result)
        if isinstance(result, Reading) and "ambiguous" in result.flags:
            return [result, Fault("profile", "ambiguous", result.size)]
        return [result]

    def _read(self, track: Track, outcome: Frame | LinkError) -> Result | None:
        if isinstance(outcome, LinkError):
            raise outcome
        self._observe(outcome)
        if outcome.checksum == "ok":
            self.checksum_ok += 1
        else:
            self.checksum_absent += 1
        if track.name in PLAIN:
            frame, auth = track.in_clear(outcome)
            return self._reading(frame, PLAIN[track.name], auth, lambda _: None)
        plain = track.unwrapper.unwrap(outcome)
        if plain is None:
            return None
        self._observe(plain)

        def seen(t_meter: str | None) -> "Seen":
            return track.unwrapper.seen(plain, _seconds(t_meter))

        if plain.payload[:1] == b"/":
            inner = inner_frame(plain.payload, outcome.size, vouched=plain.auth == "verified")
            return self._reading(inner, "p1", plain.auth, seen)
        return self._reading(Frame(plain.payload, "ok", outcome.size), "axdr", plain.auth, seen)

    def _reading(self, frame: Frame, grammar: str, auth: Auth, seen: "Callable[[str | None], Seen | None]") -> Reading:
        telegram = self._grammars[grammar].parse(frame)
        self._observe(telegram)
        reader = self.reader_for(telegram, frame, grammar)
        self._observe(reader.profile)
        return reader.read(telegram, auth=auth, size=frame.size, seen=seen)

    def reader_for(self, telegram: Telegram, frame: Frame, grammar: str = "p1") -> Reader:
        """The reader of the profile that was named, else of the best fitting one; raises ProfileError, LinkError."""
        reader = self._reader
        if reader is None or telegram.layout is not self._layout:
            reader = self._reader = self._choose(telegram, grammar, frame.size)
            self._layout = telegram.layout
        if frame.checksum == "absent" and reader.profile.checksum == "required":
            raise LinkError("checksum_missing", frame.size)
        return reader

    def _choose(self, telegram: Telegram, grammar: str, size: int) -> Reader:
        profiles, link = self._profiles, self._tracks[0].name
        named = len(profiles) == 1
        fitting = [p for p in profiles if p.grammar == grammar and (named or fits(p, telegram))]
        # one telegram comes over several links: that of the meter's own tells whose it is, before priority does
        profile = min(fitting, key=lambda p: p.link != link, default=None)
        if profile is None:
            raise ProfileError("unknown_layout", size)
        if profile.name not in self._readers:
            zone = self._tz or profile.clock.zone
            self._readers[profile.name] = Reader(profile, self._zone_of(zone) if zone else None)
        return self._readers[profile.name]


def _damaged(outcome: Frame | LinkError) -> bool:
    """Whether an outcome speaks for its link: a header that is none is found in every noise."""
    return isinstance(outcome, Frame) or outcome.code != "header"


def _seconds(t_meter: str | None) -> int | None:
    """The meter's wall clock in seconds, for comparison with itself only."""
    return None if t_meter is None else int(datetime.fromisoformat(t_meter[:19]).replace(tzinfo=UTC).timestamp())
