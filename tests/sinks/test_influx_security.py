"""TLS to the database, and the token: verified or nothing is sent, and it stands nowhere but in its file and header."""

import contextlib
import datetime as dt
import importlib.util
import ipaddress
import logging
import ssl
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.cli import main
from gateway.sinks import influx
from tests.influx_fake import TOKEN, Fake, Reply

_spec = importlib.util.spec_from_file_location("influx_parts", Path(__file__).with_name("influx_parts.py"))
parts = sys.modules["influx_parts"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parts)

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
NOW, DAY = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
NAMES = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def wait(condition, what, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.01)


class Authority:
    """Signs certificates; files in a folder."""

    def __init__(self, folder, name="authority"):
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        made = self._builder(self._name, self._key, NOW + DAY).add_extension(basic, critical=True)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._sign(made.add_extension(usage, critical=True)))

    def issue(self, names=NAMES, until=NOW + DAY, stem="server"):
        """A certificate and its key, as paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)]), key, until)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        cert, secret = self._folder / f"{stem}-cert.pem", self._folder / f"{stem}-key.pem"
        cert.write_bytes(self._sign(made))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return cert, secret

    def _builder(self, subject, key, until):
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 2 * DAY)
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer, critical=False)
        )

    def _sign(self, builder):
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def store(tmp_path):
    made = parts.Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def fake():
    with contextlib.ExitStack() as stack:

        def start(version="v2", identity=None, **keys):
            made = Fake(**({"token": TOKEN if version == "v2" else None} | keys)).start(identity)
            stack.callback(made.stop)
            return made

        yield start


def secure(server, folder, version, authority, **keys):
    known = {"url": f"https://localhost:{server.port}", "ca_file": str(authority.ca), "version": version}
    return parts.settings(server.port, folder, **(known | keys))


# -- TLS -------------------------------------------------------------------------------------------------------------


@VERSIONS
def test_a_verified_server_gets_every_reading(store, fake, tmp_path, authority, version):
    server = fake(version, authority.issue())
    store.add(*(parts.item(s) for s in range(600)))
    with parts.delivering(secure(server, tmp_path, version, authority), store):
        wait(lambda: store.counts()["delivered"] == 600, "all readings")
    assert server.lines == 1_800


WRONG = {
    "its certificate is for another host name": ([x509.DNSName("elsewhere.example")], NOW + DAY),
    "its certificate has expired": (NAMES, NOW - DAY),
}


@pytest.mark.parametrize(("version", "text"), [(version, text) for version in ("v1", "v2") for text in WRONG])
def test_a_wrong_certificate_gets_nothing(store, fake, authority, version, text):
    server, tmp_path = fake(version, authority.issue(*WRONG[text])), authority.ca.parent
    store.add(parts.item(0))
    with parts.delivering(secure(server, tmp_path, version, authority), store) as sink:
        wait(lambda: text in (sink.status()["trouble"] or ""), f"the trouble ({sink.status()['trouble']})")
    assert server.requests == []


@VERSIONS
def test_another_address_gets_nothing(store, fake, tmp_path, authority, version):
    server = fake(version, authority.issue([x509.DNSName("localhost")]))
    store.add(parts.item(0))
    config = secure(server, tmp_path, version, authority, url=f"https://127.0.0.1:{server.port}")
    with parts.delivering(config, store) as sink:
        wait(lambda: "its certificate is for another address" in (sink.status()["trouble"] or ""), "the trouble")
    assert server.requests == []


@VERSIONS
def test_an_authority_that_is_changed_is_used_without_a_restart(store, fake, tmp_path, authority, version):
    other = Authority(tmp_path, "other")
    server = fake(version, authority.issue())
    store.add(parts.item(0))
    config = secure(server, tmp_path, version, authority, ca_file=str(other.ca))
    with parts.delivering(config, store) as sink:
        wait(lambda: "unknown authority" in (sink.status()["trouble"] or ""), "the trouble")
        other.ca.write_text("no certificate")
        wait(lambda: "is no PEM file" in (sink.status()["trouble"] or ""), "the other trouble")
        other.ca.unlink()
        wait(lambda: "cannot be read" in (sink.status()["trouble"] or ""), "the third trouble")
        other.ca.write_bytes(authority.ca.read_bytes())
        wait(lambda: store.counts()["delivered"] == 1, "the reading")


@VERSIONS
def test_a_client_certificate(store, fake, tmp_path, authority, version):
    server = fake(version, authority.issue())
    server._server.socket.context.verify_mode = ssl.CERT_REQUIRED
    server._server.socket.context.load_verify_locations(authority.ca)
    store.add(parts.item(0))
    with parts.delivering(secure(server, tmp_path, version, authority), store) as sink:
        wait(lambda: sink.status()["attempts"] > 1, "the trouble")
        assert "influx.cert_file and influx.key_file" in sink.status()["trouble"]
    assert server.requests == []
    cert, key = authority.issue([], stem="client")
    config = secure(server, tmp_path, version, authority, cert_file=str(cert), key_file=str(key))
    with parts.delivering(config, store):
        wait(lambda: store.counts()["delivered"] == 1, "the reading")


@VERSIONS
def test_tls_asked_of_a_port_without_it_and_the_other_way_round(store, fake, tmp_path, authority, version):
    plain, guarded = fake(version), fake(version, authority.issue())
    store.add(parts.item(0))
    with parts.delivering(secure(plain, tmp_path, version, authority), store) as sink:
        wait(lambda: "it does not speak TLS there" in (sink.status()["trouble"] or ""), "the trouble")
    with parts.delivering(parts.settings(guarded.port, tmp_path, version=version), store) as sink:
        wait(lambda: sink.status()["attempts"] > 1, "the other trouble")
        assert sink.status()["works"] is False
    assert guarded.requests == []


# -- the token -------------------------------------------------------------------------------------------------------

#: answers that quote the token, and a connection that breaks
QUOTES = [
    Reply(400, f'{{"error":"partial write: unable to parse Authorization: Token {TOKEN}"}}'.encode()),
    Reply(401, f"Token {TOKEN} is wrong".encode()),
    Reply(500, TOKEN.encode()),
    Reply(307, b"", {"Location": f"http://127.0.0.1:1/{TOKEN}"}),
    Reply(429, TOKEN.encode(), {"Retry-After": TOKEN}),
    Reply(raw=lambda handler: handler.wfile.write(f"{TOKEN}\r\n\r\n".encode())),
    Reply(raw=lambda handler: handler.wfile.write(f"HTTP/1.1 {TOKEN} {TOKEN}\r\n\r\n".encode())),
    Reply(raw=lambda handler: None),
]


@pytest.mark.parametrize("reply", QUOTES, ids=["400", "401", "500", "307", "429", "garbage", "status", "close"])
def test_the_token_stands_nowhere(store, fake, caplog, capfd, reply):
    caplog.set_level(logging.DEBUG)
    tmp_path = store.path.parent
    server = fake(behave=lambda _request: reply)
    store.add(*(parts.item(s) for s in range(3)))
    config = parts.settings(server.port, tmp_path)
    with parts.delivering(config, store) as sink:
        wait(lambda: sink.status()["attempts"] > 1 or store.counts()["dead_letter"] == 3, "the trouble")
        seen = [str(sink.status()), repr(config), repr(sink), str(vars(sink))]
    store.journal.flush(30)
    seen += [record.getMessage() + str(record.__dict__) for record in caplog.records]
    seen += [*capfd.readouterr(), " ".join(request.path for request in server.requests)]
    seen += [str(request.query) for request in server.requests]
    seen += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir() if path.name != "token"]
    assert [text for text in seen if TOKEN in text or TOKEN[7:20] in text] == []
    assert {request.headers["Authorization"] for request in server.requests} == {f"Token {TOKEN}"}, "the control"


def test_an_error_of_meterd_itself_is_named_without_the_token(store, tmp_path, monkeypatch):
    monkeypatch.setattr(influx, "_sender", lambda _version: _broken)
    store.add(parts.item(0))
    with pytest.raises(ZeroDivisionError) as caught:
        _ends(parts.settings(1, tmp_path), store)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def _ends(config, store):
    """Run a sink whose thread ends in an error."""
    with parts.delivering(config, store) as sink:
        wait(lambda: sink.status()["requests"] > 0, "a request")
        wait(lambda: not any(one.name == "influx" for one in threading.enumerate()), "the thread to end")
        time.sleep(0.2)


def _broken(*_):
    return 1 // 0


# -- meterd check ----------------------------------------------------------------------------------------------------

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\n[mqtt]\n'


@pytest.fixture
def check(tmp_path, capsys):
    def run(table):
        path = tmp_path / "meterd.toml"
        path.write_text(f'{METER}[journal]\npath = "{tmp_path}/j.db"\n[influx]\n{table}')
        code = main(["check", "-c", str(path)])
        said = capsys.readouterr()
        return code, said.out.replace(str(path), "FILE"), said.err.replace(str(path), "FILE").splitlines()

    return run


def test_check_of_a_good_table(check, tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    code, out, err = check('url = "http://localhost:8086"\norg = "o"\nbucket = "b"\ntoken_file = "token"\n')
    assert (code, err) == (0, [])
    assert out.endswith("; readings to http://localhost:8086\n")


def test_check_tells_every_mistake_at_once(check):
    code, _, err = check(
        'url = "http://meterd:se-cret@h:8086/?a=b"\ntoken = "x"\norg = ""\ndatabase = "d"\ncert_file = "no.pem"\n'
        'batch = 0\ntimeout_s = 0.5\nprefix = "a-b"\nregisters = [""]\ngzip = 1\nversion = "v3"\n'
    )
    assert code == 1
    assert "se-cret" not in "".join(err)
    for text in (
        "[influx] token: unknown key (did you mean token_file?)",
        "[influx] org: '' is not allowed",
        '[influx] version: \'v3\' is not allowed; allowed: "v1", "v2"',
        "[influx] batch: 0 is not allowed; allowed: a whole number from 1 to 5000",
        "[influx] timeout_s: 0.5 is not allowed",
        "[influx] prefix: 'a-b' is not allowed; allowed: up to 32 of A-Z, a-z, 0-9 and _",
        '[influx] registers: [\'\'] is not allowed; allowed: "all", "none" or a list of codes',
        "[influx] gzip: 1 is not allowed; allowed: true or false",
        "[influx] url: a user or password does not belong into it; allowed: token_file",
        "[influx] cert_file: a client certificate and its key belong together",
        "[influx] cert_file: has no effect without TLS",
        "[influx] bucket: is missing",
        '[influx] database: has no effect with version = "v2"',
        "no.pem cannot be read",
    ):
        assert sum(text in line for line in err) == 1, (text, err)


WORDS = ["", "localhost:8086", "ftp://h", "http://", "http://[::1", "HTTP//h", "http://h b", "http://h\\\\n"]
BAD_URLS = [*WORDS, *(f"http://h{rest}" for rest in (":99999", ":0", "/?q=1", "/#f", "?"))]


@pytest.mark.parametrize("url", BAD_URLS)
def test_check_of_addresses(check, url):
    code, _, err = check(f'url = "{url}"\norg = "o"\nbucket = "b"\n')
    assert code == 1
    assert [line for line in err if "[influx] url: this is no URL" in line] == err


@pytest.mark.parametrize(
    "url", ["http://h", "https://h:8086/", "http://[::1]:8086", "https://h.example/insert/0/influx"]
)
def test_check_of_good_addresses(check, url):
    assert check(f'url = "{url}"\norg = "o"\nbucket = "b"\n')[0] == 0


def test_check_warns_of_what_others_can_read(check, tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    _, _, err = check('url = "http://h:8086"\norg = "o"\nbucket = "b"\ntoken_file = "token"\n')
    assert [line.partition("[influx]")[2] for line in err] == [
        f" token_file: every user can read {token}: chmod o-r",
        " url: without https the token crosses the network in clear",
    ]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ('version = "v1"\ndatabase = "d"\nusername = "u"', "[influx] username: a user and a password belong together"),
        ('version = "v1"\norg = "o"', '[influx] org: has no effect with version = "v1"'),
        ('version = "v1"', '[influx] database: is missing with version = "v1"'),
        ('org = "o"\nbucket = "b"\ntoken_file = "empty"', "is empty: it holds the secret on one line"),
        ('org = "o"\nbucket = "b"\nca_file = "empty"', "ca_file: has no effect without TLS"),
    ],
)
def test_check_of_keys_that_do_not_fit(check, tmp_path, table, text):
    (tmp_path / "empty").write_text("")
    code, _, err = check(f'url = "http://h:8086"\n{table}\n')
    assert code == 1
    assert any(text in line for line in err), err


def test_check_of_certificates(check, tmp_path):
    (tmp_path / "empty").write_text("")
    code, _, err = check('url = "https://h:8086"\norg = "o"\nbucket = "b"\nca_file = "empty"\n')
    assert code == 1
    assert any("[influx] ca_file:" in line and "holds no certificate in PEM form" in line for line in err), err


def test_check_without_the_library(check, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "influxdb_client" else find(name, *a)
    )
    code, _, err = check('url = "http://h:8086"\norg = "o"\nbucket = "b"\n')
    assert code == 1
    assert "pip install 'meterd[influx]'" in err[0]
    assert check('url = "http://h:8086"\nversion = "v1"\ndatabase = "d"\n')[0] == 0
