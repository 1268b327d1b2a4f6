"""TLS of the test hub: one context for every profile, client certificates where they are given, a foreign one on call.

A certificate that the client shows must be valid and ours; whether a profile needs one is decided where the request is
known (`serial` is None without one).
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from gateway.sandbox.folder import Folder, FolderError


def context(folder: Folder, foreign: Callable[[], bool]) -> ssl.SSLContext:
    """Make the context of the server; `foreign` says at each handshake whether the wrong certificate is shown.

    Raises FolderError.
    """
    try:
        own, wrong = (_context(folder.ca, *folder.pair(name)) for name in ("server", "foreign-server"))
    except (OSError, ssl.SSLError) as error:
        raise FolderError(
            f"{folder.path}: no usable certificates ({error.strerror or error}): "
            f"make a folder with `meterd sandbox init --folder DIR`"
        ) from None

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if foreign():
            connection.context = wrong

    own.sni_callback = choose
    return own


def serial(connection: ssl.SSLObject | None) -> str | None:
    """Return the serial number of the client's certificate in hexadecimal without leading zeros; None without one."""
    certificate = connection.getpeercert() if connection else None
    return str(certificate.get("serialNumber", "")).upper().lstrip("0") if certificate else None


def _context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(certificate, key)
    made.load_verify_locations(authority)
    made.verify_mode = ssl.CERT_OPTIONAL
    return made
