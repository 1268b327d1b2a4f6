"""What people are told: once, again, and when it is over; bounded, and the same after a restart."""

import random
import zlib
from itertools import count
from typing import Any

import msgspec
import pytest

from gateway.hub_model import Event
from gateway.hub_settings import NoticeSettings
from gateway.uploader.notice_book import MOST_OCTETS, MOST_WAITING, Book, Notice
from gateway.uploader.notice_text import MOST_SENTENCE, MOST_SUBJECT, MOST_TEXT, clean

T = 1_790_000_000
HOUR = 3_600


def made(**settings: Any) -> Book:
    return Book(NoticeSettings(**({"digest_s": 900} | settings)), ["mail"], new_id=map(str, count()).__next__)


def event(name: str = "hub_down", key: str = "", *, over: bool = False, **more: Any) -> Event:
    known: dict[str, Any] = {"hub": "dk", "severity": "error", "text": f"{name} {key}", "at": T}
    return Event(name=name, key=key, recovered=over, **(known | more))


def sent(book: Book) -> list[Notice]:
    """What waits, taken as sent."""
    found = []
    while (notice := book.head("mail")) is not None:
        found.append(notice)
        book.done("mail", notice.id)
    return found


def test_events_of_a_hub_within_the_time_are_one_notice() -> None:
    book = made()
    book.take(event("rejected", "a"), T)
    book.take(event("rejected", "b"), T + 800)
    book.take(event("late_day", "c", severity="warning"), T + 899)
    assert book.form(T + 899) == []
    assert book.next_due() == T + 900
    (notice,) = book.form(T + 900)
    assert notice.subject == "meterd dk: 2 errors, 1 warning"
    assert notice.severity == "error"
    assert notice.counts == {"new error rejected": 2, "new warning late_day": 1}
    assert notice.text.index("error: rejected, 2 times") < notice.text.index("warning: late_day")
    assert sent(book) == [notice]


def test_a_single_event_is_the_subject() -> None:
    book = made(digest_s=0)
    book.take(event(text="the hub does not serve us: status 503"), T)
    (notice,) = book.form(T)
    assert notice.subject == "meterd dk: the hub does not serve us: status 503"


def test_each_hub_has_notices_of_its_own() -> None:
    book = made()
    book.take(event(), T)
    book.take(event(hub="lt"), T)
    assert sorted(notice.hub for notice in book.form(T + 900)) == ["dk", "lt"]


def test_what_lasts_is_told_again_and_not_for_ever() -> None:
    book = made(digest_s=0, again_h=24)
    book.take(event(), T)
    told = [T] if book.form(T) else []
    for hour in range(1, 24 * 60):
        found = book.form(T + hour * HOUR)
        told += [T + hour * HOUR] * len(found)
        assert all(notice.counts == {"again error hub_down": 1} for notice in found)
    assert told == [T + day * 86_400 for day in range(31)]
    book.take(event(over=True), T + 90 * 86_400)
    assert book.form(T + 90 * 86_400)[0].counts == {"over info hub_down": 1}


def test_what_is_heard_again_is_not_told_again_before_its_time_unless_it_is_worse() -> None:
    book = made(digest_s=0)
    book.take(event(severity="warning"), T)
    assert len(book.form(T)) == 1
    book.take(event(severity="warning", text="still the same, in other words"), T + 60)
    assert book.form(T + 60) == []
    book.take(event(severity="error"), T + 120)
    assert book.form(T + 120)[0].severity == "error"


def test_the_end_of_what_was_told_is_told_once() -> None:
    book = made(digest_s=0)
    book.take(event(over=True), T)
    assert book.form(T) == []
    book.take(event(), T)
    assert len(book.form(T)) == 1
    book.take(event(over=True, text="the hub answers again"), T + 60)
    book.take(event(over=True), T + 61)
    (notice,) = book.form(T + 61)
    assert notice.subject == "meterd dk: over: the hub answers again"
    assert notice.counts == {"over info hub_down": 1}
    book.take(event(over=True), T + 70)
    assert book.form(T + 99_999) == []


def test_what_was_over_before_it_was_told_is_not_told_at_all() -> None:
    book = made()
    book.take(event(), T)
    book.take(event(over=True), T + 100)
    assert book.form(T + 900) == []
    assert book.next_due() is None


def test_what_comes_back_before_its_end_was_told_goes_on() -> None:
    book = made(again_h=24)
    book.take(event(), T)
    book.form(T + 900)
    book.take(event(over=True), T + 1_000)
    book.take(event(), T + 1_100)
    assert book.form(T + 3_000) == []
    assert book.form(T + 900 + 86_400) == []  # it goes into a digest now
    assert book.form(T + 1_800 + 86_400)[0].counts == {"again error hub_down": 1}


