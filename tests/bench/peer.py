"""What users of dsmr_parser write: read a port with pyserial, parse, publish the JSON and seven topics with paho."""

import sys

import serial
from dsmr_parser import telegram_specifications
from dsmr_parser.clients.telegram_buffer import TelegramBuffer
from dsmr_parser.parsers import TelegramParser
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

#: topic -> the attribute of the telegram; sums of tariffs as users form them
POWER = {"p_import": "CURRENT_ELECTRICITY_USAGE", "p_export": "CURRENT_ELECTRICITY_DELIVERY"}
ENERGY = {"a_import": "ELECTRICITY_USED_TARIFF", "a_export": "ELECTRICITY_DELIVERED_TARIFF"}


def main() -> None:
    """Run until the process is ended."""
    path, port, base = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    parser, buffer = TelegramParser(telegram_specifications.V5), TelegramBuffer()
    with serial.Serial(path, 115_200, timeout=20) as line:
        while True:
            buffer.append(line.read(max(1, line.in_waiting)).decode("ascii"))
            for text in buffer.get_all():
                publish(client, base, parser.parse(text))


def publish(client: Client, base: str, telegram: object) -> None:
    """The whole telegram first, then seven numbers, as meterd does."""
    client.publish(f"{base}/main/reading", telegram.to_json())
    watt = {name: int(getattr(telegram, item).value * 1000) for name, item in POWER.items()}
    kwh = {
        name: getattr(telegram, f"{item}_1").value + getattr(telegram, f"{item}_2").value
        for name, item in ENERGY.items()
    }
    for name, value in watt.items():
        client.publish(f"{base}/main/{name}_w", str(value))
    client.publish(f"{base}/main/p_net_w", str(watt["p_import"] - watt["p_export"]))
    for name, value in kwh.items():
        client.publish(f"{base}/main/{name}_wh", str(int(value * 1000)))
        client.publish(f"{base}/main/{name}_kwh", str(value))


if __name__ == "__main__":
    main()
