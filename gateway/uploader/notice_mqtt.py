"""Notices as JSON on `<base>/uploader/notice`, QoS 1, not retained: for home automation and for other machines."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from gateway.uploader.notice_book import Notice
from gateway.uploader.notice_channel import NoticeError


def topic(base: str) -> str:
    """Where notices are published."""
    return f"{base}/uploader/notice"


def payload(notice: Notice) -> bytes:
    """A notice as JSON: id, t, hub, severity, subject, text, and events with their counts."""
    events = []
    for group, count in notice.counts.items():
        how, severity, name = group.split(" ", 2)
        events.append({"event": name, "state": how, "severity": severity, "count": count})
    t = datetime.fromtimestamp(notice.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {"id": notice.id, "t": t, "hub": notice.hub, "severity": notice.severity}
    return msgspec.json.encode(said | {"subject": notice.subject, "text": notice.text, "events": events})


class MqttChannel:
    """Hands notices to the broker."""

    name = "mqtt"

    def __init__(self, publish: Callable[[bytes], bool]) -> None:
        self._publish = publish

    def send(self, notice: Notice) -> None:
        """Publish it; raises NoticeError as long as the broker does not acknowledge."""
        if not self._publish(payload(notice)):
            raise NoticeError("the broker did not take it: it is away, or refuses the topic")
