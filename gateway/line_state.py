"""The state of a meter's line: a pure function of facts, with its evidence in one sentence of plain words and numbers.

One light for many causes is the commonest misdiagnosis of the field: a wrong baud rate, a dead cable and a strange
meter each get their own name here. `STATES` is in order, and the first that applies is the state:

- While the newest reading is younger than `limit_s`, the line is `ok`, whatever else came between.
- A fault is named as soon as it is certain, so that a person at the meter does not wait: one telegram with a right
  checksum that no profile reads, two damaged ones, or octets for `RUN_S` in which no telegram begins.
- Silence is named only after `limit_s`. Until then, a port that was just opened is `stale`: "waiting for the first
  telegram". A line that was `ok` and went silent is `stale`, too; the daemon then opens the port anew, and when that
  brings no octet either it is `no_bytes`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from decoders.errors import CODES

#: every state, in order
STATES: dict[str, str] = {
    "disabled": "switched off in the configuration",
    "no_port": "the port is not there, or cannot be opened",
    "port_busy": "another program holds the port",
    "no_bytes": "the port is open, and silent",
    "no_frame": "octets arrive, and no telegram begins in them: wrong baud rate, parity or cable",
    "bad_checksum": "telegrams arrive damaged",
    "key_missing": "telegrams are encrypted, and there is no key",
    "key_rejected": "the encryption key does not fit",
    "auth_key_rejected": "the authentication key does not fit",
    "unauthenticated_refused": "telegrams are not authenticated as this meter requires",
    "replayed": "telegrams repeat an invocation counter that was used, or one lower than it",
    "identity_changed": "another meter answers: held until a person confirms",
    "unknown_layout": "telegrams arrive whole, and no profile reads them",
    "implausible": "telegrams say what cannot be: above the connection's limit, or not going on from before",
    "stale": "no reading lately",
    "ok": "readings arrive",
}
#: states that only a meter that is asked can have
POLLED = ("no_answer", "access_denied", "association_refused")
#: beside a state: what is wrong with readings that arrive all the same
FLAGS: dict[str, str] = {
    "clock_invalid": "the meter's clock is not believed: readings carry the time of receipt",
    "zone_unknown": "the meter says a wall clock without a zone: set `timezone`",
    "pin_locked": "the meter holds values back until its PIN is entered",
    "ambiguous": "several registers could be the same quantity of item P: it is left out",
    "unverified": "readings are not authenticated",
    "quarantined": "readings that cannot be are set aside, or were within the last minute",
    "exchanged": "another meter is read since: not confirmed by a person",
}
#: octets must arrive for this long without a telegram: three times the interval, and at most this
RUN_S = 20.0
#: single telegrams that no key opens (a damaged one, or a wrong key), and how many name the key
UNPROVEN = ("tag", "garbled")
PROOF = 3
UNCERTAIN = {f"unwrap.{code}" for code in UNPROVEN}
#: how a reading that was set aside is counted, by its kind of gateway.plausibility, and what to do about it
IMPLAUSIBLE = "implausible."
ADVICE = {
    "power": "if the connection carries more, set max_power_w of its [[meter]]",
    "leap": "if the meter was exchanged or max_power_w is too low, `meterd meter confirm` goes on from here",
    "fall": "if the meter goes on like this, it is believed soon",
    "identity": "if it goes on answering, it is believed soon",
}
#: facts are counted over this time at least
WINDOW_S = 30.0


@dataclass(frozen=True, slots=True)
class Window:
    """What arrived over the last `seconds`."""

    seconds: float = 0.0
    octets: int = 0
    #: octets that were looked at, and those with their top bit set: text has none, text with a parity bit about half
    inspected: int = 0
    top_bit: int = 0
    #: faults by `stage.code`
    faults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a line; ages in seconds, None where it did not happen since the port was opened."""

    enabled: bool
    #: "open", "no_port", "port_busy", "closed"
    port: str
    port_detail: str
    #: line parameters as a person says them: "115200 8N1"
    line: str
    interval_s: int
    valid_for_s: int
    open_s: float
    byte_s: float | None
    #: age of the last whole frame, and of the newest reading (of all time)
    frame_s: float | None
    reading_s: float | None
    window: Window
    #: octets since the last frame, at most over the window, and for how long they came
    run: Window | None
    run_s: float
    flags: tuple[str, ...] = ()
    #: what the latest fault of each kind says of its telegram (`stage.code`): system title and counter
    evidence: Mapping[str, str] = field(default_factory=dict)
    #: which keys are in use, by fingerprint
    keys: str = ""
    #: what is known of earlier telegrams under these keys
    history: str = ""
    #: readings that wait until this host's clock is set
    waiting: int = 0

    @property
    def limit_s(self) -> float:
        """The silence that ends `ok`: a little before the last value expires, so that the news is there in time."""
        return self.valid_for_s * 0.95

    @property
    def fresh(self) -> bool:
        """Whether the newest reading still holds."""
        return self.reading_s is not None and self.reading_s < self.limit_s


