"""Shared by the simulator's tests: the specifications of dsmr-parser, and a reader of what it decodes."""

import warnings
from decimal import Decimal

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dsmr_parser import telegram_specifications as specifications
    from dsmr_parser.parsers import TelegramParser

SPECIFICATIONS = {
    "dsmr5": specifications.V5,
    "emucs": specifications.BELGIUM_FLUVIUS,
    "se-efs2": specifications.SWEDEN,
    "dsmr42": specifications.V4,
    "dsmr22": specifications.V2_2,
}


def item_p(parsed):
    """Item P as dsmr-parser sees it, in W and Wh."""
    total = hasattr(parsed, "ELECTRICITY_EXPORTED_TOTAL")
    used = ["IMPORTED_TOTAL"] if total else ["USED_TARIFF_1", "USED_TARIFF_2"]
    delivered = ["EXPORTED_TOTAL"] if total else ["DELIVERED_TARIFF_1", "DELIVERED_TARIFF_2"]
    thousand = lambda name: int(getattr(parsed, name).value * 1000)  # noqa: E731
    return {
        "p_import_w": thousand("CURRENT_ELECTRICITY_USAGE"),
        "p_export_w": thousand("CURRENT_ELECTRICITY_DELIVERY"),
        "a_import_wh": sum(thousand(f"ELECTRICITY_{name}") for name in used),
        "a_export_wh": sum(thousand(f"ELECTRICITY_{name}") for name in delivered),
    }


class Oracle:
    """dsmr-parser, checksum and all; `throw_ex` makes it refuse what it would only log."""

    crc16 = staticmethod(TelegramParser.crc16)

    def parse(self, telegram, variant):
        return TelegramParser(SPECIFICATIONS[variant]).parse(telegram.decode("ascii"), throw_ex=True)

    def item_p(self, telegram, variant):
        return item_p(self.parse(telegram, variant))

    def gas(self, parsed, variant):
        device = parsed.MBUS_DEVICES[0] if hasattr(parsed, "MBUS_DEVICES") else parsed
        for name in ("MBUS_METER_READING", "HOURLY_GAS_METER_READING", "GAS_METER_READING"):
            if hasattr(device, name):
                reading = getattr(device, name)
                return reading.datetime, Decimal(reading.value)
        return None


@pytest.fixture
def oracle():
    return Oracle()
