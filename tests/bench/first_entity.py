"""From the cable to an entity of Home Assistant: `meterd setup` with options, then `meterd run`, simulated meters."""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from processes import Bench, BenchError, Subscriber
from report import Figure

from tests.cables import Cable, Household

MUST_S = 60.0
#: meters at the interval of the real ones: P1 once a second, encrypted P1, and M-Bus at 2400 Bd
METERS = {"dsmr5": 1.0, "lu-smarty": 10.0, "at-kaifa": 5.0}


def figures(_seconds: float) -> list[Figure]:
    """Seconds from the start of the wizard to a valid entity with a value, for the slowest of the meters.

    All of them at the same time, because nearly all of it is waiting for telegrams.
    """
    with ThreadPoolExecutor(len(METERS)) as pool:
        took = dict(zip(METERS, pool.map(first_entity, METERS, METERS.values()), strict=True))
    detail = [
        f"{variant}, every {METERS[variant]:g} s: setup {setup_s:.1f} s, entity after {all_s:.1f} s"
        for variant, (setup_s, all_s) in took.items()
    ]
    return [
        Figure(
            "cable to an entity of Home Assistant", max(all_s for _, all_s in took.values()), "s", MUST_S, detail=detail
        )
    ]


def first_entity(variant: str, interval_s: float) -> tuple[float, float]:
    """Set a meter up that has been sending for a while; s to the end of the wizard, and to the entity."""
    meter = Household(variant, interval_s)
    with Bench() as bench, laid(bench, meter) as cable:
        port = bench.broker()
        watched = bench.subscriber(port, "#")
        (bench.folder / "keys").write_text(meter.text)
        home = Home()
        began = time.monotonic()
        wizard = bench.child("setup", *command(bench, "setup", *options(bench, cable, port)))
        if code := wizard.wait(2 * MUST_S):
            raise BenchError(f"the wizard ended with {code}: {bench.log('setup')}")
        setup_s = time.monotonic() - began
        place_socket(bench)
        bench.child("daemon", *command(bench, "run", "-c", f"{bench.folder}/meterd.toml"))
        bench.until(lambda: home.take(watched), "an entity")
        return setup_s, time.monotonic() - began


@contextmanager
def laid(bench: Bench, meter: Household) -> Iterator[Cable]:
    """The cable of a meter, taken away at the end."""
    cable = Cable(bench.folder / "port", meter.telegram, meter.line, meter.interval_s)
    try:
        yield cable
    finally:
        cable.close()


def options(bench: Bench, cable: Cable, port: int) -> list[str]:
    """Every answer of the wizard."""
    folder = str(bench.folder)
    keys = ["--key-file", f"{folder}/keys"]
    broker = ["--mqtt-host", "127.0.0.1", "--mqtt-port", str(port)]
    return ["--yes", "--port", str(cable.link), *keys, *broker, "--output", f"{folder}/meterd.toml",
            "--journal", f"{folder}/journal.db"]  # fmt: skip


def place_socket(bench: Bench) -> None:
    """The control socket of this measurement, beside that of a daemon which may run here."""
    path = bench.folder / "meterd.toml"
    path.write_text(path.read_text().replace("[control]", f'[control]\nsocket = "{bench.folder}/control"'))


def command(bench: Bench, *arguments: str) -> list[str]:
    """A command of this checkout; the keys go into a store of this measurement."""
    return ["env", f"XDG_CONFIG_HOME={bench.folder}/xdg", sys.executable, "-m", "gateway.cli", *arguments]


@dataclass
class Home:
    """What Home Assistant makes of the messages, by its rules of MQTT discovery: device bundle, availability, value."""

    bundles: dict[str, dict[str, Any]] = field(default_factory=dict)
    topics: dict[str, bytes] = field(default_factory=dict)

    def take(self, watched: Subscriber) -> bool:
        """Take what came; whether there is an available power entity with a number."""
        for _, topic, payload in watched.drain(0.05):
            self.topics[topic] = payload
            # an empty one takes a device away: the wizard tests the right to write with that
            if payload and topic.startswith("homeassistant/device/") and topic.endswith("/config"):
                self.bundles[topic] = _checked(json.loads(payload))
        return any(map(self._shows_power, self.bundles.values()))

    def _shows_power(self, bundle: dict[str, Any]) -> bool:
        available = all(self.topics.get(each["topic"]) == b"online" for each in bundle["availability"])
        return available and any(map(self._has_watts, bundle["components"].values()))

    def _has_watts(self, component: dict[str, Any]) -> bool:
        value = self.topics.get(component.get("state_topic", ""), b"")
        is_power = component.get("device_class") == "power" and component.get("unit_of_measurement") == "W"
        return is_power and value.removeprefix(b"-").isdigit()


def _checked(bundle: dict[str, Any]) -> dict[str, Any]:
    """A bundle names its device, its origin and what each component is (components/mqtt/schemas.py)."""
    # a platform alone takes a component away
    kept = {key: each for key, each in bundle["components"].items() if each.keys() != {"platform"}}
    named = bundle["device"]["identifiers"] and bundle["origin"]["name"] and bundle["availability"]
    if not (named and all(each["platform"] and each["unique_id"] for each in kept.values())):
        raise BenchError("a bundle of discovery is not whole")
    return bundle | {"components": kept}
