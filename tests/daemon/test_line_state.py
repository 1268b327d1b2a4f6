"""Line states: each by facts that name it, the order of the table, and evidence that a person can act upon."""

from dataclasses import replace

import pytest

from decoders.errors import CODES
from gateway.line_state import FLAGS, RULES, STATES, Facts, Window, judge

#: a meter of 1 s that has delivered for a while
GOOD = Facts(
    enabled=True,
    port="open",
    port_detail="/dev/ttyUSB0 is open",
    line="115200 8N1",
    interval_s=1,
    valid_for_s=3,
    open_s=600.0,
    byte_s=0.4,
    frame_s=0.4,
    reading_s=0.4,
    window=Window(30.0, 26_520, 0, 0),
    run=None,
    run_s=0.0,
)
#: a port that was opened 2 s ago
FRESH = replace(GOOD, open_s=2.0, byte_s=None, frame_s=None, reading_s=None, window=Window(2.0))
NEVER = {"frame_s": None, "reading_s": None}
NOISE = Window(30.0, 21_612, 21_612, 10_374)
CHECKSUM = Window(30.0, 26_000, 26_000, 0, {"link.checksum": 29})
LAYOUT = Window(30.0, 26_000, 26_000, 0, {"profile.unknown_layout": 29, "link.truncated": 1})


def ciphered(**faults):
    """A line on which whole telegrams arrive, refused for these reasons."""
    counts = {f"unwrap.{code}": n for code, n in faults.items()}
    said = dict.fromkeys(counts, "system title 4B, counter 7")
    window = Window(30.0, 3_000, 3_000, 900, counts)
    return replace(GOOD, reading_s=None, window=window, evidence=said, keys="KEYS")


def implausible(kind, reason):
    """A line on which every reading is set aside for this reason."""
    name = f"implausible.{kind}"
    return replace(GOOD, reading_s=None, window=Window(30.0, 26_000, 0, 0, {name: 29}), evidence={name: reason})


