"""The page of the test hub: its password, everything escaped, no script, its policy, forms without JavaScript."""

import base64
import hashlib
import re
import time
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest
from lxml import html

from gateway.sandbox.page_plots import HEIGHT, plot
from tests.sandbox.conftest import Hub

NOW = 1_772_600_000
POINT = "571313000000002000"
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def hub(hub_at: Callable[[float], Hub]) -> Hub:
    return hub_at(NOW)


def browser(hub: Hub) -> httpx.Client:
    client = hub.client()
    client.auth = httpx.BasicAuth("anybody", hub.folder.admin_token())
    return client


def page(hub: Hub) -> html.HtmlElement:
    answer = browser(hub).get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return html.document_fromstring(answer.text)


def texts(found: html.HtmlElement, section: str) -> list[list[str]]:
    rows = found.get_element_by_id(section).xpath(".//tbody/tr")
    return [[cell.text_content() for cell in row.xpath("./td")] for row in rows]


def test_the_password_is_the_token_of_the_administrator(hub: Hub) -> None:
    client = hub.client()
    asked = client.get("/")
    assert (asked.status_code, asked.headers["www-authenticate"][:5]) == (401, "Basic")
    for password in ("", "x", hub.folder.admin_token()[:-1]):
        assert client.get("/", auth=("admin", password)).status_code == 401
    assert client.get("/", headers={"Authorization": "Basic x"}).status_code == 401
    assert hub.folder.admin_token() not in asked.text + browser(hub).get("/").text


def test_an_empty_hub_says_so(hub: Hub) -> None:
    found = page(hub)
    assert "Nothing arrived yet." in found.text_content()
    assert "2026-03-04T04:53:20Z" in found.text_content()


def test_a_phone_scrolls_tables_and_breaks_no_word(hub: Hub) -> None:
    found = page(hub)
    assert found.xpath("//meta[@name='viewport']/@content") == ["width=device-width, initial-scale=1"]
    style = found.findtext(".//style")
    assert "section{overflow-x:auto}" in style
    assert "anywhere" not in style


def test_what_arrived_is_shown_with_its_quality(hub: Hub) -> None:
    hub.take(POINT, NOW - 86_400 - NOW % 900, ["0.5", None, "1.0"])
    hub.take(POINT, NOW - 86_400 - NOW % 900, ["0.25"], quality="A03", direction="production")
    found = page(hub)
    export, taken = found.get_element_by_id("series").xpath(".//figure")
    assert [bar.get("class") for bar in taken.xpath(".//*[local-name()='rect']")] == ["ground", "measured", "measured"]
    assert [row[1:] for row in texts(found, "series")] == [
        ["0.25", "estimated"], ["0.5", "measured"], ["", "missing"], ["1.0", "measured"],
    ]  # fmt: skip
    assert "production" in export.text_content()
    assert f"{POINT} consumption (dk, by gridco)" in taken.text_content()


def test_messages_permissions_and_accesses_are_shown(hub: Hub) -> None:
    hub.take(POINT, NOW - 86_400 - NOW % 900, ["0.5"])
    customer = hub.client("customer")
    customer.post("/api/v1/metering-points", json={"meteringPoint": POINT})
    terms = {
        "meteringPoint": POINT, "eligibleParty": "supplier", "product": "active", "direction": "combined",
        "readingStart": "2026-03-01T00:00:00Z", "readingEnd": None, "purpose": "tests",
        "transmissionSchedule": "once", "maximumLifetime": "2027-01-01T00:00:00Z",
    }  # fmt: skip
    id_ = customer.post("/api/v1/permissions", json=terms).json()["permission"]["permissionId"]
    hub.client("supplier").get(f"/api/v1/permissions/{id_}/data")
    found = page(hub)
    (permission,) = texts(found, "permissions")
    assert (permission[0], permission[-1]) == (id_, "active")
    assert texts(found, "messages")[0][-2:] == ["permitted_data", "200"]
    (access,) = texts(found, "access-log")
    assert (access[1], access[2]) == (POINT, "supplier")
    assert id_ in access[4]
    customer.post(f"/api/v1/permissions/{id_}/revocation")
    assert "revoked by the customer" in page(hub).get_element_by_id("permissions").text_content()


