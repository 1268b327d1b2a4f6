"""The test of a broker, against real ones: what works, what does not, and why, in a sentence."""

import ipaddress
import socket
import subprocess
import threading
from contextlib import suppress

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.settings import MqttSettings
from gateway.setup import broker as tested

PASSWORD = "canary-of-the-broker"


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    subprocess.run(
        ["mosquitto_passwd", "-c", "-b", path, "meterd", PASSWORD], check=True, capture_output=True, timeout=30
    )
    return path


@pytest.fixture
def password(tmp_path):
    def write(text):
        path = tmp_path / "password"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    return write


def answer(port, **keys):
    return tested.test(MqttSettings(host="127.0.0.1", port=port, **keys), "cellar")


def test_a_broker_that_works(broker):
    found = answer(broker().port)
    assert (found.protocol, found.writes, found.error) == ("5", True, None)


def test_the_right_to_announce_is_told_apart(broker, tmp_path):
    (tmp_path / "acl").write_text("topic write meterd/#\ntopic read #\n")
    port = broker(f"acl_file {tmp_path}/acl").port
    assert (answer(port).announces, answer(port).error) == (False, None)
    assert answer(port, discovery="off").announces is None
    (tmp_path / "acl").write_text("topic write meterd/#\ntopic write ha/#\n")
    assert answer(broker(f"acl_file {tmp_path}/acl").port, discovery_prefix="ha").announces is True


def retained(port):
    """What the broker keeps."""
    seen = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *message: seen.append(message)
    client.connect("127.0.0.1", port)
    client.subscribe("#")
    for _ in range(20):
        client.loop(0.05)
    client.disconnect()
    return [(message.topic, message.payload) for _, _, message in seen]


def test_it_leaves_nothing_behind(broker, tmp_path):
    """No message, and no will: a daemon that runs would be called offline."""
    port = broker().port
    answer(port, base="home/meterd")
    assert retained(port) == []
    (tmp_path / "acl").write_text("topic write meterd/status\ntopic read #\n")
    port = broker(f"acl_file {tmp_path}/acl").port
    assert answer(port).writes is False
    assert retained(port) == []


def test_mqtt_3_does_not_tell_about_rights(broker):
    found = answer(broker().port, version="3.1.1")
    assert (found.protocol, found.writes, found.error) == ("3.1.1", None, None)


def test_no_right_to_publish(broker, tmp_path):
    (tmp_path / "acl").write_text("topic write meterd/status\ntopic read #\n")
    found = answer(broker(f"acl_file {tmp_path}/acl").port)
    assert (found.protocol, found.writes) == ("5", False)
    assert "does not let this user publish meterd/cellar/setup: allow it to write meterd/#" in found.error


def test_a_wrong_password(broker, users, password):
    port = broker("allow_anonymous false", f"password_file {users}").port
    wrong = answer(port, username="meterd", password_file=password("not this one"))
    assert "wrong user name or password" in wrong.error
    right = answer(port, username="meterd", password_file=password(PASSWORD))
    assert (right.writes, right.error) == (True, None)
    assert "canary" not in repr(wrong) + repr(right)


def test_tls_is_asked_of_a_broker_without(broker):
    assert "does not speak TLS on this port" in answer(broker().port, tls=True).error


def test_an_authority_that_is_not_known(broker, authority):
    server = authority.issue("broker", ipaddress.ip_address("127.0.0.1"))
    port = broker("listener {port} 127.0.0.1", f"certfile {server.cert}", f"keyfile {server.key}").port
    assert "set mqtt.ca_file to the authority's certificate" in answer(port, tls=True).error
    found = answer(port, tls=True, ca_file=str(authority.ca))
    assert (found.writes, found.error) == (True, None)


def test_nobody_listens():
    assert "refused the connection" in answer(1).error


def test_a_port_that_acknowledges_nothing(monkeypatch):
    monkeypatch.setattr(tested, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            client, _ = server.accept()
            with client:
                client.recv(1_024)
                client.sendall(bytes.fromhex("2003000000"))
                client.settimeout(30)
                with suppress(ConnectionError):
                    while client.recv(1_024):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        found = answer(server.getsockname()[1], version="5")
        thread.join(30)
    assert "acknowledges no message" in found.error
