"""TLS, passwords and rights against a real mosquitto: what is refused is named, and no secret is ever shown."""
# ruff: noqa: PLR0917 - fixtures are arguments

import asyncio
import datetime as dt
import ipaddress
import logging
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "c4n4ry-s3cr3t"
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass
class Authority:
    """Makes certificates in a folder; names are file stems."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            self._builder(self.subject, self.key, NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.file = self._write(self.name, certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, stem: str, *names: x509.GeneralName, until: dt.datetime = NOW + DAY) -> tuple[str, str]:
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)])
        builder = self._builder(subject, key, until).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(stem, certificate.public_bytes(serialization.Encoding.PEM)), self._write(f"{stem}-key", pem)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, until: dt.datetime):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 2 * DAY)
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _write(self, stem: str, pem: bytes) -> str:
        path = self.folder / f"{stem}.pem"
        path.write_bytes(pem)
        return str(path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


HOST = x509.DNSName("localhost")
ADDRESS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def tls_broker(start_broker, authority: Authority, *lines: str, names=(HOST, ADDRESS), until=NOW + DAY):
    certificate, key = authority.issue("broker", *names, until=until)
    return start_broker(f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", *lines)


@pytest.fixture
def error_of(running, until) -> Callable[..., str]:
    """The sentence with which a sink that cannot connect ends up."""

    def run(sink) -> str:
        async def main() -> str:
            async with running(sink):
                await until(lambda: sink.status()["last_error"])
                assert not sink.status()["connected"]
                return sink.status()["last_error"]

        return asyncio.run(main())

    return run


def test_tls_with_client_certificate(
    start_broker, authority, make_sink, running, until, make_item, caplog: pytest.LogCaptureFixture
) -> None:
    broker = tls_broker(start_broker, authority, "require_certificate true")
    certificate, key = authority.issue("client")

    async def main() -> None:
        sink = make_sink(
            broker.port, host="localhost", tls=True, ca_file=authority.file, cert_file=certificate, key_file=key
        )
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            sink.report("main", {"state": "ok", "flags": []}, available=True)
            for seq in range(500):
                sink.deliver(make_item(seq))
                await asyncio.sleep(0)
            await until(lambda: not sink._link.unacked)
            assert sink.status()["connected"]
            assert sink.status()["published"] > 0

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_missing_client_certificate(start_broker, authority, make_sink, error_of) -> None:
    broker = tls_broker(start_broker, authority, "require_certificate true")
    error = error_of(make_sink(broker.port, host="localhost", tls=True, ca_file=authority.file))
    assert "mqtt.cert_file" in error


def test_client_certificate_of_another_authority(start_broker, authority, tmp_path, make_sink, error_of) -> None:
    broker = tls_broker(start_broker, authority, "require_certificate true")
    certificate, key = Authority(tmp_path, "other").issue("client")
    options = {"tls": True, "ca_file": authority.file, "cert_file": certificate, "key_file": key}
    assert "mqtt.cert_file" in error_of(make_sink(broker.port, host="localhost", **options))


def test_unknown_authority(start_broker, authority, tmp_path, make_sink, error_of) -> None:
    broker = tls_broker(start_broker, authority)
    other = Authority(tmp_path, "other")
    error = error_of(make_sink(broker.port, host="localhost", tls=True, ca_file=other.file))
    assert "unknown authority: set mqtt.ca_file" in error


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_wrong_host(start_broker, authority, make_sink, error_of, host: str) -> None:
    broker = tls_broker(start_broker, authority, names=(x509.DNSName("elsewhere.example"),))
    error = error_of(make_sink(broker.port, host=host, tls=True, ca_file=authority.file))
    assert "is for another" in error


def test_expired_certificate(start_broker, authority, make_sink, error_of) -> None:
    broker = tls_broker(start_broker, authority, until=NOW - DAY)
    error = error_of(make_sink(broker.port, host="localhost", tls=True, ca_file=authority.file))
    assert "has expired" in error


def test_tls_asked_of_a_port_without_tls(broker, authority, make_sink, error_of) -> None:
    error = error_of(make_sink(broker.port, host="localhost", tls=True, ca_file=authority.file))
    assert "does not speak TLS on this port" in error


def test_no_tls_asked_of_a_port_with_tls(start_broker, authority, make_sink, error_of) -> None:
    broker = tls_broker(start_broker, authority)
    assert "set mqtt.tls = true" in error_of(make_sink(broker.port))


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "password_file"])
def test_a_file_that_is_not_there_is_named(authority, make_sink, error_of, key: str) -> None:
    options = {"tls": True, "ca_file": authority.file, "username": "meter", key: "/nonexistent/file"}
    assert f"mqtt.{key} /nonexistent/file cannot be read: No such file" in error_of(make_sink(1, **options))


def test_a_key_that_does_not_belong_to_its_certificate(authority, make_sink, error_of) -> None:
    certificate, _ = authority.issue("one")
    _, key = authority.issue("two")
    sink = make_sink(1, tls=True, ca_file=authority.file, cert_file=certificate, key_file=key)
    assert "does not belong to the certificate" in error_of(sink)


# -- password and rights ---------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(start_broker, tmp_path: Path):
    """A broker with one user `meter` that may write below `meterd/main` and `meterd/status` only."""
    users, rights = tmp_path / "users", tmp_path / "rights"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "meter", PASSWORD], check=True, capture_output=True)
    rights.write_text("user meter\ntopic write meterd/status\ntopic write meterd/main/#\n")
    return start_broker(f"password_file {users}", f"acl_file {rights}", anonymous=False)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def test_password_from_a_file(guarded, password_file, make_sink, running, until, caplog) -> None:
    async def main() -> None:
        sink = make_sink(guarded.port, username="meter", password_file=str(password_file))
        async with running(sink):
            await until(lambda: sink.status()["connected"])

    asyncio.run(main())
    assert "can be read by other users" not in caplog.text


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_wrong_password_is_named_and_never_shown(
    guarded, password_file, make_sink, error_of, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = f"wrong-{PASSWORD}"
    password_file.write_text(wrong)
    sink = make_sink(guarded.port, username="meter", password_file=str(password_file), version=version)
    error = error_of(sink)
    assert "wrong user name or password" in error
    assert PASSWORD not in "".join((error, caplog.text, repr(sink), repr(vars(sink)), repr(sink.status())))


def test_password_that_others_can_read_is_warned_of_once(
    guarded, password_file, make_sink, error_of, caplog: pytest.LogCaptureFixture
) -> None:
    password_file.write_text("wrong")
    password_file.chmod(0o644)
    error_of(make_sink(guarded.port, username="meter", password_file=str(password_file)))
    assert caplog.text.count("can be read by other users: chmod 600 it") == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_password_file_that_holds_none(password_file, make_sink, error_of, content: bytes) -> None:
    password_file.write_bytes(content)
    error = error_of(make_sink(1, username="meter", password_file=str(password_file)))
    assert f"mqtt.password_file {password_file} is" in error


def test_missing_right_to_publish_is_named(guarded, password_file, make_sink, running, until, make_item) -> None:
    async def main() -> None:
        options = {"username": "meter", "password_file": str(password_file)}
        sink = make_sink(guarded.port, ("main", "second"), **options)
        async with running(sink):
            await until(lambda: sink.status()["trouble"])
            assert sink.status()["connected"]
            assert "does not let this user publish meterd/second/availability" in sink.status()["trouble"]
            assert "write meterd/#" in sink.status()["trouble"]

    asyncio.run(main())


def test_name_that_does_not_resolve(make_sink, error_of) -> None:
    assert "cannot be resolved: check mqtt.host" in error_of(make_sink(1, host="broker.invalid"))
