"""TLS to the broker: certificate and host name are always checked; imported only when `mqtt.tls` is on."""

import ssl
from pathlib import Path

from gateway.settings import BrokerSettings
from gateway.sinks.mqtt_errors import NEEDS_PERSON_S, ConnectionFailedError, place

#: OpenSSL's X509_V_ERR_* -> what to do
_VERIFY: dict[int, str] = {
    9: "its certificate is not valid yet: check the clock of this machine",
    10: "its certificate has expired: renew it at the broker, or check the clock of this machine",
    18: "its certificate is self-signed and not known here: set mqtt.ca_file to it",
    19: "its certificate comes from an unknown authority: set mqtt.ca_file to the authority's certificate",
    20: "its certificate comes from an unknown authority: set mqtt.ca_file to the authority's certificate",
    21: "its certificate comes from an unknown authority: set mqtt.ca_file to the authority's certificate",
    62: "its certificate is for another host name: set mqtt.host to the name in the certificate",
    64: "its certificate is for another address: set mqtt.host to the name or address in the certificate",
}
#: what OpenSSL calls an answer that is no TLS
_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_MESSAGE",
    "UNEXPECTED_RECORD",
    "BAD_RECORD_TYPE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
}
_CLIENT_CERTIFICATE = (
    "the broker does not accept this client's certificate: check mqtt.cert_file and mqtt.key_file against its authority"
)


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


def context(settings: BrokerSettings) -> ssl.SSLContext:
    """A context that verifies the broker and shows the client certificate, where there is one."""
    result = ssl.create_default_context(cafile=_readable("mqtt.ca_file", settings.ca_file))
    result.sslsocket_class = _ClosingSocket
    if settings.cert_file:
        certificate = _readable("mqtt.cert_file", settings.cert_file)
        key = _readable("mqtt.key_file", settings.key_file)
        # without a callback OpenSSL would ask for a passphrase on the terminal, and wait for ever
        result.load_cert_chain(str(certificate), key, password=lambda: "")
    return result


def create(settings: BrokerSettings) -> ssl.SSLContext:
    """`context`; raises ConnectionFailedError that explains files that do not serve, or do not fit each other."""
    try:
        return context(settings)
    except ssl.SSLError as error:
        named = " ".join(filter(None, (settings.ca_file, settings.cert_file, settings.key_file)))
        raise ConnectionFailedError(
            f"a file of mqtt.ca_file, cert_file, key_file is no PEM file, has a passphrase, or the key does not belong "
            f"to the certificate ({named}: {error.reason or 'unreadable'})",
            NEEDS_PERSON_S,
        ) from None


def explain(error: ssl.SSLError, settings: BrokerSettings) -> ConnectionFailedError:
    """What a failed TLS handshake means."""
    where = place(settings)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = _VERIFY.get(error.verify_code, f"its certificate is not accepted: {error.verify_message}")
        return ConnectionFailedError(f"broker {where}: {text}", NEEDS_PERSON_S)
    if isinstance(error, ssl.SSLEOFError) or error.reason in _NO_TLS:
        return no_tls(settings)
    if error.reason and "ALERT" in error.reason:
        return ConnectionFailedError(f"broker {where}: {_CLIENT_CERTIFICATE} ({error.reason})", NEEDS_PERSON_S)
    return ConnectionFailedError(f"broker {where}: TLS handshake failed ({error.reason or error})", NEEDS_PERSON_S)


def no_tls(settings: BrokerSettings) -> ConnectionFailedError:
    """The peer dropped the handshake or answered something else."""
    return ConnectionFailedError(
        f"broker {place(settings)} does not speak TLS on this port: set mqtt.port to its TLS port (mostly 8883)",
        NEEDS_PERSON_S,
    )


def _readable(key: str, path: str | None) -> str | None:
    if path is None:
        return None
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise ConnectionFailedError(f"{key} {path} cannot be read: {error.strerror}", NEEDS_PERSON_S) from None