@dataclass(frozen=True, slots=True)
class LineState:
    """A state of STATES, flags of FLAGS and one sentence of evidence."""

    state: str
    flags: tuple[str, ...]
    evidence: str

    def as_dict(self) -> dict[str, Any]:
        """The three as they stand in `<meter>/state` and `meterd status --json`."""
        return {"state": self.state, "flags": list(self.flags), "evidence": self.evidence}


def judge(facts: Facts) -> LineState:
    """Name the first state that applies."""
    for state, evidence_of in RULES:
        evidence = evidence_of(facts)
        if evidence is not None:
            return LineState(state, facts.flags if state == "ok" else (), evidence)
    return LineState("stale", (), _stale(facts))


def _disabled(facts: Facts) -> str | None:
    return None if facts.enabled else "enabled = false in the configuration"


def _no_port(facts: Facts) -> str | None:
    return facts.port_detail if facts.port == "no_port" else None


def _port_busy(facts: Facts) -> str | None:
    return facts.port_detail if facts.port == "port_busy" else None


def _ok(facts: Facts) -> str | None:
    return f"readings arrive, one is expected every {facts.interval_s} s" if facts.fresh else None


def _no_bytes(facts: Facts) -> str | None:
    if facts.port != "open" or facts.byte_s is not None or facts.open_s < facts.limit_s:
        return None
    return f"port is open, no byte for {facts.open_s:.0f} s: is the cable in the P1 port and Data Request asserted?"


def _no_frame(facts: Facts) -> str | None:
    run = facts.run
    if run is None or not run.inspected or facts.run_s < min(RUN_S, 3.0 * facts.interval_s):
        return None
    share = 100 * run.top_bit // run.inspected
    count = f"{run.octets:,}".replace(",", " ")
    what = f"{count} bytes in {run.seconds:.0f} s, none of them begins a telegram; {share} % have the top bit set"
    return f"{what}: {_line_advice(share, facts.line)}"


def _line_advice(share: int, line: str) -> str:
    if not 20 <= share <= 80:
        return f"the line is read at {line}; check baud rate and framing, and that the cable inverts the signal"
    if line.endswith("8N1"):
        return f"try framing 7E1 instead of {line} (DSMR 2.2 meters: 9600 7E1), or another baud rate"
    return f"the line is read at {line}; try another baud rate"


def _bad_checksum(facts: Facts) -> str | None:
    damaged = sum(n for code, n in facts.window.faults.items() if code.startswith("link."))
    if not damaged or (facts.frame_s is not None and facts.frame_s < facts.limit_s):
        return None
    if damaged < 2 and facts.open_s < facts.limit_s:
        return None
    return f"{damaged} telegrams in {facts.window.seconds:.0f} s, none whole ({_most(facts, 'link.')}): check the cable"


def _key_missing(facts: Facts) -> str | None:
    return _refused(facts, "key_missing", "broadcast_key", advice=f"{facts.keys}; enter it with `meterd key set`")


def _key_rejected(facts: Facts) -> str | None:
    """Certain when three telegrams agree; until then each is `tag` or `garbled`, and damage is possible."""
    certain = bool(_count(facts, "key_rejected"))
    if not certain and _count(facts, *UNPROVEN) < PROOF:
        return None
    advice = "; ".join(filter(None, (facts.keys, facts.history or "`meterd key prove` tells which key it is")))
    return _refused(facts, "key_rejected", *UNPROVEN, advice=advice, certain=certain)


def _auth_key_rejected(facts: Facts) -> str | None:
    return _refused(facts, "auth_key_rejected", advice="; ".join(filter(None, (facts.keys, facts.history))))


