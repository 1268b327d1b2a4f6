import pytest

from gateway.sinks import mqtt_packet


@pytest.mark.parametrize(
    ("size", "length"),
    [(0, b"\x05"), (122, b"\x7f"), (123, b"\x80\x01"), (16378, b"\xff\x7f"), (16379, b"\x80\x80\x01")],
)
def test_packet_as_in_the_standard(size: int, length: bytes) -> None:
    packet = mqtt_packet.publish("a/b", b"x" * size, retain=False, properties=b"")
    assert packet == b"\x30" + length + b"\x00\x03a/b" + b"x" * size


def test_retain_and_properties() -> None:
    properties = mqtt_packet.packed(30, None)
    assert properties == b"\x05\x02\x00\x00\x00\x1e"
    assert (
        mqtt_packet.publish("a", b"1", retain=True, properties=properties) == b"\x31\x0a\x00\x01a" + properties + b"1"
    )
    assert mqtt_packet.packed(0, None) == b"\x00"