def test_ten_thousand_events_are_one_digest_with_counts_and_their_ends_are_counted_too() -> None:
    book = made()
    for number in range(10_000):
        book.take(event("rejected", f"doc{number}", text=f"message {number} was refused: D12"), T)
    book.take(event("hub_down"), T)
    (notice,) = book.form(T + 900)
    assert notice.counts == {"new error rejected": 10_000, "new error hub_down": 1}
    assert notice.subject == "meterd dk: 10001 errors"
    assert "error: rejected, 10000 times" in notice.text
    assert "and 9990 more" in notice.text
    assert len(notice.text) <= MOST_TEXT
    assert len(book.dump()) <= MOST_OCTETS
    for number in range(10_000):
        book.take(event("rejected", f"doc{number}", over=True), T + 1_000)
    (notice,) = book.form(T + 1_900)
    assert notice.counts == {"over info rejected": 10_000}
    for number in range(10_000):
        book.take(event("rejected", f"doc{number}", over=True), T + 2_000)
    assert book.form(T + 9_999) == []


def test_a_flood_of_one_sort_leaves_room_for_others() -> None:
    book = made()
    for number in range(1_000):
        book.take(event("rejected", f"{number}"), T)
    book.take(event("hub_down", hub="cz"), T)
    book.take(event("hub_down"), T)
    found = {notice.hub: notice for notice in book.form(T + 900)}
    assert "hub_down" in found["cz"].text
    assert found["dk"].counts["new error hub_down"] == 1
    book.take(event("hub_down", over=True), T + 1_000)
    assert book.form(T + 1_900)[0].counts == {"over info hub_down": 1}


def test_success_is_told_where_it_is_wanted() -> None:
    for success, notices in ((False, 0), (True, 1)):
        book = made(digest_s=0, success=success)
        book.take(event("success", severity="info", text="96 of 96 days are there"), T)
        assert len(book.form(T)) == notices
        assert len(book.form(T + 200 * HOUR)) == 0


def test_days_before_an_end_are_each_told_once_and_its_renewal() -> None:
    book = made(digest_s=0, again_h=1)
    told = []
    for hour in range(30 * 24):
        for days in (30, 14, 7, 1):
            if hour == (30 - days) * 24:
                severity = "error" if days == 1 else "warning"
                text = f"the client certificate ends within {days} days"
                book.take(event("certificate_expires", "certificate", severity=severity, text=text), T + hour * HOUR)
        told += [notice.subject for notice in book.form(T + hour * HOUR)]
    assert told == [f"meterd dk: the client certificate ends within {days} days" for days in (30, 14, 7, 1)]
    book.take(event("certificate_expires", "certificate", over=True, text="the client certificate was renewed"), T)
    assert book.form(T + 999_999)[0].subject == "meterd dk: over: the client certificate was renewed"


def test_it_goes_on_after_a_restart() -> None:
    book = made(again_h=24)
    book.take(event("rejected", "a"), T)
    (before,) = book.form(T + 900)
    book.take(event("late_day", "b", severity="warning"), T + 950)
    again = made(again_h=24)
    assert again.load(book.dump())
    assert again.head("mail") == before
    (notice,) = again.form(T + 1_850)
    assert notice.counts == {"new warning late_day": 1}
    assert [one.id for one in sent(again)] == [before.id, notice.id]
    again.take(event("rejected", "a", over=True), T + 2_000)
    assert again.form(T + 2_900)[0].counts == {"over info rejected": 1}


def test_hubs_that_are_gone_are_forgotten() -> None:
    book = made(digest_s=0)
    book.take(event(), T)
    book.take(event(hub="lt"), T)
    book.form(T)
    again = made(digest_s=0, again_h=1)
    assert again.load(book.dump(), hubs=["lt"])
    assert [one.hub for one in again.troubles()] == ["lt"]


@pytest.mark.parametrize(
    "data", [b"", b"x", zlib.compress(b"[]"), zlib.compress(b'{"troubles":3}'), zlib.compress(bytes(9 << 20))]
)
def test_a_book_that_cannot_be_read_is_begun_anew(data: bytes) -> None:
    book = made()
    assert not book.load(data)
    book.take(event(), T)
    assert len(book.form(T + 900)) == 1


