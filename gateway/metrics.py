"""What Prometheus is told: each metric named once, its values taken from what `meterd status --json` answers.

Names follow the conventions of Prometheus: a prefix, base units (seconds, bytes), `_total` for what only rises. Labels
are names of the configuration and words of fixed lists, so that a meter has as many series in ten years as today; no
serial number, no address and no sentence is among them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from decoders.errors import CODES
from gateway.line_state import FLAGS, RULES
from gateway.telemetry import COUNTERS

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

Kind: TypeAlias = Literal["counter", "gauge"]
Status: TypeAlias = Mapping[str, Any]

PREFIX = "meterd_"
#: counters of telemetry.COUNTERS whose name says too little beside others
RENAMED = {
    "bytes": "received_bytes",
    "noise": "noise_bytes",
    "received": "results",
    "rejected": "results_rejected",
    "decoded": "readings_decoded",
    "stored": "readings_stored",
    "quarantined": "readings_quarantined",
    "journal_lost": "readings_lost",
    "journal_evicted": "readings_evicted",
}
LINE_STATES = tuple(sorted({state for state, _ in RULES} | {"stale", "ok"}))
STORE_STATES = ("checking", "fault", "ok", "off")
STORES = ("journal", "ledger")
#: terms of the conservation of a meter that its counters do not have
BALANCE = {"held": "readings in memory that are not committed yet"}
#: terms of the conservation of a sink
TERMS: dict[str, tuple[Kind, str]] = {
    "delivered": ("counter", "stored readings that the sink has confirmed"),
    "pending": ("gauge", "stored readings that wait for the sink"),
    "evicted": ("counter", "stored readings that gave way before the sink had confirmed them"),
    "dead_letter": ("counter", "stored readings that the sink refuses for good"),
}
#: where a term of a sink is no word for a metric
TERM_NAMES = {"dead_letter": "dead_letters"}


class Metric(NamedTuple):
    """A metric: its name without the prefix, and without `_total` for a counter."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name by which Prometheus knows it."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


class Value(NamedTuple):
    """A value of a metric, with the values of its labels."""

    name: str
    labels: tuple[str, ...]
    value: float


def counter_name(counter: str) -> str:
    """The name of a counter of telemetry.COUNTERS as a metric."""
    return f"meter_{RENAMED.get(counter, counter)}"


def _metrics() -> Iterator[Metric]:
    yield Metric("build_info", "gauge", "1, with the version of meterd", ("version",))
    yield Metric("uptime_seconds", "gauge", "time since the start")
    yield Metric("tasks_watched", "gauge", "parts of the daemon that give signs of life")
    yield Metric("tasks_late", "gauge", "parts of the daemon that are late with theirs")
    yield Metric(
        "configuration_refused", "gauge", "1 while the configuration on disk has errors, and the last good runs"
    )
    for name, meaning in COUNTERS.items():
        yield Metric(counter_name(name), "counter", meaning, ("meter",))
    for name, meaning in BALANCE.items():
        yield Metric(f"meter_readings_{name}", "gauge", meaning, ("meter",))
    yield Metric("meter_conservation_holds", "gauge", "1 when every result of the decoder is accounted for", ("meter",))
    yield Metric("meter_faults", "counter", "results that were faults, by stage and code", ("meter", "stage", "code"))
    yield Metric("meter_line_state", "gauge", "1 for the state that the line is in, else 0", ("meter", "state"))
    yield Metric("meter_flag", "gauge", "1 for what is wrong with the readings that arrive, else 0", ("meter", "flag"))
    yield Metric("meter_last_reading_age_seconds", "gauge", "time since the last reading; absent before it", ("meter",))
    yield Metric(
        "meter_clock_offset_seconds", "gauge", "time of receipt less the time of the meter's clock", ("meter",)
    )
    yield Metric("meter_sub_meters", "gauge", "meters behind the meter that are known", ("meter",))
    yield Metric("conservation_holds", "gauge", "1 when every reading is accounted for, at the meters and at the sinks")
    for name, (kind, meaning) in TERMS.items():
        yield Metric(f"sink_readings_{TERM_NAMES.get(name, name)}", kind, meaning, ("sink", "meter"))
    yield Metric("sink_works", "gauge", "1 while the sink does its part", ("sink",))
    yield Metric("sink_position", "gauge", "everything up to this id of the journal is settled", ("sink",))
    yield Metric("sink_lag_positions", "gauge", "ids of the journal behind the newest reading", ("sink",))
    yield Metric("sink_oldest_pending_seconds", "gauge", "age of the oldest reading that waits; 0 without", ("sink",))
    yield Metric("mqtt_connected", "gauge", "1 while the broker has accepted us")
    yield Metric("mqtt_published", "counter", "readings published live")
    for store in STORES:
        yield Metric(f"{store}_state", "gauge", f"1 for the state that the {store} is in, else 0", ("state",))
        yield Metric(f"{store}_trouble", "gauge", f"1 while the {store} cannot be written")
        yield Metric(
            f"{store}_last_commit_timestamp_seconds", "gauge", "time of the last commit (UNIX); absent before it"
        )
    yield Metric("journal_queued_readings", "gauge", "readings that wait for the journal")
    yield Metric("journal_queued_bytes", "gauge", "octets of readings that wait for the journal")
    yield Metric("journal_size_bytes", "gauge", "size of the file of the journal")
    yield Metric("journal_log_size_bytes", "gauge", "size of the write-ahead log beside it")
    yield Metric("journal_quota_bytes", "gauge", "size beyond which the oldest readings give way")
    yield Metric("ledger_entries", "gauge", "position of the newest entry of the metrology log")
    yield Metric("ledger_queued_entries", "gauge", "entries that wait for the ledger")


