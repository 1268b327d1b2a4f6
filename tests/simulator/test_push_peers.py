"""Two other implementations open simulated pushes and find the true values, and amshan reads the Nordic ones whole.

gurux-dlms gets whole frames where it can take them (HDLC, segmented, in blocks); it cannot join the M-Bus segments of
the captures either, so there, and for P1, it gets the ciphered APDU. It runs in a child with a deadline, because it can
hang, and what it prints is ignored. It does not check tags; dlms-cosem does, and reads tagged APDUs only. That knows no
visible strings, and amshan not all objects of the Danish list, so those are read by gurux-dlms alone.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from gateway.simulator.push_meter import Change, PushMeter
from gateway.simulator.pushes import PUSHES

HOUR = datetime(2026, 6, 20, 10, 0, 0, tzinfo=UTC)
CHILD = r"""
import json, sys

def flat(value):
    if isinstance(value, (list, tuple)):
        return [leaf for one in value for leaf in flat(one)]
    return [bytes(value).hex() if isinstance(value, (bytes, bytearray)) else value]

def gurux(octets, ek, ak):
    from gurux_dlms import GXByteBuffer, GXReplyData
    from gurux_dlms.enums import Authentication, InterfaceType, Security
    from gurux_dlms.secure import GXDLMSSecureClient
    client = GXDLMSSecureClient(True, 16, 1, Authentication.NONE, None, InterfaceType.HDLC)
    client.ciphering.blockCipherKey, client.ciphering.authenticationKey = bytearray(ek), bytearray(ak)
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    buffer, reply, notify = GXByteBuffer(bytearray(octets)), GXReplyData(), GXReplyData()
    while buffer.position < buffer.size:
        client.getData(buffer, reply, notify)
    return flat(notify.value)

def gurux_apdu(octets, ek, ak):
    from gurux_dlms.AesGcmParameter import AesGcmParameter
    from gurux_dlms.GXByteBuffer import GXByteBuffer
    from gurux_dlms.GXDLMSChippering import GXDLMSChippering
    parameter = AesGcmParameter(0, None, bytearray(ek), bytearray(ak))
    return [bytes(GXDLMSChippering.decryptAesGcm(None, parameter, GXByteBuffer(bytearray(octets)))).hex()]

def cosem_apdu(octets, ek, ak):
    from dlms_cosem.protocol.xdlms.general_global_cipher import GeneralGlobalCipher
    from dlms_cosem.security import decrypt
    parsed = GeneralGlobalCipher.from_bytes(octets)
    return [decrypt(parsed.security_control, bytes(parsed.system_title), parsed.invocation_counter, ek,
                    parsed.ciphered_text, ak).hex()]

def cosem_frame(octets, ek, ak):
    from dlms_cosem.hdlc.frames import UnnumberedInformationFrame
    payload = UnnumberedInformationFrame.from_bytes(octets).payload[3:]
    if payload[0] == 0xDB:
        return cosem_apdu(payload, ek, ak)
    return [payload.hex()]

def cosem(octets, ek, ak):
    from dlms_cosem.protocol.xdlms.data_notification import DataNotification
    from dlms_cosem.utils import parse_as_dlms_data
    payload = bytes.fromhex(cosem_frame(octets, ek, ak)[0])
    return flat(parse_as_dlms_data(DataNotification.from_bytes(payload).body))

def amshan(octets, ek, ak):
    from han.autodecoder import AutoDecoder
    from han.hdlc import HdlcFrameReader
    [frame] = HdlcFrameReader(False).read(octets)
    assert frame.is_valid
    said = AutoDecoder().decode_message(frame)
    return [{name: value if isinstance(value, (int, float, str)) else str(value) for name, value in said.items()}]

