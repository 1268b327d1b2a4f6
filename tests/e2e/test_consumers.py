"""Pages of docs/consumers and docs/compat.md: their lines are executed, or read strictly, against the real daemon."""

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import MqttSettings, load

#: pages written in the same form; Home Assistant's has tests of its own
PAGES = ("evcc", "openems", "openhab", "iobroker", "node-red", "victron", "grafana")
SECTIONS = ("## When the meter is silent", "## Tested with")
#: topics in full, as pages name them
TOPIC = re.compile(r"(?<![\w/.-])(?:meterd/status|meterd/main/[a-z0-9_]+(?:/[a-z0-9_]+)?|victron/grid)(?![\w/#-])")
TEXTS = {"meterd/status", "meterd/main/availability", "meterd/main/state", "meterd/main/reading"}
#: seconds for which a page lets a reading count: no page lets one live for ever
LONGEST_S = 65 * 60


def page(checkout: Path, name: str) -> str:
    return (checkout / "docs" / "consumers" / f"{name}.md").read_text()


def snippets(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def only(text: str, language: str) -> str:
    [found] = snippets(text, language)
    return found


def every_page(checkout: Path) -> Iterator[tuple[str, str]]:
    for name in PAGES:
        yield name, page(checkout, name)
    yield "compat", (checkout / "docs" / "compat.md").read_text()


# -- what meterd is told ---------------------------------------------------------------------------------------------


def test_every_page_says_what_silence_does_and_what_it_was_tested_with(checkout):
    for name in PAGES:
        text = page(checkout, name)
        assert [section for section in SECTIONS if section not in text] == [], name
    index = (checkout / "docs" / "consumers" / "README.md").read_text()
    assert [name for name in PAGES if f"({name}.md)" not in index] == []


def test_the_lines_for_meterd_are_a_configuration(checkout, tmp_path):
    (tmp_path / "aiida-password").write_text("x")
    count = 0
    for name, text in every_page(checkout):
        for lines in snippets(text, "toml"):
            own = lines.replace("/etc/meterd/", f"{tmp_path}/")
            mqtt = "" if "[mqtt]" in own else "[mqtt]\n"
            file = tmp_path / "meterd.toml"
            file.write_text(f'[[meter]]\nname = "main"\nport = "/dev/null"\n{own}{mqtt}')
            assert load(file), name
            count += 1
    assert count >= 6


# -- what the others are told ----------------------------------------------------------------------------------------


def seconds(duration: str) -> int:
    """A duration of Go or openHAB with one unit."""
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3_600}[unit]


