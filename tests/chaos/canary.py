"""Looks for secrets in everything that a run left: as text, hexadecimal, base64, quoted, or as numbers."""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

#: folders and files that hold secrets by right
OWNERS = ("secrets", "mosquitto/users")


def search(folder: Path) -> list[str]:
    """Where a secret of `folder/secrets` stands: the file, and how it is written there; never the secret."""
    needles = {
        needle: f"{path.name} as {way}" for path in (folder / "secrets").iterdir() if path.name != "keys"
        for way, needle in ways(path.read_text().strip())
    }  # fmt: skip
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or name.startswith(OWNERS):
            continue
        octets = path.read_bytes()
        found += [f"{name} holds {what}" for needle, what in needles.items() if needle in octets]
    return found


def ways(secret: str) -> Iterator[tuple[str, bytes]]:
    """Every way in which a secret could be written: 32 hexadecimal digits are a key, its octets are secret too."""
    texts = {secret.encode()}
    try:
        raw = bytes.fromhex(secret)
    except ValueError:
        raw = secret.encode()
    else:
        pairs = [f"{octet:02x}" for octet in raw]
        texts |= {join.join(pairs).encode() for join in ("", " ", ":", "-")}
        texts |= {text.upper() for text in set(texts)}
    yield from (("text", text) for text in texts)
    yield "octets", raw
    yield "base64", base64.b64encode(raw).rstrip(b"=")
    yield "base64 of text", base64.b64encode(secret.encode()).rstrip(b"=")
    yield "quoted", quote(raw).encode()
    yield "numbers", ", ".join(map(str, raw)).encode()
    yield "numbers", ",".join(map(str, raw)).encode()
