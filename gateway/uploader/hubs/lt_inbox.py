"""What is fetched from the Data Hub: reports of open orders, lists, and what is late; one look after the other.

Everything that has to outlive a crash is remembered before its inbound is given away: both are kept together.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from hashlib import sha256
from typing import Any, Final

from gateway.hub_model import Inbound, Message, Reason, Receipt
from gateway.hub_settings import HubSettings
from gateway.intervals.calendar import FIXED
from gateway.uploader import answers
from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Answer, Open, Session, SessionError
from gateway.uploader.hubs import lt_days as days
from gateway.uploader.hubs import lt_names as names
from gateway.uploader.hubs import lt_pages as pages
from gateway.uploader.hubs import lt_report as reports
from gateway.uploader.hubs.lt_reader import Drift

#: lists are read so often (s)
EVERY_S: Final[Mapping[str, int]] = {"objects": 72_000, "statistics": 72_000} | dict.fromkeys(names.KINDS, 3_600)
_NAMED: Final = 5
_JSON: Final = "application/json"


class Look:
    """One look into the inbox of one hub."""

    def __init__(self, settings: HubSettings, session: Session, open_: Open, now: float) -> None:
        self._settings = settings
        self._session = session
        self._open = open_
        self._now = int(now)
        self._today = days.today(now)
        self._step = FIXED[settings.resolution]

    def all(self) -> Iterator[Inbound]:
        """Everything, what needs no hub first. Raises SessionError."""
        yield from self._late()
        for message in self._open.awaiting("order"):
            if message.state == "accepted" and message.reference is not None:
                yield from self._report(message)
        for name in EVERY_S:
            if self._is_due(name):
                yield from self._list(name, names.LISTS[name])

    # -- reports -------------------------------------------------------------------------------------------------------

    def _report(self, message: Message) -> Iterator[Inbound]:
        """The report of an order: nothing as long as it is not ready, else the order is closed with it."""
        report = str(message.about["report"])
        answer, old = self._fetch(report, message.reference or "")
        if old:
            yield self._fallen_back(f"order {report}", old)
        reasons = pages.business(answer)
        if answer.status != 200 or reasons:
            yield from self._refused(message, answer, reasons)
            return
        try:
            document = answers.json_value(answer.body)
        except AnswerError as error:
            yield from self._strange(f"order {report}", (Drift("$", str(error), 1),))
            return
        if report in names.INTERVALS:
            yield from self._intervals(message, answer, document, flagged=not old)
        else:
            yield from self._other(message, answer, document)

    def _fetch(self, report: str, order: str) -> tuple[Answer, str]:
        """The answer, and the older path that gave it where the newest one is gone."""
        paths = names.FETCH_PATHS if report in names.INTERVALS else names.FETCH_PATHS[1:]
        answer: Answer | None = None
        for path in paths:
            known = path.format(order=order, report=report)
            found = self._session.request("GET", known, operation="fetch", headers={"Accept": _JSON})
            if found.status not in pages.GONE or pages.business(found):
                return found, "" if path == paths[0] else known
            answer = answer or found
        assert answer is not None  # noqa: S101 - there is a path
        return answer, ""

    def _intervals(self, message: Message, answer: Answer, document: Any, *, flagged: bool) -> Iterator[Inbound]:
        first, last = (date.fromisoformat(str(message.about[key])) for key in ("first", "last"))
        objects = [str(one) for one in message.about["objects"]]  # type: ignore[attr-defined]
        start, end = days.bounds(first, last)
        asked = reports.Asked(int(message.reference or 0), frozenset(objects), start, end)
        found = reports.read(document, step=self._step, flagged=flagged, asked=asked)
        yield from self._strange(f"order {message.about['report']}", found.drifts)
        if found.state == "pending":
            return
        if found.state != "ready":
            what = "the hub could not make the report" if found.state == "failed" else "the report cannot be read"
            code = "failed" if found.state == "failed" else "schema_drift"
            yield self._closing(message, answer, "report-refused", Receipt("rejected", (Reason(code, what),)), what)
            return
        counts, facts = self._counted(found, first, last)
        text = f"order {message.reference}: {facts['values']} values of {len(counts)} of {len(objects)} objects"
        whole = self._keep(message, counts, first, last, objects)
        receipt = Receipt("confirmed", status=answer.status, reference=message.reference)
        facts |= {"first": first.isoformat(), "last": last.isoformat(), "flagged": flagged}
        yield self._closing(message, answer, "report", receipt, text, facts)
        yield from self._told(whole)
        if message.about.get("daily"):
            yield from self._partial(first, len(objects))

    def _other(self, message: Message, answer: Answer, document: Any) -> Iterator[Inbound]:
        """A report without intervals is kept as it is."""
        status = document.get("status") if isinstance(document, dict) else None
        state = names.ORDER_STATUS.get(status) if isinstance(status, str) else None
        if state is None:
            yield from self._strange(f"order {message.about['report']}", (Drift("status", "is not known here", 1),))
        if state in ("ready", "failed"):
            receipt = Receipt("confirmed" if state == "ready" else "rejected", status=answer.status)
            yield self._closing(message, answer, str(message.about["report"]), receipt, f"order {message.reference}")

    def _refused(self, message: Message, answer: Answer, reasons: tuple[Reason, ...]) -> Iterator[Inbound]:
        """A rule that is broken closes the order; whatever may pass is asked again. Raises SessionError."""
        if not reasons and not _is_final(answer.status):
            raise _outage(answer, self._session, self._now)
        told = reasons or answers.by_status(answer, self._session, now=self._now).reasons
        text = f"order {message.reference} cannot be fetched: " + "; ".join(f"{code} {said}" for code, said in told)
        said = Receipt("rejected", told, status=answer.status)
        yield self._closing(message, answer, "report-refused", said, text)

    def _closing(  # noqa: PLR0913, PLR0917 - what an inbound is made of
        self,
        message: Message,
        answer: Answer,
        kind: str,
        receipt: Receipt,
        text: str,
        facts: Mapping[str, object] | None = None,
    ) -> Inbound:
        return Inbound(
            f"{kind}-{message.document}",
            kind,
            answer.body,
            _JSON,
            {message.document: receipt},
            text,
            dict(facts or {}) | {"order": message.reference},
        )

    # -- days ----------------------------------------------------------------------------------------------------------

    def _counted(
        self, report: reports.Report, first: date, last: date
    ) -> tuple[dict[str, dict[date, list[int]]], dict[str, object]]:
        """Values of each series on each day by object, and facts of the report as a whole."""
        counts: dict[str, dict[date, list[int]]] = {}
        said: dict[str, int] = {}
        for (meter, _), rows in report.series.items():
            by_day = dict.fromkeys(_days(first, last), 0)
            for row in rows:
                said[row.said] = said.get(row.said, 0) + 1
                if row.quantity is not None:
                    by_day[days.today(row.start)] += 1
            for day, count in by_day.items():
                counts.setdefault(meter.object, {}).setdefault(day, []).append(count)
        values = sum(said.values()) - said.get("missing", 0)
        return counts, {"values": values, **said}

    def _keep(
        self,
        message: Message,
        counts: Mapping[str, Mapping[date, list[int]]],
        first: date,
        last: date,
        objects: list[str],
    ) -> list[date]:
        """Note which objects are whole on which days; the days that were told late and are whole now."""
        over: list[date] = []
        if (kept := self._open.note(days.NOTE)) is None:
            return over
        book = days.Days(kept, self._settings.points, first)
        for day in _days(first, last):
            start, end = days.bounds(day, day)
            by_object = {one: counts[one][day] for one in objects if one in counts}
            if book.whole(day, days.whole_objects(by_object, (end - start) // self._step)):
                over.append(day)
        self._open.remember(days.NOTE, book.pack())
        return over

    def _told(self, whole: list[date]) -> Iterator[Inbound]:
        for day in whole:
            text = f"the data of {day} are whole now at every object"
            facts = {"day": day.isoformat(), "key": day.isoformat(), "recovered": True}
            name = f"whole-{day}-{self._now}"
            yield Inbound(name, "late-day", b"", "", text=text, facts=facts, severity="info")

    def _partial(self, day: date, ordered: int) -> Iterator[Inbound]:
        """A report of the daily run that lacks values: its day is late, once the time of the run has come."""
        if self._now < days.run(day, self._settings.at):
            return
        book = days.Days(self._open.note(days.NOTE), self._settings.points, day)
        if lacking := book.lacking(day) if day in book.days() else []:
            yield from self._say_late(book, day, lacking)

    def _late(self) -> Iterator[Inbound]:
        """Days that are not whole at the usual hour, and those that are given up."""
        if (kept := self._open.note(days.NOTE)) is None:
            return
        book = days.Days(kept, self._settings.points, self._today)
        for day in book.days():
            if book.overdue(day, self._now, self._settings.at, self._settings.jitter_s):
                yield from self._say_late(book, day, book.lacking(day))
        for day in book.give_up(self._now):
            self._open.remember(days.NOTE, book.pack())
            text = f"the data of {day} are not whole after {days.BACKFILL_DAYS} days and are not ordered any more"
            yield Inbound(f"given-up-{day}", "day-given-up", b"", "", text=text, severity="error")

    def _say_late(self, book: days.Days, day: date, lacking: list[str]) -> Iterator[Inbound]:
        if not book.late(day):
            return
        self._open.remember(days.NOTE, book.pack())
        some = ", ".join(lacking[:_NAMED]) + (f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else "")
        text = f"the data of {day} are late or not whole at {some}: they are ordered again with every daily run"
        facts: dict[str, object] = {"day": day.isoformat(), "key": day.isoformat(), "objects": len(lacking)}
        yield Inbound(f"late-{day}-{self._now}", "late-day", b"", "", text=text, facts=facts, severity="warning")

    # -- lists ---------------------------------------------------------------------------------------------------------

    def _is_due(self, name: str) -> bool:
        kept = (self._open.note(f"lt-read {name}") or b"0").split(b" ")[0]
        read = int(kept) if kept.isdigit() else 0
        return not 0 <= self._now - read < EVERY_S[name]

    def _list(self, name: str, listing: names.Listing) -> Iterator[Inbound]:
        before = (self._open.note(f"lt-read {name}") or b"").partition(b" ")[2]
        try:
            found = pages.read(self._session, listing, operation="list")
        except pages.RefusedError as error:
            if not error.reasons and error.answer.status != 403 and not _is_final(error.answer.status):
                raise _outage(error.answer, self._session, self._now) from None
            # a list that is not there costs no order: it is asked for again when it is due again
            self._open.remember(f"lt-read {name}", f"{self._now} ".encode() + before)
            told = error.reasons or answers.by_status(error.answer, self._session, now=self._now).reasons
            yield from self._strange(f"list {name}", tuple(Drift(one.code, one.text, 1) for one in told))
            return
        except AnswerError as error:
            self._open.remember(f"lt-read {name}", f"{self._now} ".encode() + before)
            yield from self._strange(f"list {name}", (Drift("$", str(error), 1),))
            return
        body = json.dumps([dict(one) for one in found.entries], ensure_ascii=False, default=str).encode()
        digest = sha256(body).hexdigest()
        self._open.remember(f"lt-read {name}", f"{self._now} {digest}".encode())
        yield from self._strange(f"list {name}", found.drifts)
        if found.path != listing.paths[0]:
            yield self._fallen_back(f"list {name}", found.path)
        if digest.encode() != before:
            yield from self._changed(name, found, body, digest)

    def _changed(self, name: str, found: pages.Read, body: bytes, digest: str) -> Iterator[Inbound]:
        text = f"{name}: {len(found.entries)} entries{'' if found.whole else ', some may be missing'}"
        if name not in names.KINDS:
            yield Inbound(f"{name}-{self._now}-{digest[:8]}", name, body, _JSON, text=text)
        if name == "objects" and found.whole:
            yield from self._unknown({str(one["objectNumber"]) for one in found.entries})
        for entry in found.entries if name in names.KINDS else ():
            said = json.dumps(dict(entry), ensure_ascii=False, default=str)
            mark = sha256(said.encode()).hexdigest()[:8]
            about = f"{name} {entry['notificationId']} of object {answers.words(str(entry['objectNumber']), 40)}"
            text = f"notification {about}: {answers.words(str(entry.get('status', '')), 40)}"
            id_ = f"notification-{name}-{entry['notificationId']}-{mark}"
            yield Inbound(id_, "notification", said.encode(), _JSON, text=text, severity="info")

    def _unknown(self, active: set[str]) -> Iterator[Inbound]:
        """Objects of the configuration that the hub does not list as ours."""
        missing = sorted(set(self._settings.points) - active)
        self._open.remember(days.UNLISTED, days.pack_names(missing))
        if missing:
            some = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
            text = f"the hub does not list as active objects of ours: {some}; ask for the right (access-right)"
            name = f"unlisted-{self._today}-{sha256(' '.join(missing).encode()).hexdigest()[:8]}"
            yield Inbound(name, "object-unlisted", b"", "", text=text, severity="warning")

    # -- what is strange -----------------------------------------------------------------------------------------------

    def _strange(self, where: str, drifts: tuple[Drift, ...]) -> Iterator[Inbound]:
        """One event a day for what is not as it was, by the paths of its fields."""
        if not drifts:
            return
        said = "; ".join(
            f"{one.path} {one.what}" + (f" ({one.times} times)" if one.times > 1 else "") for one in drifts
        )
        what = "\n".join(sorted({f"{one.what}" for one in drifts})) + where
        name = f"drift-{self._today}-{sha256(what.encode()).hexdigest()[:16]}"
        facts = {"fields": [one.path for one in drifts]}
        text = f"{where} answers otherwise than before: {answers.words(said)}"
        yield Inbound(name, "schema-drift", said.encode(), "text/plain", text=text, facts=facts, severity="warning")

    def _fallen_back(self, where: str, path: str) -> Inbound:
        text = f"{where}: the newest version is not there any more, {path.rpartition('/')[2]} is read by an older one"
        name = f"older-{where}-{self._today}"
        return Inbound(name, "older-version", b"", "", text=text, facts={"path": path}, severity="warning")


def _is_final(status: int) -> bool:
    """Whether the same request would be refused again, and others would not."""
    return status in pages.GONE or answers.verdict(status) == "rejected"


def _outage(answer: Answer, session: Session, now: int) -> SessionError:
    """The hub does not serve us: as when there is no answer."""
    receipt = answers.by_status(answer, session, now=now)
    person = receipt.verdict == "blocked"
    told = "; ".join(f"{code} {text}" for code, text in receipt.reasons) or f"status {answer.status}"
    return SessionError(f"the hub answers {told}", sent=False, person=person, retry_after_s=receipt.retry_after_s)


def _days(first: date, last: date) -> list[date]:
    return [date.fromordinal(one) for one in range(first.toordinal(), last.toordinal() + 1)]
