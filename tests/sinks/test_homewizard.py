"""The HomeWizard API over real sockets, read by HomeWizard's own client, and found by a real mDNS browser."""

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from homewizard_energy import HomeWizardEnergy
from homewizard_energy.errors import NotFoundError, RequestError, UnsupportedError
from homewizard_energy.models import ExternalDevice
from smeterd.meter import P1Packet
from zeroconf import ServiceBrowser, ServiceListener, Zeroconf

from decoders.model import SubReading
from gateway.item_p import Energy, LiveSub
from gateway.listen import ZEROCONF_MISSING
from gateway.settings import HomeWizardSettings
from gateway.sinks import SinkError, mdns
from gateway.sinks.homewizard import HomeWizardSink, serial
from gateway.sinks.http import Request

SALT = b"0123456789abcdef"
T = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)


@pytest.fixture
def make_output():
    def make(clock=None, timezone="Europe/Amsterdam", salt=SALT, **settings):
        known = {"meter": "main", "listen": "127.0.0.1:0", "mdns": False} | settings
        more = {"monotonic": clock} if clock else {}
        return HomeWizardSink("homewizard 1", HomeWizardSettings(**known), timezone=timezone, salt=salt, **more)

    return make


@pytest.fixture
def asked(running, until):
    """Run a coroutine with HomeWizard's client of a running output."""

    def run(output, ask):
        async def main():
            async with running(output):
                await until(lambda: output.listener.port)
                async with HomeWizardEnergy(f"127.0.0.1:{output.listener.port}") as client:
                    return await ask(client)

        return asyncio.run(main())

    return run


def once(client, path):
    """One request of the client, without the attempts after it."""
    return HomeWizardEnergy.request.__wrapped__(client, path)


def shown(output):
    """`/api/v1/data` as JSON whose numbers are the texts that were sent."""
    response = output.answer(Request("GET", "/api/v1/data"))
    assert response.status == 200, response
    return json.loads(response.body, parse_float=str, parse_int=str)


def live(**fields):
    known = {
        "channel": 1,
        "medium": "gas",
        "device": "G0012345",
        "t": T - timedelta(minutes=5),
        "t_meter": None,
        "integer": 1_234_567,
        "exponent": -3,
        "unit": "m3",
        "quality": "measured",
    }
    device = fields.pop("pseudonym", "00112233445566ff")
    return LiveSub(SubReading(**(known | fields)), device, "plain", 1)


def test_homewizards_own_client_reads_the_device(make_output, asked):
    device = asked(make_output(), lambda client: client.device())
    assert (device.product_type, device.product_name, device.api_version) == ("HWE-P1", "P1 Meter", "v1")
    assert device.serial == serial(SALT, "main")
    assert device.product.name == "Wi-Fi P1 Meter"


def test_homewizards_own_client_reads_the_values(make_output, make_item, asked):
    registers = (
        ("1-0:1.8.1", 60_000_000, -3, "kWh"),
        ("1-0:1.8.2", 5_238_377, -3, "kWh"),
        ("0-0:96.14.0", 2, 0, ""),
        ("1-0:21.7.0", 0, -3, "kW"),
        ("1-0:22.7.0", 676, -3, "kW"),
        ("1-0:41.7.0", 133, -3, "kW"),
        ("1-0:42.7.0", 0, -3, "kW"),
        ("1-0:31.7.0", 4, 0, "A"),
        ("1-0:51.7.0", 205, -2, "A"),
        ("1-0:32.7.0", 2314, -1, "V"),
        ("1-0:14.7.0", 4999, -2, "Hz"),
        ("1-0:32.32.0", 3, 0, ""),
        ("0-0:96.7.21", 7, 0, ""),
        ("1-0:1.4.0", 1_230, -3, "kW"),
        ("1-0:1.6.0", 4_329, -3, "kW"),
    )
    output = make_output()
    item = make_item(
        p_import_w=0,
        p_export_w=543,
        p_net_w=-543,
        registers=registers,
        register_times=((14, "2026-11-03T18:45:00+01:00"),),
    )
    output.deliver(replace(item, subs=(live(), live(channel=2, medium="water", integer=5, exponent=0))))
    data = asked(output, lambda client: client.data())
    assert (data.active_power_w, data.active_power_l1_w, data.active_power_l2_w) == (-543, -676, 133)
    assert (data.active_power_l3_w, data.active_voltage_l2_v) == (None, None)
    assert (data.active_current_l1_a, data.active_current_l2_a) == (-4, 2.05)
    assert (data.active_voltage_l1_v, data.active_frequency_hz) == (231.4, 49.99)
    assert (data.total_energy_import_kwh, data.total_energy_export_kwh) == (65238.377, 0.005)
    assert (data.total_energy_import_t1_kwh, data.total_energy_import_t2_kwh) == (60000, 5238.377)
    assert (data.active_tariff, data.smr_version) == (2, 50)
    assert (data.voltage_sag_l1_count, data.any_power_fail_count) == (3, 7)
    assert (data.active_power_average_w, data.monthly_power_peak_w) == (1230, 4329)
    assert data.monthly_power_peak_timestamp == datetime(2026, 11, 3, 18, 45)  # noqa: DTZ001  # the meter's wall clock
    assert (data.total_gas_m3, data.gas_unique_id) == (1234.567, "00112233445566ff")
    assert data.gas_timestamp == datetime(2026, 11, 21, 23, 15, 5)  # noqa: DTZ001
    gas, water = data.external_devices.values()
    kinds = ExternalDevice.DeviceType
    assert (gas.meter_type, gas.value, gas.unit) == (kinds.GAS_METER, 1234.567, "m3")
    assert (water.meter_type, water.value) == (kinds.WATER_METER, 5)
    assert (data.wifi_ssid, data.wifi_strength) == (None, None)


