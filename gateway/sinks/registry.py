"""Which table of the configuration makes which sinks; a sink's modules are imported only where it is configured."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from gateway.settings import Settings
from gateway.sinks import Sink

if TYPE_CHECKING:
    from gateway.sinks.homeassistant import Model, Sub
    from gateway.stores.outbox import Outbox

#: gives the outbox of a sink by its name, None where there is no journal
Outboxes: TypeAlias = "Callable[[str], Outbox | None]"


def no_outbox(_sink: str) -> None:
    """Give no outbox: there is no journal."""


def create(
    settings: Settings,
    salt: bytes,
    outbox: Outboxes = no_outbox,
    *,
    lasting: bool = True,
    former: Mapping[str, bytes | None] = MappingProxyType({}),
) -> dict[str, Sink]:
    """Make every configured sink, by its name in log and status; `salt` holds random octets of the installation.

    `outbox` gives a sink that delivers EVERY reading its outbox by name, or None where there is no journal.
    Where they are not `lasting`, nothing is announced under ids that are made of them. `former` are meters that were
    configured once, with what the journal keeps of their sub-meters: what was said of them in public is taken back.
    """
    makers = SINKS | {"mqtt": partial(_mqtt, discovers=lasting, former=former)}
    return {name: sink for make in makers.values() for name, sink in make(settings, salt, outbox).items()}


def _mqtt(
    settings: Settings,
    salt: bytes,
    outbox: Outboxes,
    *,
    discovers: bool = True,
    former: Mapping[str, bytes | None] = MappingProxyType({}),
) -> Mapping[str, Sink]:
    if settings.mqtt is None:
        return {}
    from gateway.sinks.mqtt import MqttSink

    names = [meter.name for meter in settings.meter]
    own = outbox("mqtt") if settings.mqtt.backfill else None
    gone = {name: _subs(salt, saved) for name, saved in former.items() if name not in names}
    sink = MqttSink(
        settings.mqtt, names, salt=salt, outbox=own, former=gone, discovers=discovers, model_of=_model
    )  # fmt: skip
    return {"mqtt": sink}


def _subs(salt: bytes, saved: bytes | None) -> "list[Sub]":
    """The sub-meters of a meter, as far as they make the names under which they were announced."""
    from gateway.sinks.homeassistant import Sub
    from gateway.sub_meters import SubMeters

    try:
        known = SubMeters(salt, saved).as_list()
    except ValueError:
        return []
    return [Sub(one["device"], one["medium"], one["channel"], "", has_time=False, expire_s=0) for one in known]


def _model(profile: str) -> "Model":
    """What a profile says of its meters; nothing where it cannot be read any more."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles
    from gateway.sinks.homeassistant import model

    try:
        known = profiles.load(profile)
    except (KeyError, ProfileSyntaxError, OSError, UnicodeDecodeError):
        return model("", ())
    return model(known.title, known.meters)


def _compat(settings: Settings, salt: bytes, _outbox: Outboxes) -> Mapping[str, Sink]:
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


def _virtual_p1(settings: Settings, salt: bytes, _outbox: Outboxes) -> Mapping[str, Sink]:
    if not settings.virtual_p1:
        return {}
    from gateway.sinks.virtual_p1 import VirtualP1Sink

    zones = {meter.name: meter.timezone for meter in settings.meter}
    return {
        (name := f"virtual_p1 {number}"): VirtualP1Sink(name, one, timezone=zones[one.meter], salt=salt)
        for number, one in enumerate(settings.virtual_p1, 1)
    }


def _homewizard(settings: Settings, salt: bytes, _outbox: Outboxes) -> Mapping[str, Sink]:
    if not settings.homewizard:
        return {}
    from gateway.sinks.homewizard import HomeWizardSink

    zones = {meter.name: meter.timezone for meter in settings.meter}
    return {
        (name := f"homewizard {number}"): HomeWizardSink(name, one, timezone=zones[one.meter], salt=salt)
        for number, one in enumerate(settings.homewizard, 1)
    }


def _influx(settings: Settings, salt: bytes, outbox: Outboxes) -> Mapping[str, Sink]:
    if settings.influx is None:
        return {}
    from gateway.sinks.influx import InfluxSink

    return {"influx": InfluxSink(settings.influx, outbox("influx"), meters=len(settings.meter), salt=salt)}


#: every kind of sink, by its table in meterd.toml, in the order in which they get a reading
SINKS: dict[str, Callable[[Settings, bytes, Outboxes], Mapping[str, Sink]]] = {
    "mqtt": _mqtt,
    "compat": _compat,
    "virtual_p1": _virtual_p1,
    "homewizard": _homewizard,
    "influx": _influx,
}