def _unauthenticated_refused(facts: Facts) -> str | None:
    return _refused(facts, "unauthenticated_refused", "downgrade", advice=facts.keys)


def _replayed(facts: Facts) -> str | None:
    return _refused(facts, "replayed", "rollback", "counter_exhausted")


def _identity_changed(facts: Facts) -> str | None:
    return _refused(
        facts, "identity_changed", advice=f"{facts.keys}; if this is your meter, enter its key again (`meterd key set`)"
    )


def _unknown_layout(facts: Facts) -> str | None:
    stages = ("grammar.", "profile.", "unwrap.")
    unread = sum(n for code, n in facts.window.faults.items() if code.startswith(stages) and code not in UNCERTAIN)
    if not unread or facts.frame_s is None or facts.frame_s >= facts.limit_s:
        return None
    reason = _most(facts, *stages)
    return f"{unread} whole telegrams in {facts.window.seconds:.0f} s gave no reading: {reason}"


def _implausible(facts: Facts) -> str | None:
    found = {code: n for code, n in facts.window.faults.items() if code.startswith(IMPLAUSIBLE)}
    if not found or facts.frame_s is None or facts.frame_s >= facts.limit_s:
        return None
    worst = max(found, key=lambda code: found[code])
    count, kind = sum(found.values()), worst.removeprefix(IMPLAUSIBLE)
    return f"{count} readings in {facts.window.seconds:.0f} s that cannot be: {facts.evidence[worst]}; {ADVICE[kind]}"


def _refused(facts: Facts, *codes: str, advice: str = "", certain: bool = False) -> str | None:
    """Whole telegrams that were not accepted for one of these reasons, with what the latest said of itself.

    The reason that is told is the commonest one; the first of them where it is `certain`, however rare.
    """
    if not _count(facts, *codes) or facts.frame_s is None or facts.frame_s >= facts.limit_s:
        return None
    names = [f"unwrap.{code}" for code in codes]
    worst = names[0] if certain else max(names, key=lambda name: facts.window.faults.get(name, 0))
    said = facts.evidence.get(worst)
    reason = f"{CODES['unwrap', worst.removeprefix('unwrap.')]}{f' ({said})' if said else ''}"
    count = f"{_count(facts, *codes)} telegrams in {facts.window.seconds:.0f} s: {reason}"
    return f"{count}; {advice}" if advice else count


def _count(facts: Facts, *codes: str) -> int:
    return sum(facts.window.faults.get(f"unwrap.{code}", 0) for code in codes)


def _stale(facts: Facts) -> str:
    if facts.waiting:
        return f"{facts.waiting} readings without a time wait until the clock of this host is set"
    heard = "no byte since" if facts.byte_s is None else f"the last byte came {_age(facts.byte_s)} ago"
    if facts.port != "open":
        return facts.port_detail or "opening the port"
    if facts.reading_s is None or facts.open_s < facts.limit_s:
        return f"waiting for the first telegram; the port was opened {_age(facts.open_s)} ago, {heard}"
    return f"no reading for {_age(facts.reading_s)}, one is expected every {facts.interval_s} s; {heard}"


def _most(facts: Facts, *stages: str) -> str:
    """Say the commonest fault of these stages."""
    found = {code: n for code, n in facts.window.faults.items() if code.startswith(stages)}
    stage, _, code = max(found, key=lambda name: found[name]).partition(".")
    return CODES.get((stage, code), f"{stage}.{code}")


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.0f} h"


#: evidence, or None where the state does not apply. `ok` stands where a port that works is known: while a reading
#: holds, none of the states below it can apply.
RULES: tuple[tuple[str, Callable[[Facts], str | None]], ...] = (
    ("disabled", _disabled),
    ("no_port", _no_port),
    ("port_busy", _port_busy),
    ("ok", _ok),
    ("no_bytes", _no_bytes),
    ("no_frame", _no_frame),
    ("bad_checksum", _bad_checksum),
    ("key_missing", _key_missing),
    ("key_rejected", _key_rejected),
    ("auth_key_rejected", _auth_key_rejected),
    ("unauthenticated_refused", _unauthenticated_refused),
    ("replayed", _replayed),
    ("identity_changed", _identity_changed),
    ("unknown_layout", _unknown_layout),
    ("implausible", _implausible),
)
