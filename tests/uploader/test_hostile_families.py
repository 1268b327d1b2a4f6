"""`meterd uploader` as one process before hostile hubs of the other families: Estonia, Czechia, Lithuania, a broker.

And before a hostile sender of PND. As in test_hostile_process: a stored state, bounded lines in the log that say what
is wrong, never another message, bounded memory.
"""

import hashlib
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from gateway.stores.hubs import HubStore
from gateway.stores.ledger_salvage import open_ledger
from tests.certificates import Pair
from tests.hubs import cz_parts
from tests.hubs.test_eu_vhd import ack
from tests.raw_hub import Answer, RawHub, ok
from tests.uploader import hostile
from tests.uploader.hostile import (
    BAD,
    BOMB,
    DEEP_JSON,
    DEEP_XML,
    EXTERNAL,
    JSON,
    LIMIT_S,
    METER,
    OBJECT,
    SOAP,
    SUPPLY,
    TAKEN,
    By,
    Case,
    Hub,
    Scene,
    continues,
    endless,
    flood,
    said,
    silence,
)
from tests.uploader.lying import Home
from tests.uploader.processes import Uploader, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(LIMIT_S)]

VILNIUS = ZoneInfo("Europe/Vilnius")
#: lines of the log beyond those that must be there
FEW = 4
HTML = ok(b"<html>login</html>", "Content-Type: text/html")
#: numbers that are none, or longer than any
NUMBERS = (b"1e400", b"9" * 5_000, b"-1e-400", b"NaN", b"Infinity")
YEARS = "Sat, 01 Jan 3026 00:00:00 GMT"


# -- Estonia -----------------------------------------------------------------------------------------------------------


def ee(get: Answer | By, says: str, state: str = "accepted", *, lines: int = 1, **more: Any) -> Case:
    """A message that is taken, and what its status says; it is asked for after a second."""
    return Case(TAKEN, state, says, get=get, kind="ee-estfeed", more={"confirm_after_s": 1, **more}, lines=lines)


def ee_post(post: Answer | By, says: str, state: str = "unknown", **more: Any) -> Case:
    """A message, and what is said to it; of its status nobody knows."""
    return Case(post, state, says, get=ok(status="404 Not Found"), kind="ee-estfeed", more=more)


def status_of(**more: object) -> By:
    """A status under the id that is asked about, and with other fields."""

    def make(hub: Hub, name: str, path: str) -> Answer:
        (document,) = re.findall(r"[?&]documentIdentification=([0-9a-f-]+)", path)
        return said({"documentIdentification": document, "status": "SUCCESSFUL"} | more)

    return By(make)


def busy(after: str) -> Answer:
    return ok(b"later", f"Retry-After: {after}", status="503 Service Unavailable")


def smuggled(hub: Hub, name: str, path: str) -> Answer:
    """Behind the answer to the message that to a question which nobody has asked yet."""
    return TAKEN + said({"status": "SUCCESSFUL"})