def sources(meter: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every value of an evcc meter."""
    for key in ("power", "energy"):
        if key in meter:
            yield meter[key]
    yield from meter.get("currents", ())


def read_by_evcc(source: dict[str, Any], payload: str) -> Decimal:
    """Read a payload by evcc's MQTT source: a number, or the one form of `jq` that the page has."""
    if "jq" not in source:
        return Decimal(payload)
    form = r'\.registers\[\] \| select\(\.code == "([^"]+)"\) \| \.value \| tonumber'
    code = re.fullmatch(form, source["jq"])[1]
    [value] = [row["value"] for row in json.loads(payload)["registers"] if row["code"] == code]
    return Decimal(value)


def test_evcc_forgets_what_is_old(checkout):
    meters = [yaml.safe_load(lines)["meters"] for lines in snippets(page(checkout, "evcc"), "yaml")]
    assert [[meter["name"], meter["type"]] for [meter] in meters] == [["grid", "custom"]] * 2
    for [meter] in meters:
        assert meter.keys() <= {"name", "type", "power", "energy", "currents"}
        assert len(meter.get("currents", [0, 0, 0])) == 3, "evcc takes all three phases or none"
        for source in sources(meter):
            assert source.keys() <= {"source", "topic", "timeout", "jq"}
            assert source["source"] == "mqtt"
            assert 0 < seconds(source["timeout"]) <= LONGEST_S, "without a time-out evcc never forgets"


def test_node_red_knows_when_nothing_comes(checkout):
    flow = json.loads(only(page(checkout, "node-red"), "json"))
    nodes = {node["id"]: node for node in flow}
    assert len(nodes) == len(flow)
    assert all(re.fullmatch(r"[0-9a-z]{16}", name) for name in nodes)
    for node in flow:
        assert all(target in nodes for port in node.get("wires", []) for target in port)
        assert node.get("broker", "") in (nodes, "") or node["type"] == "mqtt-broker" or node["broker"] in nodes
    [heard] = [node for node in flow if node["type"] == "mqtt in"]
    [trigger] = [node for node in flow if node["type"] == "trigger"]
    assert trigger["id"] in heard["wires"][0]
    assert (trigger["op2"], trigger["extend"], trigger["duration"], trigger["units"]) == ("null", True, "30", "s")


def test_victron_reads_what_meterd_writes(checkout):
    text = page(checkout, "victron")
    reader = configparser.ConfigParser()
    reader.read_string(only(text, "ini"))
    [table] = tomllib.loads(only(text, "toml"))["compat"]
    assert reader["MQTT"]["topic"] == table["topic"]
    assert reader["MQTT"]["broker_address"] != "IP_ADDR_OR_FQDN"
    assert 0 < int(reader["DEFAULT"]["timeout"]) <= 60, "0 would never forget"
    assert reader["DEFAULT"]["device_type"] == "grid"


def test_iobroker_publishes_nothing_back(checkout):
    settings = json.loads(only(page(checkout, "iobroker"), "json"))
    assert (settings["type"], settings["publish"], settings["persistent"], settings["retain"]) == (
        "client", "", False, False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"status": "online", "availability": "online", "value": -5, "age": 0}, "-5"),
        ({"status": "online", "availability": "online", "value": -5, "age": 31_000}, "null"),
        ({"status": "online", "availability": "offline", "value": -5, "age": 0}, "null"),
        ({"status": "offline", "availability": "online", "value": -5, "age": 0}, "null"),
    ],
)
def test_the_function_for_iobroker_forgets(checkout, states, said):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here")
    script = f"""
const given = {json.dumps(states)};
const getState = id => id.endsWith('p_net_w') ? {{val: given.value, ts: Date.now() - given.age}}
    : {{val: id === 'mqtt.0.meterd.status' ? given.status : given.availability, ts: 0}};
{only(page(checkout, "iobroker"), "javascript")}
console.log(power());
"""
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == said


def test_grafana_asks_the_source_that_is_provisioned(checkout):
    text = page(checkout, "grafana")
    [source], [history] = (yaml.safe_load(found)["datasources"] for found in snippets(text, "yaml"))
    panel = json.loads(only(text, "json"))
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": source["type"], "uid": source["uid"]}
    assert re.fullmatch(r"(tcp|tls|ws)://[a-z.]+:\d+", source["jsonData"]["uri"])
    boards = [json.loads(path.read_text()) for path in (checkout / "docs" / "grafana").glob("*.json")]
    kinds = {board["templating"]["list"][0]["query"] for board in boards}
    assert kinds == {history["type"], "prometheus"}


# -- openHAB: a reader of the part of its syntax that the page uses --------------------------------------------------

PARAMETERS = {
    "host",
    "port",
    "secure",
    "availabilityTopic",
    "payloadAvailable",
    "payloadNotAvailable",
    "stateTopic",
    "unit",
}


def parameters(text: str) -> dict[str, str]:
    pairs = [pair.split("=", 1) for pair in re.split(r",\s*", text.strip())]
    found = {key: value.strip('"') for key, value in pairs}
    assert found.keys() <= PARAMETERS
    return found