peer = globals()[sys.argv[1]]
json.dump([peer(*map(bytes.fromhex, case)) for case in json.load(open(sys.argv[2]))], open(sys.argv[3], "w"))
"""


@pytest.fixture
def ask(tmp_path):
    def run(peer, octets, meter):
        questions, answers = tmp_path / "questions", tmp_path / "answers"
        keys = meter.keys.encryption.hex(), meter.keys.authentication.hex()
        questions.write_text(json.dumps([[one.hex(), *keys] for one in octets]))
        command = [sys.executable, "-c", CHILD, peer, str(questions), str(answers)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return json.loads(answers.read_text())

    return run


def instants(meter):
    """Twenty pushes around an hour, the rare lists among them."""
    return [meter.time_of(number) for number in range(20)]


def apdus(meter, times):
    """The ciphered APDUs, without their links."""
    return [meter._message(t, Change()) for t in times]


def values_of(pushed):
    return [value if isinstance(value, int) else value.hex() for value in pushed.values]


def as_hex(leaf):
    return leaf.encode("latin-1").hex() if isinstance(leaf, str) and not is_hex(leaf) else leaf


def is_hex(text):
    return len(text) % 2 == 0 and all(digit in "0123456789abcdef" for digit in text)


def has_the_truth(leaves, truth):
    """Every value of item P stands behind its code, or among values without codes, in W and Wh or in 10 Wh."""
    numbers = [leaf for leaf in leaves if isinstance(leaf, int)]
    return all(
        truth[key] in numbers or truth[key] // 10 in numbers
        for key in ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh")
        if key in truth
    )


@pytest.mark.parametrize("variant", ["lg-e450", "ch-lg-e570", "dk-kamstrup", "ch-am550", "no-aidon", "si-iskra"])
def test_gurux_reads_whole_frames(variant, ask, wire):
    meter = PushMeter(3, variant, HOUR)
    times = instants(meter)
    found = ask("gurux", [meter.telegram_at(t) for t in times], meter)
    for leaves, t in zip(found, times, strict=True):
        assert has_the_truth(leaves, meter.truth_at(t))
        ours = [value for value in values_of(wire.of(meter, t)) if isinstance(value, int)]
        assert [leaf for leaf in map(as_hex, leaves) if isinstance(leaf, int)] == ours


@pytest.mark.parametrize("variant", [name for name, one in PUSHES.items() if one.envelope.control is not None])
def test_gurux_opens_the_apdu(variant, ask, wire):
    meter = PushMeter(3, variant, HOUR)
    times = instants(meter)
    found = ask("gurux_apdu", apdus(meter, times), meter)
    assert [bytes.fromhex(one) for [one] in found] == [wire.of(meter, t).plain for t in times]


@pytest.mark.parametrize("variant", [name for name, one in PUSHES.items() if one.authenticates])
def test_dlms_cosem_finds_the_tag_right(variant, ask, wire):
    meter = PushMeter(3, variant, HOUR)
    times = instants(meter)
    found = ask("cosem_apdu", apdus(meter, times), meter)
    assert [bytes.fromhex(one) for [one] in found] == [wire.of(meter, t).plain for t in times]


@pytest.mark.parametrize("variant", ["dk-kamstrup", "si-iskra", "no-aidon"])
def test_dlms_cosem_opens_whole_frames(variant, ask, wire):
    meter = PushMeter(3, variant, HOUR)
    times = instants(meter)
    found = ask("cosem_frame", [meter.telegram_at(t) for t in times], meter)
    assert [bytes.fromhex(one) for [one] in found] == [wire.of(meter, t).plain for t in times]


def test_dlms_cosem_reads_values(ask):
    meter = PushMeter(3, "si-iskra", HOUR)
    times = instants(meter)
    found = ask("cosem", [meter.telegram_at(t) for t in times], meter)
    for leaves, t in zip(found, times, strict=True):
        assert has_the_truth(leaves, meter.truth_at(t))


AMSHAN = {
    "p_import_w": "active_power_import",
    "p_export_w": "active_power_export",
    "a_import_wh": "active_power_import_total",
    "a_export_wh": "active_power_export_total",
}


def check_amshan(said, truth):
    for key, name in AMSHAN.items():
        assert said.get(name) == truth.get(key), (key, said)


@pytest.mark.parametrize("variant", ["no-aidon", "no-kaifa"])
def test_amshan_reads_whole_frames(variant, ask):
    meter = PushMeter(3, variant, HOUR)
    times = instants(meter)
    for [said], t in zip(ask("amshan", [meter.telegram_at(t) for t in times], meter), times, strict=True):
        check_amshan(said, meter.truth_at(t))
