"""Turn bytes of a meter into item P, one JSON object per line; failures go to stderr, one line each.

The bytes are those of the wire, or their hexadecimal digits with --hex. A time is the meter's own: where it gives none,
the object has no `t`, because a file does not say when it was received; --received-at says it. Sub-meters are told
apart by their channel; their identification is left out. Exit code 0 with a reading, 1 without.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import msgspec

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.errors import CODES
from decoders.model import Fault, Reading, Result
from gateway import profiles
from gateway.commands.arguments import moment, title, zone
from gateway.item_p import ItemP, sub_to_dict, to_dict
from gateway.key_material import KeyFileError, Material, combined, decoded, parse_keys, read_material, told
from gateway.profiles import Profile, ProfileSyntaxError

PIECE = 65_536
#: faults of one input that are printed; the rest is counted
FAULTS_SHOWN = 20
#: name of the meter in the output: a file has no configuration that names one
METER = "main"
CLASSES = ("plain", "unverified", "verified")

_encode = msgspec.json.Encoder().encode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd decode`."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="a capture; - for standard input")
    parser.add_argument("--profile", default="auto", metavar="NAME", help="auto (default) or a profile of docs/meters")
    parser.add_argument("--tz", type=zone, metavar="ZONE", help="zone of the meter's clock, such as Europe/Helsinki")
    parser.add_argument("--key-file", metavar="FILE", help="the encryption key, or both keys; - for standard input")
    parser.add_argument("--auth-key-file", type=Path, metavar="FILE", help="the authentication key")
    parser.add_argument("--system-title", type=title, metavar="HEX", help="where the telegrams do not say it")
    parser.add_argument(
        "--min-auth",
        choices=CLASSES,
        help="refuse readings of a lower class; unverified opens authenticated telegrams without their key, too",
    )
    parser.add_argument("--received-at", type=moment, metavar="ISO", help="when the bytes were received")
    parser.add_argument("--hex", action="store_true", help="FILE holds hexadecimal digits")
    parser.add_argument("--explain", action="store_true", help="show what each layer made of the bytes")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="decode the cases of a corpus file, a line for each")
    parser.add_argument("--json", action="store_true", help="taken for the sake of habit: the output is JSON already")


def run(args: argparse.Namespace) -> int:
    """Decode; 0 with a reading, 1 without or for input that cannot be read, 2 for options that contradict."""
    if (args.file is None) == (args.cases is None):
        return _complain("give a FILE (or -), or --cases FILE", 2)
    if wrong := _contradiction(args):
        return _complain(wrong, 2)
    try:
        candidates = _profiles(args.profile)
        if args.cases:
            return _cases(args, candidates)
        with _opened(args.file) as stream:
            pieces = _pieces(stream, hexadecimal=args.hex)
            decoder = partial(Decoder, candidates, ZoneInfo, tz=args.tz, security=_security(args, candidates))
            if args.explain:
                from gateway.commands.explain import explain

                return explain(pieces, lambda observe: decoder(observe=observe), sys.stdout)
            return _stream(args, pieces, decoder())
    except (LookupError, ProfileSyntaxError, KeyFileError, ValueError) as error:
        return _complain(f"{error.args[0] if error.args else error}", 1)


def _contradiction(args: argparse.Namespace) -> str | None:
    if args.explain and args.cases:
        return "--explain is for one FILE, not for --cases"
    if args.cases and (args.key_file or args.auth_key_file):
        return "--cases takes the keys from the cases: leave out --key-file and --auth-key-file"
    if args.key_file == "-" == args.file:
        return "FILE and --key-file cannot both be standard input"
    return None


def _security(args: argparse.Namespace, candidates: list[Profile]) -> Security:
    """What the options say of keys; raises KeyFileError."""
    material = Material()
    if args.key_file == "-":
        material = told("standard input", parse_keys, decoded(sys.stdin.buffer.read(PIECE), "standard input"))
    elif args.key_file:
        material = read_material(Path(args.key_file), None, private=False)
    if args.auth_key_file:
        secret = read_material(None, args.auth_key_file, private=False).authentication
        material = material if secret is None else combined(material, secret, str(args.auth_key_file))
    cipher = candidates[0].cipher if len(candidates) == 1 else None
    return Security(
        keys=material.keys(),
        system_title=args.system_title,
        min_auth=args.min_auth or "plain",
        unverified_by_person=args.min_auth == "unverified",
        empty_aad=cipher is not None and cipher.aad == "empty",
    )


def _profiles(name: str) -> list[Profile]:
    """The candidates; raises LookupError, ProfileSyntaxError."""
    if name == "auto":
        return profiles.load_auto(None)
    try:
        return [profiles.load(name)]
    except KeyError:
        raise LookupError(f"there is no profile {name!r}; there are auto, {', '.join(profiles.names())}") from None


def _stream(args: argparse.Namespace, pieces: Iterable[bytes], decoder: Decoder) -> int:
    """Print a JSON line for each reading at once, and a line on stderr for each failure."""
    readings = faults = 0
    for result in _results(decoder, pieces):
        reading = _shown(result, args)
        if reading is not None:
            readings += 1
            sys.stdout.buffer.write(_encode(reading) + b"\n")
            sys.stdout.buffer.flush()
        else:
            faults += 1
            if faults <= FAULTS_SHOWN:
                _complain(f"{args.file}: {_sentence(result, args)}", 1)
    if faults > FAULTS_SHOWN:
        _complain(f"{args.file}: and {faults - FAULTS_SHOWN} failures more", 1)
    return 0 if readings else 1


def _results(decoder: Decoder, pieces: Iterable[bytes]) -> Iterator[Result]:
    for piece in pieces:
        yield from decoder.feed(piece)
    yield from decoder.close()


def _shown(result: Result, args: argparse.Namespace) -> dict[str, Any] | None:
    """A reading as JSON object; None for a fault, and for a reading of a lower class than is asked for."""
    if isinstance(result, Fault) or CLASSES.index(result.auth) < CLASSES.index(args.min_auth or "plain"):
        return None
    item = ItemP(METER, result, result.t or args.received_at, "meter" if result.t else "gateway")
    shown = to_dict(item, registers=True)
    if result.sub:
        shown["sub"] = [sub_to_dict(sub, meter=METER, device=None, auth=result.auth, seq=None) for sub in result.sub]
    return shown


def _sentence(result: Result, args: argparse.Namespace) -> str:
    if isinstance(result, Reading):
        return f"refused: the reading is {result.auth}, and --min-auth asks for {args.min_auth}"
    said = f", {result.evidence}" if result.evidence else ""
    return f"{result.stage}/{result.code}: {CODES[result.stage, result.code]} ({result.size} octets{said})"


def _cases(args: argparse.Namespace, candidates: list[Profile]) -> int:
    from gateway.commands.cases import answer_all

    def decoder(keys: Keys | None, *, empty_aad: bool) -> Decoder:
        # A case stands for a person who asked for it: what cannot be verified is opened, and marked so.
        security = Security(keys, args.system_title, args.min_auth or "plain", not empty_aad, empty_aad)
        return Decoder(candidates, ZoneInfo, tz=args.tz, security=security)

    problems = answer_all(args.cases, decoder, lambda result: _shown(result, args))
    for problem in problems:
        _complain(problem, 1)
    return 1 if problems else 0


def _pieces(stream: BinaryIO, *, hexadecimal: bool) -> Iterator[bytes]:
    """What there is to read, as it comes; raises ValueError where hexadecimal digits are asked for and others found."""
    half = ""
    read = getattr(stream, "read1", stream.read)
    while piece := read(PIECE):
        if hexadecimal:
            digits = half + "".join(piece.decode("latin-1").split())
            half = digits[len(digits) & ~1 :]
            piece = _from_hex(digits[: len(digits) & ~1])
        yield piece
    if half:
        raise ValueError("an odd number of hexadecimal digits")


def _from_hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError("--hex is given, but there is something else than hexadecimal digits") from None


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
    else:
        with Path(name).open("rb") as stream:
            yield stream


def _complain(what: str, code: int) -> int:
    print(f"meterd decode: {what}", file=sys.stderr)
    return code
