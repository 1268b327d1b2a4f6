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

from gateway import hub_rules
from gateway.commands import configuration
from gateway.influx_rules import SecretError, is_loopback, place, secret
from gateway.keys import find
from gateway.settings import BrokerSettings, HubSettings, InfluxSettings, MeterSettings, Settings, SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd check`."""
    configuration.add_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object: ok, errors, warnings")


def run(args: argparse.Namespace) -> int:
    """Print errors and warnings; 1 when there is an error."""
    path = configuration.place(args.config)
    settings, errors, warnings = findings(path)
    if args.json:
        print(json.dumps({"ok": not errors, "errors": errors, "warnings": warnings}))
        return 1 if errors else 0
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    if settings and not errors:
        print(f"{path}: OK, {_summary(settings)}")
    return 1 if errors else 0


def findings(path: Path, who: str = "") -> tuple[Settings | None, list[str], list[str]]:
    """The settings of a configuration as far as they can be read, its errors, its warnings; `who`: for one process."""
    try:
        settings = configuration.read(path, who)
    except SettingsError as error:
        return None, error.problems, []
    errors = [f"{path}: {line}" for line in _errors(settings)]
    return settings, errors, [f"{path}: {line}" for line in _warnings(settings)]


def _summary(settings: Settings) -> str:
    meters = ", ".join(meter.name for meter in settings.meter if meter.enabled) or "none"
    mqtt = settings.mqtt
    influx = f"; readings to {place(settings.influx.url)}" if settings.influx else ""
    hubs = f"; hubs: {', '.join(hub.name for hub in settings.hub)}" if settings.hub else ""
    return (
        f"meters: {meters}; MQTT: {f'{mqtt.host}, topics {mqtt.base}/...' if mqtt else 'not configured'}{influx}{hubs}"
    )


def _errors(settings: Settings) -> Iterator[str]:
    profiles, problems = configuration.named_profiles(settings)
    yield from problems
    yield from configuration.output_problems(settings, profiles)
    yield from configuration.hub_problems(settings)
    for where, broker in _brokers(settings):
        if broker.tls:
            yield from _tls_errors(where, broker)
        if broker.password_file and not Path(broker.password_file).read_bytes().strip():
            yield f"{where} password_file: {broker.password_file} is empty"
    if settings.influx:
        yield from _influx_errors(settings.influx)
    for number, hub in enumerate(settings.hub, 1):
        yield from _credential_errors(f"[[hub]] no. {number}", hub)


def _credential_errors(where: str, hub: HubSettings) -> Iterator[str]:
    """Certificates, keys and secrets; those that systemd hands to the service are there only when that runs."""
    from gateway.uploader.credentials import CredentialError, Credentials

    if any((getattr(hub, key) or "").startswith(hub_rules.CREDENTIALS) for key in hub_rules.PATHS):
        return
    try:
        Credentials(hub).load()
    except CredentialError as error:
        yield f"{where} {error}"


def _influx_errors(influx: InfluxSettings) -> Iterator[str]:
    for key in ("token_file", "password_file"):
        if path := getattr(influx, key):
            try:
                secret(key, path)
            except SecretError as error:
                yield f"[influx] {key}: {error}"
    yield from _tls_errors("[influx]", influx)


def _brokers(settings: Settings) -> Iterator[tuple[str, BrokerSettings]]:
    """Every broker with the table that names it."""
    if settings.mqtt:
        yield "[mqtt]", settings.mqtt
    for number, compat in enumerate(settings.compat, 1):
        if compat.host:
            yield f"[[compat]] no. {number}", settings.broker(compat)


def _tls_errors(where: str, broker: BrokerSettings | InfluxSettings) -> Iterator[str]:
    import ssl

    context = ssl.create_default_context()
    try:
        if broker.ca_file:
            context.load_verify_locations(broker.ca_file)
    except ssl.SSLError as error:
        yield f"{where} ca_file: {broker.ca_file} holds no certificate in PEM form ({error.reason})"
    try:
        if broker.cert_file and broker.key_file:
            # An encrypted key must not make OpenSSL ask for its passphrase.
            context.load_cert_chain(broker.cert_file, broker.key_file, password="")
    except ssl.SSLError as error:
        yield f"{where} cert_file: {broker.cert_file} and {broker.key_file} are no pair in PEM form ({error.reason})"


def _warnings(settings: Settings) -> Iterator[str]:
    for meter in settings.meter:
        yield from _port_warnings(meter)
        for problem in find(meter.name, meter.key_file, meter.auth_key_file).problems:
            yield f'[[meter]] "{meter.name}": the key cannot be used: {problem}'
    if settings.mqtt is None:
        yield "no [mqtt]: nothing is published"
    for where, broker in _brokers(settings):
        if broker.password_file and Path(broker.password_file).stat().st_mode & stat.S_IROTH:
            yield f"{where} password_file: every user can read {broker.password_file}: chmod o-r"
        elif broker.password_file and not broker.tls and broker.host not in ("localhost", "127.0.0.1"):
            yield f"{where} tls: without TLS the password crosses the network in clear"
    if settings.influx:
        yield from _influx_warnings(settings.influx)
    folder = Path(settings.journal.path).parent
    if not os.access(folder, os.W_OK):
        yield f"[journal] path: {folder} is not a folder that this user can write"
    folder = settings.ledger_path.parent
    if settings.ledger.path and not os.access(folder, os.W_OK):
        yield f"[ledger] path: {folder} is not a folder that this user can write"


def _influx_warnings(influx: InfluxSettings) -> Iterator[str]:
    named = {key: path for key in ("token_file", "password_file") if (path := getattr(influx, key))}
    for key, path in named.items():
        if Path(path).stat().st_mode & stat.S_IROTH:
            yield f"[influx] {key}: every user can read {path}: chmod o-r"
    if named and influx.url.startswith("http:") and not is_loopback(influx.url):
        yield f"[influx] url: without https the {next(iter(named)).removesuffix('_file')} crosses the network in clear"


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