ESTONIA = {
    "ee-sound": ee(status_of(), "", "confirmed", lines=0),
    "ee-html": ee(HTML, "no JSON"),
    "ee-gzip": ee(ok(b"\x1f\x8b\x08\x00" * 9, JSON, "Content-Encoding: gzip"), "compressed"),
    "ee-flood": ee(flood, "more than 8388608 octets"),
    "ee-cut": ee(ok(b'{"status": "SUCCESS', JSON), "no JSON"),
    "ee-deep": ee(ok(DEEP_JSON, JSON), "nested"),
    "ee-twice": ee(ok(b'{"status":"PROCESSING","status":"SUCCESSFUL"}', JSON), "a key twice"),
    **{f"ee-number-{n}": ee(ok(b'{"status":"SUCCESSFUL","kwh":' + text + b"}", JSON), "number")
       for n, text in enumerate(NUMBERS)},
    "ee-list": ee(said([{"status": "SUCCESSFUL"}]), "no JSON object"),
    "ee-other": ee(status_of(documentIdentification="00000000-0000-4000-8000-000000000000"), "another message"),
    "ee-others": ee(status_of(originalDocumentIdentification=["x"]), "another message"),
    "ee-word": ee(status_of(status="SUCCESSFUL\x1b[2J"), "not known here"),
    "ee-none": ee(status_of(status=None), "not known here"),
    "ee-report": ee(
        status_of(status="ERROR", errors=[{"code": "\x1b[31m", "message": f"{METER}\n\x07"}] * 20_000), "was refused",
        "rejected",
    ),
    "ee-no-report": ee(status_of(status="ERROR", errors="none"), "no report", "rejected"),
    "ee-100": ee_post(continues, "did not finish", timeout_s=2),
    "ee-101": ee_post(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "no HTTP"),
    "ee-302": ee_post(ok(b"", "Location: https://hub.example/", status="302 Found"), "redirects", "new"),
    "ee-418": ee_post(ok(b"\x1b[2Jteapot", status="418 I'm a teapot"), "http_418 [2Jteapot", "rejected"),
    "ee-599": ee_post(ok(status="599 ?"), "status 599"),
    "ee-1000": ee_post(ok(status="1000 ?"), "no HTTP"),
    "ee-length": ee_post(b"HTTP/1.1 202 Accepted\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n", "no HTTP"),
    "ee-years": ee_post(busy("99999999999"), "later", "new"),
    "ee-digits": ee_post(busy("9" * 5_000), "later", "new"),
    "ee-date": ee_post(busy(YEARS), "later", "new"),
    "ee-past": ee_post(busy("Thu, 01 Jan 1970 00:00:00 GMT"), "later", "new"),
    "ee-negative": ee_post(busy("-86400"), "later", "new"),
    "ee-garbage": ee_post(busy("Mon, 99 Foo 99999 99:99:99 +9999999999"), "later", "new"),
    "ee-refused": ee_post(
        said({"errors": [{"code": "a\x1b[1m", "message": "\x1b[2J\n"}]}, status=BAD), "a [1m [2J", "rejected"
    ),
    "ee-smuggled": Case(By(smuggled), "accepted", get=ok(status="404 Not Found"), kind="ee-estfeed", lines=0,
                        more={"confirm_after_s": 3_600}),
}  # fmt: skip


# -- Czechia -----------------------------------------------------------------------------------------------------------


def cz(post: Answer | By, says: str, state: str = "unknown", lines: int = 1) -> Case:
    return Case(post, state, says, kind="cz-ote", lines=lines)


def response(status: str = "200 OK", edit: Callable[[str], str] = str, **changes: object) -> By:
    """The sound answer to the message that was sent, but for `changes` (tests.hubs.cz_parts)."""

    def make(hub: Hub, name: str, path: str) -> Answer:
        sent = hub.got[name, "POST"][-1].decode()
        document, *parties = (
            re.search(rf'<{tag}[^>]*? id="(\w+)"', sent)[1]
            for tag in ("CDSDATA", "SenderIdentification", "ReceiverIdentification")
        )
        about = {"root": "CDSDATA", "sender": parties[0], "receiver": parties[1]}
        text = cz_parts.response(SimpleNamespace(document=document, about=about), **changes)
        return ok(edit(cz_parts.envelope(text).decode()).encode(), SOAP, status=status)

    return By(make)


def fault(code: str, text: str) -> Answer:
    inside = f"<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></s:Fault>"
    return ok(cz_parts.envelope(inside.replace("s:", "f:").replace("<f:Fault", f'<f:Fault xmlns:f="{cz_parts.SOAP}"')),
              SOAP, status="500 Internal Server Error")  # fmt: skip


