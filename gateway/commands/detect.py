"""Say what sends on a port, or what is in a capture: line, link, encryption, meter; ranked, with the evidence.

A port is opened with one set of line parameters after the other until frames prove one; nothing is written to it, and a
port that another program or the running daemon has is not opened. It suggests a [[meter]] for the configuration.

    meterd detect /dev/serial/by-id/usb-...
    meterd detect socket://192.0.2.7:2001
    meterd detect capture.bin

Exit code 0 recognised, 1 not, 2 usage.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.commands import configuration
from gateway.commands.arguments import seconds

if TYPE_CHECKING:
    from decoders.detect import Candidate, Detection
    from gateway.setup.listen import Attempt, Line

#: what stands for the port where a capture does not say it, and for the name of the meter
SOME_PORT, NAME = "/dev/serial/by-id/...", "main"
#: candidates and profiles that are named to a person
SHOWN, PROFILES = 4, 3
SILENT = (
    "nothing arrives in {seconds:.0f} s: is the plug in the customer port, and is the port activated? P1 sends only"
    " with 5 V on Data Request. Many optical heads, wired M-Bus and IEC 62056-21 meters answer requests only, and"
    " meterd writes nothing to a port"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it; `octets` is 0 where nothing was read, `refused` a sentence for a port that was not opened."""

    octets: int = 0
    line: "Line | None" = None
    attempts: "tuple[Attempt, ...]" = ()
    detection: "Detection | None" = None
    refused: str = ""

    @property
    def best(self) -> "Candidate | None":
        """The answer, where there is one."""
        return self.detection.best if self.detection else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd detect`."""
    parser.add_argument("input", metavar="FILE|PORT|URL", help="a capture (- for standard input), a port, socket://H:P")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--seconds", type=seconds, default=65, metavar="N", help="wait so long for the first octet (65)"
    )
    parser.add_argument("--hex", action="store_true", help="FILE holds hexadecimal digits")
    configuration.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Detect; 0 recognised, 1 not or for a port that is held, 2 for an option that does not fit."""
    is_port = _is_port(args.input)
    if is_port and args.hex:
        return _complain("--hex is for a FILE", 2)
    if "://" in args.input:
        from gateway.sources import problem

        if wrong := problem(args.input):
            return _complain(wrong, 2)
    try:
        found = _of_port(args) if is_port else _of_file(args)
    except ValueError as error:
        return _complain(f"{args.input}: {error}", 1)
    port = _port_name(args.input) if is_port else SOME_PORT
    if args.json:
        print(json.dumps(as_dict(args.input, found, port), ensure_ascii=False))
    else:
        print("\n".join(lines(found, port)))
    if found.refused:
        _complain(found.refused, 1)
    return 0 if found.best else 1


def _is_port(name: str) -> bool:
    """A URL, a device, or a name below /dev that is not there; everything else is a file."""
    path = Path(name)
    return name != "-" and ("://" in name or path.is_char_device() or (name.startswith("/dev/") and not path.exists()))


def _port_name(name: str) -> str:
    return name if "://" in name else str(Path(name).absolute())


# -- a capture --------------------------------------------------------------------------------------------------------


def _of_file(args: argparse.Namespace) -> Found:
    """Look at a capture; raises OSError, and ValueError where it is not what --hex says."""
    from decoders.detect import MOST_OCTETS
    from gateway.setup.candidates import candidates, detected

    wanted = MOST_OCTETS * (3 if args.hex else 1)
    if args.input == "-":
        octets = sys.stdin.buffer.read(wanted)
    else:
        with Path(args.input).open("rb") as stream:
            octets = stream.read(wanted)
    if args.hex:
        octets = _from_hex(octets)
    return Found(len(octets), detection=detected(octets, candidates("auto")))


def _from_hex(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise ValueError("--hex is given, but these are no pairs of hexadecimal digits") from None


# -- a port -----------------------------------------------------------------------------------------------------------


def _of_port(args: argparse.Namespace) -> Found:
    """Scan a port that nobody has."""
    from gateway.commands.setup_line import attempt_line
    from gateway.setup import listen, ports
    from gateway.setup.candidates import candidates, detected, recognised

    port = _port_name(args.input)
    holder = ports.look(port, ports.in_use((), _socket(args))).holder
    if holder:
        return Found(refused=f"{port} is not touched: {holder}" if port not in holder else holder)
    among = candidates("auto")

    def enough(heard: listen.Heard) -> bool:
        return recognised(heard.octets, among, link=heard.link).is_certain

    def waiting() -> None:
        _say(f"nothing for {listen.LONGEST_S:.0f} s; some meters send once a minute: listening for {args.seconds} s")

    watcher = listen.Watcher(lambda attempt: _say(attempt_line(attempt)), waiting)
    attempts = listen.scan(port, listen.LINES, enough, watcher, silence_s=args.seconds)
    last = attempts[-1]
    if last.trouble:
        return Found(attempts=tuple(attempts), refused=last.trouble.detail)
    heard = last.heard
    telling = last if heard else max(attempts, key=lambda each: (each.evidence.damaged, each.octets))
    octets = heard.octets if heard else bytes(telling.evidence.capture)
    line = heard.line if heard else telling.line
    return Found(telling.octets, line, tuple(attempts), detected(octets, among))


def _socket(args: argparse.Namespace) -> str | Path:
    """The control socket of the daemon that may run here."""
    from gateway.commands import check
    from gateway.control import DEFAULT

    path = configuration.place(args.config)
    settings = check.findings(path)[0] if path.is_file() else None
    return settings.control.socket if settings else DEFAULT


# -- what is said -----------------------------------------------------------------------------------------------------


def lines(found: Found, port: str) -> Iterator[str]:
    """Say it to a person: the answer in three lines, the others, then what to paste."""
    if found.refused:
        yield "not looked at"
    elif not found.octets:
        waited = found.attempts[-1].seconds if found.attempts else 0.0
        yield f"nothing recognised: {SILENT.format(seconds=waited) if found.attempts else 'there are no octets'}"
    elif found.detection:
        others = [
            each for each in found.detection.candidates if each != found.best and not (found.best and each.is_weak)
        ]
        yield from _answer(found.best, found.line) if found.best else _strange(found)
        yield from (f"  or {_short(other)}" for other in others[:SHOWN])
        if len(others) > SHOWN:
            yield f"  and {len(others) - SHOWN} more (--json)"
        if found.best:
            yield from ("", _suggestion(found, port), *_key_lines(found.best))


def _answer(best: "Candidate", line: "Line | None") -> Iterator[str]:
    where = f"{line}, " if line else "7E1 read as 8N1, " if best.seven_bits else ""
    yield _who(best)
    grammar = f"grammar {best.grammar}, not encrypted" if best.grammar and not best.ciphered else "encrypted"
    yield f"  {where}link {best.link}, {grammar}"
    yield f"  {'; '.join(each for each in best.evidence if not each.startswith('encrypted: '))}"


def _who(candidate: "Candidate") -> str:
    """The meter in a few words."""
    names = [profile.name for profile in candidate.profiles[:PROFILES]]
    if candidate.ciphered:
        of = f", perhaps {', '.join(names)}" if names else ""
        return f"encrypted meter, {candidate.ciphered}{of}"
    if candidate.reading and candidate.profiles:
        return f"{candidate.profiles[0].title} (profile {names[0]})"
    return f"unknown meter ({candidate.trouble})" if candidate.trouble else "unknown meter"


def _short(candidate: "Candidate") -> str:
    return f"link {candidate.link}: {_who(candidate)}; {candidate.evidence[0]}"


def _strange(found: Found) -> Iterator[str]:
    """How octets look that are none of a meter."""
    assert found.detection is not None  # noqa: S101  # called with one
    seen = found.detection.looks
    common = ", ".join(f"{value} {share} %" for value, share in seen.commonest)
    where = f" at {found.line}" if found.line else ""
    yield f"nothing recognised in {found.octets} octets{where}"
    yield f"  {seen.top_bit_percent} % with top bit, {seen.printable_percent} % printable; commonest {common}"
    begun = ", ".join(f"{name} ({count})" for name, count in seen.beginnings)
    yield f"  beginnings: {begun or 'none of those that are known'}"
    yield from (f"  looks like {what}" for what in seen.resembles)


def _suggestion(found: Found, port: str) -> str:
    from decoders.detect import ANYWHERE
    from gateway.setup.suggestion import as_text, meter_table

    best = found.best
    assert best is not None  # noqa: S101  # called with an answer
    certain = best.reading is not None and best.profiles and best.profiles[0].country != ANYWHERE
    profile = best.profiles[0] if certain else None
    text = as_text(meter_table(NAME, port, profile, found.line or (None, None)))
    asks = best.reading is not None and "zone_unknown" in best.reading.flags
    return f'{text}\n# timezone = "Europe/..."    # its clock does not say its zone' if asks else text


def _key_lines(best: "Candidate") -> Iterator[str]:
    if best.ciphered is None:
        yield "# no key is needed"
    else:
        what = "encryption and authentication key" if best.ciphered.has_tag else "encryption key"
        yield f"# it opens with the operator's {what}: meterd key set {NAME}"


def as_dict(name: str, found: Found, port: str) -> dict[str, Any]:
    """Say it to a program."""
    seen = found.detection.looks if found.detection else None
    best = found.best
    return {
        "input": name,
        "recognised": best is not None,
        "octets": found.octets,
        "line": str(found.line) if found.line else None,
        "candidates": [_candidate(each) for each in found.detection.candidates] if found.detection else [],
        "needs_key": best.ciphered is not None if best else None,
        "config": _suggestion(found, port) if best else None,
        "attempts": [attempt.as_dict() for attempt in found.attempts],
        "error": found.refused or None,
        "seen": {
            "top_bit_percent": seen.top_bit_percent,
            "printable_percent": seen.printable_percent,
            "commonest": dict(seen.commonest),
            "beginnings": dict(seen.beginnings),
            "resembles": list(seen.resembles),
        }
        if seen
        else None,
    }


def _candidate(candidate: "Candidate") -> dict[str, Any]:
    return {
        "link": candidate.link,
        "grammar": candidate.grammar,
        "score": candidate.score,
        "telegrams": candidate.telegrams,
        "damaged": candidate.damaged,
        "checksum": candidate.checksum,
        "percent": candidate.percent,
        "seven_bits": candidate.seven_bits,
        "encryption": candidate.ciphered.as_dict() if candidate.ciphered else None,
        "profiles": [profile.name for profile in candidate.profiles],
        "title": candidate.profiles[0].title if candidate.profiles and candidate.reading else None,
        "trouble": candidate.trouble or None,
        "evidence": list(candidate.evidence),
    }


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _complain(what: str, code: int) -> int:
    print(f"meterd detect: {what}", file=sys.stderr)
    return code
