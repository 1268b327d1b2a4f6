"""The certification authority of a test hub: ECDSA P-256 certificates that nobody outside the tests may trust."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: names under which a client may reach the hub
NAMES: Final = ("localhost",)
ADDRESSES: Final = ("127.0.0.1", "::1")
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, PEM; `serial` in hexadecimal."""

    certificate: bytes
    key: bytes
    serial: str


class Authority:
    """A certification authority of its own, made at random; its key signs what `server` and `client` issue."""

    def __init__(self, name: str, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._certificate = (
            _builder(subject, subject, self._key, self._now - _DAY, self._now + 3650 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def issued(self) -> Issued:
        """The certificate of the authority itself, and its key."""
        return _issued(self._certificate, self._key)

    def server(self) -> Issued:
        """A server certificate for localhost, 127.0.0.1 and ::1."""
        names = [x509.DNSName(name) for name in NAMES]
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ADDRESSES]
        return self._issue("meterd sandbox", ExtendedKeyUsageOID.SERVER_AUTH, 825, [*names, *addresses])

    def client(self, name: str, days: int = 825) -> Issued:
        """A client certificate of a party; with `days` below 0 it expired as many days ago."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, days, [])

    def _issue(self, name: str, use: x509.ObjectIdentifier, days: int, names: list[x509.GeneralName]) -> Issued:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        key = ec.generate_private_key(ec.SECP256R1())
        until = self._now + days * _DAY
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        builder = (
            _builder(_name(name), self._certificate.subject, key, min(self._now, until - _DAY) - _DAY, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(authority, critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _issued(builder.sign(self._key, hashes.SHA256()), key)


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meterd sandbox, for tests only")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), pem, f"{certificate.serial_number:X}")
