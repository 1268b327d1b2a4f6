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


#: every kind of sink, by its table in meterd.toml, in the order in which they get a reading
SINKS: dict[str, Callable[[Settings, bytes], Mapping[str, Sink]]] = {
    "mqtt": _mqtt,
}
