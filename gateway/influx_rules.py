"""What `[influx]` must hold beyond the type of each key: an address, the names that its API needs, files that agree."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gateway.settings_rules import BROKER_RULES, Verdict, check_keys
from gateway.toml_tables import Problems

#: keys that name files
PATHS = ("token_file", "password_file", "ca_file", "cert_file", "key_file")
#: keys that only one version of the API has
_ONLY = {
    "v1": ("database", "retention_policy", "username", "password_file"),
    "v2": ("org", "bucket", "token_file"),
}
#: keys that a version cannot do without
_NEEDED = {"v1": ("database",), "v2": ("org", "bucket")}
_FORM = "http://HOST:PORT or https://HOST:PORT, with a path where the server has one, and nothing behind it"
INFLUX_MISSING = (
    "the API v2 needs the Python package influxdb-client: pip install 'meterd[influx]', or set version = \"v1\" where"
    " the server has it"
)
#: octets of a token or password, at most
MAX_SECRET = 4_096


class SecretError(Exception):
    """A file of a token or password that cannot be used: one sentence, which never holds what is in it."""


def check(values: Mapping[str, Any], problems: Problems) -> None:
    """Check a table that passed its types; a key that did not is absent here and was reported already."""
    rules = dict.fromkeys(PATHS, BROKER_RULES["ca_file"]) | {"url": _address}
    check_keys(rules, values, "[influx]", problems)
    for key, what, allowed in _together(values):
        problems.add(f"[influx] {key}", what, allowed)


def place(url: str) -> str:
    """`scheme://host:port/path`, for people."""
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the database is on this machine, by its name."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def secret(key: str, path: str) -> str:
    """Read a token or password from its file, anew for each use; raises SecretError. `key` is that of the table."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET + 1)
    except OSError as error:
        raise SecretError(f"influx.{key} {path} cannot be read: {error.strerror}") from None
    text = content.decode("latin-1").rstrip("\r\n")
    if not text:
        raise SecretError(f"influx.{key} {path} is empty: it holds the secret on one line")
    if len(content) > MAX_SECRET or not _is_one_line(content, key):
        raise SecretError(f"influx.{key} {path} holds more than one line of text: it holds the secret and nothing else")
    return text if key == "token_file" else content.decode().rstrip("\r\n")


def _is_one_line(content: bytes, key: str) -> bool:
    """A token goes into a header as it is, so it is of plain signs; a password is encoded, so it is any line."""
    try:
        text = content.decode("ascii" if key == "token_file" else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() for c in text) and (key != "token_file" or " " not in text)


def _address(url: str) -> Verdict:
    """Judge a URL without ever showing it whole: a person may have put a password into it."""
    try:
        parts = urlsplit(url)
        sound = _is_sound(url, parts)
    except ValueError:
        return "this is no URL", _FORM
    if parts.username is not None or parts.password is not None:
        return "a user or password does not belong into it", "token_file, or username and password_file"
    return None if sound else ("this is no URL of a database", _FORM)


def _is_sound(url: str, parts: SplitResult) -> bool:
    plain = url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}')
    whole = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    return plain and whole and url.partition("://")[0] in ("http", "https") and not url.endswith(("?", "#"))


def _together(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Keys that contradict each other: key, what is wrong, what is allowed."""
    version = values.get("version", "v2")
    for key in _NEEDED[version]:
        if key not in values:
            yield key, f'is missing with version = "{version}"', "a name"
    for other in _ONLY.keys() - {version}:
        for key in _ONLY[other]:
            if key in values:
                yield key, f'has no effect with version = "{version}"', f'version = "{other}"'
    if version == "v1" and ("username" in values) != ("password_file" in values):
        yield "username", "a user and a password belong together", "username and password_file, or neither"
    yield from _tls(values)


def _tls(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if ("cert_file" in values) != ("key_file" in values):
        yield "cert_file", "a client certificate and its key belong together", "cert_file and key_file, or neither"
    if not str(values.get("url", "https:")).startswith("https:"):
        for key in ("ca_file", "cert_file", "key_file"):
            if key in values:
                yield key, "has no effect without TLS", "a url that begins with https://"
