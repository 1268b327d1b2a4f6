"""The daemon with its outputs: a DLMS push meter as a DSMR 5 port and as a HomeWizard P1 meter; `status` shows them."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.clients.socket_ import SocketReader

from gateway.item_p import utc
from gateway.simulator.keys import MeterKeys
from gateway.simulator.push_meter import PushMeter
from tests.ports import free_port


class Outputs:
    """Tables of both outputs, on ports of their own."""

    def __init__(self):
        self.virtual, self.wizard = free_port(), free_port()
        self.text = (
            f'[[virtual_p1]]\nmeter = "main"\nlisten = "127.0.0.1:{self.virtual}"\n'
            f'[[homewizard]]\nmeter = "main"\nlisten = "127.0.0.1:{self.wizard}"\nmdns = false\n'
        )


@pytest.fixture
def outputs():
    return Outputs()


KEYS = MeterKeys(bytes(range(16)), bytes(range(16, 32)))


@pytest.fixture
def pushes():
    """Encrypted pushes of an Austrian meter, beginning now, with their truth."""
    start = datetime.now(UTC).replace(microsecond=0)
    meter = PushMeter(3, "at-kaifa", start, keys=KEYS)
    times = [meter.time_of(number) for number in range(5)]
    return [(meter.telegram_at(t), meter.truth_at(t)) for t in times]


def until(condition, what):
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end, f"waited 40 s for {what}"
        time.sleep(0.02)


def answer(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_push_meter_as_dsmr_5_and_as_homewizard(daemon, pty, outputs, pushes, tmp_path):
    virtual, wizard = outputs.virtual, outputs.wizard
    keys = tmp_path / "keys"
    keys.write_text(f"{KEYS.encryption.hex()} {KEYS.authentication.hex()}\n")
    keys.chmod(0o400)
    settings = f'profile = "at-netznoe"\ntimezone = "Europe/Vienna"\nkey_file = "{keys}"\n'
    port, running = pty(), daemon("main", extra=outputs.text, meter_extra=settings).start()
    until(lambda: all(one["works"] for one in running.status()["outputs"]), "both outputs to listen")
    assert answer(wizard, "/api/v1/data")[0] == 503
    found = []

    def client():
        with closing(SocketReader("127.0.0.1", virtual, telegram_specifications.V5).read_as_object()) as telegrams:
            found.extend(islice(telegrams, len(pushes)))

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    until(lambda: running.status()["outputs"][0]["clients"] == 1, "the client to connect")
    for octets, _ in pushes:
        port.send(octets)
    until(lambda: not thread.is_alive(), "the client to have read every telegram")
    for telegram, (_, truth) in zip(found, pushes, strict=True):
        assert telegram.CURRENT_ELECTRICITY_USAGE.value * 1000 == truth["p_import_w"]
        assert telegram.CURRENT_ELECTRICITY_DELIVERY.value * 1000 == truth["p_export_w"]
        assert telegram.ELECTRICITY_USED_TARIFF_1.value * 1000 == truth["a_import_wh"]
        assert utc(telegram.P1_MESSAGE_TIMESTAMP.value) == truth["t"]
    status, data = answer(wizard, "/api/v1/data")
    assert (status, data["meter_model"]) == (200, "meterd at-netznoe")
    assert data["active_power_w"] == pushes[-1][1]["p_net_w"]
    assert answer(wizard, "/api")[1]["product_type"] == "HWE-P1"
    one, two = running.status()["outputs"]
    assert (one["name"], one["works"], one["meter"], one["sent"]) == ("virtual_p1 1", True, "main", len(pushes))
    assert (two["name"], two["works"], two["unavailable"]) == ("homewizard 1", True, 1)
    assert running.stop()[0] == 0


def test_an_output_that_cannot_listen_is_named_and_costs_nothing_else(daemon, pty, outputs, telegrams):
    with socket.create_server(("127.0.0.1", outputs.virtual)):
        port, running = pty(), daemon("main", extra=outputs.text).start()
        for octets, _ in telegrams(3):
            port.send(octets)
        until(lambda: "listens there" in running.status()["outputs"][0]["trouble"], "the output to try")
        until(lambda: running.status()["outputs"][1]["works"], "the other output to listen")
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "status", "--socket", str(running.socket)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert f"virtual_p1 1: 127.0.0.1:{outputs.virtual}: another program listens there" in done.stdout
        until(lambda: running.meter()["counters"]["decoded"] == 3, "every telegram to be read")
        assert running.stop()[0] == 0
    assert "event=output_trouble" in running.log.read_text()


def test_without_tables_no_port_is_opened_and_no_module_is_loaded(checkout):
    code = (
        "import sys; from gateway.settings import MeterSettings, Settings; from gateway.sinks import registry\n"
        "registry.create(Settings(meter=(MeterSettings(name='main', port='/dev/null'),)), bytes(16))\n"
        "print([name for name in sys.modules if name.startswith('gateway.sinks.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=checkout)
    assert done.stdout.strip() == "['gateway.sinks.registry']"