@pytest.mark.parametrize(("name", "why"), [("expired", "certificate has expired"), ("foreign", "unable to get")])
def test_a_client_certificate_that_is_refused_is_shown(hub: Hub, name: str, why: str) -> None:
    """The client itself sees no more than a closed connection."""
    with pytest.raises(httpx.TransportError):
        hub.client(name, token=False).get("/openapi.json")
    until = time.monotonic() + 60
    while not any(why in cells[4] for cells in texts(page(hub), "messages")):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_foreign_text_is_text(hub: Hub) -> None:
    hub.take(HOSTILE, NOW - 86_400 - NOW % 900, ["0.5"], profile=HOSTILE)
    hub.sandbox.arrived(HOSTILE, None, HOSTILE, HOSTILE)
    found = page(hub)
    assert found.xpath("//script") == []
    assert HOSTILE in found.get_element_by_id("messages").text_content()
    assert HOSTILE in found.get_element_by_id("series").text_content()


def test_the_policy_allows_the_style_alone(hub: Hub) -> None:
    answer = browser(hub).get("/")
    found = html.document_fromstring(answer.text)
    (style,) = found.xpath("//style")
    policy = answer.headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    # Nothing of it comes from elsewhere, and nothing is run.
    assert found.xpath("//@src | //@style | //link | //script | //iframe | //img") == []
    assert not [name for it in found.iter() if isinstance(it.tag, str) for name in it.attrib if name.startswith("on")]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def submit(hub: Hub, name: str, **fields: str) -> httpx.Response:
    """Fill the form of a fault as a browser does."""
    for form in page(hub).forms:
        if form.fields["name"] == name:
            form.fields.update(fields)
            return browser(hub).post(form.action, data=dict(form.form_values()))
    raise AssertionError(name)


def test_a_fault_is_switched_by_its_form(hub: Hub) -> None:
    answer = submit(hub, "slow", p="0.5", value="2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/#faults")
    assert (
        hub.admin().get("/control/faults").json()["on"]["slow"] | {"p": 0.5, "value": 2.0}
        == (hub.admin().get("/control/faults").json()["on"]["slow"])
    )
    (row,) = page(hub).xpath("//tr[@class='on']")
    assert row.xpath("./th")[0].text_content() == "slow"
    assert submit(hub, "slow", p="0").status_code == 303
    assert hub.admin().get("/control/faults").json()["on"] == {}


@pytest.mark.parametrize("fields", [{"p": "2"}, {"p": "nan"}, {"p": "x"}, {"p": ""}, {"p": "1", "value": "inf"}])
def test_a_wrong_form_is_refused(hub: Hub, fields: dict[str, str]) -> None:
    assert submit(hub, "slow", **fields).status_code == 400
    assert hub.admin().get("/control/faults").json()["on"] == {}


def test_a_form_of_a_foreign_page_is_refused(hub: Hub) -> None:
    client = browser(hub)
    assert client.post("/page/faults", data={"name": "slow", "p": "1", "token": "x"}).status_code == 403
    assert client.post("/page/faults", content=b"\xff=%ff").status_code == 403
    assert client.post("/page/faults", content=b"token=" + b"x" * 5_000).status_code == 403
    assert hub.client().post("/page/faults", data={"name": "slow", "p": "1"}).status_code == 401
    assert hub.admin().get("/control/faults").json()["on"] == {}


def test_bars_are_as_high_as_their_values() -> None:
    drawn = plot([[0, "2", "A04"], [900, "1", "A03"], [1800, "0", "A04"], [2700, None, "A02"]], "a day")
    heights = re.findall(r'class="(?:measured|estimated)"[^>]* height="([0-9.]+)"', drawn)
    assert [Decimal(it) for it in heights] == [HEIGHT, HEIGHT // 2, 1]