#: every metric, by its name without the prefix
METRICS: dict[str, Metric] = {metric.name: metric for metric in _metrics()}


def values(status: Status, now: datetime | None = None) -> Iterator[Value]:
    """Every value of an answer of `meterd status --json`, metric by metric; what is absent there is absent here."""
    yield Value("build_info", (status["version"],), 1)
    yield Value("uptime_seconds", (), status["uptime_s"])
    yield Value("tasks_watched", (), len(status["tasks"]["watched"]))
    yield Value("tasks_late", (), len(status["tasks"]["late"]))
    yield Value("configuration_refused", (), bool(status["configuration"]["refused"]))
    for meter in status["meters"]:
        yield from _meter(meter)
    yield from _conservation(status.get("conservation"))
    for name, sink in _sinks(status):
        yield from _sink(name, sink, now or datetime.now(UTC))
    if status["mqtt"] is not None:
        yield Value("mqtt_connected", (), bool(status["mqtt"]["connected"]))
        yield Value("mqtt_published", (), status["mqtt"]["published"])
    for store in STORES:
        yield from _store(store, status[store])


def families(status: Status) -> "Iterable[Family]":
    """The values as prometheus_client takes them. Raises ImportError where it is not installed."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made: dict[str, Any] = {}
    for name, labels, value in values(status):
        metric = METRICS[name]
        if name not in made:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made[name] = make(PREFIX + name, metric.help, labels=metric.labels)
        made[name].add_metric(labels, value)
    return [made[name] for name in METRICS if name in made]


def _meter(meter: Status) -> Iterator[Value]:
    name = meter["meter"]
    faults: Counter[tuple[str, str]] = Counter()
    for counter, n in meter["counters"].items():
        if counter in COUNTERS:
            yield Value(counter_name(counter), (name,), n)
        elif counter.startswith("fault."):
            _, stage, code = counter.split(".", 2)
            faults[_known(stage, code)] += n
    for fault, n in faults.items():
        yield Value("meter_faults", (name, *fault), n)
    for state in LINE_STATES:
        yield Value("meter_line_state", (name, state), state == meter["state"])
    for flag in FLAGS:
        yield Value("meter_flag", (name, flag), flag in meter["flags"])
    for metric, key in (("last_reading_age_seconds", "age_s"), ("clock_offset_seconds", "clock_offset_s")):
        if meter[key] is not None:
            yield Value(f"meter_{metric}", (name,), meter[key])
    yield Value("meter_sub_meters", (name,), len(meter["sub_meters"]))


def _known(stage: str, code: str) -> tuple[str, str]:
    """A fault of the list that the decoders have; what another version kept under another name counts as `other`."""
    return (stage, code) if (stage, code) in CODES else ("other", "other")


def _conservation(found: Status | None) -> Iterator[Value]:
    if found is None:
        return
    yield Value("conservation_holds", (), found["holds"])
    for meter, terms in found["meters"].items():
        for term in BALANCE:
            yield Value(f"meter_readings_{term}", (meter,), terms[term])
        yield Value("meter_conservation_holds", (meter,), terms["holds"])
    for sink, meters in found["sinks"].items():
        for meter, terms in meters.items():
            for term in TERMS:
                yield Value(f"sink_readings_{TERM_NAMES.get(term, term)}", (sink, meter), terms[term])


def _sinks(status: Status) -> Iterator[tuple[str, Status]]:
    """Every sink with its status, the broker first."""
    mqtt = status["mqtt"]
    if mqtt is not None:
        works = mqtt["connected"] and not mqtt["trouble"]
        yield "mqtt", {"works": works, "outbox": mqtt.get("history")}
    for output in status["outputs"]:
        yield output["name"], output


def _sink(name: str, sink: Status, now: datetime) -> Iterator[Value]:
    yield Value("sink_works", (name,), bool(sink["works"]))
    outbox = sink.get("outbox")
    if outbox and "position" in outbox:
        oldest = outbox["oldest_pending"]
        age_s = (now - datetime.fromisoformat(oldest)).total_seconds() if oldest else 0
        yield Value("sink_position", (name,), outbox["position"])
        yield Value("sink_lag_positions", (name,), max(0, outbox["newest"] - outbox["position"]))
        yield Value("sink_oldest_pending_seconds", (name,), max(0, age_s))


#: keys of the status of a store that are metrics, where they are there
_SIZES = {
    "journal": {"queued": "queued_readings", "queued_bytes": "queued_bytes", "bytes": "size_bytes",
                "wal_bytes": "log_size_bytes", "max_bytes": "quota_bytes"},
    "ledger": {"entries": "entries", "queued": "queued_entries"},
}  # fmt: skip


def _store(name: str, store: Status) -> Iterator[Value]:
    for state in STORE_STATES:
        yield Value(f"{name}_state", (state,), state == store["state"])
    yield Value(f"{name}_trouble", (), store["trouble"] is not None)
    if store.get("last_commit"):
        yield Value(
            f"{name}_last_commit_timestamp_seconds", (), datetime.fromisoformat(store["last_commit"]).timestamp()
        )
    for key, metric in _SIZES[name].items():
        if key in store:
            yield Value(f"{name}_{metric}", (), store[key])
