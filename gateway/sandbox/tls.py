"""TLS of the test hub: one context for every profile, client certificates where they are given, a foreign one on call.

A certificate that the client shows must be valid and ours; whether a profile needs one is decided where the request is
known (`serial` is None without one).
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from gateway.sandbox.folder import Folder, FolderError


def context(
    folder: Folder, foreign: Callable[[], bool], refused: Callable[[str], None] = lambda _why: None
) -> ssl.SSLContext:
    """Make the context of the server; `foreign` says at each handshake whether the wrong certificate is shown.

    `refused` is told why the certificate of a client is not accepted: such a client sees a closed connection only.
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

    class Side(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError as error:
                refused(error.verify_message)
                raise

    own.sni_callback = choose
    own.sslobject_class = Side
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
