"""The canary: every secret of the uploader goes through failures at level debug, and stands nowhere but in its file."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.cli import main
from tests.certificates import Authority
from tests.daemon.conftest import Subscriber
from tests.daemon.test_canary import files_below, hits
from tests.ports import free_port
from tests.raw_hub import Answer, RawHub, ok
from tests.uploader.lying import POINT
from tests.uploader.processes import Uploader, until
from tests.uploader.test_notices import Certificates, Mail, Mailbox

pytestmark = pytest.mark.e2e

NAMES = ("client", "smtp", "webhook", "mqtt")


def echo(status: str, request: bytes, kind: str = "text/plain") -> Answer:
    """An error page as careless programmers make them: it shows what was asked."""
    head, _, body = request.partition(b"\r\n\r\n")
    shown = head + b"\n" + (body if b"client_secret" in body else b"")
    if kind == "application/json":
        shown = json.dumps({"Error": {"Code": "E10", "Message": shown.decode()}}).encode()
    return ok(shown, f"Content-Type: {kind}", status=status)


class Careless:
    """A hub and a webhook whose errors quote each request."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.got: list[str] = []

    def __call__(self, request: bytes) -> Answer:
        what = request.split(b" ", 2)[1].decode().rpartition("/")[2]
        self.got.append(what)
        count = self.got.count(what)
        if what == "token" and count > 1:
            said = {"access_token": self.token, "token_type": "Bearer", "expires_in": 900}
            return ok(json.dumps(said).encode(), "Content-Type: application/json")
        if what == "notifyvalidatedmeasuredata" and count > 1:
            return echo("400 Bad Request", request, "application/json")
        if what in ("Timeseries", "Aggregations"):
            return ok(status="204 No Content")
        return echo("503 Service Unavailable" if what == "token" else "500 Internal Server Error", request)


def seen_of(pid: int) -> Iterator[tuple[str, bytes]]:
    for name in ("cmdline", "environ"):
        yield f"{pid} {name}", Path(f"/proc/{pid}/{name}").read_bytes()


@pytest.mark.timeout(180)
def test_no_secret_is_anywhere_but_in_its_file(  # noqa: PLR0915 - one run
    tmp_path: Path, broker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(8)
    secrets = {name: rng.randbytes(16).hex() for name in NAMES}
    token = rng.randbytes(16).hex()
    keep = tmp_path / "keep"
    keep.mkdir()
    for name, secret in secrets.items():
        (keep / name).write_text(secret)
        (keep / name).chmod(0o400)
    authority = Authority(keep, days=60)
    pair, server = authority.sign("ours"), authority.sign("server")
    number = load_pem_private_key(pair.key.read_bytes(), None).private_numbers().private_value.to_bytes(32, "big")
    mqtt, mailbox = broker(), Mailbox()
    certificates = Certificates(tmp_path)
    mail = Mail(mailbox, certificates.context("127.0.0.1"), starttls=False, port=free_port())
    mail.start()
    listening = Subscriber(mqtt.port, "#")
    careless = Careless(token)
    outputs: list[tuple[str, bytes]] = []
    run = tmp_path / "run"
    run.mkdir()
    try:
        with RawHub(server, answers=careless, clients=authority, demands=False) as raw:
            one = Uploader(run, raw.port, run, days=1)
            head = one.config.read_text().partition("[[hub]]")[0]
            one.config.write_text(
                f'{head}[log]\nlevel = "debug"\n[mqtt]\nhost = "127.0.0.1"\nport = {mqtt.port}\nusername = "u"\n'
                f'password_file = "{keep}/mqtt"\n[notice]\nsmtp_host = "127.0.0.1"\nsmtp_port = {mail.port}\n'
                f'smtp_username = "u"\nsmtp_password_file = "{keep}/smtp"\nsmtp_ca_file = "{certificates.ca}"\n'
                f'mail_from = "a@example.net"\nmail_to = ["b@example.net"]\nwebhook_url = "{raw.url}/webhook"\n'
                f'webhook_token_file = "{keep}/webhook"\nwebhook_ca_file = "{authority.ca}"\ndigest_s = 0\n'
                f'[[hub]]\nname = "dk"\nkind = "dk-datahub3"\nurl = "{raw.url}"\ntoken_url = "{raw.url}/token"\n'
                f'client_id = "c"\nclient_secret_file = "{keep}/client"\nca_file = "{authority.ca}"\n'
                f'cert_file = "{pair.cert}"\nkey_file = "{pair.key}"\npoints = ["{POINT}"]\nlegal_basis = "a test"\n'
                f'party = "5799999933318"\nrole = "MDR"\nsince = "{one.dates[0]}"\nat = "00:00"\njitter_s = 0\n'
                f"inbox_s = 1\nrequests_per_minute = 6000\n"
            )
            environment = os.environ | {"PYTHONASYNCIODEBUG": "1", "TMPDIR": str(run)}
            with (run / "uploader.log").open("ab") as log:
                command = [sys.executable, "-X", "dev", "-m", "gateway.cli", "uploader", "-c", one.config]
                one.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
            try:
                until(lambda: one.counts()["rejected"] == 1 if one.ledger.exists() else False, "the reject")
                until(lambda: "webhook" in careless.got and mailbox.logins, "attempts of notices")
                until(lambda: any(topic.endswith("/notice") for topic, _, _ in listening.messages), "a notice by MQTT")
                watched = list(seen_of(one.process.pid))
                one.end()
            finally:
                one.kill()
        for arguments in (("status",), ("status", "--json"), ("show", "dk"), ("show", "dk", "1"), ("log",)):
            main(["hub", *arguments, "-c", str(one.config)])
            shown = capsys.readouterr()
            outputs.append((" ".join(arguments), (shown.out + shown.err).encode()))
    finally:
        mail.stop()
        listening.close()
    told = [(topic, payload) for topic, payload, _ in listening.messages]
    places = [*files_below(run, None), *watched, *told, *outputs]
    # what is meant to be told was told, and each secret was used
    assert "E10" in one.log
    assert mailbox.logins[0] == secrets["smtp"].encode()
    for name, secret in [*secrets.items(), ("token", token)]:
        octets = secret.encode()
        assert [place for place, data in places if octets in data or octets[::-1] in data] == [], name
        assert hits([octets], places) == [], name
    assert hits([number], places) == []
    assert [place for place, data in places if b"PRIVATE KEY" in data] == []
    status = [(topic, payload) for topic, payload in told if topic.endswith("/uploader/status")]
    assert status
    assert [place for place, data in [*watched, *status] if POINT.encode() in data] == []
