"""How each kind of fault is made and undone: `begin` returns what ends it. When and for how long: schedule.KINDS."""

import contextlib
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from random import Random

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.chaos.plant import FILLER, METERS, Plant, until
from tests.chaos.schedule import Planned

End = Callable[[], None]
#: octets below which no file may grow where there is no file system of our own to fill
FILE_LIMIT = 4_096


def nothing() -> None:
    """Some faults end by themselves."""


def meter(plant: Plant, fault: Planned) -> End:
    """An order for the next telegrams of one meter."""
    name = fault.target.removeprefix("meter ")
    interval_s = next(interval for known, _, interval, _ in METERS if known == name)
    once = fault.kind in ("unplug", "flood")
    count = 1 if once else max(1, int(fault.seconds / interval_s))
    plant.meters.order(name, kind=fault.kind, count=count, seconds=fault.seconds, seed=fault.seed)
    return nothing


def kill(plant: Plant, _: Planned) -> End:
    """kill -9; started again at the end."""
    plant.manager.end(signal.SIGKILL)
    return plant.manager.start


def term(plant: Plant, _: Planned) -> End:
    """SIGTERM: it must end in order within 5 s; started again at the end."""
    plant.manager.end(signal.SIGTERM)
    return plant.manager.start


def freeze(plant: Plant, _: Planned) -> End:
    """SIGSTOP, then SIGCONT."""
    plant.manager.signal(signal.SIGSTOP)
    return lambda: plant.manager.signal(signal.SIGCONT)


def hang(plant: Plant, _: Planned) -> End:
    """SIGSTOP for good: the watchdog has to find out."""
    plant.manager.signal(signal.SIGSTOP)
    return nothing


def reload_good(plant: Plant, fault: Planned) -> End:
    """SIGHUP with a valid configuration that differs."""
    plant.write_config(level=Random(fault.seed).choice(["debug", "info"]))
    plant.manager.signal(signal.SIGHUP)
    return nothing


def reload_bad(plant: Plant, _: Planned) -> End:
    """SIGHUP with a configuration that is none: the last good one stays in force."""
    plant.write_config(broken=True)
    plant.manager.signal(signal.SIGHUP)

    def end() -> None:
        plant.write_config()
        plant.manager.signal(signal.SIGHUP)

    return end


def broker_freeze(plant: Plant, _: Planned) -> End:
    """SIGSTOP of the broker, then SIGCONT."""
    plant.mosquitto.freeze()
    return plant.mosquitto.thaw


def broker_kill(plant: Plant, _: Planned) -> End:
    """kill -9 of the broker. The way to it opens when the subscriber is back: nothing is told to an empty room."""
    before = plant.subscriptions()
    plant.mqtt_proxy.set("refuse")
    plant.mosquitto.kill()

    def end() -> None:
        plant.mosquitto.start()
        until(lambda: plant.subscriptions() > before, "the subscriber after a restart of the broker")
        plant.mqtt_proxy.set("pass")

    return end


def mqtt_way(mode: str) -> Callable[[Plant, Planned], End]:
    """A mode of the proxy in front of the broker."""

    def begin(plant: Plant, _: Planned) -> End:
        plant.mqtt_proxy.set(mode)
        return lambda: plant.mqtt_proxy.set("pass")

    return begin


def influx_way(mode: str) -> Callable[[Plant, Planned], End]:
    """A mode of the proxy in front of the database."""

    def begin(plant: Plant, _: Planned) -> End:
        plant.influx_proxy.set(mode)
        # requests that wait in a hole are cut off with it
        return lambda: (
            [plant.influx_proxy.set(one) for one in (["reset"] if mode == "hole" else []) + ["pass"]] and None
        )

    return begin


def influx_kill(plant: Plant, _: Planned) -> End:
    """kill -9 of the database."""
    server = plant.databases[plant.database]
    server.kill()
    return server.start


def influx_freeze(plant: Plant, _: Planned) -> End:
    """SIGSTOP of the database, then SIGCONT."""
    server = plant.databases[plant.database]
    server.freeze()
    return server.thaw


def all_dead(plant: Plant, fault: Planned) -> End:
    """Every sink at once: the broker stands still, the database does not answer."""
    ends = [broker_freeze(plant, fault), influx_way("hole")(plant, fault)]
    return lambda: [end() for end in ends] and None


def takeover(plant: Plant, _: Planned) -> End:
    """Another client with our client id: the broker throws us out."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="meterd-chaos", protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set("meterd", (plant.secrets / "meterd").read_text().strip())
    client.connect("127.0.0.1", plant.mosquitto.port)
    client.loop_start()

    def end() -> None:
        client.disconnect()
        client.loop_stop()

    return end


def disk_full(plant: Plant, _: Planned) -> End:
    """Another program fills the file system of the stores; without one of our own no file of the daemon may grow."""
    if plant.mounted:
        filler = plant.state / FILLER
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(65_536)):
                pass
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(512)):
                pass
        return lambda: filler.unlink(missing_ok=True)
    process = plant.manager.process
    if process is None or process.poll() is not None:
        return nothing
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, hard))

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))

    return end


def slow_client(plant: Plant, _: Planned) -> End:
    """Clients of the virtual P1 that never read."""
    return _idlers(plant.virtual, 5, b"")


def slow_metrics(plant: Plant, _: Planned) -> End:
    """Clients that begin a request for the metrics and never end it."""
    return _idlers(plant.metrics, 30, b"GET /metrics HTTP/1.1\r\nHost: local")


def hammer(plant: Plant, fault: Planned) -> End:
    """Questions, half questions and rubbish at the control socket, as fast as it takes them."""
    stop = threading.Event()
    dice = Random(fault.seed)
    texts = [b'{"command": "status"}\n', b'{"comm', b"\xff" * 9_000, dice.randbytes(300) + b"\n", b""]

    def run() -> None:
        kept: list[socket.socket] = []
        while not stop.wait(0.02):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.settimeout(0.5)
            with contextlib.suppress(OSError):
                client.connect(str(plant.control))
                client.sendall(dice.choice(texts))
            kept.append(client)
            if len(kept) > 20:
                kept.pop(0).close()
        for client in kept:
            client.close()

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join(10)

    return end


def _idlers(port: int, count: int, text: bytes) -> End:
    clients = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            client = socket.create_connection(("127.0.0.1", port), timeout=1)
            clients.append(client)
            client.sendall(text)
            time.sleep(0.01)

    def end() -> None:
        for client in clients:
            client.close()

    return end


#: how every kind of schedule.KINDS is made
BEGIN: dict[str, Callable[[Plant, Planned], End]] = {
    **dict.fromkeys(("unplug", "noise", "flood", "bits", "truncated", "replay", "implausible", "silence"), meter),
    "kill": kill,
    "term": term,
    "freeze": freeze,
    "hang": hang,
    "reload_good": reload_good,
    "reload_bad": reload_bad,
    "broker_freeze": broker_freeze,
    "broker_kill": broker_kill,
    "mqtt_reset": mqtt_way("reset"),
    "mqtt_hole": mqtt_way("hole"),
    "mqtt_slow": mqtt_way("slow"),
    "mqtt_puback": mqtt_way("puback"),
    "takeover": takeover,
    "influx_refused": influx_way("refuse"),
    **{f"influx_{mode}": influx_way(mode) for mode in ("429", "503", "401", "400", "slow", "late", "lost", "hole")},
    "influx_kill": influx_kill,
    "influx_freeze": influx_freeze,
    "all_dead": all_dead,
    "disk_full": disk_full,
    "slow_client": slow_client,
    "slow_metrics": slow_metrics,
    "hammer": hammer,
}
