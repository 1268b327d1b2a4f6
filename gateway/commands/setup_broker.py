"""`meterd setup`: the broker, tested as the daemon will use it; a password touches no disk before the last step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands.setup_dialogue import StoppedError
from gateway.commands.setup_plan import Plan
from gateway.settings import MqttSettings

#: answers that mean: no broker
NONE = "-"
#: options that become keys of `[mqtt]`
OPTIONS = {
    "mqtt_host": "host",
    "mqtt_port": "port",
    "mqtt_base": "base",
    "mqtt_discovery": "discovery",
    "mqtt_client_id": "client_id",
    "mqtt_username": "username",
    "mqtt_password_file": "password_file",
    "mqtt_tls": "tls",
    "mqtt_ca_file": "ca_file",
    "mqtt_cert_file": "cert_file",
    "mqtt_client_key_file": "key_file",
}
FILES = ("password_file", "ca_file", "cert_file", "key_file")
TESTED = "connected with MQTT {protocol}{tls}, {writes}"
WRITES = {
    True: "topics may be written",
    None: "MQTT 3.1.1 does not tell whether topics may be written",
}


def settle_broker(plan: Plan) -> None:
    """Test the broker of the configuration, of the options or of the answers, until it works or a person skips it."""
    args, talk = plan.args, plan.talk
    talk.title("Broker")
    if plan.adds:
        _test_existing(plan)
        return
    if args.no_mqtt:
        talk.say("No broker (--no-mqtt): readings go to the journal only.")
        talk.result("broker", broker=None)
        return
    named = {key: value for option, key in OPTIONS.items() if (value := getattr(args, option)) is not None}
    if "host" not in named and not talk.asks:
        raise StoppedError("--mqtt-host is missing: name the broker, or give --no-mqtt", 2)
    plan.mqtt = _absolute(named) if "host" in named else _asked(plan, named)
    while plan.mqtt is not None and not _works(plan, plan.mqtt):
        plan.mqtt = _other(plan, named)
    if plan.mqtt is None:
        talk.say("No broker: readings go to the journal only. Add [mqtt] to the configuration later.")
        talk.result("broker", broker=None)


def password_path(plan: Plan) -> Path:
    """Where a password that was entered is kept: beside the configuration, never in it."""
    return plan.file.absolute().parent / "mqtt.password"


def _test_existing(plan: Plan) -> None:
    mqtt = plan.settings.mqtt if plan.settings else None
    if mqtt is None:
        plan.talk.say("The configuration has no [mqtt], and stays as it is.")
        plan.talk.result("broker", broker=None)
        return
    values = {key: value for key, value in msgspec.structs.asdict(mqtt).items() if value is not None}
    _works(plan, values)


def _asked(plan: Plan, named: dict[str, Any]) -> dict[str, Any] | None:
    """Ask for the broker; None for none."""
    talk = plan.talk
    answer = talk.ask("Broker: HOST or HOST:PORT (- for none)", "--mqtt-host", default="localhost", wrong=_wrong_host)
    if answer == NONE:
        return None
    host, port = _host_port(answer)
    values: dict[str, Any] = {"host": host} | ({"port": port} if port else {}) | named
    if "tls" not in named and talk.confirm("With TLS?", default=port == 8883):
        values["tls"] = True
        ca = "" if "ca_file" in named else _optional(plan, "Its authority's certificate, a PEM file (- the system's)")
        values |= {"ca_file": ca} if ca else {}
    user = "" if "username" in named else _optional(plan, "User name (- for none)")
    values |= {"username": user} if user else {}
    if "username" in values and "password_file" not in values:
        plan.password = talk.secret("Password (not shown; empty for none)") or None
    return _absolute(values)


def _optional(plan: Plan, question: str) -> str:
    answer = plan.talk.ask(question, "", default=NONE)
    return "" if answer == NONE else answer


def _other(plan: Plan, named: dict[str, Any]) -> dict[str, Any] | None:
    """After a test that failed: the same again, other answers, as it is, or none."""
    if not plan.talk.asks:
        raise StoppedError("the broker does not work: nothing was written (--no-broker-test writes it all the same)")
    choices = {"r": "again", "c": "other answers", "k": "keep it as it is", "n": "no broker"}
    answer = plan.talk.choose("What now", choices, "r")
    if answer == "k":
        plan.args.no_broker_test = True
    if answer == "c":
        plan.password = None
        return _asked(plan, {})
    return None if answer == "n" else plan.mqtt


def _works(plan: Plan, values: dict[str, Any]) -> bool:
    """Test these values; what happened is told."""
    from gateway.setup import broker
    from gateway.sinks.mqtt_errors import place

    with _password_file(plan) as path:
        try:
            settings = msgspec.convert(values | ({"password_file": path} if path else {}), MqttSettings)
        except msgspec.ValidationError as error:
            raise StoppedError(f"an option of the broker is not allowed: {error}", 2) from None
        if plan.args.no_broker_test:
            plan.talk.say("Not tested.")
            plan.talk.result("broker", broker=f"{settings.host}", tested=False)
            return True
        plan.talk.say(f"Connecting to {place(settings)} ...")
        answer = broker.test(settings, plan.name)
    reason = answer.error.replace(path, "the password") if answer.error and path else answer.error
    if reason:
        plan.talk.say(f"{reason}.")
    else:
        tls = " over TLS" if settings.tls else ""
        plan.talk.say(f"It works: {TESTED.format(protocol=answer.protocol, tls=tls, writes=WRITES[answer.writes])}.")
    if answer.announces is False:
        _without_discovery(plan, values, settings)
    facts = {
        "announces": answer.announces,
        "protocol": answer.protocol,
        "tls": settings.tls,
        "writes": answer.writes,
        "error": reason,
    }
    plan.talk.result("broker", broker=answer.broker, tested=True, **facts)
    return reason is None


def _without_discovery(plan: Plan, values: dict[str, Any], settings: MqttSettings) -> None:
    """Home Assistant would not be told of the meter: that is a matter of rights, or it is not wanted."""
    plan.talk.say(
        f"But this user may not write {settings.discovery_prefix}/#: Home Assistant does not find the meter by itself."
    )
    if not plan.adds and plan.talk.confirm("Switch discovery off?", default=False):
        values["discovery"] = "off"


@contextmanager
def _password_file(plan: Plan) -> Iterator[str | None]:
    """A path from which the password can be read, in memory only."""
    if plan.password is None:
        yield None
        return
    handle = os.memfd_create("password", os.MFD_CLOEXEC)
    try:
        os.write(handle, plan.password.encode() + b"\n")
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _absolute(values: dict[str, Any]) -> dict[str, Any]:
    """Files are named from where the person is, not from where the configuration is."""
    return values | {key: str(Path(values[key]).absolute()) for key in FILES if values.get(key)}


def _host_port(answer: str) -> tuple[str, int | None]:
    host, colon, port = answer.rpartition(":")
    if colon and port.isdecimal() and (host.startswith("[") or ":" not in host):
        return host.strip("[]"), int(port)
    return answer.strip("[]"), None


def _wrong_host(answer: str) -> str | None:
    host, port = _host_port(answer)
    if answer == NONE:
        return None
    if not host or " " in host or "/" in host:
        return "a broker is HOST or HOST:PORT, such as broker.local or 192.0.2.7:1883"
    return "a TCP port is a number from 1 to 65535" if port is not None and not 1 <= port <= 65_535 else None