def test_homewizards_own_client_reads_the_telegram(make_output, make_item, asked):
    output = make_output()
    output.deliver(make_item())
    text = asked(output, lambda client: once(client, "api/v1/telegram"))
    assert P1Packet(text.encode())["kwh"]["current_consumed"] == 0.132


def test_what_a_p1_meter_does_not_have_its_client_takes_for_unsupported(make_output, asked):
    async def ask(client):
        with pytest.raises(UnsupportedError):
            await client.state()
        with pytest.raises(UnsupportedError):
            await client.identify()
        with pytest.raises(NotFoundError):
            await once(client, "api/v2")

    asked(make_output(), ask)


def test_numbers_are_exact(make_output, make_item):
    output = make_output()
    output.deliver(make_item(a_import_wh=123_456_789_012_345_678, registers=(("1-0:31.7.0", 1, -1, "A"),)))
    found = shown(output)
    assert found["total_power_import_kwh"] == "123456789012345.678"
    assert found["active_current_l1_a"] == "0.1"
    assert found["total_power_export_kwh"] == "0.005"


def test_a_meter_without_tariffs_has_its_total_in_tariff_1(make_output, make_item):
    output = make_output()
    output.deliver(make_item(registers=()))
    found = shown(output)
    assert found["total_power_import_t1_kwh"] == found["total_power_import_kwh"] == "65238.377"
    assert "total_power_import_t2_kwh" not in found


def test_the_current_of_one_phase_is_that_of_the_meter(make_output, make_item):
    output = make_output()
    one = (("1-0:31.7.0", 123, -1, "A"), ("1-0:21.7.0", 0, 0, "W"), ("1-0:22.7.0", 2_800, 0, "W"))
    output.deliver(make_item(registers=one))
    assert shown(output)["active_current_l1_a"] == shown(output)["active_current_a"] == "-12.3"
    output.deliver(make_item(registers=(*one, ("1-0:51.7.0", 1, 0, "A"))))
    assert "active_current_a" not in shown(output)


def test_what_is_absent_is_left_out(make_output, make_item):
    output = make_output()
    output.deliver(make_item(a_import_wh=None, a_export_wh=None, reg_t=None, registers=(), sub=()))
    assert set(shown(output)) == {"smr_version", "meter_model", "unique_id", "active_power_w"}


@pytest.mark.parametrize("fields", [{"t": None}, {"quality": "suspect"}, {"pseudonym": None}])
def test_a_sub_meter_on_which_clients_would_fail_is_left_out(make_output, make_item, asked, fields):
    output = make_output()
    output.deliver(replace(make_item(), subs=(live(**fields), live(channel=2, medium="water"))))
    data = asked(output, lambda client: client.data())
    assert [device.meter_type.name for device in data.external_devices.values()] == ["WATER_METER"]
    assert (data.total_gas_m3, data.gas_timestamp) == (None, None)


def test_carried_energy_is_shown_with_the_tariffs_of_then(make_output, make_item):
    output = make_output()
    registers = (("1-0:1.8.1", 2, 0, "kWh"), ("1-0:1.8.2", 3, 0, "kWh"))
    output.deliver(make_item(a_import_wh=5_000, a_export_wh=None, registers=registers))
    nothing = {"a_import_wh": None, "a_export_wh": None, "reg_t": None, "registers": ()}
    output.deliver(replace(make_item(**nothing), carried=Energy(5_000, None, T, "meter")))
    found = shown(output)
    assert [found[f"total_power_import_{name}kwh"] for name in ("", "t1_", "t2_")] == ["5.000", "2.000", "3.000"]
    output.deliver(replace(make_item(**nothing), carried=Energy(6_000, None, T, "meter")))
    found = shown(output)
    assert found["total_power_import_kwh"] == "6.000"
    assert "total_power_import_t1_kwh" not in found


def test_no_reading_yet_is_an_error_of_the_client(make_output, asked):
    async def ask(client):
        for path in ("api/v1/data", "api/v1/telegram"):
            with pytest.raises(RequestError, match="503"):
                await once(client, path)

    asked(make_output(), ask)


def test_a_reading_is_served_for_as_long_as_it_holds(make_output, make_item, asked):
    now = [100.0]
    output = make_output(clock=lambda: now[0])
    item = make_item()
    output.deliver(item)

    async def ask(client):
        now[0] = 100.0 + item.valid_for_s - 0.01
        assert (await client.data()).active_power_w == 132
        now[0] = 100.0 + item.valid_for_s
        for path in ("api/v1/data", "api/v1/telegram"):
            with pytest.raises(RequestError, match="503"):
                await once(client, path)
        assert (await client.device()).api_version == "v1"

    asked(output, ask)
    assert output.status()["unavailable"] == 2