def test_what_a_channel_cannot_take_is_bounded_and_counted() -> None:
    book = made(digest_s=0)
    for number in range(25):
        book.take(event("rejected", str(number)), T + number)
        book.form(T + number)
    assert book.waiting("mail") == MOST_WAITING
    assert book.lost("mail") == 15
    texts = [notice.text for notice in sent(book)]
    assert "rejected 0" in texts[0]
    assert "rejected 24" in texts[-1]


def test_words_without_end_fit_the_note() -> None:
    chance, book = random.Random(7), made(digest_s=0)
    for number in range(2_000):
        text = "".join(chr(chance.randrange(33, 0x2FFF)) for _ in range(400))
        book.take(event(f"name{number % 20}", text[:90], text=text, hub=f"hub{number % 7}"), T + number)
        book.form(T + number)
    data = book.dump()
    assert len(data) <= MOST_OCTETS
    assert made().load(data)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    book = made(again_h=24)
    book.take(event(), T + 10**8)
    assert len(book.form(T)) == 1
    assert book.form(T + 86_400) == []
    assert len(book.form(T + 86_400 + 900)) == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("line\nfeed\x1b[31m\r\nBcc: x", "line feed [31m Bcc: x"),
        ("client_secret=hunter2hunter2 was refused", "client_secret=… was refused"),
        ('{"access_token": "abcdefgh"}', '{"access_token"=…"}'),
        ("Authorization: Bearer abcdefghij refused", "Authorization: Bearer … refused"),
        ("https://user:pass@hub.example/path failed", "https://…@hub.example/path failed"),
        ("call jonas.jonaitis@example.lt", "call …@…"),
        (f"-----{'BEGIN'} PRIVATE KEY-----\nMIIB", "…"),
        ("point 571313000000002000: D12 quality", "point 571313000000002000: D12 quality"),
        ("client_secret_file /etc/x cannot be read", "client_secret_file /etc/x cannot be read"),
    ],
)
def test_secrets_and_people_are_in_no_notice(said: str, shown: str) -> None:
    assert clean(said) == shown


def test_sentences_are_cut() -> None:
    assert len(clean("x" * 10**6)) == MOST_SENTENCE
    book = made(digest_s=0)
    book.take(event(text="x" * 10**6, key="y" * 10**6), T)
    (notice,) = book.form(T)
    assert len(notice.subject) == MOST_SUBJECT
    assert len(msgspec.json.encode(notice)) < 2_000


# -- escalation --------------------------------------------------------------------------------------------------------


def escalating(**settings: Any) -> Book:
    """A book whose second circle has a channel; what lasts is told again after it only."""
    known: dict[str, Any] = {"digest_s": 900, "escalate_h": 6, "again_h": 1_000}
    return Book(NoticeSettings(**(known | settings)), ["mail"], ["chief"], new_id=map(str, count()).__next__)


def led(book: Book) -> list[Notice]:
    """What waits for the second circle, taken as sent."""
    found = []
    while (notice := book.head("chief")) is not None:
        found.append(notice)
        book.done("chief", notice.id)
    return found


def test_what_lasts_is_escalated_once_and_so_is_its_end() -> None:
    book = escalating(digest_s=0)
    book.take(event(text="the hub does not serve us: status 503"), T)
    (first,) = book.form(T)
    assert (sent(book), led(book)) == ([first], [])
    assert book.next_due() == T + 6 * HOUR
    assert book.form(T + 6 * HOUR - 1) == []
    (notice,) = book.form(T + 6 * HOUR)
    assert notice.subject == "meterd dk: escalated: the hub does not serve us: status 503"
    assert notice.counts == {"escalated error hub_down": 1}
    assert "error: hub_down (escalated)\n" in notice.text
    assert "(since 2026-09-21 14:13 UTC)" in notice.text
    assert (sent(book), led(book)) == ([], [notice])
    for hour in range(7, 900):
        assert book.form(T + hour * HOUR) == []
    book.take(event(over=True, text="the hub answers again"), T + 900 * HOUR)
    over = book.form(T + 900 * HOUR)
    assert [one.counts for one in over] == [{"over info hub_down": 1}] * 2
    assert [*sent(book), *led(book)] == over
    assert "(it began 2026-09-21 14:13 UTC)" in over[1].text


def test_what_ends_in_time_never_reaches_the_second_circle() -> None:
    book = escalating(digest_s=0)
    book.take(event(), T)
    book.form(T)
    book.take(event(over=True), T + 5 * HOUR)
    assert len(book.form(T + 5 * HOUR)) == 1
    assert book.form(T + 99 * HOUR) == led(book) == []


