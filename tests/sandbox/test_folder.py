"""The folder of a test hub: certificates that hold what they say, secrets that only their owner reads."""

import datetime as dt
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import ClientVerifier, PolicyBuilder, Store, VerificationError

from gateway.sandbox.folder import Folder, FolderError
from gateway.sandbox.parties import Parties, Party
from gateway.sandbox.tls import context
from gateway.sandbox.tokens import Tokens, basic

NOW = dt.datetime(2026, 4, 2, 8, tzinfo=dt.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "hub")
    made.make(NOW)
    return made


def certificate(folder: Folder, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(folder.pair(name)[0].read_bytes())


def test_only_the_owner_reads_it(folder: Folder) -> None:
    modes = {path.relative_to(folder.path).as_posix(): path.stat().st_mode & 0o777 for path in folder.path.rglob("*")}
    assert {name for name, mode in modes.items() if mode != 0o600} == {"clients"}
    assert modes["clients"] == folder.path.stat().st_mode & 0o777 == 0o700


def test_the_server_certificate_is_for_loopback(folder: Folder) -> None:
    authority = Store([certificate(folder, "ca")])
    for name in (x509.DNSName("localhost"), *(x509.IPAddress(a) for a in _addresses())):
        verifier = PolicyBuilder().store(authority).time(NOW).build_server_verifier(name)
        assert verifier.verify(certificate(folder, "server"), [])
        with pytest.raises(VerificationError):
            verifier.verify(certificate(folder, "foreign-server"), [])


def _addresses() -> list[object]:
    import ipaddress

    return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]


def _client_verifier(folder: Folder) -> ClientVerifier:
    return PolicyBuilder().store(Store([certificate(folder, "ca")])).time(NOW).build_client_verifier()


def test_client_certificates_hold_for_clients_alone(folder: Folder) -> None:
    for name in ("gridco", "othergrid", "supplier", "customer"):
        found = certificate(folder, f"clients/{name}")
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert found.not_valid_after_utc - NOW == dt.timedelta(days=825)
        party = folder.parties().certified(f"{found.serial_number:x}")
        assert party is not None
        assert party.name == name
    assert certificate(folder, "clients/expired").not_valid_after_utc == NOW - dt.timedelta(days=1)
    assert certificate(folder, "clients/foreign").issuer == certificate(folder, "foreign-ca").subject


def test_a_folder_is_made_once(folder: Folder) -> None:
    before = folder.ca.read_bytes()
    with pytest.raises(FolderError, match="already"):
        folder.make()
    assert folder.ca.read_bytes() == before


def test_what_is_no_folder(tmp_path: Path) -> None:
    empty = Folder(tmp_path)
    with pytest.raises(FolderError, match="meterd sandbox init"):
        empty.parties()
    with pytest.raises(FolderError, match="meterd sandbox init"):
        empty.admin_token()
    with pytest.raises(FolderError, match="meterd sandbox init"):
        context(empty, lambda: False)


@pytest.mark.parametrize("text", ["", "{", "[]x", '[{"name": "a"}]', "[1]", '{"name": 1}', '[{"name": "a", "ids": 1}]'])
def test_what_is_no_list_of_parties(folder: Folder, text: str) -> None:
    (folder.path / "parties.json").write_text(text)
    with pytest.raises(FolderError, match=r"parties\.json"):
        folder.parties()


@pytest.mark.parametrize(
    ("same", "said"),
    [
        ({"name": "gridco"}, "name gridco"),
        ({"client_id": "gridco-client"}, "client_id gridco-client"),
        ({"ids": {"dk": "5799999933318"}}, "dk id 5799999933318"),
        ({"certificate": "serial"}, "certificate "),
    ],
)
def test_two_parties_that_nobody_could_tell_apart(folder: Folder, same: dict[str, Any], said: str) -> None:
    """One customer that is copied to make a second one would have the logs of the first."""
    path = folder.path / "parties.json"
    entries = json.loads(path.read_text())
    if "certificate" in same:
        same = {"certificate": entries[0]["certificate"].lower()}
    path.write_text(json.dumps([*entries, {"name": "b", "client_id": "b-client", "ids": {}, "roles": {}} | same]))
    with pytest.raises(FolderError, match=f"two parties have the {said}"):
        folder.parties()


def test_certificates_that_do_not_fit_are_said(folder: Folder) -> None:
    folder.pair("server")[1].write_bytes(folder.pair("ca")[1].read_bytes())
    with pytest.raises(FolderError, match="no usable certificates"):
        context(folder, lambda: False)


def test_a_party_is_found_by_what_it_has(folder: Folder) -> None:
    parties = folder.parties()
    secret = (folder.clients / "gridco.secret").read_text().strip()
    found = parties.client("gridco-client", secret)
    assert found is not None
    assert found == parties.named("gridco") == parties.identified("dk", "5799999933318")
    assert secret not in repr(found)
    assert parties.client("gridco-client", "other") is None
    assert parties.client("gridco-client", "") is None
    assert parties.client("nobody", secret) is None
    assert parties.named("nobody") is parties.identified("dk", "1") is parties.certified("1") is None
    assert found.id("unknown profile") == "gridco"
    assert {entry["name"] for entry in json.loads((folder.path / "parties.json").read_text())} == {
        "gridco",
        "othergrid",
        "supplier",
        "customer",
    }


def test_a_token_holds_for_its_time_and_there_is_an_end_to_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    parties = Parties([Party("a", {}, {}, "client", "", "secret")])
    tokens = Tokens(parties, lambda: now, lifetime_s=10)
    monkeypatch.setattr("gateway.sandbox.tokens.CAPACITY", 3)
    made = [tokens.issue("client", "secret") for _ in range(4)]
    assert tokens.issue("client", "wrong") is None
    held = [tokens.holder(f"Bearer {token}") is not None for token in made]
    assert held == [False, True, True, True]
    assert tokens.holder(f"Basic {made[3]}") is None
    tokens.expire(f"Bearer {made[3]}")
    assert tokens.holder(f"Bearer {made[3]}") is None
    now = 1010.0
    assert tokens.holder(f"bearer {made[2]}") is None


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        ("Basic YTpi", ("a", "b")),
        ("basic YSUzQTpi", ("a:", "b")),
        ("Basic YQ==", None),
        ("Basic ???", None),
        ("Basic /w==", None),
        ("Bearer YTpi", None),
        ("", None),
    ],
)
def test_basic(header: str, pair: tuple[str, str] | None) -> None:
    assert basic(header) == pair


def test_the_context_takes_tls_12_and_later(folder: Folder) -> None:
    assert context(folder, lambda: False).minimum_version == ssl.TLSVersion.TLSv1_2
