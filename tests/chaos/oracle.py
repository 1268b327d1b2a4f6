"""The oracle: judges what a run left behind by what its meters wrote when they sent; it shares no code with the daemon.

`python -m tests.chaos.oracle FOLDER` prints {"violations": {check: [sentence]}, "figures": {...}} and exits 0 without,
1 with violations. Each check is one function of CHECKS; tests/chaos/planted.py has the errors that each must find.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos import canary, figures
from tests.chaos.collect import TERMS, sinks
from tests.chaos.evidence import Evidence, Life, Row, S, Span, by_number, load

VALUES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")
#: what each meter's readings must prove, and for how long they hold (s)
AUTH = {"p1": "plain", "dlms": "verified", "sml": "plain"}
#: s by which a busy machine may be late
SLACK_S = 2.5
#: a commit group, and what its commit may take
GROUP_S = 10.0 + SLACK_S
#: after a start, and after a freeze or a plug, a line needs so long (s) until every telegram must be taken
BEGIN_S, LINE_S = 4.0, 4.0
#: telegrams before and after a spoiled one that may go with it
BEFORE, AFTER = 3, 2
#: s within which a telegram is read, on whatever machine; what is asked of a good one is a figure
READ_S = 5.0
#: s until a full disk is written to again
DISK_S = 15.0
#: live readings that a connection may hand on late when a peer stood still (docs/control-safety.md: 1.5 s of readings)
HELD = 5
#: the longest end in order, and what a busy machine adds (s)
STOP_S = 5.0 + 1.0
#: s that a killed VictoriaMetrics may forget of what it had acknowledged (seen: 10 s, with series that were new)
VICTORIA_S = 20.0
#: what the process may use
RSS_KIB, FDS, THREADS = 96 * 1024, 128, 40
#: [journal] max_mib of the run, its log and the ledger (octets)
DISK = (8 + 5 + 4) << 20
#: s after the last fault within which every sink has a fresh reading
FRESH_S = 60.0
#: where a result of the decoder is; and what Prometheus calls it
RECEIVED = ("stored", "quarantined", "rejected", "held", "lost")
METERED = {
    "results_total": "received",
    "readings_stored_total": "stored",
    "readings_quarantined_total": "quarantined",
    "results_rejected_total": "rejected",
    "readings_held": "held",
    "readings_lost_total": "lost",
}
#: sentences of one check that are kept
MOST = 20

Check = Callable[[Evidence], Iterator[str]]


def issued(seen: Evidence) -> Iterator[str]:
    """Every reading that was delivered or stored was sent, by a meter that meant it, and whole."""
    truth = by_number([row for rows in seen.truth.values() for row in rows])
    for where, row in _delivered(seen):
        meter, number = row["meter"], row.get("a_import_wh")
        known = truth.get((meter, number))
        if not known:
            yield f"{where}: {meter} {number} was never sent"
        elif not any(one["possible"] for one in known):
            yield f"{where}: {meter} {number} is impossible, and was handed on"
        elif all(one["arrives"] is False for one in known):
            yield f"{where}: {meter} {number} was spoiled ({known[0]['fault']}), and was handed on"


def payload(seen: Evidence) -> Iterator[str]:
    """Values, time, authenticity and quality are those that were sent."""
    truth = by_number([row for rows in seen.truth.values() for row in rows])
    for where, row in _delivered(seen):
        known = [one for one in truth.get((row["meter"], row.get("a_import_wh")), ()) if one["possible"]]
        if not known:
            continue
        said = known[0]["item"]
        wrong = [name for name in VALUES if row.get(name) != said.get(name)]
        if "t_source" in row and row["t_source"] == "meter" and row["t"] != known[0]["t"]:
            wrong.append("t")
        if isinstance(row.get("auth"), str) and row["auth"] != AUTH[row["meter"]]:
            wrong.append("auth")
        if isinstance(row.get("quality"), str) and row["quality"] not in ("measured", "suspect"):
            wrong.append("quality")
        if wrong:
            yield f"{where}: {row['meter']} {row.get('a_import_wh')} has another {', '.join(wrong)}"


def obligations(seen: Evidence) -> Iterator[str]:
    """What the journal holds, every sink has: MQTT live or late, the database, or a dead letter with its reason."""
    told = {(row["meter"], row["item"].get("seq")) for row in (*seen.live, *seen.late)}
    for row in seen.journal:
        if (row["meter"], row["seq"]) not in told:
            yield f"mqtt: {row['meter']} seq {row['seq']} ({row['t']}) is stored, and was never published"
    written = {
        (meter, fields.get("a_import_wh"))
        for server in seen.points.values()
        for meter, points in server.items()
        for fields in points.values()
    }
    missing = [row for row in seen.journal if (row["meter"], row.get("a_import_wh")) not in written]
    refused = _refused_rows(seen)
    excused = refused | _lost_by_victoria(seen, missing)
    for row in missing:
        if (row["meter"], row.get("a_import_wh")) not in excused:
            yield f"influx: {row['meter']} seq {row['seq']} ({row['t']}) is stored, and was never written"
    # one that was refused may be there all the same: the answer to an earlier request was lost
    least = len(refused & {(row["meter"], row.get("a_import_wh")) for row in missing})
    dead = sum(terms["dead_letter"] for name, terms in sinks(seen.status) if "influx" in name)
    if not least <= dead <= len(refused):
        yield f"influx: {dead} dead letters; {len(refused)} rows were refused by themselves, {least} of them are absent"


def kept(seen: Evidence) -> Iterator[str]:
    """A whole telegram that was sent to a daemon that ran is stored: lost is what the open group takes, no more."""
    stored = Counter((row["meter"], row.get("a_import_wh")) for row in seen.journal)
    for (meter, number), count in stored.items():
        if count > 1:
            yield f"journal: {meter} {number} is stored {count} times"
    for meter, rows in seen.truth.items():
        missing = [row for row in owed(seen, rows) if not stored[meter, row["id"]]]
        for row in missing:
            yield f"journal: {meter} {row['id']} was sent at {row['t']} to a daemon that ran, and is not stored"


def owed(seen: Evidence, rows: list[Row]) -> list[Row]:
    """Telegrams of a meter that must be in the journal, whatever happened."""
    spoiled = {row["id"] for row in rows if row["fault"] == "not_taken" or not row["possible"]}
    full = [span for span in seen.faults if span.kind == "disk_full"]
    still = [span for span in seen.faults if span.kind in ("freeze", "hang")]
    lives = seen.lives
    found = []
    for place, row in enumerate(rows):
        around = rows[max(0, place - BEFORE) : place + AFTER + 1]
        if row["id"] in spoiled or any(one["fault"] or not one["readers"] for one in around):
            continue
        if any(span.near(row["sent_ns"], 1.0, LINE_S) for span in still):
            continue
        life = next((one for one in lives if one.ready + BEGIN_S * S <= row["sent_ns"] <= one.end), None)
        if life and _is_safe(row["sent_ns"], life, full):
            found.append(row)
    return found


def _is_safe(ns: int, life: Life, full: list[Span]) -> bool:
    """Whether a reading of that time was committed before its daemon ended."""
    if any(span.start - GROUP_S * S <= life.end and ns <= span.end and life.end <= span.end + DISK_S * S
           and span.start <= life.end and ns >= span.start - GROUP_S * S for span in full):  # fmt: skip
        return False
    return ns < life.end - (1.0 if life.by == "SIGTERM" else GROUP_S) * S


def reading(seen: Evidence) -> Iterator[str]:
    """Nothing but a halt of the daemon itself keeps a telegram waiting on its line: no sink, no disk, no client."""
    sent = {(row["meter"], row["id"]): row for rows in seen.truth.values() for row in rows if row["fault"] is None}
    halts = [span for span in seen.faults if span.kind in ("freeze", "hang", "kill", "term")]
    for row in seen.journal:
        one = sent.get((row["meter"], row.get("a_import_wh")))
        if one is None or any(span.near(one["sent_ns"], 1.0, READ_S + BEGIN_S) for span in halts):
            continue
        if (late_s := _wall(row["t_rx"]) - one["sent"]) > READ_S:
            yield f"{row['meter']} {one['id']} was read {late_s:.1f} s after it was sent"


def order(seen: Evidence) -> Iterator[str]:
    """Late readings come in order for each meter; one that comes twice is the same.

    After a kill the history begins again where its cursor was committed: what comes anew then came before, late or
    live.
    """
    last: dict[str, int] = defaultdict(int)
    live = {(row["meter"], row["item"]["seq"]): row["ns"] for row in reversed(seen.live)}
    first: dict[str, str] = {}
    for row in seen.late:
        meter, item = row["meter"], row["item"]
        if "id" not in item:
            yield f"mqtt: a late reading of {meter} has no id"
            continue
        if item["id"] in first:
            if first[item["id"]] != row["payload"]:
                yield f"mqtt: {item['id']} came twice, and says another thing"
            continue
        first[item["id"]] = row["payload"]
        if live.get((meter, item["seq"]), row["ns"]) < row["ns"]:
            continue
        if item["seq"] <= last[meter]:
            yield f"mqtt: late reading {item['seq']} of {meter} came after {last[meter]}"
        last[meter] = item["seq"]
    rows: dict[str, int] = defaultdict(int)
    for row in seen.journal:
        if row["seq"] <= rows[row["meter"]]:
            yield f"journal: seq {row['seq']} of {row['meter']} stands behind {rows[row['meter']]}"
        rows[row["meter"]] = row["seq"]


def stale(seen: Evidence) -> Iterator[str]:
    """No consumer of the live topics gets what is no longer true, and none who comes later gets power at all."""
    truth = by_number([row for rows in seen.truth.values() for row in rows])
    held: Counter[tuple[Span, str]] = Counter()
    slow = [span for span in seen.faults if span.kind in WAITING]
    for row in seen.live:
        item = row["item"]
        valid_s = item.get("valid_for_s", 0)
        known = truth.get((row["meter"], item.get("a_import_wh")))
        if known and _wall(item["t_rx"]) - known[-1]["sent"] > valid_s + SLACK_S:
            late_s = _wall(item["t_rx"]) - known[-1]["sent"]
            yield f"mqtt: {row['meter']} {item['a_import_wh']} waited {late_s:.1f} s before it was taken for news"
        age_s = row["wall"] - _wall(item["t_rx"])
        if age_s > valid_s + SLACK_S:
            span = next((one for one in slow if one.near(row["ns"], 0, valid_s + 20)), None)
            held[span or Span(0, 0, "", ""), row["meter"]] += 1
            if span is None:
                yield f"mqtt: {row['meter']} {item.get('a_import_wh')} came live {age_s:.1f} s after it was read"
    for (span, meter), n in held.items():
        if span.kind and n > HELD:
            yield f"mqtt: {n} old readings of {meter} were handed on after {span.kind}, at most {HELD} may"
    for topic in seen.retained:
        if topic.rsplit("/", 1)[-1] in ("reading", "p_import_w", "p_export_w", "p_net_w") or "/register/" in topic:
            yield f"mqtt: {topic} is retained"


#: faults in which octets wait between the daemon and a consumer
WAITING = {"broker_freeze", "mqtt_hole", "mqtt_slow", "all_dead", "mqtt_puback"}


def conservation(seen: Evidence) -> Iterator[str]:
    """Nothing is made and nothing vanishes: at every look at the status, and in the file at the end."""
    looks = [(f"status at {row['ns']}", row["status"]) for row in seen.samples if row.get("status")]
    looked = 0
    for name, status in (*looks, ("the last status", seen.status)):
        for sentence in unbalanced(status):
            yield f"{name}: {sentence}"
        looked += 1
    if looked < 2:
        yield "the status was hardly ever there to be looked at"
    for name, terms in sinks(seen.status):
        if terms["pending"]:
            yield f"{name}: {terms['pending']} readings are still pending, {FRESH_S:.0f} s after the last fault"
    yield from files(seen)


def files(seen: Evidence) -> Iterator[str]:
    """What the files hold at the end is what the last status counted."""
    found = seen.counts["journal"]
    meters = {meter["meter"]: meter["counters"] for meter in seen.status["meters"]}
    for name, counters in meters.items():
        rows = sum(row["meter"] == name for row in seen.journal)
        if counters["stored"] - counters["journal_evicted"] != rows:
            yield f"{name}: {counters['stored']} stored, {counters['journal_evicted']} evicted, {rows} in the file"
    if sorted(found["by_meter"]) != sorted(Counter(row["meter"] for row in seen.journal).values()):
        yield f"journal: {found['by_meter']} rows by meter, other than the export has"
    for store in ("journal", "ledger"):
        if store in seen.counts and seen.counts[store]["integrity"] != "ok":
            yield f"{store}: {seen.counts[store]['integrity']}"
    yield from (
        f"a store was set aside: {name}" for name in seen.counts["files"] if "damaged" in name or "corrupt" in name
    )
    dead = found["rows"].get("dead_letter", 0)
    if dead != sum(terms["dead_letter"] for _, terms in sinks(seen.status)):
        yield f"journal: {dead} dead letters in the file, the status knows of others"
    absurd = sum(c["quarantined"] for c in meters.values())
    if found["rows"].get("quarantine", 0) != absurd:
        yield f"journal: {found['rows'].get('quarantine')} rows in quarantine, {absurd} were counted"


def unbalanced(status: Row) -> Iterator[str]:
    """What does not add up in one status: received by meter, stored by sink and meter."""
    account = status["conservation"]
    if account is None:
        yield "the daemon does not answer, or has no journal"
        return
    for name, terms in account["meters"].items():
        if terms["received"] != sum(terms[term] for term in RECEIVED):
            yield f"{name}: {terms}"
        if terms["lost"]:
            yield f"{name}: the journal lost {terms['lost']}"
    for name, outbox in sinks(status):
        for meter, terms in outbox["meters"].items():
            stored = account["meters"][meter]["stored"]
            if stored != sum(terms[term] for term in TERMS):
                yield f"{name} {meter}: {stored} stored, but {terms}"


def metrics(seen: Evidence) -> Iterator[str]:
    """What Prometheus is told is what the status says, number by number; the meters were silent by then."""
    told: dict[tuple[str, str], float] = {}
    for line in seen.metrics.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            told[name.partition("{")[0], _label(name, "sink") + _label(name, "meter")] = float(value)
    expected = dict(_expected_metrics(seen.status))
    if not told or not expected:
        yield "there are no metrics, or there is nothing to compare them with"
    for key, value in expected.items():
        if told.get(key) != value:
            yield f"{' '.join(key)} is {told.get(key)}, and {value} in the status"


def _expected_metrics(status: Row) -> Iterator[tuple[tuple[str, str], float]]:
    """Name and labels of each metric that is compared, with its value in a status."""
    account = status["conservation"] or {"meters": {}, "sinks": {}}
    # the account also has what an earlier run received, where its counters could not be read at the start
    received = {meter["meter"]: {"received": meter["counters"]["received"]} for meter in status["meters"]}
    for meter, terms in account["meters"].items():
        for name, term in METERED.items():
            yield (f"meterd_meter_{name}", meter), (terms | received[meter])[term]
    for sink, meters in account["sinks"].items():
        for meter, terms in meters.items():
            yield ("meterd_sink_readings_delivered_total", sink + meter), terms["delivered"]


def _label(name: str, label: str) -> str:
    return name.partition(f'{label}="')[2].partition('"')[0]


def liveness(seen: Evidence) -> Iterator[str]:
    """After the last fault every sink has a fresh reading of every meter soon, and the daemon ran all the time."""
    calm = seen.moment("calm")
    for meter in seen.truth:
        after = [row["ns"] for row in seen.live if row["meter"] == meter and row["ns"] > calm]
        if not after or min(after) > calm + FRESH_S * S:
            yield f"mqtt: no reading of {meter} within {FRESH_S:.0f} s after the last fault"
        newest = next((row["id"] for row in reversed(seen.truth[meter]) if row["arrives"] and row["readers"]), 0)
        written = [
            fields.get("a_import_wh", 0) for server in seen.points.values() for fields in server.get(meter, {}).values()
        ]
        if newest not in written:
            yield f"influx: the last reading of {meter} ({newest}) was not written within {FRESH_S:.0f} s"
    yield from (row["text"] for row in seen.timeline if row["event"] == "violation")
    for row in seen.timeline:
        ended = row["event"] == "daemon" and row["what"] == "ended" and row["code"] != -9
        if ended and (row["code"] != 0 or row["took_s"] > STOP_S):
            yield f"SIGTERM: it ended with {row['code']} after {row['took_s']} s"


def resources(seen: Evidence) -> Iterator[str]:
    """Memory, descriptors, threads and disk stay within their bounds."""
    bounds = {"rss_kib": RSS_KIB, "fds": FDS, "threads": THREADS, "disk": DISK}
    for name, most in bounds.items():
        worst = max((row.get(name, 0) for row in seen.samples), default=0)
        if worst > most:
            yield f"{name}: {worst}, at most {most}"
    lasting = [row for row in seen.samples if row["ns"] > seen.moment("calm") and "fds" in row]
    if not lasting:
        yield "nobody looked at the process after the last fault"


def secrecy(seen: Evidence) -> Iterator[str]:
    """No secret stands where it must not, in any way of writing it."""
    yield from seen.leaks


#: every check by its name
CHECKS: dict[str, Check] = {
    "issued": issued,
    "payload": payload,
    "obligations": obligations,
    "kept": kept,
    "reading": reading,
    "order": order,
    "stale": stale,
    "conservation": conservation,
    "metrics": metrics,
    "liveness": liveness,
    "resources": resources,
    "secrecy": secrecy,
}


def judge(seen: Evidence) -> dict[str, list[str]]:
    """The violations by check, without those that found nothing."""
    found = {name: list(check(seen)) for name, check in CHECKS.items()}
    return {name: sentences for name, sentences in found.items() if sentences}


def _delivered(seen: Evidence) -> Iterator[tuple[str, Row]]:
    """Every reading that somebody got, or that is stored: where, and its values with the meter's name."""
    yield from (("live", row["item"]) for row in seen.live)
    yield from (("late", row["item"]) for row in seen.late)
    yield from (("journal", row) for row in seen.journal)
    for server, meters in seen.points.items():
        for meter, points in meters.items():
            yield from ((server, {"meter": meter, **fields}) for fields in points.values())


