"""Shared by the simulator's tests: the specifications of dsmr-parser, what it makes of them, and a reader of pushes."""

import json
import warnings
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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


@pytest.fixture(autouse=True)
def keys_of_this_test(monkeypatch, request):
    """Keys that are the same in every run: what a test finds in ciphertext must be found again."""
    monkeypatch.setattr("gateway.simulator.keys.secrets.token_bytes", Random(request.node.nodeid).randbytes)


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


FIXED = {0: 0, 3: 1, 5: 4, 6: 4, 15: 1, 16: 2, 17: 1, 18: 2, 20: 8, 21: 8, 22: 1}


@dataclass
class Pushed:
    """A push as a third hand reads it: what its headers say, how its values are built, and the values."""

    #: of each frame: the octets of its header without checks and numbers that differ, and the octets in it
    frames: list = field(default_factory=list)
    #: tag, title length, octets of the length, length and security control; None in clear
    ciphered: tuple | None = None
    manufacturer: bytes = b""
    counter: int | None = None
    #: octets of a plain APDU
    plain: bytes = b""
    #: types, lengths, codes, scalers and units in order, without values
    shape: list = field(default_factory=list)
    values: list = field(default_factory=list)
    header_time: bytes = b""


class Wire:
    """Reads pushes by the standards, as strictly as possible: anything odd is an AssertionError."""

    def read(self, octets, keys=None, check_tag=True):
        pushed = Pushed()
        apdu = {0x7E: self._hdlc, 0x68: self._mbus, 0xE6: self._llc}.get(octets[0], self._bare)(octets, pushed)
        plain = apdu if apdu[0] != 0xDB else self._open(apdu, keys, pushed, check_tag)
        pushed.plain = plain
        if plain[0] == 0x0F:
            self._notification(plain, pushed)
        return pushed

    def of(self, meter, t):
        """What a meter pushes at `t`."""
        return self.read(meter.telegram_at(t), (meter.keys.encryption, meter.keys.authentication))

    def capture(self, folder, family, name):
        lines = (folder / f"{family}.jsonl").read_text().splitlines()
        case = next(case for case in map(json.loads, lines) if case["id"] == name)
        keys = case.get("keys", {})
        return bytes.fromhex(case["data"]), tuple(
            bytes.fromhex(keys.get(key) or "") for key in ("encryption", "authentication")
        )

    def _hdlc(self, octets, pushed):
        at, apdu, blocks = 0, b"", b""
        while at < len(octets):
            assert octets[at] == 0x7E
            size = int.from_bytes(octets[at + 1 : at + 3], "big") & 0x7FF
            frame = octets[at + 1 : at + 1 + size]
            assert octets[at + 1 + size] == 0x7E
            at += size + 2
            end = 2
            for _ in range(2):
                while not frame[end] & 1:
                    end += 1
                end += 1
            assert crc(frame[: end + 1]) == frame[end + 1 : end + 3]
            assert crc(frame[:-2]) == frame[-2:]
            information = frame[end + 3 : -2]
            header = frame[0] >> 3, frame[2 : end + 1].hex(), information[:3] == b"\xe6\xe7\0"
            information = information[3:] if header[2] else information
            if apdu or information[0] != 0xE0:
                pushed.frames.append((header, len(information)))
                apdu += information
                continue
            length, start = ber(information, 6)
            assert length == len(information) - start
            pushed.frames.append(((*header, information[:6].hex()), length))
            blocks += information[start:]
        return blocks or apdu

    def _mbus(self, octets, pushed):
        apdu = b""
        while octets:
            size = octets[1] if octets[1] >= 5 else octets[1] + 256
            body = octets[4 : 4 + size]
            assert octets[0] == octets[3] == 0x68
            assert octets[1] == octets[2]
            assert octets[4 + size : 6 + size] == bytes([sum(body) & 255, 0x16])
            pushed.frames.append((octets[:9].hex(), size))
            apdu += body[5:]
            octets = octets[6 + size :]
        return apdu

    def _llc(self, octets, _pushed):
        return octets[3:]

    def _bare(self, octets, _pushed):
        return octets

    def _open(self, apdu, keys, pushed, check_tag):
        assert apdu[1] == 8
        length, start = ber(apdu, 10)
        assert length == len(apdu) - start
        control, count = apdu[start], apdu[start + 1 : start + 5]
        pushed.ciphered = (apdu[:2].hex(), start - 10, length, control)
        pushed.manufacturer, pushed.counter = apdu[2:5], int.from_bytes(count, "big")
        nonce, sealed = apdu[2:10] + count, apdu[start + 5 :]
        if control & 0x10 and check_tag:
            plain = Cipher(algorithms.AES(keys[0]), modes.CTR(nonce + b"\0\0\0\2")).decryptor().update(sealed[:-12])
            assert AESGCM(keys[0]).encrypt(nonce, plain, bytes([control]) + keys[1])[:-4] == sealed
            return plain
        body = sealed[:-12] if control & 0x10 else sealed
        return Cipher(algorithms.AES(keys[0]), modes.CTR(nonce + b"\0\0\0\2")).decryptor().update(body)

    def _notification(self, plain, pushed):
        at = 6 if plain[5:7] == b"\x09\x0c" else 5
        length = plain[at]
        assert length in (0, 12)
        pushed.header_time = plain[at + 1 : at + 1 + length]
        pushed.shape.append(("header", at, length, pushed.header_time[8:11].hex() if length else ""))
        assert self._value(plain, at + 1 + length, pushed) == len(plain)

    def _value(self, data, at, pushed):
        tag = data[at]
        if tag in (1, 2):
            count, at = ber(data, at + 1)
            pushed.shape.append((tag, count))
            for _ in range(count):
                at = self._value(data, at, pushed)
            return at
        if tag in (9, 10):
            length, start = ber(data, at + 1)
            value = data[start : start + length]
            is_code = length == 6 and value[5] == 255
            pushed.shape.append((tag, value.hex() if is_code else length))
            if not is_code:
                pushed.values.append(value)
            return start + length
        value = int.from_bytes(data[at + 1 : at + 1 + FIXED[tag]], "big", signed=tag in (5, 15, 16, 20))
        pushed.shape.append((tag, value if tag in (15, 22) else None))
        pushed.values.append(value)
        return at + 1 + FIXED[tag]


def ber(data, at):
    if data[at] < 0x80:
        return data[at], at + 1
    end = at + 1 + (data[at] & 0x7F)
    return int.from_bytes(data[at + 1 : end], "big"), end


def crc(octets):
    """CRC-16 of ITU-T X.25, bit by bit, low octet first."""
    value = 0xFFFF
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
    return (value ^ 0xFFFF).to_bytes(2, "little")


@pytest.fixture
def wire():
    return Wire()