CZECHIA = {
    "cz-sound": cz(response(), "", "confirmed", 0),
    "cz-json": cz(said({"Reason": "A01"}), "no XML"),
    "cz-html": cz(HTML, "no envelope"),
    "cz-bare": cz(response(edit=lambda text: re.sub("</?s:[^>]*>", "", text)), "no envelope"),
    "cz-soap12": cz(response(edit=lambda text: text.replace(cz_parts.SOAP, "http://www.w3.org/2003/05/soap-envelope")),
                    "no envelope"),
    "cz-two": cz(response(edit=lambda text: text.replace("</s:Body>", "</s:Body><s:Body/>")), "not one Body"),
    "cz-cut": cz(response(edit=lambda text: text[: len(text) // 2]), "no XML"),
    "cz-long": cz(response(edit=lambda text: text + " " * (2 << 20)), "more than 1048576 octets"),
    "cz-endless": cz(endless, "more than 1048576 octets"),
    "cz-bomb": cz(ok(BOMB, SOAP), "document type"),
    "cz-external": cz(By(lambda hub, name, path: ok(EXTERNAL % f"{hub.url}/fetched".encode(), SOAP)), "document type"),
    "cz-deep": cz(ok(DEEP_XML, SOAP), "no XML"),
    "cz-fault": cz(fault("f:Client", "&#x9b;2J\u202e no such\npoint"), "soap:Client", "rejected"),
    "cz-fault-server": cz(fault("f:Server.\u202e", "&lt;script&gt;" * 999), "<script>"),
    "cz-operation": cz(response(root="GASRESPONSE"), "does not answer", lines=2),
    "cz-echo": cz(By(lambda hub, name, path: ok(hub.got[name, "POST"][-1], SOAP)), "is no RESPONSE"),
    "cz-other": cz(response(reference="99999999999999"), "not to", lines=2),
    "cz-parties": cz(response(receiver="8591824000984"), "went from", lines=2),
    "cz-digits": cz(response(reference="9" * 5_000), "number as its id|refused by"),
    "cz-drift": cz(response(edit=lambda text: text.replace("</RESPONSE>", "<New/></RESPONSE>")), "refused by"),
    "cz-namespace": cz(response(namespace="urn:sandbox:meterd:ote:2"), "is no RESPONSE"),
    "cz-mixed": cz(response(reasons=[("0200", "A01", "ok"), ("0307", "A02", "\u202eno")]), "0307", "rejected"),
    "cz-500": cz(response("500 Internal Server Error"), "http_500|500"),
    "cz-202": cz(response("202 Accepted"), "there is no RESPONSE in it"),
}  # fmt: skip


# -- Lithuania ---------------------------------------------------------------------------------------------------------


def lt(get: Answer | By, says: str, state: str = "accepted", lines: int = 1, **more: Any) -> Case:
    """An order that is taken, and what its report is."""
    return Case(said({"orderId": 7}), state, says, get=get, kind="lt-eso", lines=lines, list=By(listed), more=more)


def lt_post(post: Answer, says: str, state: str = "unknown") -> Case:
    return Case(post, state, says, kind="lt-eso", list=By(listed), get=ok(status="404 Not Found"))


def lt_list(answer: Callable[[str], Answer], says: str, lines: int = 1) -> Case:
    """An order that is under way, and a list of objects that is not as it should be."""
    case = lt(said({"orderId": 7, "status": "PROCESSING"}), says, lines=lines)
    make = By(lambda hub, name, path: answer(path) if "/object/" in path else listed(hub, name, path))
    return case._replace(list=make)


def listed(hub: Hub, name: str, path: str) -> Answer:
    """A list of nothing, or of our only object."""
    if "/object/" in path:
        return said({"objects": [{"objectNumber": OBJECT, "meters": []}]})
    return said({"statistics" if "/statistic/" in path else "notifications": []})


def report(edit: Callable[[list[dict[str, Any]]], object] = lambda _: None, **changes: object) -> By:
    """The whole report that was ordered, but for what `edit` does to its values."""

    def make(hub: Hub, name: str, path: str) -> Answer:
        day = date.fromisoformat(json.loads(hub.got[name, "POST"][-1])["dateFrom"])
        values = list(_values(day))
        edit(values)
        data = [{"objectNumber": OBJECT, "values": values}]
        return said({"orderId": 7, "status": "DONE", "data": data} | changes)

    return By(make)


def _values(day: date) -> Iterator[dict[str, Any]]:
    first, last = (
        int(datetime.combine(one, datetime.min.time(), VILNIUS).timestamp()) for one in (day, day + timedelta(1))
    )
    for end in range(first + 900, last + 1, 900):
        local = datetime.fromtimestamp(end, VILNIUS).replace(tzinfo=None).isoformat()
        yield {"consumptionCategory": "P+", "amount": 0.125, "consumptionTime": local, "valueStatus": "VALIDATED"}


def time_of(text: str) -> By:
    return report(lambda values: values[0].update(consumptionTime=text))


def same(path: str) -> Answer:
    """Always the same page, and a full one."""
    return said({"objects": [{"objectNumber": f"{n:08}", "meters": []} for n in range(100)]})


def on_and_on(path: str) -> Answer:
    """A page more, for ever."""
    first = int(re.search(r"first=(\d+)", path)[1])
    return said({"objects": [{"objectNumber": f"{n:08}", "meters": []} for n in range(first, first + 100)]})


LITHUANIA = {
    "lt-sound": lt(report(), "", "confirmed", 0),
    "lt-html": lt_post(HTML, "no JSON"),
    "lt-text": lt_post(said({"orderId": "7"}), "no whole number", "rejected"),
    "lt-zero": lt_post(said({"orderId": 0}), "no whole number", "rejected"),
    **{f"lt-number-{n}": lt_post(ok(b'{"orderId":' + text + b"}", JSON), "number") for n, text in enumerate(NUMBERS)},
    "lt-deep": lt_post(ok(DEEP_JSON, JSON), "nested"),
    "lt-rules": lt_post(said({"errors": [{"code": "\x1b[1m", "message": "\x1b[2J"}] * 10_000}, status=BAD), "[1m [2J",
                        "rejected"),
    "lt-302": lt_post(ok(b"", "Location: http://localhost:1/", status="307 ?"), "redirects", "new"),
    "lt-years": lt_post(busy(YEARS), "later", "new"),
    "lt-flood": lt(flood, "more than 16777216 octets"),
    "lt-cut": lt(ok(b'{"orderId": 7, "sta', JSON), "no JSON"),
    "lt-twice": lt(ok(b'{"orderId":7,"status":"NEW","status":"DONE"}', JSON), "a key twice"),
    "lt-other": lt(report(orderId=8), "7 was asked", "rejected", 2),
    "lt-word": lt(report(status="DONE\x1b[2J"), "not known here", "rejected", 2),
    "lt-gone": lt(ok(status="410 Gone"), "http_410", "rejected"),
    "lt-year-0": lt(time_of("0000-01-01T00:00:00"), "is no time", "confirmed", 2),
    "lt-year-1": lt(time_of("0001-01-01T00:00:00"), "is no time", "confirmed", 2),
    "lt-year-99999": lt(time_of("99999-12-31T23:59:59"), "is no time", "confirmed", 2),
    "lt-year-9999": lt(time_of("9999-12-31T23:59:59-23:59"), "is no time", "confirmed", 2),
    "lt-zone": lt(time_of("2026-03-03T00:15[Europe/Mars]"), "is no time", "confirmed", 2),
    "lt-offset": lt(time_of("2026-03-03T00:15:00+99:99"), "is no time", "confirmed", 2),
    "lt-amount": lt(report(lambda values: values[0].update(amount="1e400")), "amount is a text", "confirmed", 2),
    "lt-unit": lt(report(lambda values: values[0].update(unit="MWh")), "could change what", "confirmed", 2),
    "lt-circle": lt_list(same, "entries may be missing"),
    "lt-on-and-on": lt_list(on_and_on, "more than 50000 entries", 2),
    "lt-list-deep": lt_list(lambda _: ok(DEEP_JSON, JSON), "nested"),
    "lt-list-drift": lt_list(lambda _: said({"items": []}), "objects is missing"),
    "lt-list-302": lt_list(lambda _: ok(b"", "Location: /x", status="302 ?"), "redirects")._replace(state="new"),
}  # fmt: skip


# -- a broker ----------------------------------------------------------------------------------------------------------


class Broker(RawHub):
    """Speaks as much MQTT 5 as the uploader needs; `lies` is what it says in place of an answer, by packet type."""

    CONNECT, PUBLISH, SUBSCRIBE, PING = 1, 3, 8, 12

    def __init__(self, pair: Pair, lies: Mapping[int, Answer], waits: bytes = b"") -> None:
        """`waits` is a document that it hands over once a client listens."""
        super().__init__(pair)
        self._lies, self._waits = lies, waits

    @property
    def url(self) -> str:
        return f"mqtts://localhost:{self.port}"

    def _one(self, sock: socket.socket) -> bool:
        kind, body = _packet(sock)
        if kind in self._lies:
            lie = self._lies[kind]
            if not isinstance(lie, bytes):
                lie(sock)
                return False
            sock.sendall(lie)
        elif kind == self.CONNECT:
            sock.sendall(b"\x20\x03\x00\x00\x00")
        elif kind == self.SUBSCRIBE:
            sock.sendall(b"\x90\x04" + body[:2] + b"\x00\x01")
            (length,) = struct.unpack_from(">H", body, 3)
            if self._waits:
                sock.sendall(handed_over(body[5 : 5 + length], self._waits))
        elif kind == self.PUBLISH:
            (length,) = struct.unpack_from(">H", body)
            self.requests.append(body)
            sock.sendall(b"\x40\x04" + body[2 + length : 4 + length] + b"\x00\x00")
        elif kind == self.PING:
            sock.sendall(b"\xd0\x00")
        return kind != 14


def _packet(sock: socket.socket) -> tuple[int, bytes]:
    """Type and rest of a control packet (MQTT 5, clause 2.1)."""
    kind, length, shift = _exactly(sock, 1)[0] >> 4, 0, 0
    while True:
        octet = _exactly(sock, 1)[0]
        length |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            return kind, _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise OSError
        data += more
    return data


def handed_over(topic: bytes, payload: bytes, properties: bytes = b"") -> bytes:
    """A PUBLISH with QoS 1."""
    rest = struct.pack(">H", len(topic)) + topic + b"\x00\x07" + bytes([len(properties)]) + properties + payload
    length = b""
    left = len(rest)
    while True:
        left, low = divmod(left, 128)
        length += bytes([low | (128 if left else 0)])
        if not left:
            return b"\x32" + length + rest


def pours(sock: socket.socket) -> None:
    """A message of 256 MB, as far as it is taken."""
    sock.sendall(b"\x32\xff\xff\xff\x7f\x00\x01a\x00\x07\x00")
    while True:
        sock.sendall(b"x" * 65_536)


#: by name of the case: what its broker says, and what waits there
BROKERS: Mapping[str, tuple[Mapping[int, Answer], bytes]] = {
    "mqtt-http": ({Broker.CONNECT: ok(b"hello")}, b""),
    "mqtt-silent": ({Broker.CONNECT: silence}, b""),
    "mqtt-refuses": ({Broker.CONNECT: b"\x20\x03\x00\x87\x00"}, b""),
    "mqtt-properties": ({Broker.CONNECT: b"\x20\x06\x00\x00\x03\x7f\xff\xff"}, b""),
    "mqtt-short": ({Broker.CONNECT: b"\x20\x00"}, b""),
    "mqtt-pours": ({Broker.SUBSCRIBE: pours}, b""),
    "mqtt-utf-8": ({Broker.SUBSCRIBE: b"\x90\x04\x00\x01\x00\x01" + handed_over(b"\xff\xfe\x00", b"x")}, b""),
    "mqtt-alias": ({Broker.SUBSCRIBE: b"\x90\x04\x00\x01\x00\x01" + handed_over(b"", b"x", b"\x23\xff\xff")}, b""),
    "mqtt-other-id": ({Broker.PUBLISH: b"\x40\x04\xff\xff\x00\x00"}, b""),
    "mqtt-nobody": ({Broker.PUBLISH: b"\x40\x04\x00\x02\x10\x00"}, b""),
    "mqtt-reason": ({Broker.PUBLISH: b"\x40\x04\x00\x02\x97\x00"}, b""),
    "mqtt-sound": ({}, b""),
    "mqtt-bomb": ({}, BOMB),
    "mqtt-stranger": ({}, ack("A01", document="another")),
    "mqtt-large": ({}, b"<a>" + b"x" * (1 << 20) + b"</a>"),
}  # fmt: skip


def eu(name: str, says: str, state: str, lines: int = 1, **more: object) -> Case:
    return Case(state=state, says=says, kind="eu-vhd", at=name, lines=lines, more={"timeout_s": 2, **more})


BROKEN = {
    "mqtt-http": eu("mqtt-http", "did not answer within", "new"),
    "mqtt-silent": eu("mqtt-silent", "did not answer within", "new"),
    "mqtt-refuses": eu("mqtt-refuses", "does not let us in", "blocked"),
    "mqtt-properties": eu("mqtt-properties", "before it let us in", "new"),
    "mqtt-short": eu("mqtt-short", "before it let us in", "new"),
    "mqtt-pours": eu("mqtt-pours", "hands over more", "new"),
    "mqtt-utf-8": eu("mqtt-utf-8", "that is none", "accepted"),
    "mqtt-alias": eu("mqtt-alias", "that is none", "accepted"),
    "mqtt-other-id": eu("mqtt-other-id", "did not answer within", "unknown"),
    "mqtt-nobody": eu("mqtt-nobody", "nobody listens", "new"),
    "mqtt-reason": eu("mqtt-reason", "does not take", "new"),
    "mqtt-sound": eu("mqtt-sound", "", "accepted", 0),
    "mqtt-bomb": eu("mqtt-bomb", "document type", "accepted"),
    "mqtt-stranger": eu("mqtt-stranger", "never sent", "accepted"),
    "mqtt-large": eu("mqtt-large", "none", "accepted"),
}
CASES: dict[str, Case] = {**ESTONIA, **CZECHIA, **LITHUANIA, **BROKEN}


# -- a sender of PND ---------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """What a sender of PND says, and the beginning of what it is answered."""

    octets: bytes
    answer: bytes
    #: of a fault
    says: bytes = b""


def posted(body: bytes, *headers: str, kind: str = SOAP) -> bytes:
    lines = ["POST /pnd HTTP/1.1", "Host: localhost", kind, f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def delivered(edit: Callable[[str], str] = str, **changes: Any) -> bytes:
    """The delivery of a whole day, but for what `edit` does to it."""
    return posted(edit(cz_parts.delivery(days=[date(2026, 3, 3)], **changes).decode()).encode())


def first(pattern: str, by: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, lambda _: by, text, count=1)


FAULT, REFUSED = b"HTTP/1.1 500", b"soap:Client"
WHOLE = delivered(name="sound-1")
SENT = {
    "type": Sent(posted(b"<a/>", kind=JSON), b"HTTP/1.1 415"),
    "gzip": Sent(posted(b"\x1f\x8b\x08\x00" * 9, "Content-Encoding: gzip"), b"HTTP/1.1 415"),
    "no-http": Sent(b"\x16\x03\x01\x00\r\n\r\n", b"HTTP/1.0 400"),
    "cut": Sent(WHOLE[:2_000], b"HTTP/1.1 408"),
    "large": Sent(b"POST /pnd HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: 99999999999\r\n\r\n"
                  + b"x" * (5 << 20), b"HTTP/1.1 413"),
    "endless": Sent(b"POST /pnd HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + (b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n") * 80, b"HTTP/1.1 413"),
    "get": Sent(b"GET /pnd?\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.0 400"),
    "bomb": Sent(posted(BOMB), FAULT, REFUSED),
    "external": Sent(posted(EXTERNAL % b"https://localhost:1/fetched"), FAULT, REFUSED),
    "deep": Sent(posted(DEEP_XML), FAULT, REFUSED),
    "operation": Sent(posted(cz_parts.envelope('<Erase xmlns="urn:sandbox:meterd:pnd"/>')), FAULT, REFUSED),
    "year-0": Sent(delivered(first(r'end="[^"]*"', 'end="0000-01-01T00:15:00Z"')), FAULT, REFUSED),
    "year-1": Sent(delivered(first(r'end="[^"]*"', 'end="0001-01-01T00:15:00+14:00"')), FAULT, REFUSED),
    "year-99999": Sent(delivered(first(r'end="[^"]*"', 'end="99999-12-31T00:15:00Z"')), FAULT, REFUSED),
    "future": Sent(delivered(lambda text: text.replace('end="2026', 'end="9998')), FAULT, REFUSED),
    "zone": Sent(delivered(first(r'end="[^"]*"', 'end="2026-03-03T00:15:00[Europe/Mars]"')), FAULT, REFUSED),
    "exponent": Sent(delivered(first(r'kw="[^"]*"', 'kw="1e400"')), FAULT, REFUSED),
    "digits": Sent(delivered(first(r'kw="[^"]*"', f'kw="{"9" * 5_000}"')), FAULT, REFUSED),
    "nan": Sent(delivered(first(r'kw="[^"]*"', 'kw="NaN"')), FAULT, REFUSED),
    "drift": Sent(delivered(lambda text: text.replace("<m:Value ", '<m:Value unit="MW" ')), FAULT, REFUSED),
    "escapes": Sent(delivered(name="&#x9b;2J\u202e"), FAULT, REFUSED),
    "sound": Sent(WHOLE, b"HTTP/1.1 200", b'result="stored"'),
    "again": Sent(WHOLE, b"HTTP/1.1 200", b'result="known"'),
    "reused": Sent(delivered(first('kw="0.500"', 'kw="0.501"'), name="sound-1"), FAULT, b"used before"),
}  # fmt: skip


def send(octets: bytes, port: int, context: ssl.SSLContext) -> bytes:
    """Say something, and read what is answered to its end."""
    with socket.create_connection(("localhost", port), timeout=120) as plain:
        answer = b""
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            with suppress(OSError):  # it may be closed before it has read everything
                sock.sendall(octets)
            with suppress(OSError):
                while more := sock.recv(65_536):
                    answer += more
        return answer


def deliver(one: Uploader) -> dict[str, bytes]:
    """All that a hostile sender says, among idle connections, as many as are served less one."""
    context = ssl.create_default_context(cafile=str(one.folder / "ca" / "ca.pem"))
    context.load_cert_chain(one.folder / "own" / "client.pem", one.folder / "own" / "client.key")
    port = int(until(lambda: re.search(r"PND delivers at https://127\.0\.0\.1:(\d+)/", one.log), "PND")[1])
    with ExitStack() as idle:
        for _ in range(10):
            idle.enter_context(socket.create_connection(("localhost", port), timeout=120))
        return {name: send(sent.octets, port, context) for name, sent in SENT.items()}


# -- run ---------------------------------------------------------------------------------------------------------------


def meters(folder: Path) -> str:
    """Meters and points of the other families, and the portal that delivers by itself."""
    values = {
        "name": "pnd", "kind": "cz-pnd", "points": [SUPPLY], "legal_basis": "a test", "listen": "127.0.0.1:0",
        "timeout_s": 5, "ca_file": f"{folder}/ca/ca.pem", "cert_file": f"{folder}/own/client.pem",
        "key_file": f"{folder}/own/client.key",
    }  # fmt: skip
    return "".join(
        f'[[meter]]\nname = "{name}"\nport = "/dev/{name}"\ntimezone = "Europe/Prague"\n'
        f'[[point]]\nmeter = "{name}"\nid = "{point}"\n'
        for name, point in (("ee", METER), ("cz", SUPPLY), ("lt", OBJECT))
    ) + "".join(("[[hub]]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items())))


def fill(one: Uploader) -> None:
    """The same days of the other meters."""
    file = open_ledger(one.ledger).file
    try:
        home = Home(file, time.time)
        for meter in ("ee", "cz"):
            key = home.series(meter)
            for day in one.dates:
                home.fill(key, day, wh=1_000)
    finally:
        file.close()


#: what the sender of PND was answered
ANSWERS: dict[str, bytes] = {}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One run before all hubs."""

    def brokers(pair: Pair) -> dict[str, Broker]:
        return {name: Broker(pair, *what) for name, what in BROKERS.items()}

    folder = tmp_path_factory.mktemp("families")
    return hostile.run(
        folder, CASES, others=brokers, meters=meters, fill=fill, during=lambda one: ANSWERS.update(deliver(one))
    )


@pytest.mark.parametrize("name", CASES)
def test_a_state_and_few_lines_and_no_other_message(scene: Scene, name: str) -> None:
    case, log = CASES[name], "\n".join(scene.lines[name])
    assert scene.states[name] == {case.state: 1}, log
    # a hub that does not serve us for long is told of once more, and on a slow machine that takes a while
    assert case.lines <= len(scene.lines[name]) <= case.lines + FEW, log
    assert any(one in log for one in case.says.split("|")), log
    # whatever went out again were the same octets, and it does not go on and on
    assert len(set(scene.hub.got[name, "POST"])) == (case.kind != "eu-vhd" and name != "lt-list-302")
    assert len(scene.hub.got[name, "POST"]) < 50
    assert scene.waits[name] <= 86_400, "a hub may ask for a day of patience at most"


@pytest.mark.parametrize("name", SENT)
def test_a_sender_of_pnd_is_answered(scene: Scene, name: str) -> None:
    answer = ANSWERS[name]
    assert answer.startswith(SENT[name].answer), answer
    assert SENT[name].says in answer


def test_what_pnd_delivered_soundly_is_kept_once_and_nothing_else(scene: Scene) -> None:
    file = open_ledger(scene.one.ledger).file
    try:
        (kept,) = HubStore(file, time.time).received("pnd", "measured-data")
        assert hashlib.sha256(kept.body).hexdigest() == hashlib.sha256(WHOLE.partition(b"\r\n\r\n")[2]).hexdigest()
    finally:
        file.close()
    lines = [line for line in scene.one.log.splitlines() if "PND delivered what is not taken" in line]
    assert 0 < len(lines) <= len(SENT)
    assert all(len(line) < 1_000 and line.isprintable() for line in lines)


def test_a_list_without_end_is_left(scene: Scene) -> None:
    read = [path for path in scene.hub.got["lt-on-and-on", "LIST"] if b"/object/" in path]
    assert 500 <= len(read) < 600
    assert len(scene.hub.got["lt-circle", "LIST"]) < 50


def test_memory_is_bounded_and_nothing_crashed(scene: Scene) -> None:
    assert not scene.hub.got["fetched", "GET"]
    assert scene.peak_kib < 350 << 10
    assert "Traceback" not in scene.one.log
    assert "hub_crashed" not in scene.one.log
    assert all(line.isprintable() and len(line) < 3_000 for line in scene.one.log.splitlines())
