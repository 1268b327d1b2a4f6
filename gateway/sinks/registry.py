"""Which table of the configuration makes which sinks; a sink's modules are imported only where it is configured."""

from collections.abc import Callable, Mapping

from gateway.settings import Settings
from gateway.sinks import Sink


def create(settings: Settings, salt: bytes) -> dict[str, Sink]:
    """Make every configured sink, by its name in log and status; `salt` holds random octets of the installation."""
    return {name: sink for make in SINKS.values() for name, sink in make(settings, salt).items()}


def _mqtt(settings: Settings, salt: bytes) -> Mapping[str, Sink]:
    if settings.mqtt is None:
        return {}
    from gateway.sinks.mqtt import MqttSink

    return {"mqtt": MqttSink(settings.mqtt, [meter.name for meter in settings.meter], salt=salt)}


def _compat(settings: Settings, salt: bytes) -> Mapping[str, Sink]:
    if not settings.compat:
        return {}
    from gateway.sinks import topics
    from gateway.sinks.compat import CompatSink

    sinks = {}
    for number, compat in enumerate(settings.compat, 1):
        broker = settings.broker(compat)
        own = compat.client_id or f"{broker.client_id or topics.client_id(salt)}-{number}"
        sinks[f"compat {number}"] = CompatSink(compat, broker, own)
    return sinks


#: every kind of sink, by its table in meterd.toml, in the order in which they get a reading
SINKS: dict[str, Callable[[Settings, bytes], Mapping[str, Sink]]] = {
    "mqtt": _mqtt,
    "compat": _compat,
}