def test_what_ends_while_its_escalation_gathers_is_neither_escalated_nor_over_for_the_second_circle() -> None:
    book = escalating()
    book.take(event(), T)
    book.form(T + 900)
    assert book.form(T + 6 * HOUR) == []
    book.take(event(over=True), T + 6 * HOUR + 60)
    book.form(T + 7 * HOUR)
    assert (len(sent(book)), led(book)) == (2, [])


def test_the_second_circle_knows_what_is_wrong_when_trouble_comes_back() -> None:
    book = escalating()
    book.take(event(), T)
    book.form(T + 900)
    book.form(T + 6 * HOUR)
    book.form(T + 6 * HOUR + 900)
    assert [one.counts for one in led(book)] == [{"escalated error hub_down": 1}]
    # nobody has heard of the end yet: it goes on for both
    book.take(event(over=True), T + 7 * HOUR)
    book.take(event(), T + 7 * HOUR + 60)
    assert book.form(T + 8 * HOUR) == led(book) == []
    # the second circle has heard of it, the first one has not: it is told that it is not over
    book.take(event("late_day", at=T + 2 * HOUR), T + 2 * HOUR)
    book.form(T + 8 * HOUR)
    book.form(T + 8 * HOUR + 1)
    book.take(event(over=True), T + 8 * HOUR + 300)
    book.take(event("rejected", over=True), T + 8 * HOUR + 300)
    book.form(T + 8 * HOUR + 901)
    assert led(book)[-1].counts == {"over info hub_down": 1, "escalated error late_day": 1}
    book.take(event(), T + 8 * HOUR + 950)
    book.form(T + 8 * HOUR + 950)
    book.form(T + 10 * HOUR)
    assert [one.counts for one in led(book)] == [{"escalated error hub_down": 1}]


def test_thousands_that_last_are_few_escalations() -> None:
    book = escalating()
    names = ["hub_down", "receiver_down", "blocked", "renamed", "rejected", "late_day", "permissions_late"]
    for number in range(7_000):
        book.take(event(names[number % 7], f"{number}"), T)
    told = []
    for tick in range(0, 10 * HOUR, 60):
        book.form(T + tick)
        told += led(book)
    assert sum(sum(one.counts.values()) for one in told) == 280, "40 of each sort are known one by one"
    minutes = [(one.at - T - 6 * HOUR) // 60 for one in told]
    assert minutes == [0, 1, 17], "what is full leaves at once, the others when they have gathered"
    assert all(one.subject == f"meterd dk: escalated: {sum(one.counts.values())} errors" for one in told)
    assert len(book.dump()) <= MOST_OCTETS


def test_what_does_not_last_is_not_escalated() -> None:
    book = escalating(digest_s=0)
    book.take(event("certificate_expires", "certificate"), T)
    book.take(event("schema_drift"), T)
    book.form(T)
    assert book.form(T + 99 * HOUR) == led(book) == []


def test_an_escalation_outlives_a_restart_at_every_moment() -> None:
    def restarted(book: Book) -> Book:
        again = escalating()
        assert again.load(book.dump(), hubs=["dk"])
        return again

    book = escalating()
    book.take(event("rejected", "a"), T)
    book.form(T + 900)
    book = restarted(book)
    assert book.form(T + 6 * HOUR) == []
    book = restarted(book)
    (notice,) = book.form(T + 6 * HOUR + 900)
    book = restarted(book)
    assert led(book) == [notice]
    book = restarted(book)
    assert book.form(T + 12 * HOUR) == []
    book.take(event("rejected", "a", over=True), T + 12 * HOUR)
    book = restarted(book)
    book.form(T + 13 * HOUR)
    assert [one.counts for one in led(book)] == [{"over info rejected": 1}]


def test_without_a_second_circle_nothing_is_escalated_and_what_gathered_is_dropped() -> None:
    book = escalating()
    book.take(event(), T)
    book.form(T + 900)
    book.form(T + 6 * HOUR)
    alone = made(again_h=1_000)
    assert alone.load(book.dump())
    alone.take(event(over=True), T + 7 * HOUR)
    assert [one.counts for one in alone.form(T + 8 * HOUR)] == [{"over info hub_down": 1}]
    assert len(sent(alone)) == 2
    assert alone.next_due() is None


def test_a_clock_that_was_set_back_holds_no_escalation_up() -> None:
    book = escalating(digest_s=0)
    book.take(event(at=T + 10**8), T + 10**8)
    book.form(T)
    book.form(T + 6 * HOUR)
    assert [one.counts for one in led(book)] == [{"escalated error hub_down": 1}]
