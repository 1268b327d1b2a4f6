"""The mailbox: files that are put into a folder are taken as a POST takes them, and put away with the answer."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import judging, mailbox
from gateway.sandbox.store import StoreError
from tests.sandbox.test_ote import EAN, data

SAMPLES = Path(__file__).parent / "samples"
#: 2026-03-04T08:00:00Z
NOW = 1_772_611_200
UUID = "dc8bbc4c-c021-4dc5-a5be-ead707e1dcfc"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mailbox"
    made.mkdir()
    return made


@pytest.fixture
def hub(hub_at: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(mailbox, "_LOOK_S", 0.02)
    monkeypatch.setattr(judging, "_AGAIN_S", 0.02)
    found = hub_at(NOW, mailbox=folder)
    found.sandbox.options.delay_s = 0.0
    return found


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def put(folder: Path, name: str, content: bytes) -> tuple[str, str]:
    """Put a file into the mailbox, and give where it went with the answer."""
    (folder / name).write_bytes(content)
    answers = (folder / "done" / f"{name}.answer", folder / "refused" / f"{name}.answer")
    until(lambda: not (folder / name).exists())
    (answer,) = [path for path in answers if path.exists()]
    assert answer.with_suffix("").read_bytes() == content
    return answer.parent.name, answer.read_text()


def test_files_of_every_kind_are_taken(hub: Any, folder: Path) -> None:
    json_ = (SAMPLES / "dk-datahub3" / "rsm012-pt15m-96points.json").read_bytes()
    assert put(folder, "a day.json", json_) == ("done", "202\n")
    xml = (SAMPLES / "dk-datahub3" / "rsm012-pt15m-96points.xml").read_bytes()
    where, answer = put(folder, "again.xml", xml)
    assert (where, answer.splitlines()[0]) == ("refused", "400")
    assert json.loads(answer.split("\n", 1)[1])["Error"]["Code"] == "00101"
    where, answer = put(folder, "vhd.xml", (SAMPLES / "eu-eddie-cim" / "vhd-v1.04-96points.xml").read_bytes())
    assert (where, "<code>A01</code>" in answer) == ("done", True)
    message = json.loads((SAMPLES / "ee-estfeed" / "post-metering-data-electricity.json").read_text())["body"]
    assert put(folder, f"{UUID}.json", json.dumps(message).encode()) == ("done", "202\n")
    assert put(folder, "no id.json", json.dumps(message).encode())[0] == "refused"
    until(lambda: len(hub.effects()) == 4)
    assert {effect["profile"] for effect in hub.effects()} == {"dk", "eu", "ee"}


def test_a_file_for_the_czech_portal_is_judged_as_its_service_does(hub: Any, folder: Path) -> None:
    day, accepted = data("2026-03-03").encode(), 'code="0200" type="A01"'
    where, answer = put(folder, "month.xml", day)
    assert (where, accepted in answer) == ("done", True)
    assert put(folder, "again.xml", day)[1] == answer, "the same id with the same content is answered as before"
    where, answer = put(folder, "other.xml", day.replace(b'value="0.001"', b'value="0.002"'))
    assert (where, 'code="0302" type="A02"' in answer) == ("refused", True)
    where, answer = put(folder, "broken.xml", day[:-20])
    assert (where, "<faultcode>soap:Client</faultcode>" in answer) == ("refused", True)
    assert [effect["point"] for effect in hub.effects(profile="ote")] == [EAN]


def test_what_is_nothing_is_refused_and_a_name_is_never_overwritten(hub: Any, folder: Path) -> None:
    assert put(folder, "a", b"nothing") == ("refused", "400\nthis is no document that the hub knows\n")
    (folder / "a").write_bytes(b"other")
    until((folder / "refused" / "a-1.answer").exists)
    assert (folder / "refused" / "a").read_bytes() == b"nothing"
    (folder / "link").symlink_to("/etc/hostname")
    (folder / ".hidden").write_bytes(b"")
    (folder / "sub").mkdir()
    assert put(folder, "b", b"")[0] == "refused"
    assert sorted(path.name for path in folder.iterdir()) == [".hidden", "link", "refused", "sub"]


def test_a_file_that_still_grows_is_left(hub: Any, folder: Path) -> None:
    path = folder / ".growing"
    path.write_bytes(b"x")
    looks = []
    for content in (b"x", b"xx", b"xx"):
        if content != path.read_bytes():
            path.write_bytes(content)
        status = path.stat()
        looks.append({path: mailbox._Seen(status.st_size, status.st_mtime_ns)})
    assert mailbox._still({}, looks[0]) == mailbox._still(looks[0], looks[1]) == []
    assert mailbox._still(looks[1], looks[2]) == [path]
    path.rename(folder / "grown")
    until((folder / "refused" / "grown").exists)


def test_a_folder_of_a_party(hub: Any, folder: Path) -> None:
    (folder / "othergrid").mkdir()
    body = (SAMPLES / "dk-datahub3" / "rsm012-pt15m-96points.json").read_bytes()
    where, answer = put(folder / "othergrid", "a.json", body)
    assert (where, json.loads(answer.split("\n", 1)[1])["Error"]["Code"]) == ("refused", "00002")


def test_a_file_that_is_too_large(hub: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_LARGEST", 10)
    assert put(folder, "large", b"x" * 11) == ("refused", "413\nthe file is too large\n")


def test_a_mailbox_that_is_gone_does_not_stop_the_hub(hub: Any, folder: Path) -> None:
    folder.rmdir()
    asyncio.run(asyncio.sleep(0.1))
    folder.mkdir()
    assert put(folder, "a", b"nothing")[0] == "refused"


def test_while_the_store_does_not_work_a_file_waits(
    hub: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, failing = hub.sandbox.store.run, [True]

    async def run(work: Any) -> Any:
        if failing:
            raise StoreError("the disk is full")
        return await whole(work)

    monkeypatch.setattr(hub.sandbox.store, "run", run)
    content = (SAMPLES / "dk-datahub3" / "rsm012-pt15m-96points.json").read_bytes()
    (folder / "a").write_bytes(content)
    until(lambda: any("not taken: the disk is full" in record.getMessage() for record in caplog.records))
    assert (folder / "a").exists()
    until(lambda: any("nothing is judged: the disk is full" in record.getMessage() for record in caplog.records))
    failing.clear()
    until((folder / "done" / "a.answer").exists)
    until(lambda: len(hub.effects()) == 1)