def _refused_rows(seen: Evidence) -> set[tuple[str, Any]]:
    """Rows that the proxy refused each by itself: (meter, number)."""
    rows = set()
    for answer in seen.http:
        for line in answer.get("rows") or ():
            tags, fields = line.split(" ", 2)[:2]
            values = dict(field.split("=") for field in fields.split(","))
            rows.add((tags.split("meter=")[1], int(values["a_import_wh"].rstrip("i"))))
    return rows


def _lost_by_victoria(seen: Evidence, missing: list[Row]) -> set[tuple[str, Any]]:
    """Rows that a killed VictoriaMetrics had acknowledged shortly before and forgot: its own durability, not ours."""
    switched = next((row["ns"] for row in seen.timeline if row["event"] == "switch"), 1 << 62)
    kills = [span.start for span in seen.faults if span.kind == "influx_kill" and span.start > switched]
    risky = [
        row for row in seen.http if any(k - VICTORIA_S * S < row["ns"] <= k + S and row["status"] == 204 for k in kills)
    ]
    lost = {number for row in risky for number in map(tuple, row.get("numbers", ()))}
    return {key for key in ((row["meter"], row.get("a_import_wh")) for row in missing) if key in lost}


def _wall(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def main(folder: Path) -> int:
    """Judge a folder."""
    seen = load(folder)
    seen.leaks = canary.search(folder)
    violations = judge(seen)
    shown = {name: [*sentences[:MOST], *([f"and {len(sentences) - MOST} more"] if len(sentences) > MOST else [])]
             for name, sentences in violations.items()}  # fmt: skip
    count = sum(map(len, violations.values()))
    print(json.dumps({"count": count, "violations": shown, "figures": figures.measured(seen)}))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
