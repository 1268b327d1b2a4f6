"""Every counter that meterd keeps of a meter, named once; plain integers, so that reading them costs nothing."""

from collections import Counter
from dataclasses import dataclass, field

#: name of a counter in `meterd status --json` and in the journal, with its meaning
COUNTERS: dict[str, str] = {
    "bytes": "octets received from the port",
    "noise": "octets outside every frame",
    "frames": "frames seen, good or not",
    "checksum_ok": "frames whose checksum was right",
    "checksum_absent": "frames of a meter that sends no checksum",
    "decoded": "readings decoded",
    "stored": "readings committed to the journal",
    "journal_lost": "readings that the journal could not take",
    "opens": "times the port was opened",
    "port_errors": "times the port failed or vanished",
}


@dataclass(slots=True)
class MeterCounters:
    """The counters of one meter, and its faults by `stage.code`. Written by the daemon's loop only."""

    values: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, n: int = 1) -> None:
        """Raise a counter of COUNTERS; a name that is not there is a programming error (KeyError)."""
        self.values[name] += n

    def restore(self, saved: dict[str, int]) -> None:
        """Go on from counters that the journal kept; unknown names of another version are dropped."""
        for name, value in saved.items():
            if name in self.values:
                self.values[name] = value
            elif name.startswith("fault."):
                self.faults[name.removeprefix("fault.")] = value

    def as_dict(self) -> dict[str, int]:
        """All counters in one flat mapping, faults as `fault.<stage>.<code>`."""
        return self.values | {f"fault.{name}": n for name, n in sorted(self.faults.items())}
