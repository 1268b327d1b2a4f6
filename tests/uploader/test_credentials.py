"""Credentials: when they end is told in stages, where they come from, and that a secret shows in no form."""

import pickle
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import key_material
from gateway.hub_settings import HubSettings
from gateway.uploader import notice_secret
from gateway.uploader.credentials import CredentialError, Credentials, Expiry, Reminder
from gateway.uploader.notice_channel import NoticeError
from tests.certificates import Authority

DAY = 86_400


def hub(**changes) -> HubSettings:
    return HubSettings(name="national", kind="dk-datahub3", **{key: str(value) for key, value in changes.items()})


def private(path: Path, text: str, mode: int = 0o400) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("step", [DAY // 3, DAY, 5 * DAY])
def test_each_stage_is_told_once(step):
    reminder, end = Reminder("h"), 100 * DAY
    told = {}
    for now in range(0, 110 * DAY, step):
        for event in reminder.due((Expiry("certificate", "cert_file", end),), now):
            told[now] = event
    stages = [Expiry("certificate", "", end).stage(now) for now in told]
    assert stages == ([30, 14, 7, 1, 0] if step <= DAY else [30, 14, 7, 0])
    assert [event.severity for event in told.values()][:3] == ["warning"] * 3
    assert {event.name for event in told.values()} == {"certificate_expires"}
    assert "ended 1970-04-11" in told[max(told)].text


def test_a_renewal_is_told_and_starts_anew():
    reminder = Reminder("h")
    first = reminder.due((Expiry("secret", "x", 10 * DAY),), 0)
    assert [event.recovered for event in first] == [False]
    again = reminder.due((Expiry("secret", "x", 375 * DAY),), DAY)
    assert [event.recovered for event in again] == [True]
    assert reminder.due((Expiry("secret", "x", 375 * DAY),), 2 * DAY) == []
    assert len(reminder.due((Expiry("secret", "x", 375 * DAY),), 350 * DAY)) == 1


def test_what_was_told_before_a_restart_is_not_told_again():
    first = Reminder("h")
    assert first.due((Expiry("authority", "x", 10 * DAY),), 0)
    assert Reminder("h", first.told).due((Expiry("authority", "x", 10 * DAY),), 1) == []


def test_ends_of_certificate_authority_and_secret(tmp_path):
    authority = Authority(tmp_path, days=20)
    mine = authority.sign("me", days=5)
    secret = private(tmp_path / "secret", "abc\n")
    credentials = Credentials(
        hub(
            ca_file=authority.ca,
            cert_file=mine.cert,
            key_file=mine.key,
            client_secret_file=secret,
            client_secret_expires="2027-01-31",
        )
    )
    assert credentials.changed()
    assert not credentials.changed()
    loaded = credentials.load()
    now = datetime.now(UTC).timestamp()
    days = {one.what: round((one.at - now) / DAY) for one in loaded.expiries}
    assert days["authority"] == 20
    assert days["certificate"] == 5
    assert {one.what: one.at for one in loaded.expiries}["secret"] == datetime(2027, 1, 31, tzinfo=UTC).timestamp()
    assert loaded.serial == mine.serial
    assert loaded.secret.reveal() == "abc"


def test_authorities_that_change_serve_as_long_as_one_of_them_does(tmp_path):
    old, new = Authority(tmp_path / "old", days=2), Authority(tmp_path / "new", days=90)
    both = tmp_path / "both.pem"
    both.write_bytes(old.ca.read_bytes() + new.ca.read_bytes())
    (expiry,) = Credentials(hub(ca_file=both)).load().expiries
    assert round((expiry.at - datetime.now(UTC).timestamp()) / DAY) == 90


@pytest.mark.parametrize("prefix", ["", "meterd_", "stored_"])
def test_a_systemd_credential_comes_first(tmp_path, monkeypatch, prefix):
    folder = tmp_path / "credentials"
    folder.mkdir()
    # systemd gives its own modes: group of the service
    private(folder / f"{prefix}national.secret", "of systemd", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    named = private(tmp_path / "secret", "of the file")
    assert Credentials(hub(client_secret_file=named)).load().secret.reveal() == "of systemd"


@pytest.mark.parametrize(
    ("key", "content", "says"),
    [
        ("client_secret_file", "", "is empty"),
        ("client_secret_file", "\n", "no single line"),
        ("client_secret_file", "two\nlines", "no single line"),
        ("client_secret_file", "x" * 5_000, "no single line"),
        ("ca_file", "no certificate", "no certificate in PEM"),
        ("ca_file", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate in PEM"),
        ("ca_file", "x" * (1 << 20) + "y", "larger than"),
    ],
)
def test_files_that_do_not_serve(tmp_path, key, content, says):
    path = private(tmp_path / "file", content)
    with pytest.raises(CredentialError) as caught:
        Credentials(hub(**{key: path})).load()
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize("what", ["absent", "folder", "pipe"])
def test_files_that_are_none(tmp_path, what):
    import os

    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    if what == "pipe":
        os.mkfifo(path, 0o400)
    with pytest.raises(CredentialError):
        Credentials(hub(client_secret_file=path)).load()


@pytest.mark.parametrize(
    "read",
    [
        lambda path: Credentials(hub(client_secret_file=path)).load(),
        lambda path: notice_secret.secret(str(path), "password_file"),
        key_material.read_file,
    ],
    ids=["hub", "notice", "key"],
)
def test_a_folder_in_the_place_of_a_secret_is_not_left_open(tmp_path, read):
    """It is tried again and again: each time would cost a descriptor."""
    with pytest.raises((CredentialError, NoticeError, key_material.KeyFileError), match="Is a directory"):
        read(tmp_path)
    assert not [file for file in Path("/proc/self/fd").iterdir() if file.exists() and file.samefile(tmp_path)]


def test_a_secret_shows_in_no_form(tmp_path):
    chance = random.Random(5)
    text = "".join(chance.choice("abcdefghij0123456789") for _ in range(40))
    loaded = Credentials(hub(client_secret_file=private(tmp_path / "s", text))).load()
    assert text not in f"{loaded!r} {loaded} {loaded.secret:} {loaded.secret!r}"
    with pytest.raises(TypeError):
        pickle.dumps(loaded.secret)


def test_a_day_that_is_none(tmp_path):
    settings = hub(client_secret_expires="2027-02-30")
    with pytest.raises(CredentialError):
        Credentials(settings).load()