def test_nothing_is_served_of_a_meter_that_does_not_deliver(make_output, make_item):
    output = make_output()
    output.deliver(make_item())
    output.report("garage", {}, available=False)
    assert output.answer(Request("GET", "/api/v1/data")).status == 200
    output.report("main", {}, available=False)
    assert output.answer(Request("GET", "/api/v1/data")).status == 503


def test_a_list_without_power_leaves_the_power_that_holds(make_output, make_item):
    now = [100.0]
    output = make_output(clock=lambda: now[0])
    item, without = make_item(), make_item(p_import_w=None, p_export_w=None, p_net_w=None)
    output.deliver(item)
    now[0] += item.valid_for_s - 1
    output.deliver(without)
    assert shown(output)["active_power_w"] == "132"
    now[0] += 1
    with pytest.raises(SinkError, match="no measured net power"):
        output.deliver(without)
    assert output.answer(Request("GET", "/api/v1/data")).status == 503


@pytest.mark.parametrize("fields", [{"p_export_w": None, "p_net_w": None}, {"quality": "estimated"}])
def test_no_power_is_served_that_a_client_would_misread(make_output, make_item, fields):
    output = make_output()
    with pytest.raises(SinkError):
        output.deliver(make_item(**fields))
    response = output.answer(Request("GET", "/api/v1/data"))
    assert response.status == 503
    assert b"no measured net power" in response.body, "it is not silent"


def test_without_a_zone_the_answer_says_what_to_set(make_output, make_item):
    output = make_output(timezone=None)
    output.deliver(make_item(profile="no-aidon"))
    response = output.answer(Request("GET", "/api/v1/data"))
    assert response.status == 503
    assert b"set timezone in [[homewizard]]" in response.body


def test_only_get_is_answered(make_output, make_item):
    output = make_output()
    output.deliver(make_item())
    response = output.answer(Request("PUT", "/api/v1/data"))
    assert (response.status, response.allow) == (405, "GET")


def test_the_serial_is_of_this_installation_and_of_no_maker():
    made = serial(SALT, "main")
    assert made == serial(SALT, "main") != serial(b"x" * 16, "main")
    assert len(made) == 12
    assert int(made[:2], 16) & 3 == 2
    assert "E0012345" not in made


def test_no_identification_leaves(make_output, make_item):
    output = make_output()
    output.deliver(replace(make_item(), subs=(live(),)))
    for path in ("/api", "/api/v1/data", "/api/v1/telegram"):
        response = output.answer(Request("GET", path))
        assert response.status == 200
        for number in (b"E0012345", b"G0012345"):
            assert number not in response.body
            assert number.hex().upper().encode() not in response.body


# -- mDNS ------------------------------------------------------------------------------------------------------------


class Found(ServiceListener):
    """What a browser found."""

    def __init__(self):
        self.services = {}

    def add_service(self, zc, type_, name):
        self.services[name] = zc.get_service_info(type_, name, 3_000)

    def update_service(self, zc, type_, name):
        self.add_service(zc, type_, name)

    def remove_service(self, zc, type_, name):
        self.services.pop(name, None)


def test_a_browser_finds_it_and_its_good_bye(make_output, running, until):
    found = Found()
    # Another run of this test on this machine must not have the same name.
    output = make_output(mdns=True, salt=b"%016d" % os.getpid())
    name = f"p1meter-{output.serial[-6:]}._hwenergy._tcp.local."

    async def main():
        with Zeroconf(interfaces=["127.0.0.1"]) as browser:
            ServiceBrowser(browser, "_hwenergy._tcp.local.", found)
            async with running(output):
                await until(lambda: found.services.get(name), 40)
                service = found.services[name]
                assert service.port == output.listener.port
                assert service.parsed_addresses() == ["127.0.0.1"]
                assert service.decoded_properties == {
                    "api_enabled": "1",
                    "path": "/api/v1",
                    "serial": output.serial,
                    "product_type": "HWE-P1",
                    "product_name": "P1 Meter",
                }
                assert output.status()["works"]
            await until(lambda: name not in found.services, 40)

    asyncio.run(main())


def test_without_zeroconf_everything_else_works_and_the_way_is_told(make_output, running, until, monkeypatch):
    monkeypatch.setitem(sys.modules, "zeroconf.asyncio", None)
    output = make_output(mdns=True)

    async def main():
        async with running(output):
            await until(lambda: output.status()["trouble"] == ZEROCONF_MISSING)
            assert output.listener.trouble is None

    asyncio.run(main())


def test_it_is_announced_only_while_it_listens(make_output, running, until, monkeypatch):
    monkeypatch.setattr(mdns, "SOON_S", 0.05)
    output = make_output(mdns=True)
    output.listener._listen = "192.0.2.1:8080"

    async def main():
        async with running(output):
            await until(lambda: "no such address" in (output.status()["trouble"] or ""))

    asyncio.run(main())
