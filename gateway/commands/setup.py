"""Set a meter up: port, line, meter, key, broker; the configuration is written in the last step, all or nothing.

Asks in a plain terminal, also over ssh; each answer can be an option, and with --yes nothing is asked. Every port, key
and broker is tried before it is believed. An existing configuration gets one more meter, unless --force replaces it.

    meterd setup
    meterd setup --yes --port /dev/serial/by-id/usb-... --mqtt-host broker.local --key-file ek.txt

Exit code 0 written, 1 the answer is no, 2 usage, 130 interrupted; in all but the first nothing was written.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway.commands import configuration
from gateway.commands.arguments import seconds, title, zone
from gateway.commands.setup_dialogue import Dialogue, StoppedError
from gateway.commands.setup_plan import Plan

FRAMINGS = ("8N1", "8E1", "7E1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd setup`: one for every question."""
    add = parser.add_argument
    add("-c", "--config", "--output", dest="config", type=Path, metavar="FILE", help="the configuration to write")
    add("--yes", action="store_true", help="ask nothing: take options and defaults")
    add("--force", action="store_true", help="replace a configuration that is there; it is kept as FILE.old")
    add("--json", action="store_true", help="print one JSON object for each step")
    meter = parser.add_argument_group("the meter").add_argument
    meter("--port", metavar="PORT", help="/dev/serial/by-id/... or socket://HOST:PORT")
    meter("--baud", type=int, metavar="N", help="try this speed only")
    meter("--framing", choices=FRAMINGS, help="try this framing only")
    meter("--seconds", type=seconds, default=65, metavar="N", help="wait so long for the first octet (65)")
    meter("--no-listen", action="store_true", help="write what the options say, without a look at the line")
    meter("--profile", metavar="NAME", help="a profile of docs/meters, instead of recognising the meter")
    meter("--name", metavar="NAME", help="its name in topics: 1 to 32 of a-z, 0-9, _ and -")
    meter("--timezone", dest="tz", type=zone, metavar="ZONE", help="zone of its clock, such as Europe/Amsterdam")
    meter("--key-file", metavar="FILE", help="the encryption key, or both keys; - for standard input")
    meter("--auth-key-file", metavar="FILE", help="the authentication key; - for standard input")
    meter("--system-title", type=_title, metavar="HEX", help="where the telegrams do not say it")
    meter("--min-auth", choices=("plain", "unverified", "verified"), help="refuse telegrams that prove less")
    meter(
        "--max-power", metavar="LIMIT", help="what the connection carries: 3x25A (the default), or watts; 0: no limit"
    )
    mqtt = parser.add_argument_group("the broker").add_argument
    mqtt("--no-mqtt", action="store_true", help="no broker: readings go to the journal only")
    mqtt("--no-broker-test", action="store_true", help="do not connect to it")
    mqtt("--mqtt-host", metavar="HOST", help="its name or address")
    mqtt("--mqtt-port", type=_port, metavar="N", help="1883, or 8883 with TLS")
    mqtt("--mqtt-base", metavar="TOPIC", help="first levels of all topics (meterd)")
    discovery = ("device", "component", "both", "off")
    mqtt("--mqtt-discovery", choices=discovery, help="how Home Assistant is told of the meter (device)")
    mqtt("--mqtt-client-id", metavar="ID", help="made from this installation where absent")
    mqtt("--mqtt-username", metavar="USER", help="the user name")
    mqtt("--mqtt-password-file", metavar="FILE", help="a file that holds the password on one line, mode 0600")
    mqtt("--mqtt-tls", action="store_true", default=None, help="with TLS")
    mqtt("--mqtt-ca-file", metavar="FILE", help="who signed the broker's certificate (PEM)")
    mqtt("--mqtt-cert-file", metavar="FILE", help="a client certificate (PEM)")
    mqtt("--mqtt-client-key-file", metavar="FILE", help="the key of the client certificate (PEM)")
    add("--journal", metavar="FILE", help="where readings are kept (/var/lib/meterd/journal.db)")


def run(args: argparse.Namespace) -> int:
    """Run the steps; 0 when the configuration was written."""
    if wrong := _contradiction(args):
        return _fail(args, wrong, 2)
    if not args.yes and not (sys.stdin.isatty() and (sys.stderr if args.json else sys.stdout).isatty()):
        return _fail(args, "standard input is no terminal: give --yes and options, or run it in a terminal", 2)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    before = {number: signal.signal(number, _interrupted) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        _steps(Plan(args, Dialogue(asks=not args.yes, as_json=args.json), _place(args.config)))
    except StoppedError as stopped:
        return _fail(args, str(stopped), stopped.code)
    except (KeyboardInterrupt, EOFError):
        return _fail(args, "interrupted: nothing was written", 130, gap="\n")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _steps(plan: Plan) -> None:
    """One step after the other. What is heavy to import comes after the first questions."""
    from gateway.commands import setup_broker, setup_key, setup_limit, setup_line, setup_write

    if plan.talk.asks:
        plan.talk.say("From the cable to readings. Ctrl-C ends it, and nothing is written then.")
    setup_line.check_profile(plan)
    setup_write.open_file(plan)
    setup_line.choose_port(plan)
    setup_line.hear(plan)
    setup_key.name_meter(plan)
    setup_key.enter_keys(plan)
    setup_key.settle_meter(plan)
    setup_limit.settle_limit(plan)
    setup_broker.settle_broker(plan)
    setup_write.write(plan)
    setup_write.show(plan)


def _place(named: Path | None) -> Path:
    """Where the configuration is, or will be: that of the host for root, else the user's; behind a link its target."""
    found = configuration.place(named)
    if named is None and not found.exists() and os.geteuid() != 0:
        found = configuration.user_place()
    return found.resolve() if found.is_symlink() else found


def _contradiction(args: argparse.Namespace) -> str | None:
    if args.no_mqtt and any(value is not None for option, value in vars(args).items() if option.startswith("mqtt_")):
        return "--no-mqtt and other --mqtt options contradict: leave out one side"
    if args.no_listen and not args.port:
        return "--no-listen needs --port"
    if not args.yes and "-" in (args.key_file, args.auth_key_file):
        return "a key on standard input needs --yes: the terminal is for the answers"
    return None


def _fail(args: argparse.Namespace, reason: str, code: int, gap: str = "") -> int:
    if args.json:
        import json

        print(json.dumps({"step": "end", "error": reason, "code": code}), flush=True)
    print(f"{gap}meterd setup: {reason}", file=sys.stderr)
    return code


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def _title(text: str) -> str:
    return title(text).hex().upper()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no TCP port from 1 to 65535")
    return int(text)
