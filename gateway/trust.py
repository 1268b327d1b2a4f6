"""What a meter's telegrams are trusted by: its keys, its receive counters, the least class of authenticity.

A reading is admitted here before anybody sees it. The state that admitted it goes into the journal in the transaction
of the reading, and from there into the next start (decoders.counters has the rules).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from decoders import counters
from decoders.counters import RANK, Identity, Seen, State
from decoders.model import Auth, Fault, Reading
from gateway.item_p import utc
from gateway.key_material import Material
from gateway.settings import MeterSettings

if TYPE_CHECKING:
    from decoders.cipher import KeyRole
    from decoders.decoder import Security
    from gateway.keys import Held

#: where the least class comes from
Source = Literal["config", "profile", "pinned"]


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the journal keeps of one meter."""

    counters: Any
    #: the least class in force when it was saved, and who had set it
    min_auth: Auth = "plain"
    source: Source = "pinned"
    #: when a telegram was admitted last, in whole seconds since 1970
    ok_at: int | None = None


class Change(NamedTuple):
    """The least class before and after a change of the configuration."""

    before: str
    after: str


class Trust:
    """The keys and the receive counters of one meter, in the daemon's loop."""

    def __init__(self, settings: MeterSettings, held: "Held | None" = None, min_auth: Auth | None = None) -> None:
        """`held`: the keys that were found; `min_auth`: what the profile that was named states, None with `auto`."""
        self._settings = settings
        self._stated: Auth | None = settings.min_auth or min_auth
        self._source: Source = "config" if settings.min_auth else "profile" if min_auth else "pinned"
        self._state = State()
        #: the identity that waits for a person
        self._waiting: Identity | None = None
        self._ok_at: int | None = None
        self._saved: tuple[State, int | None, bytes] | None = None
        self._material = Material()
        self._places: Mapping[KeyRole, str] = {}
        self.problems: tuple[str, ...] = ()
        #: the keys that were found when they were looked for last
        self.found = held
        if held is not None:
            self.hold(held)

    @property
    def min_auth(self) -> Auth:
        """The least class that is accepted now."""
        return self._state.pinned if self._stated is None else self._stated

    @property
    def has_key(self) -> bool:
        """Whether there is a key to open telegrams with."""
        return self._material.encryption is not None

    def hold(self, held: "Held") -> None:
        """Use keys from the places where they are kept."""
        self.found = held
        self._material = held.material
        self._places = held.places
        self.problems = held.problems

    def use(self, material: Material) -> bool:
        """Use keys that a person entered; True when this confirmed a meter that was held.

        Entering the key of a held meter again says: yes, this is my meter now.
        """
        self._material = material
        self._places = {role: "entered" for role, known in material.fingerprints().items() if known}
        self.problems = ()
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.fingerprint != self._used:
            return False
        self._state = counters.confirm(self._state, waiting)
        return True

    def security(self, *, empty_aad: bool = False) -> "Security":
        """What a decoder opens telegrams with. What the first telegrams pinned is judged in `admit`.

        Only here the cipher is made, for a meter whose octets are there: it is heavy to import.
        """
        from decoders.decoder import Security

        title = self._settings.system_title
        return Security(
            keys=self._material.keys(),
            system_title=bytes.fromhex(title) if title else None,
            min_auth=self._stated or "plain",
            unverified_by_person=self._settings.min_auth == "unverified",
            empty_aad=empty_aad,
        )

    def admit(self, reading: Reading, now: datetime) -> tuple[Fault | None, str | None]:
        """Judge a reading that arrived at `now`: the fault that refuses it or None, and an event worth a log line."""
        seen = reading.seen or Seen(reading.auth, None, 0, None)
        verdict = counters.judge(self._state, seen, self._stated)
        evidence = self._evidence(seen, verdict.refusal)
        self._state = counters.commit(self._state, seen, verdict)
        if verdict.refusal:
            if verdict.refusal == "identity_changed":
                self._waiting = seen.identity
            return Fault("unwrap", verdict.refusal, reading.size, evidence), None
        if seen.identity is not None:
            self._ok_at = int(now.timestamp())
        return None, verdict.event

    def export(self) -> bytes:
        """What the journal keeps; the same octets as long as nothing changed."""
        if self._saved is None or self._saved[:2] != (self._state, self._ok_at):
            saved = Saved(counters.export(self._state), self.min_auth, self._source, self._ok_at)
            self._saved = (self._state, self._ok_at, msgspec.json.encode(saved))
        return self._saved[2]

    def restore(self, data: bytes) -> Change | None:
        """Go on from what the journal kept; the change of the least class since then, if a person made one.

        Raises ValueError for what cannot have been kept; then the counters start anew.
        """
        saved = msgspec.json.decode(data, type=Saved)
        self._state = counters.restore(saved.counters)
        self._ok_at = saved.ok_at
        if saved.min_auth == self.min_auth:
            return None
        return Change(f"{saved.min_auth} ({saved.source})", f"{self.min_auth} ({self._source})")

    def succeed(self, before: "Trust") -> Change | None:
        """Go on from the trust of this meter under an earlier configuration; keys that a person entered stay in use.

        Gives the change of the least class, as `restore`.
        """
        if "entered" in before._places.values():  # noqa: SLF001 - one of its own kind
            self._material, self._places, self.problems = before._material, before._places, ()  # noqa: SLF001
        self._waiting = before._waiting  # noqa: SLF001
        return self.restore(before.export())

    def lowered(self) -> bool:
        """Whether the configuration asks for less than the meter's first telegrams proved."""
        return self._stated is not None and RANK[self._stated] < RANK[self._state.pinned]

    def as_dict(self) -> dict[str, Any]:
        """Show which keys are in use, as in `meterd status --json`: fingerprints and places."""
        used = self._material.fingerprints()
        return {
            "encryption": used["encryption"],
            "authentication": used["authentication"],
            "places": dict(self._places),
            "problems": list(self.problems),
            "min_auth": self.min_auth,
        }

    def sentence(self) -> str:
        """Which keys are in use, in words."""
        used = self._material.fingerprints()
        if used["encryption"] is None:
            return "; ".join(("no key is in use", *self.problems))
        second = f"authentication key {used['authentication']}" if used["authentication"] else "no authentication key"
        return "; ".join((f"in use: encryption key {used['encryption']}, {second}", *self.problems))

    def history(self, evidence: str) -> str:
        """What is known of earlier telegrams under the keys in use, beside what the latest one said; or nothing."""
        titles = {chain.identity.system_title for chain in self._chains()}
        wanted = {self._settings.system_title.upper()} if self._settings.system_title else titles
        if evidence and wanted and not any(title in evidence for title in wanted):
            return f"this key belongs to the meter of system title {', '.join(sorted(wanted))}: is this another meter?"
        if not self._state.chains or self._ok_at is None:
            return ""
        latest = self._state.chains[0].identity.fingerprint
        until = f"until {utc(datetime.fromtimestamp(self._ok_at, UTC), 'seconds')}"
        if latest != self._used:
            return f"the line was ok with the key {latest} {until}"
        return f"the line was ok with this key {until}: ask the operator whether the key was changed"

    @property
    def _used(self) -> str | None:
        """The fingerprint of the encryption key in use."""
        return self._material.encryption.fingerprint if self._material.encryption else None

    def _chains(self) -> list[counters.Chain]:
        return [chain for chain in self._state.chains if chain.identity.fingerprint == self._used]

    def _evidence(self, seen: Seen, refusal: str | None) -> str:
        if refusal is None:
            return ""
        if refusal == "downgrade" or seen.identity is None:
            return f"the telegram is {seen.auth}, at least {self.min_auth} is asked for"
        said = f"system title {seen.identity.system_title}, counter {seen.counter}"
        chain = self._state.chain(seen.identity)
        if chain is not None:
            return f"{said}, last accepted {chain.last}"
        known = ", ".join(sorted(chain.identity.system_title for chain in self._chains()))
        return f"{said}, until now {known} with the key {seen.identity.fingerprint}"
