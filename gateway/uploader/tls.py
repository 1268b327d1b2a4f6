"""TLS to a hub: 1.2 or newer, certificate and name always checked, its authority pinned by `ca_file`, ours shown."""

import ssl
from pathlib import Path
from typing import NamedTuple

from gateway.uploader.credentials import CredentialError

_UNKNOWN = "its certificate is of no authority that is believed here: check ca_file with its operator"
#: OpenSSL's X509_V_ERR_* -> what to do
_VERIFY: dict[int, str] = {
    7: _UNKNOWN,
    9: "its certificate is not valid yet: check the clock of this machine",
    10: "its certificate has expired: tell its operator, or check the clock of this machine",
    18: "its certificate is self-signed and not known here: set ca_file to the authority that its operator names",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    62: "its certificate is for another host name: check `url`",
    64: "its certificate is for another address: check `url`",
}
#: what OpenSSL calls an answer that is no TLS
_NO_TLS = frozenset((
    "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "UNEXPECTED_RECORD", "BAD_RECORD_TYPE",
    "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST",
))  # fmt: skip
#: alerts by which a server refuses the certificate of its client (RFC 8446, clause 6.2), as OpenSSL names them
_CERTIFICATE_ALERTS = frozenset((
    "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA", "ACCESS_DENIED", "CERTIFICATE_REQUIRED", "NO_CERTIFICATE",
))  # fmt: skip


class Fault(NamedTuple):
    """What a TLS error means: a sentence, and whether a person must act before a retry helps."""

    text: str
    person: bool


def context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """A context that verifies the hub; raises CredentialError that names the file that does not serve.

    With `ca` only the authorities in it are believed, without it those of the system.
    """
    try:
        made = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (ssl.SSLError, OSError):
        raise CredentialError(f"ca_file {ca} holds no certificate in PEM that can be read") from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None and key is not None:
        _show(made, cert, key)
    return made


def is_certificate_alert(error: BaseException | None) -> bool:
    """Whether the server refused our certificate; with TLS 1.3 that comes after the handshake, as the first answer."""
    reason = getattr(error, "reason", None) or ""
    return isinstance(error, ssl.SSLError) and any(reason.endswith(f"ALERT_{one}") for one in _CERTIFICATE_ALERTS)


def explain(error: ssl.SSLError, where: str, *, shows: bool) -> Fault:
    """What a failed handshake with `where` means; `shows`: we have a client certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = _VERIFY.get(error.verify_code, f"its certificate is not accepted: {error.verify_message}")
        return Fault(f"{where}: {text}", person=True)
    if is_certificate_alert(error):
        what = "does not accept our certificate: check cert_file and key_file with its operator"
        wants = "wants a client certificate: set cert_file and key_file"
        return Fault(f"{where} {what if shows else wants} ({_reason(error)})", person=True)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Fault(f"{where} closed the connection during the TLS handshake", person=False)
    if error.reason in _NO_TLS:
        return Fault(f"{where} does not speak TLS on this port: check `url`", person=True)
    if error.reason and "ALERT" in error.reason:
        hint = "" if shows else "; it may want a client certificate: set cert_file and key_file"
        return Fault(f"{where} refuses the TLS handshake ({_reason(error)}){hint}", person=True)
    return Fault(f"{where}: the TLS handshake failed ({_reason(error)})", person=False)


def _show(made: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        # without a callback OpenSSL would ask for a passphrase on the terminal, and wait for ever
        made.load_cert_chain(str(cert), str(key), password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or "unreadable"
        raise CredentialError(
            f"cert_file {cert} and key_file {key} do not serve: one is no PEM, the key has a passphrase, or it does not"
            f" belong to the certificate ({why})"
        ) from None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or type(error).__name__).lower().replace("_", " ")
