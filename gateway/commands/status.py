"""Ask the running daemon why there is data, or why there is none.

Exit code 0 when every meter that is switched on delivers and every outlet works, else 1.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.commands import configuration
from gateway.control import ControlError, ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd status`."""
    configuration.add_option(parser)
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the control socket (default: as configured)")
    parser.add_argument("--json", action="store_true", help="print the whole answer as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the state of meters and outlets."""
    try:
        answer = ask(configuration.control_socket(args.socket, args.config), "status")
    except ControlError as error:
        if args.json:
            print(json.dumps({"error": str(error)}))
        print(f"meterd status: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if args.json else "\n".join(lines(answer)))
    return 0 if is_well(answer) else 1


def is_well(answer: Mapping[str, Any]) -> bool:
    """Tell whether every meter delivers and every outlet works."""
    meters = all(meter["state"] in ("ok", "disabled") for meter in answer["meters"])
    outputs = all(output["works"] for output in answer.get("outputs", ()))
    stores = all(_store_works(answer[store]) for store in ("journal", "ledger", "intervals") if answer.get(store))
    return meters and outputs and stores and _mqtt_works(answer["mqtt"])


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Say the answer in lines for a person."""
    yield f"meterd {answer['version']}, running for {_duration(answer['uptime_s'])}, process {answer['pid']}"
    width = max(len(meter["meter"]) for meter in answer["meters"])
    for meter in answer["meters"]:
        yield f"{meter['meter']:<{width}}  {' '.join([meter['state'], *meter['flags']])}: {meter['evidence']}"
        yield f"{'':<{width}}  {_counts(meter)}"
        if meter["keys"]["encryption"]:
            second = meter["keys"]["authentication"] or "none"
            yield f"{'':<{width}}  encryption key {meter['keys']['encryption']}, authentication key {second}"
        yield from (f"{'':<{width}}  {_sub_meter(sub)}" for sub in meter.get("sub_meters", ()))
        if (exchange := meter.get("exchange")) and not exchange["confirmed"]:
            yield f"{'':<{width}}  another meter since {exchange['t']}: `meterd meter confirm {meter['meter']}`"
        if meter["last_error"] and meter["state"] != "ok":
            yield f"{'':<{width}}  last error: {meter['last_error']['text']} ({meter['last_error']['t']})"
    yield _mqtt_line(answer["mqtt"])
    yield from (f"{output['name']}: {output['text']}" for output in answer.get("outputs", ()))
    yield _journal_line(answer["journal"])
    if (intervals := answer.get("intervals")) is not None:
        yield _intervals_line(intervals)
    yield from _ledger_line(answer.get("ledger"))
    yield from _missing(answer.get("conservation"))
    yield from _standing(answer.get("configuration", {}), answer.get("tasks", {}))


def _intervals_line(intervals: Mapping[str, Any]) -> str:
    if intervals["trouble"] is not None:
        return f"intervals  are not stored: {intervals['trouble']}"
    waiting = intervals["newest"] - intervals["position"]
    return (
        f"intervals  of {intervals['series']} registers, {intervals['versions']} new versions, {waiting} readings wait"
    )


def _counts(meter: Mapping[str, Any]) -> str:
    counters = meter["counters"]
    faults = sum(n for name, n in counters.items() if name.startswith("fault."))
    last = "no reading yet" if meter["age_s"] is None else f"last reading {_duration(meter['age_s'])} ago"
    return (
        f"{last}; {meter['port']}, profile {meter['profile'] or _wanted(meter)}; {counters['bytes']} bytes, "
        f"{counters['frames']} telegrams, {counters['decoded']} decoded, {counters['stored']} stored, {faults} faults"
    )


def _wanted(meter: Mapping[str, Any]) -> str:
    """The profile before there is a reading."""
    wanted = meter.get("configured_profile", "auto")
    return "not known yet" if wanted == "auto" else f"{wanted} (as configured)"


def _sub_meter(sub: Mapping[str, Any]) -> str:
    name = f"{sub['medium']} on channel {sub['channel']}, device {sub['device'] or 'without a number'}"
    if sub["ended"]:
        return f"{name}: taken away by {sub['ended']}, final {sub['final']['quantity']} {sub['final']['unit']}"
    since = f", in the place of {sub['replaced']} since {sub['since']}" if sub["replaced"] else ""
    state = "silent: its time stands still at" if sub["silent"] else "last reading of"
    return f"{name}: {state} {sub['t'] or 'an unknown time'}{since}"


def _mqtt_works(mqtt: Mapping[str, Any] | None) -> bool:
    return mqtt is None or (bool(mqtt["connected"]) and not mqtt.get("trouble"))


def _mqtt_line(mqtt: Mapping[str, Any] | None) -> str:
    if mqtt is None:
        return "MQTT     not configured: nothing is published"
    waits = (mqtt.get("history") or {}).get("pending")
    late = f"; {waits} stored readings are not there yet" if waits else ""
    if not mqtt["connected"]:
        return f"MQTT     {mqtt['broker']}: not connected: {mqtt['last_error'] or 'connecting'}{late}"
    well = f"connected with MQTT {mqtt['protocol']}, {mqtt['published']} readings published{late}"
    return f"MQTT     {mqtt['broker']}: {well}" + (f", but {mqtt['trouble']}" if mqtt.get("trouble") else "")


def _store_works(store: Mapping[str, Any]) -> bool:
    return store["trouble"] is None


def _journal_line(journal: Mapping[str, Any]) -> str:
    if not _store_works(journal):
        return f"journal  does not store: {journal['trouble']}"
    return f"journal  {journal['path']}: {journal['stored']} readings stored, {journal['queued']} wait"


def _ledger_line(ledger: Mapping[str, Any] | None) -> Iterator[str]:
    if ledger is None:
        return
    if not _store_works(ledger):
        yield f"ledger   is not written: {ledger['trouble']}"
    else:
        yield f"ledger   {ledger['path']}: {ledger['entries']} entries in the metrology log"


def _missing(conservation: Mapping[str, Any] | None) -> Iterator[str]:
    """Say what did not reach the journal or a sink, and where it went; nothing when all is well."""
    if conservation is None:
        return
    for meter, terms in conservation["meters"].items():
        if not terms["holds"]:
            yield f"account  {meter}: {terms['received']} received do not add up; please report this"
        if terms["quarantined"] or terms["lost"]:
            yield f"account  {meter}: {terms['quarantined']} readings in quarantine, {terms['lost']} lost"
    for sink, meters in conservation["sinks"].items():
        dead, evicted = (sum(terms[name] for terms in meters.values()) for name in ("dead_letter", "evicted"))
        if dead or evicted:
            yield f"account  {sink}: {dead} readings refused for good, {evicted} gave way before they were delivered"


def _standing(configuration: Mapping[str, Any], tasks: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the file on disk, and what hangs; nothing when all is well."""
    for problem in configuration.get("refused", ()):
        yield f"config   refused at the last reload, what ran before runs on: {problem}"
    for table in configuration.get("restart_needed", ()):
        yield f"config   [{table}] on disk takes effect at the next start"
    for name in tasks.get("late", ()):
        yield f"tasks    {name} gives no sign of life"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 172_800), ("h", 7_200), ("min", 120)):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"