CASES = {
    "disabled": (replace(GOOD, enabled=False, port="closed"), "disabled", "enabled = false"),
    "disabled before the port": (replace(GOOD, enabled=False, port="no_port"), "disabled", ""),
    "no port": (replace(GOOD, port="no_port", port_detail="x is not there"), "no_port", "x is not there"),
    "busy": (replace(GOOD, port="port_busy", port_detail="held by 77 (cu)"), "port_busy", "held by 77 (cu)"),
    "ok": (GOOD, "ok", "readings arrive, one is expected every 1 s"),
    "ok with noise between": (replace(GOOD, run=NOISE, run_s=25.0), "ok", ""),
    "ok with damaged telegrams between": (replace(GOOD, window=CHECKSUM), "ok", ""),
    "ok until just before its value expires": (replace(GOOD, reading_s=2.84), "ok", ""),
    "stale just before its value expires": (replace(GOOD, reading_s=2.86, byte_s=2.86), "stale", "no reading for 3 s"),
    "starting": (FRESH, "stale", "waiting for the first telegram; the port was opened 2 s ago, no byte since"),
    "started, octets so far": (replace(FRESH, byte_s=0.1), "stale", "waiting for the first telegram"),
    "closed": (replace(FRESH, port="closed", port_detail="x vanished"), "stale", "x vanished"),
    "silent": (replace(FRESH, open_s=35.0), "no_bytes", "port is open, no byte for 35 s: is the cable in the P1 port"),
    "silent, one slow meter": (replace(FRESH, open_s=27.0, interval_s=10, valid_for_s=30), "stale", "waiting"),
    "was good, silent since": (replace(GOOD, reading_s=40.0, byte_s=40.0, frame_s=40.0), "stale", "no reading for 40"),
    "7E1 read as 8N1": (
        replace(GOOD, **NEVER, run=NOISE, run_s=29.0, line="9600 8N1"),
        "no_frame",
        "21 612 bytes in 30 s, none of them begins a telegram; 48 % have the top bit set: try framing 7E1",
    ),
    "noise at 7E1": (
        replace(GOOD, **NEVER, run=NOISE, run_s=29.0, line="9600 7E1"),
        "no_frame",
        "21 612 bytes in 30 s, none of them begins a telegram; 48 % have the top bit set: the line is read at 9600 7E1",
    ),
    "text that is no telegram": (
        replace(GOOD, **NEVER, run=Window(5.0, 4_000, 4_000, 0), run_s=4.5),
        "no_frame",
        "4 000 bytes in 5 s, none of them begins a telegram; 0 % have the top bit set: the line is read at 115200 8N1",
    ),
    "noise of 2 s may be the tail of a telegram": (replace(FRESH, byte_s=0.1, run=NOISE, run_s=2.0), "stale", ""),
    "noise of 19 s with a slow meter": (
        replace(FRESH, byte_s=0.1, run=NOISE, run_s=19.0, interval_s=10, valid_for_s=30),
        "stale",
        "",
    ),
    "noise of 20 s with a slow meter": (
        replace(FRESH, open_s=21.0, byte_s=0.1, run=NOISE, run_s=20.0, interval_s=10, valid_for_s=30),
        "no_frame",
        "",
    ),
    "damaged": (
        replace(GOOD, **NEVER, window=CHECKSUM),
        "bad_checksum",
        "29 telegrams in 30 s, none whole (the checksum does not match: the bytes were damaged on the line)",
    ),
    "damaged after good ones": (replace(GOOD, frame_s=9.0, reading_s=9.0, window=CHECKSUM), "bad_checksum", "29"),
    "one damaged at the start": (
        replace(FRESH, byte_s=0.1, window=Window(2.0, 800, 0, 0, {"link.truncated": 1})),
        "stale",
        "waiting",
    ),
    "min_auth": (
        replace(GOOD, reading_s=None, keys="in use: none", window=Window(30.0, 1, 0, 0, {"unwrap.downgrade": 3})),
        "unauthenticated_refused",
        "3 telegrams in 30 s: the telegram is less protected than `min_auth` of this meter asks; in use: none",
    ),
    "no key": (
        ciphered(key_missing=1),
        "key_missing",
        "1 telegrams in 30 s: the telegram is encrypted, and this meter has no key (system title 4B, counter 7); KEYS;",
    ),
    "one telegram that does not open": (ciphered(tag=2), "stale", "waiting for the first telegram"),
    "three that do not open": (ciphered(tag=3), "key_rejected", "3 telegrams in 30 s: the authentication tag does not"),
    "wrong encryption key": (
        ciphered(tag=2, key_rejected=1),
        "key_rejected",
        "3 telegrams in 30 s: the encryption key is wrong",
    ),
    "wrong encryption key, was right before": (
        replace(ciphered(key_rejected=5), history="the line was ok with this key until noon"),
        "key_rejected",
        f"5 telegrams in 30 s: {CODES['unwrap', 'key_rejected']} (system title 4B, counter 7); KEYS; the line was",
    ),
    "wrong authentication key": (
        ciphered(tag=2, auth_key_rejected=4),
        "auth_key_rejected",
        "4 telegrams in 30 s: the authentication key is wrong",
    ),
    "no authentication key": (
        ciphered(unauthenticated_refused=1),
        "unauthenticated_refused",
        "1 telegrams in 30 s: the telegram has a tag, but the operator's authentication key is missing",
    ),
    "replayed": (
        ciphered(replayed=9, rollback=1),
        "replayed",
        "10 telegrams in 30 s: the invocation counter was used before: an old telegram was sent again (system title 4B",
    ),
    "another meter with the same key": (
        ciphered(identity_changed=1),
        "identity_changed",
        "1 telegrams in 30 s: another system title uses this meter's key",
    ),
    "a suite that is not supported": (
        ciphered(suite=3),
        "unknown_layout",
        "3 whole telegrams in 30 s gave no reading: the telegram uses a security suite",
    ),
    "wrong key, and the line is dead since": (replace(ciphered(key_rejected=5), frame_s=40.0), "stale", ""),
    "wrong key, and readings hold": (replace(ciphered(key_rejected=5), reading_s=1.0), "ok", ""),
    "unknown layout": (
        replace(GOOD, reading_s=None, window=LAYOUT),
        "unknown_layout",
        "29 whole telegrams in 30 s gave no reading: no profile fits the identification and structure",
    ),
    "unknown layout at once": (
        replace(FRESH, byte_s=0.1, frame_s=0.1, window=Window(1.0, 800, 0, 0, {"grammar.number": 1})),
        "unknown_layout",
        "1 whole telegrams in 1 s gave no reading: a measured value is not a decimal number",
    ),
    "too much power": (
        implausible("power", "p_import_w 99999 W is above max_power_w = 25875"),
        "implausible",
        "29 readings in 30 s that cannot be: p_import_w 99999 W is above max_power_w = 25875; if the",
    ),
    "a leap": (implausible("leap", "why"), "implausible", "29 readings in 30 s that cannot be: why; if the meter was"),
    "a register that fell": (implausible("fall", "why"), "implausible", ""),
    "another meter, for a moment": (implausible("identity", "why"), "implausible", ""),
    "too much power, and readings hold": (replace(implausible("power", "why"), reading_s=0.5), "ok", ""),
    "too much power, and the line is dead since": (replace(implausible("power", "why"), frame_s=40.0), "stale", ""),
    "the host has no time": (replace(GOOD, reading_s=None, waiting=7), "stale", "7 readings without a time wait"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_facts_name_the_state(case):
    facts, state, evidence = CASES[case]
    judged = judge(facts)
    assert judged.state == state
    assert judged.evidence.startswith(evidence)
    assert judged.evidence


def test_every_state_of_p1_is_reached():
    reached = {state for _, state, _ in CASES.values()}
    assert reached == {state for state, _ in RULES} | {"stale"}
    assert reached <= STATES.keys()


def test_rules_stand_in_the_order_of_the_contract():
    """`ok` stands early because no state below it can apply while a reading holds; all others are in order."""
    order = [state for state, _ in RULES if state != "ok"]
    assert order == [state for state in STATES if state in order]
    assert list(STATES) == [
        "disabled", "no_port", "port_busy", "no_bytes", "no_frame", "bad_checksum", "key_missing", "key_rejected",
        "auth_key_rejected", "unauthenticated_refused", "replayed", "identity_changed", "unknown_layout", "implausible",
        "stale", "ok",
    ]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_only_ok_has_flags(case):
    facts, state, _ = CASES[case]
    judged = judge(replace(facts, flags=("clock_invalid", "zone_unknown")))
    assert judged.flags == (("clock_invalid", "zone_unknown") if state == "ok" else ())
    assert set(judged.flags) <= FLAGS.keys()
    assert judged.as_dict() == {"state": state, "flags": list(judged.flags), "evidence": judged.evidence}


def test_offline_comes_before_the_value_expires():
    for valid_for_s in (3, 30, 180, 900):
        facts = replace(GOOD, valid_for_s=valid_for_s, reading_s=valid_for_s * 0.96)
        assert judge(facts).state != "ok"
        assert facts.limit_s < valid_for_s


@pytest.mark.parametrize(("seconds", "text"), [(8.0, "8 s"), (119.0, "119 s"), (600.0, "10 min"), (90_000.0, "25 h")])
def test_ages_are_said_as_a_person_would(seconds, text):
    facts = replace(GOOD, reading_s=seconds, byte_s=seconds, open_s=100_000.0)
    assert judge(facts).evidence.startswith(
        f"no reading for {text}, one is expected every 1 s; the last byte came {text}"
    )
