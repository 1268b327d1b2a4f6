"""Keep the keys that the operator issued: enter, list, prove and remove them; only fingerprints are shown.

set     read keys from --key-file, --auth-key-file or the terminal (not echoed), store them, hand them to the daemon
list    which keys each meter has, and where they are kept
prove   try the keys on captured telegrams (FILE.. or --port) and say which of them fits
remove  remove the keys of a meter from the store and from the daemon

A key is 32 hexadecimal digits, or base64; blanks, colons and 0x may stand in it, and two keys are taken in the order of
operators: encryption key, authentication key. Exit code 0 done, 1 the answer is no.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from decoders.cipher import KeyTextError, pair_warning
from gateway import keys
from gateway.commands import configuration
from gateway.commands.key_input import from_options, from_standard_input, from_terminal
from gateway.control import ControlError, NotRunningError, ask, socket_path
from gateway.key_material import KeyFileError, Material
from gateway.settings import MeterSettings, Settings, SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `meterd key` and their options."""
    metavar = "set|list|prove|remove"
    actions = parser.add_subparsers(dest="action", required=True, metavar=metavar, parser_class=_Intermixed)
    for name, run_action in ACTIONS.items():
        action = actions.add_parser(name, help=run_action.__doc__, description=run_action.__doc__, allow_abbrev=False)
        configuration.add_option(action)
        if name != "list":
            action.add_argument("meter", metavar="METER", help="the name of the meter in the configuration")
        if name in ("set", "prove"):
            action.add_argument("--key-file", metavar="FILE", help="the encryption key; - for standard input")
            action.add_argument("--auth-key-file", metavar="FILE", help="the authentication key; - for standard input")
        if name == "prove":
            action.add_argument("file", metavar="FILE", nargs="*", type=Path, help="captures of the meter")
            action.add_argument("--port", action="store_true", help="read telegrams from the port of the meter instead")
            action.add_argument("--hex", action="store_true", help="FILE holds hexadecimal digits")
            action.add_argument("--seconds", type=int, default=60, metavar="N", help="how long to read the port (60)")
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run one action; 0 done, 1 the answer is no, 2 options that contradict."""
    try:
        settings = configuration.read(configuration.place(args.config))
        code: int = ACTIONS[args.action](args, settings)
    except SettingsError as error:
        return configuration.complain("key", error.problems)
    except (KeyFileError, KeyTextError, LookupError, ControlError) as error:
        return configuration.complain("key", [str(error.args[0])])
    return code


def _set(args: argparse.Namespace, settings: Settings) -> int:
    """store the keys of a meter, and hand them to the running daemon"""  # noqa: D400 - a line of the help
    meter = _meter(args.meter, settings)
    if meter.key_file or meter.auth_key_file:
        raise LookupError(
            f"meter {meter.name} has key_file or auth_key_file in the configuration, which comes before the store:"
            " write the key into that file, or take the line out"
        )
    material = _asked(args) or from_terminal(meter.name)
    if material.encryption is None:
        raise LookupError("there is no encryption key in this: an authentication key alone opens nothing")
    warning = pair_warning(*(s.reveal() for s in material if s)) if material.authentication else None
    if material.authentication is None:
        keys.remove(meter.name)
    written = keys.put(meter.name, material)
    answer = _handed_over(settings, meter.name, material)
    answer = {"meter": meter.name, **_shown(material), "stored": [str(path) for path in written], **answer}
    answer["warnings"] = ([warning] if warning else []) + _warnings(answer)
    _print(args, answer, _set_lines(answer))
    return 0


def _list(args: argparse.Namespace, settings: Settings) -> int:
    """show which keys the meters have and where they are kept, by fingerprint"""  # noqa: D400 - a line of the help
    used = _in_use(settings)
    meters = []
    for meter in settings.meter:
        held = keys.find(meter.name, meter.key_file, meter.auth_key_file)
        shown = {"meter": meter.name, **_shown(held.material), "places": held.places}
        meters.append(shown | {"problems": list(held.problems), "in_use": used.get(meter.name)})
    _print(args, {"store": str(keys.store()), "meters": meters}, [line for shown in meters for line in _lines(shown)])
    return 1 if any(shown["problems"] for shown in meters) else 0


def _prove(args: argparse.Namespace, settings: Settings) -> int:
    """try the keys on captured telegrams and say which of them fits"""  # noqa: D400 - a line of the help
    from gateway.commands import key_prove

    meter = _meter(args.meter, settings)
    if bool(args.file) == args.port:
        print("meterd key: give captures (FILE..), or --port", file=sys.stderr)
        return 2
    held = keys.find(meter.name, meter.key_file, meter.auth_key_file)
    for problem in held.problems:
        print(f"meterd key: {problem}", file=sys.stderr)
    others = {
        other.name: keys.find(other.name, other.key_file, other.auth_key_file).material
        for other in settings.meter
        if other.name != meter.name
    }
    material = _asked(args) or held.material
    if material.encryption is None:
        raise LookupError(f"meter {meter.name} has no key to prove: give it by --key-file, or store it by `key set`")
    frames = (
        key_prove.frames_of_port(meter, args.seconds)
        if args.port
        else key_prove.frames_of(args.file, hexadecimal=args.hex)
    )
    proof = key_prove.prove(frames, material, others, meter)
    _print(args, {"meter": meter.name, **_shown(material), **proof.as_dict()}, [proof.sentence])
    return 0 if proof.verdict == "right" else 1


def _remove(args: argparse.Namespace, settings: Settings) -> int:
    """remove the keys of a meter from the store and from the running daemon"""  # noqa: D400 - a line of the help
    meter = _meter(args.meter, settings)
    removed = [str(path) for path in keys.remove(meter.name)]
    answer = _handed_over(settings, meter.name, Material())
    left = keys.find(meter.name, meter.key_file, meter.auth_key_file).places
    answer = {"meter": meter.name, "removed": removed, "left": left, **answer}
    lines = [f"{meter.name}: removed {', '.join(removed)}" if removed else f"{meter.name}: nothing was stored"]
    lines += [f"{meter.name}: the {role} key is still in {place}" for role, place in left.items()]
    if answer.get("in_use"):
        lines.append(f"{meter.name}: the daemon still uses the key {answer['in_use']['encryption']}")
    _print(args, answer, lines)
    return 0 if removed else 1


ACTIONS = {"set": _set, "list": _list, "prove": _prove, "remove": _remove}


class _Intermixed(argparse.ArgumentParser):
    """A parser that takes options between METER and FILE, too, as people write them."""

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        return self.parse_known_intermixed_args(args, namespace)


def _meter(name: str, settings: Settings) -> MeterSettings:
    found = next((meter for meter in settings.meter if meter.name == name), None)
    if found is None:
        names = ", ".join(meter.name for meter in settings.meter)
        raise LookupError(f"the configuration has no meter {name!r}; there are: {names}")
    return found


def _asked(args: argparse.Namespace) -> Material | None:
    """The keys of the options, or of standard input where it is no terminal and no option names a file."""
    if args.key_file is None and args.auth_key_file is None and args.action == "set" and not sys.stdin.isatty():
        return from_standard_input()
    return from_options(args.key_file, args.auth_key_file)


def _shown(material: Material) -> dict[str, Any]:
    return dict(material.fingerprints().items())


def _handed_over(settings: Settings, meter: str, material: Material) -> dict[str, Any]:
    """Give keys to the running daemon, for the next telegram; what it uses then."""
    fields = {role: secret.reveal().hex() for role, secret in material._asdict().items() if secret}
    try:
        answer = ask(socket_path(settings.control.socket), "key", meter=meter, **fields)
    except NotRunningError:
        return {"in_use": None}
    except ControlError as error:
        return {"in_use": None, "trouble": str(error)}
    used = {role: answer[role] for role in ("encryption", "authentication")}
    return {"in_use": used, "confirmed": answer["confirmed"], "daemon": answer}


def _warnings(answer: dict[str, Any]) -> list[str]:
    """What a person should know although the keys are stored."""
    daemon = answer.pop("daemon", None)
    found = [answer["trouble"]] if "trouble" in answer else []
    if daemon and daemon["credential"]:
        found.append("at the next start the credential of this meter comes before the store: renew it, too")
    elif daemon and daemon["store"] != str(keys.store()):
        found.append(
            f"the daemon keeps its keys in {daemon['store']}: run this command as its user, or give the stored file to"
            " the service as a credential"
        )
    return found


def _set_lines(answer: dict[str, Any]) -> list[str]:
    used = "in use now" if answer["in_use"] else "used from the next start of the daemon on"
    name = answer["meter"]
    second = answer["authentication"] or "none"
    lines = [f"{name}: encryption key {answer['encryption']}, authentication key {second}: stored, {used}"]
    if answer.get("confirmed"):
        lines.append(f"{name}: the new system title was confirmed")
    return lines + [f"{name}: warning: {warning}" for warning in answer["warnings"]]


def _lines(shown: dict[str, Any]) -> list[str]:
    lines = []
    for role in ("encryption", "authentication"):
        place = f" ({shown['places'][role]})" if role in shown["places"] else ""
        lines.append(f"{shown['meter']}: {role} key {shown[role] or 'none'}{place}")
    used = shown["in_use"]
    if used and used["encryption"] != shown["encryption"]:
        lines.append(f"{shown['meter']}: the daemon uses the encryption key {used['encryption'] or 'none'}")
    return lines + [f"{shown['meter']}: {problem}" for problem in shown["problems"]]


def _in_use(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the running daemon uses, by meter; nothing where none runs or answers."""
    try:
        status = ask(socket_path(settings.control.socket), "status")
    except ControlError:
        return {}
    return {meter["meter"]: meter["keys"] for meter in status["meters"]}


def _print(args: argparse.Namespace, answer: dict[str, Any], lines: list[str]) -> None:
    print(json.dumps(answer) if args.json else "\n".join(lines))
