"""Every counter and log event of meterd, named once; counters are plain integers: reading them costs nothing."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: name of a counter in `meterd status --json` and in the journal, with its meaning
COUNTERS: dict[str, str] = {
    "bytes": "octets received from the port",
    "noise": "octets outside every frame",
    "frames": "frames seen, good or not",
    "checksum_ok": "frames whose checksum was right",
    "checksum_absent": "frames of a meter that sends no checksum",
    "received": "results of the decoder: readings, and faults",
    "rejected": "results that were faults, or readings that were not believed",
    "decoded": "readings decoded",
    "stored": "readings committed to the journal",
    "quarantined": "readings that cannot be, and were kept apart",
    "journal_lost": "readings that the journal could not take",
    "journal_evicted": "readings that were stored and gave way to newer ones",
    "opens": "times the port was opened",
    "port_errors": "times the port failed or vanished",
    "crashes": "times a task of the meter ended in an error and was started again",
}

#: name of a log event, with its level and its meaning
EVENTS: dict[str, tuple[int, str]] = {
    "started": (logging.INFO, "the daemon runs; its version, meters and outlets"),
    "stopped": (logging.INFO, "the daemon ended in order"),
    "line_state": (logging.INFO, "the state of a meter's line changed; evidence says why"),
    "line_trouble": (logging.WARNING, "a line changed to a state in which it gives no readings; evidence says why"),
    "profile_refused": (logging.WARNING, "a profile file cannot be used and is left out"),
    "fault": (logging.WARNING, "the first fault of its kind since the start: stage and code, never the octets"),
    "meter_crashed": (logging.ERROR, "the task of a meter ended in an error; it starts again after a pause"),
    "watch_failed": (logging.ERROR, "a line cannot be judged for an error in meterd: it counts as silent meanwhile"),
    "stood_still": (logging.WARNING, "the process stood still; what came meanwhile is stored, and not published live"),
    "quarantined": (logging.WARNING, "readings that cannot be are set aside, the first for a minute; reason says why"),
    "rollback": (logging.WARNING, "a register of energy fell: set aside until further readings agree"),
    "register_reset": (logging.WARNING, "a register goes on from a lower value, proven by readings or by a person"),
    "rollover": (logging.WARNING, "a register passed its last digit and began again at zero; delta_wh is exact"),
    "meter_exchanged": (logging.WARNING, "another meter is read: last and first registers; pseudonyms, no numbers"),
    "meter_confirmed": (logging.WARNING, "a person confirmed the meter, or registers that were set aside"),
    "meter_clock": (logging.WARNING, "how far a meter's clock is from this host's changed by more than 9 s"),
    "limit_changed": (
        logging.WARNING,
        "a person changed max_power_w of a meter; readings are judged by it from now on",
    ),
    "clock_step": (logging.WARNING, "the clock of this host was set while meterd ran"),
    "clock_waits": (logging.WARNING, "the clock of this host is not set: readings without a time wait for it"),
    "clock_believed": (logging.INFO, "the clock of this host is set now; readings that waited get their time"),
    "series_lost": (logging.ERROR, "what the journal kept of a meter's registers cannot be read; it begins anew"),
    "key_refused": (logging.WARNING, "a key that is stored for a meter cannot be used; reason says why"),
    "key_set": (logging.WARNING, "a person entered or removed the keys of a meter; fingerprints only"),
    "min_auth_changed": (logging.WARNING, "the least class of authenticity of a meter was changed by a person"),
    "counters_lost": (logging.ERROR, "the receive counters that the journal kept cannot be read; they begin anew"),
    "counter_jumped": (logging.WARNING, "the invocation counter leapt ahead; the telegram was accepted"),
    "counter_resumed": (logging.WARNING, "the meter lost its invocation counter; three newer telegrams proved it"),
    "counter_near_end": (logging.WARNING, "the invocation counter is near its end: the operator must issue a new key"),
    "sub_meter_found": (logging.INFO, "a sub-meter was met for the first time; its device is a pseudonym"),
    "sub_meter_exchanged": (logging.WARNING, "a sub-meter took the place of another one, whose last total is final"),
    "sub_meter_moved": (logging.INFO, "a sub-meter is on another channel now"),
    "sub_meter_silent": (logging.WARNING, "the time of a sub-meter stands still; it is published no more"),
    "sub_meter_back": (logging.INFO, "a sub-meter that was silent has a new reading"),
    "sub_meters_lost": (logging.ERROR, "what the journal kept of the sub-meters cannot be read; it begins anew"),
    "sink_ended": (logging.ERROR, "an outlet ended in an error; it starts again after a pause"),
    "sink_refused": (logging.WARNING, "an outlet did not take a reading; reason says why"),
    "output_listens": (logging.INFO, "an output listens at its port"),
    "output_trouble": (logging.WARNING, "an output cannot do its part; reason says why, and it tries again"),
    "influx_trouble": (logging.WARNING, "the database takes no readings; reason says why, and it is tried again"),
    "influx_delivers": (logging.INFO, "the database takes readings again"),
    "influx_refused": (logging.WARNING, "the database refuses readings for good; they are dead letters, others go on"),
    "journal_trouble": (logging.ERROR, "the journal cannot store; readings go on live"),
    "journal_stores": (logging.INFO, "the journal stores again"),
    "journal_notice": (logging.WARNING, "something happened to the file of the journal"),
    "ledger_trouble": (logging.ERROR, "the ledger cannot be written; readings go on, the metrology log waits"),
    "ledger_stores": (logging.INFO, "the ledger is written again"),
    "ledger_notice": (logging.WARNING, "something happened to the file of the ledger, or to its metrology log"),
    "counters_restored": (logging.WARNING, "the journal had no receive counters; they go on from the ledger's copy"),
    "intervals_trouble": (logging.ERROR, "intervals cannot be stored; readings wait for it in the journal"),
    "intervals_go_on": (logging.INFO, "intervals are stored again"),
    "control_trouble": (logging.WARNING, "the control socket cannot be opened; `meterd status` will not answer"),
    "reloaded": (logging.INFO, "the configuration was read anew and is in force; what changed"),
    "reload_refused": (logging.ERROR, "the configuration on disk has an error; what ran before runs on"),
    "restart_needed": (logging.WARNING, "tables changed that wait for the next start; the others are in force"),
    "task_stalled": (logging.ERROR, "a part of the daemon gives no sign of life: systemd is asked to start it anew"),
    "task_moves": (logging.INFO, "a part of the daemon that was silent for too long gives signs of life again"),
    "uploader_started": (logging.INFO, "the uploader runs; its version and hubs"),
    "hub_trouble": (logging.WARNING, "something keeps data from a hub; what and reason say what to do"),
    "hub_unserved": (logging.WARNING, "nothing came of a request to a hub: reason says why; it is tried again"),
    "hub_told": (logging.INFO, "news of a hub, or the end of a trouble"),
    "hub_crashed": (logging.ERROR, "the thread of a hub ended in an error; it begins again after a pause"),
    "stop_forced": (logging.ERROR, "a part did not end in time and was left behind"),
}

#: name of an event of the metrology log (stores.ledger, `meterd events`), with its meaning
METROLOGY: dict[str, str] = {
    "ledger_begun": "a new ledger was begun; whatever was noted before is not in it",
    "ledger_salvaged": "the file was damaged: what could be read was carried over, `missing` names what could not",
    "entries_lost": "so many entries of each event could not be kept while the ledger could not be written",
    "meter_forgotten": "a person had everything of a meter removed; `removed` names the entries whose content is gone",
    "removed": "the place of an entry whose content was removed at a person's wish",
    "min_auth_changed": "the least class of authenticity of a meter was changed by a person",
    "counters_restored": "the journal had no receive counters; they go on from the hourly copy in the ledger",
    "rollback": "a register of energy fell: `last_wh` was believed, `said_wh` is set aside until it is proven",
    "register_reset": "a register goes on from a lower value: `last_wh` before, `first_wh` after, `by` proof or person",
    "rollover": "a register passed its last digit: `delta_wh` flowed, `modulus_wh` is a whole turn",
    "meter_exchanged": "another meter is read: `last` and `first` registers, `before` and `after` are pseudonyms",
    "meter_confirmed": "a person confirmed the meter that is read now, or `registers` that were set aside",
    "meter_clock": "the offset of the meter's clock changed by more than 9 s, from `before_s` to `offset_s`",
    "clock_step": "the clock of this host was set by `step_s`, to `to`",
    "limit_changed": "a person changed `max_power_w` of a meter",
    "interval_edited": "a person edited an interval: `person`, `reason`, which one, quantity `before` and `after`",
    "interval_edit_withdrawn": "a person took an edit back: `person`, `reason`, which one, `before` and `after`",
}


class Event(NamedTuple):
    """Something that happened to a meter: a name of EVENTS, and its facts."""

    name: str
    facts: dict[str, Any]


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
        if saved and "received" not in saved:  # of a version that did not count it
            self.values["rejected"] = self.faults.total()
            kept = sum(saved.get(name, 0) for name in ("stored", "quarantined", "journal_lost"))
            self.values["received"] = kept + self.values["rejected"]

    def as_dict(self) -> dict[str, int]:
        """All counters in one flat mapping, faults as `fault.<stage>.<code>`."""
        return self.values | {f"fault.{name}": n for name, n in sorted(self.faults.items())}
