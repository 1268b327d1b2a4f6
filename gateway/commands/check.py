"""Validate the configuration and everything that it names: all errors at once, one line each.

Host names are not resolved and no port is opened. A serial device that is not there is a warning: it may be plugged
in later.
"""

import argparse
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.commands import configuration
from gateway.keys import find
from gateway.settings import MeterSettings, MqttSettings, Settings, SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd check`."""
    configuration.add_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object: ok, errors, warnings")


def run(args: argparse.Namespace) -> int:
    """Print errors and warnings; 1 when there is an error."""
    path = configuration.place(args.config)
    errors: list[str] = []
    warnings: list[str] = []
    try:
        settings = configuration.read(path)
    except SettingsError as error:
        errors = error.problems
    else:
        errors = [f"{path}: {line}" for line in _errors(settings)]
        warnings = [f"{path}: {line}" for line in _warnings(settings)]
    if args.json:
        print(json.dumps({"ok": not errors, "errors": errors, "warnings": warnings}))
        return 1 if errors else 0
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    if not errors:
        print(f"{path}: OK, {_summary(settings)}")
    return 1 if errors else 0


def _summary(settings: Settings) -> str:
    meters = ", ".join(meter.name for meter in settings.meter if meter.enabled) or "none"
    mqtt = settings.mqtt
    return f"meters: {meters}; MQTT: {f'{mqtt.host}, topics {mqtt.base}/...' if mqtt else 'not configured'}"


def _errors(settings: Settings) -> Iterator[str]:
    _, problems = configuration.named_profiles(settings)
    yield from problems
    if settings.mqtt and settings.mqtt.tls:
        yield from _tls_errors(settings.mqtt)
    if settings.mqtt and settings.mqtt.password_file and not Path(settings.mqtt.password_file).read_bytes().strip():
        yield f"[mqtt] password_file: {settings.mqtt.password_file} is empty"


def _tls_errors(mqtt: MqttSettings) -> Iterator[str]:
    import ssl

    context = ssl.create_default_context()
    try:
        if mqtt.ca_file:
            context.load_verify_locations(mqtt.ca_file)
    except ssl.SSLError as error:
        yield f"[mqtt] ca_file: {mqtt.ca_file} holds no certificate in PEM form ({error.reason})"
    try:
        if mqtt.cert_file and mqtt.key_file:
            # An encrypted key must not make OpenSSL ask for its passphrase.
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file, password="")
    except ssl.SSLError as error:
        yield f"[mqtt] cert_file: {mqtt.cert_file} and {mqtt.key_file} are no pair in PEM form ({error.reason})"


def _warnings(settings: Settings) -> Iterator[str]:
    for meter in settings.meter:
        yield from _port_warnings(meter)
        for problem in find(meter.name, meter.key_file, meter.auth_key_file).problems:
            yield f'[[meter]] "{meter.name}": the key cannot be used: {problem}'
    if settings.mqtt is None:
        yield "no [mqtt]: nothing is published"
    elif settings.mqtt.password_file and Path(settings.mqtt.password_file).stat().st_mode & stat.S_IROTH:
        yield f"[mqtt] password_file: every user can read {settings.mqtt.password_file}: chmod o-r"
    elif settings.mqtt.password_file and not settings.mqtt.tls and settings.mqtt.host not in ("localhost", "127.0.0.1"):
        yield "[mqtt] tls: without TLS the password crosses the network in clear"
    folder = Path(settings.journal.path).parent
    if not os.access(folder, os.W_OK):
        yield f"[journal] path: {folder} is not a folder that this user can write"


def _port_warnings(meter: MeterSettings) -> Iterator[str]:
    where = f'[[meter]] "{meter.name}" port: {meter.port}'
    if "://" in meter.port:
        return
    try:
        mode = Path(meter.port).stat().st_mode
    except OSError as error:
        yield f"{where}: {error.strerror}; is the adapter plugged in?"
        return
    if not stat.S_ISCHR(mode):
        yield f"{where} is no serial device"
    elif not os.access(meter.port, os.R_OK | os.W_OK):
        yield f"{where}: this user may not open it; add the user of the daemon to its group (often dialout)"
    elif meter.port.startswith("/dev/ttyUSB"):
        yield f"{where} may get another number when it is replugged; use /dev/serial/by-id/..."
