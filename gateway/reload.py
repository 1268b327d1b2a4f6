"""What a change of the configuration means for the running daemon: what stays, what begins anew, what waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway import log
from gateway.item_p import utc
from gateway.settings import MeterSettings, Settings

if TYPE_CHECKING:
    from decoders.profile import Profile

#: tables that a running daemon cannot take over: files that are open, sockets that others know
AT_START = ("journal", "ledger", "control", "metrics")


class Loaded(NamedTuple):
    """A configuration without an error."""

    settings: Settings
    #: by name, those that meters name
    profiles: "Mapping[str, Profile]"
    #: every profile, where a meter has `profile = "auto"`; not loaded yet at the start
    auto: "Sequence[Profile]" = ()

    def profile(self, meter: MeterSettings) -> "Profile | None":
        """The profile that a meter names; None with `auto`."""
        return self.profiles.get(meter.profile)


class Plan(NamedTuple):
    """What is to be done, by names of meters, each in the order of the configuration that names it."""

    #: what is in force afterwards
    loaded: Loaded
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    #: meters that stay as they are, and whose next telegram is read by the profiles as they are now
    relearn: tuple[str, ...]
    #: tables that wait for the next start
    waiting: tuple[str, ...]

    def begins(self, meter: str) -> bool:
        """Whether a meter is read anew."""
        return meter in self.added or meter in self.changed


def load_auto() -> "list[Profile]":
    """Every profile; one of the user's that cannot be used is named and left out."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles

    found = []
    for name in profiles.names():
        try:
            found.append(profiles.load(name))
        except (ProfileSyntaxError, OSError, UnicodeDecodeError) as error:
            log.event("profile_refused", profile=name, reason=str(error))
    return found


def plan(old: Loaded, new: Loaded) -> Plan:
    """Compare what is in force with what is wanted."""
    before = {meter.name: meter for meter in old.settings.meter}
    after = {meter.name: meter for meter in new.settings.meter}
    both = [name for name in after if name in before]
    changed = tuple(
        name for name in both if (before[name], old.profile(before[name])) != (after[name], new.profile(after[name]))
    )
    tables = [name for name in AT_START if hasattr(new.settings, name)]
    relearn = [name for name in both if name not in changed and after[name].profile == "auto"]
    return Plan(
        loaded=new._replace(settings=_kept(old.settings, new.settings, tables)),
        added=tuple(name for name in after if name not in before),
        changed=changed,
        removed=tuple(name for name in before if name not in after),
        relearn=() if old.auto == new.auto else tuple(relearn),
        waiting=tuple(name for name in tables if getattr(old.settings, name) != getattr(new.settings, name)),
    )


def _kept(old: Settings, new: Settings, tables: Sequence[str]) -> Settings:
    return msgspec.structs.replace(new, **{name: getattr(old, name) for name in tables})


@dataclass(slots=True)
class Standing:
    """How what runs stands to the file on disk, as far as the daemon was asked to look."""

    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: the errors of the file, when it was looked at last and refused
    refused: tuple[str, ...] = ()
    #: tables that wait for the next start
    waiting: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Show it as in `meterd status --json`."""
        return {
            "loaded_at": utc(self.loaded_at, "seconds"),
            "refused": list(self.refused),
            "restart_needed": list(self.waiting),
        }
