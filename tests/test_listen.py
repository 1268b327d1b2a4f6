"""Addresses at which an output listens."""

import pytest

from gateway.listen import overlap, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2001", ("127.0.0.1", 2001)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:2001", ("::1", 2001)),
        ("[0:0::1]:65535", ("::1", 65535)),
    ],
)
def test_parse(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2001", ":2001", "127.0.0.1", "127.0.0.1:", "localhost:2001", "::1:2001", "127.0.0.1:65536", "1.2.3:80",
     "256.0.0.1:80", "127.0.0.1:80 ", "127.0.0.1:-1", "[127.0.0.1:80", "[:::]:80", "127.0.0.1:080000"],
)  # fmt: skip
def test_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("0.0.0.0:80", "192.0.2.1:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
    ],
)
def test_overlap(one, other, expected):
    assert overlap(one, other) is overlap(other, one) is expected