def things(text: str) -> dict[str, dict[str, str]]:
    """Channels by their UID; every line must be of a known form."""
    channels: dict[str, dict[str, str]] = {}
    bridge = thing = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := re.fullmatch(r'Bridge mqtt:broker:(\w+) "[^"]+" \[ (.+) \] \{', line):
            bridge, _ = found[1], parameters(found[2])
        elif found := re.fullmatch(r'Thing topic (\w+) "[^"]+" \[ (.+) \] \{', line):
            thing, known = found[1], parameters(found[2])
            assert known["availabilityTopic"] == "meterd/main/availability"
            assert (known["payloadAvailable"], known["payloadNotAvailable"]) == ("online", "offline")
        elif found := re.fullmatch(r'Type (number|string) : (\w+) "[^"]+" \[ (.+) \]', line):
            channels[f"mqtt:topic:{bridge}:{thing}:{found[2]}"] = {"type": found[1], **parameters(found[3])}
        else:
            assert line in ("Channels:", "}"), line
    assert text.count("{") == text.count("}")
    return channels


def test_openhab_links_every_item_to_a_channel(checkout):
    text = page(checkout, "openhab")
    channels = things(only(text, "openhab-things"))
    for line in only(text, "openhab-items").splitlines():
        found = re.fullmatch(r'(\w+)(?::(\w+))?\s+(\w+)\s+"[^"]+"\s+\{ channel="([^"]+)"(?:, expire="(\w+)")? \}', line)
        assert found, line
        kind, dimension, _, link, expire = found.groups()
        channel = channels.pop(link)
        assert (kind.lower(), dimension) == (channel["type"], {"W": "Power", "kWh": "Energy"}.get(channel.get("unit")))
        if dimension == "Power":
            assert seconds(expire) == 30
    assert channels == {}


# -- the daemon ------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_every_topic_of_every_page_is_there_with_a_plain_number(  # noqa: PLR0917 - fixtures
    checkout, broker, subscribe, daemon, simulator, until, tmp_path
):
    text = "\n".join(text for _, text in every_page(checkout))
    named = set(TOPIC.findall(text))
    assert len(named) >= 10, sorted(named)
    mqtt = broker()
    seen = subscribe(mqtt.port)
    keys = {"host": "127.0.0.1", "port": mqtt.port} | asked_for(text)
    compat = "".join(f"[[compat]]\n{lines}" for lines in tables(text) if "aiida" not in lines)
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    simulator("--link", str(tmp_path / "port-main"), "--interval", "1", "--seed", "3")
    daemon({"main": str(tmp_path / "port-main")}, lines + compat).start()
    plain = {"dsmr/reading/electricity_currently_delivered", *named} - TEXTS - {"victron/grid"}
    until(lambda: named | plain <= dict(seen.messages).keys(), f"all of {sorted(named | plain)}")
    last = {topic: payload.decode() for topic, payload in dict(seen.messages).items()}
    for topic in plain:
        assert re.fullmatch(r"-?\d+(\.\d+)?", last[topic]), topic
    assert json.loads(last["victron/grid"])["grid"]["L3"]
    assert (last["meterd/status"], last["meterd/main/availability"]) == ("online", "online")
    for [meter] in (yaml.safe_load(lines)["meters"] for lines in snippets(page(checkout, "evcc"), "yaml")):
        for source in sources(meter):
            assert read_by_evcc(source, last[source["topic"]]).is_finite()


def asked_for(text: str) -> dict[str, Any]:
    """The keys of [mqtt] that pages ask for, together."""
    together: dict[str, Any] = {}
    for lines in snippets(text, "toml"):
        for key, value in tomllib.loads(lines).get("mqtt", {}).items():
            if key != "host":
                together[key] = sorted({*together.get(key, ()), *value}) if isinstance(value, list) else value
    assert together.keys() <= set(MqttSettings.__struct_fields__)
    return together


def tables(text: str) -> list[str]:
    """The [[compat]] tables of all pages, each topic once, the one that says most."""
    found: dict[str, dict[str, Any]] = {}
    for lines in snippets(text, "toml"):
        for table in tomllib.loads(lines).get("compat", []):
            found[table["topic"]] = found.get(table["topic"], {}) | table
    return ["".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()) for table in found.values()]
