"""`meterd detect` on a live port: simulated meters on every kind of line, at the pace and the interval of real ones."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from processes import Bench, BenchError
from report import Figure

from tests.cables import Cable, Household

MUST_S = 20.0
#: meters with the seconds between their telegrams, and their links
METERS = {
    "dsmr5": (1.0, "p1"),
    "lu-smarty": (10.0, "bare"),
    "si-iskra": (5.0, "hdlc"),
    "de-sml": (1.0, "sml"),
    "de-ehz": (4.0, "sml"),
    "dsmr22": (10.0, "p1"),
    "at-kaifa": (5.0, "mbus"),
    "no-aidon": (2.5, "hdlc"),
    "d0-block": (2.0, "iec62056-21"),
    "fr-standard": (2.0, "teleinfo"),
    "fr-historique": (2.0, "teleinfo"),
}


def figures(_seconds: float) -> list[Figure]:
    """Seconds from the start of the command to its answer, for the slowest of the meters; all of them side by side."""
    with ThreadPoolExecutor(len(METERS)) as pool:
        found = list(pool.map(detected, METERS))
    detail = [f"{variant}, every {METERS[variant][0]:g} s: {said} after {took:.1f} s" for variant, took, said in found]
    return [Figure("detection of a live port", max(took for _, took, _ in found), "s", MUST_S, detail=detail)]


def detected(variant: str) -> tuple[str, float, str]:
    """Detect one meter, from half an interval before its next telegram: s, and the line and link that were found."""
    interval_s, link = METERS[variant]
    meter = Household(variant, interval_s)
    with Bench() as bench:
        cable = Cable(bench.folder / "port", meter.telegram, meter.line, interval_s, paced=True)
        try:
            time.sleep(interval_s / 2)
            began = time.monotonic()
            child = bench.child(variant, sys.executable, "-m", "gateway.cli", "detect", "--json", str(cable.link))
            child.wait(6 * MUST_S)
            took = time.monotonic() - began
        finally:
            cable.close()
        said = next(json.loads(line) for line in bench.said(variant).splitlines() if line.startswith("{"))
    if not said["recognised"] or said["candidates"][0]["link"] != link:
        raise BenchError(f"{variant} was not recognised: {said['candidates']}")
    tried = len(said["attempts"])
    return variant, took, f"{said['line']}, link {link}, in {tried} {'try' if tried == 1 else 'tries'},"
