"""The state of all hubs at a real broker: retained JSON, offline when the process dies, notices acknowledged."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.settings import MqttSettings
from gateway.uploader.status_topic import StatusTopic, client_id

TOPICS = "meterd/uploader/#"


class Listener:
    """A client that keeps what it gets, in its order."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe(TOPICS, qos=1)
        self.client.on_message = lambda _client, _data, message: self.got.append(
            (message.topic, message.payload, message.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def last(self) -> dict[str, Any] | None:
        found = [json.loads(payload) for topic, payload, _ in list(self.got) if topic == "meterd/uploader/status"]
        return found[-1] if found else None

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listen() -> Iterator[Callable[[int], Listener]]:
    made: list[Listener] = []

    def make(port: int) -> Listener:
        made.append(Listener(port))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < end, f"waited 60 s for {what}"
        time.sleep(0.02)
    return value


class Running:
    """A topic in a loop of its own thread."""

    def __init__(self, port: int, status: Callable[[], dict[str, Any]]) -> None:
        self.topic = StatusTopic(MqttSettings(host="127.0.0.1", port=port), b"salt", status)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.task = self.loop.create_task(self.topic.run())
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass
        finally:
            self.loop.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(30)
        assert not self.thread.is_alive()


def test_what_changes_is_told_and_good_bye_is_said(broker: Any, listen: Any) -> None:
    port = broker().port
    state = {"state": "online", "hubs": {}}
    running = Running(port, lambda: state)
    try:
        one = listen(port)
        until(lambda: one.last() == state, "the state")
        state = {"state": "online", "hubs": {"dk": {"open": 1}}}
        until(lambda: one.last() == state, "the change")
        late = listen(port)
        until(lambda: late.last() == state, "the retained state")
        assert late.got[0][2], "it is retained"
    finally:
        running.stop()
    until(lambda: one.last() == {"state": "offline"}, "the good-bye")


def test_the_broker_comes_back(broker: Any, listen: Any) -> None:
    one = broker()
    running = Running(one.port, lambda: {"state": "online"})
    try:
        first = listen(one.port)
        until(lambda: first.last() == {"state": "online"}, "the state")
        one.stop()
        one.start()
        second = listen(one.port)
        until(lambda: second.last() == {"state": "online"}, "the state again")
    finally:
        running.stop()


def test_a_notice_is_told_when_the_broker_acknowledged_it(broker: Any, listen: Any) -> None:
    one = broker()
    running = Running(one.port, lambda: {"state": "online"})
    try:
        heard = listen(one.port)
        until(heard.last, "the connection")
        assert until(lambda: running.topic.publish(b'{"id":"1"}'), "an acknowledgement")
        until(lambda: ("meterd/uploader/notice", b'{"id":"1"}', False) in heard.got, "the notice")
        one.stop()

        assert running.topic.publish(b'{"id":"2"}') is False
    finally:
        running.stop()
    assert running.topic.publish(b"{}") is False, "the loop has ended"


def test_a_process_that_is_killed_is_offline_by_the_brokers_word(broker: Any, listen: Any, tmp_path: Path) -> None:
    port = broker().port
    config = tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "{tmp_path}/none"\ntimezone = "Europe/Copenhagen"\n'
        f'[ledger]\npath = "{tmp_path}/ledger.db"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        '[[hub]]\nname = "dk"\nkind = "dk-datahub3"\nurl = "https://127.0.0.1:9"\n'
    )
    command = [sys.executable, "-m", "gateway.cli", "uploader", "-c", config]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
    try:
        one = listen(port)
        told = until(
            lambda: (said := one.last()) and said.get("hubs", {}).get("dk", {}).get("open") == 0 and said, "it"
        )
        assert (told["state"], told["refused"]) == ("online", [])
        assert told["hubs"]["dk"]["environment"] == "sandbox"
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: one.last() == {"state": "offline"}, "the will")
    finally:
        process.kill()
        process.wait()


def test_the_client_id_is_not_the_daemons_and_stays() -> None:
    plain = MqttSettings()
    assert client_id(plain, b"a") == client_id(plain, b"a") != client_id(plain, b"b")
    named = MqttSettings(client_id="x" * 64)
    assert client_id(named, b"a") == "x" * 55 + "-uploader"
