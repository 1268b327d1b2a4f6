"""The broker of `meterd demo`: mosquitto where it is installed, else amqtt, as a child process on a loopback port."""

import asyncio
import shutil
import sys
from pathlib import Path

#: MQTT version that the daemon speaks with it: amqtt knows 3.1.1 only, and is silent when it is offered 5
VERSION = {"mosquitto": "auto", "amqtt": "3.1.1"}
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
"""


def command(kind: str, port: int, folder: Path) -> tuple[str, list[str]] | None:
    """Name a broker and the command that starts it; None when none is installed. `kind`: auto, mosquitto, amqtt."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if kind != "amqtt" and mosquitto:
        config = folder / "mosquitto.conf"
        config.write_text(MOSQUITTO.format(port=port))
        return "mosquitto", [mosquitto, "-c", str(config)]
    from importlib.util import find_spec

    if kind != "mosquitto" and find_spec("amqtt"):
        return "amqtt", [sys.executable, "-m", "gateway.commands.demo_broker", str(port)]
    return None


async def serve(port: int) -> None:
    """Run amqtt until the process is ended."""
    from amqtt.broker import Broker

    plugins = {
        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
    }
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins})
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
