"""Keys of the running daemon: found at its start, and taken over the control socket (docs/keys.md)."""

from collections.abc import Mapping
from typing import Any

from decoders.cipher import KeyTextError, parse_key
from gateway import keys, log
from gateway.key_material import Material, Secret
from gateway.meter import Meter
from gateway.settings import MeterSettings

_PR_SET_DUMPABLE = 4


def find(settings: MeterSettings) -> keys.Held:
    """The keys of a meter from where they are kept; what cannot be used is told."""
    held = keys.find(settings.name, settings.key_file, settings.auth_key_file)
    for problem in held.problems:
        log.event("key_refused", meter=settings.name, reason=problem)
    return held


def take(meters: Mapping[str, Meter], request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer the command `key`: `meter`, and `encryption` and `authentication` in hexadecimal digits.

    Without either key the daemon looks for those that are kept. The answer has fingerprints; an error says what is
    wrong with the request and never quotes it.
    """
    meter = meters.get(request["meter"]) if isinstance(request.get("meter"), str) else None
    if meter is None:
        return {"error": f"no such meter; there are: {', '.join(meters)}"}
    try:
        material = Material(_secret(request, "encryption"), _secret(request, "authentication"))
    except KeyTextError as error:
        return {"error": str(error)}
    confirmed = False
    if material.encryption is not None:
        confirmed = meter.use(lambda: meter.trust.use(material))
    elif material.authentication is not None:
        return {"error": "an authentication key is of no use without the encryption key"}
    else:
        held = find(meter.settings)
        meter.use(lambda: meter.trust.hold(held))
    used = _logged(meter, confirmed=confirmed)
    places = keys.find(meter.name, meter.settings.key_file, meter.settings.auth_key_file).places
    return {
        "meter": meter.name,
        "encryption": used["encryption"],
        "authentication": used["authentication"],
        "confirmed": confirmed,
        "store": str(keys.store()),
        "credential": any(place.startswith("credential ") for place in places.values()),
    }


def hold(meter: Meter, held: keys.Held) -> None:
    """Let a meter use keys as they are kept now."""
    meter.use(lambda: meter.trust.hold(held))
    _logged(meter, confirmed=False)
    protect_memory()


def protect_memory() -> None:
    """Keep keys out of core dumps, and out of the reach of other processes of the same user (prctl(2), ptrace(2))."""
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _logged(meter: Meter, *, confirmed: bool) -> dict[str, Any]:
    """Log the keys in use by their fingerprints, and give what `meterd status` shows of them."""
    used = meter.trust.as_dict()
    log.event(
        "key_set",
        meter=meter.name,
        encryption=used["encryption"] or "none",
        authentication=used["authentication"] or "none",
        confirmed=confirmed or None,
    )
    return used


def _secret(request: Mapping[str, Any], role: Any) -> Secret | None:
    text = request.get(role)
    if text is None:
        return None
    if not isinstance(text, str):
        raise KeyTextError(f"{role} is not a text of hexadecimal digits")
    return Secret(parse_key(text, role))
