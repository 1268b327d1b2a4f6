"""What a sink sees of the journal: pages, settling, dead letters, and what outlives the process."""

import gc
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.item_p import ItemP
from gateway.stores.cursors import MISCOUNTED, MISCOUNTS, WAITING
from gateway.stores.journal import Journal
from gateway.stores.outbox import Dead, Entry, Outbox
from gateway.stores.schema import connect

MakeItem = Callable[..., ItemP]
MakeJournal = Callable[..., Journal]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def fill(kept: Journal, item: MakeItem, first: int, last: int, meter: str = "main") -> None:
    for n in range(first, last):
        kept.append(item(n, meter))
    assert kept.flush(60)


def deliver(outbox: Outbox, entries: Sequence[Entry], dead: Sequence[Dead] = ()) -> None:
    refused = {entry.id for entry, _ in dead}
    good = Counter(entry.item.meter for entry in entries if entry.id not in refused)
    outbox.settle(entries[-1].id, delivered=good, dead=dead)


def terms(kept: Journal, sink: str, meter: str = "main") -> dict[str, int]:
    found: dict[str, int] = kept.conservation()["sinks"][sink][meter]
    return found


def crash(kept: Journal, folder: Path) -> Path:
    """Copy the file and its log as a kill -9 would leave them."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{kept.path}{suffix}", folder / f"journal.db{suffix}")
    return folder / "journal.db"


def test_a_new_sink_gets_the_whole_history_in_order(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal(meters=("main", "barn"))
    made = [item(n, ("main", "barn")[n % 2]) for n in range(1_234)]
    for n, one in enumerate(made):
        kept.append(one)
        if n % 100 == 0:
            assert kept.flush(60)
    assert kept.flush(60)
    outbox = kept.outbox("influx")
    assert outbox.position == 0
    found: list[Entry] = []
    while page := outbox.page(limit=100):
        found += page
        deliver(outbox, page)
    assert [entry.item for entry in found] == made
    assert all(a.id < b.id for a, b in pairwise(found))
    assert outbox.newest == outbox.position == found[-1].id
    done = {"delivered": 617, "pending": 0, "evicted": 0, "dead_letter": 0}
    assert kept.conservation()["sinks"]["influx"] == {"main": done, "barn": done}


def test_only_what_is_committed_is_handed_out(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    outbox = kept.outbox("mqtt")
    kept.append(item(0))
    assert outbox.page() == []
    assert outbox.newest == 0
    assert kept.flush(60)
    (entry,) = outbox.page()
    assert entry.item == item(0)
    assert outbox.newest == entry.id
    assert outbox.page(after=entry.id) == []
    assert outbox.page() == [entry], "it is handed out until it is settled"


def test_a_sink_may_look_ahead_and_settle_bit_by_bit(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 30)
    outbox = kept.outbox("mqtt")
    first = outbox.page(limit=10)
    second = outbox.page(after=first[-1].id, limit=10)
    assert [entry.item.seq for entry in second] == list(range(11, 21))
    for entry in (*first, *second):
        outbox.settle(entry.id, delivered={"main": 1})
    assert outbox.position == second[-1].id
    assert terms(kept, "mqtt") == {"delivered": 20, "pending": 10, "evicted": 0, "dead_letter": 0}


def test_every_sink_has_its_own_cursor(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    mqtt, influx = kept.outbox("mqtt"), kept.outbox("influx")
    deliver(mqtt, mqtt.page())
    assert len(influx.page()) == 10
    assert terms(kept, "influx")["pending"] == 10
    assert terms(kept, "mqtt")["pending"] == 0


@pytest.mark.parametrize(
    ("delivered", "dead"),
    [
        ({"main": 6}, ()),  # one too many
        ({"main": 4}, ()),  # one is not accounted for
        ({"barn": 5}, ()),  # of another meter
        ({"main": 6, "barn": -1}, ()),
        ({"main": 3}, (0, 0)),  # the same one twice
        ({"main": 4}, (9,)),  # behind the place
    ],
)
def test_what_does_not_add_up_is_refused(
    journal: MakeJournal, item: MakeItem, delivered: dict[str, int], dead: tuple[int, ...]
) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    outbox = kept.outbox("influx")
    page = outbox.page()
    with pytest.raises(ValueError, match="influx settles"):
        outbox.settle(page[4].id, delivered=delivered, dead=[Dead(page[n], "refused") for n in dead])
    assert outbox.position == 0, "nothing is settled by halves"
    assert terms(kept, "influx")["pending"] == 10


def test_what_was_not_handed_out_cannot_be_settled(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    outbox = kept.outbox("influx")
    with pytest.raises(ValueError, match="was not handed to it"):
        outbox.settle(outbox.newest, delivered={"main": 10})


def test_dead_letters_keep_their_reason_and_block_nobody(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    outbox = kept.outbox("influx")
    page = outbox.page()
    deliver(outbox, page, [Dead(page[3], "field type conflict\n" + "x" * 500), Dead(page[7], "beyond retention")])
    assert terms(kept, "influx") == {"delivered": 8, "pending": 0, "evicted": 0, "dead_letter": 2}
    kept.flush(60)
    path = kept.path
    assert kept.close(60)
    again = journal(path)
    letters = again.dead_letters()
    assert [(one["sink"], one["meter"], one["id"]) for one in letters] == [
        ("influx", "main", page[3].id),
        ("influx", "main", page[7].id),
    ]
    assert letters[0]["reason"].startswith("field type conflict xxx")
    assert len(letters[0]["reason"]) == 200
    assert terms(again, "influx")["dead_letter"] == 2


def test_dead_letters_are_bounded_and_counted(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal(max_bytes=8 << 20)
    outbox = kept.outbox("influx")
    for start in range(0, 3_000, 500):
        fill(kept, item, start, start + 500)
        page = outbox.page()
        deliver(outbox, page, [Dead(entry, "r" * 200) for entry in page])
        assert kept.flush(60)
    assert terms(kept, "influx")["dead_letter"] == 3_000
    assert 500 < len(kept.dead_letters(5_000)) < 1_500
    assert kept.dead_letters(5_000)[-1]["id"] == outbox.position, "the newest stay"
    assert terms(kept, "influx")["evicted"] == 0


def test_the_cursor_goes_with_the_next_group(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal()
    fill(kept, item, 0, 20)
    outbox = kept.outbox("influx")
    page = outbox.page(limit=10)
    deliver(outbox, page)
    assert kept.flush(60), "no readings came, and it goes all the same"
    rest = outbox.page()
    deliver(outbox, rest)
    killed = journal(crash(kept, tmp_path / "killed"))
    after = killed.outbox("influx")
    assert after.position == page[-1].id, "what was settled since the last group is handed out again"
    assert after.page() == rest
    assert after.store == outbox.store
    assert terms(killed, "influx") == {"delivered": 10, "pending": 10, "evicted": 0, "dead_letter": 0}


def test_a_clean_end_forgets_nothing(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 20)
    outbox = kept.outbox("influx")
    deliver(outbox, outbox.page())
    assert kept.close(60)
    again = journal()
    assert terms(again, "influx")["delivered"] == 20
    assert again.outbox("influx").page() == []


def test_cursors_of_sinks_that_are_gone_go_on_being_counted(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 5)
    outbox = kept.outbox("influx")
    deliver(outbox, outbox.page())
    assert kept.close(60)
    again = journal()
    fill(again, item, 5, 8)
    assert terms(again, "influx") == {"delivered": 5, "pending": 3, "evicted": 0, "dead_letter": 0}
    assert len(again.outbox("influx").page()) == 3


def test_what_gives_way_is_counted_for_each_sink(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal(max_bytes=5 << 20)
    fast, slow = kept.outbox("mqtt"), kept.outbox("influx")
    hand = slow.page()
    for start in range(0, 12_000, 500):
        fill(kept, item, start, start + 500)
        while page := fast.page():
            deliver(fast, page)
        if start == 0:
            hand = slow.page(limit=400)
    gone = kept.evicted("main")
    assert gone > 1_000
    assert terms(kept, "mqtt") == {"delivered": 12_000, "pending": 0, "evicted": 0, "dead_letter": 0}
    assert terms(kept, "influx") == {"delivered": 0, "pending": 12_000 - gone, "evicted": gone, "dead_letter": 0}
    deliver(slow, hand)
    expected = {"delivered": 400, "pending": 12_000 - gone, "evicted": gone - 400, "dead_letter": 0}
    assert terms(kept, "influx") == expected, "what a sink had in hand was delivered after all"
    page = slow.page()
    assert page[0].item.seq == gone + 1
    late = kept.outbox("late")
    assert terms(kept, "late") == {"delivered": 0, "pending": 12_000 - gone, "evicted": gone, "dead_letter": 0}
    assert late.page(limit=1)[0] == page[0]


def test_a_row_that_is_not_what_was_written_is_a_dead_letter(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    ids = [entry.id for entry in kept.outbox("look").page()]
    assert kept.close(60)
    db = connect(kept.path)
    for n in (0, 4, 9):
        db.execute("UPDATE record SET data = zeroblob(80) WHERE id = ?", (ids[n],))
    db.execute("UPDATE record SET meter = 7 WHERE id = ?", (ids[5],))
    db.execute("UPDATE record SET meter = 0 WHERE id = ?", (ids[6],))
    db.close()
    again = journal()
    outbox = again.outbox("influx")
    page = outbox.page()
    assert [entry.id for entry in page] == [ids[n] for n in (1, 2, 3, 5, 6, 7, 8)], "the seal tells whose row it is"
    assert outbox.position == ids[0], "damaged rows in front are passed at once"
    deliver(outbox, page)
    assert outbox.page() == []
    assert outbox.position == ids[9]
    again.flush(60)
    assert terms(again, "influx") == {"delivered": 7, "pending": 0, "evicted": 0, "dead_letter": 3}
    assert {(one["id"], one["reason"]) for one in again.dead_letters()} == {(ids[n], "row_damaged") for n in (0, 4, 9)}


def test_reading_a_broken_page_makes_the_journal_look_at_its_file(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 4_000)
    until(lambda: kept.status()["state"] == "ok", "checked")
    assert kept.close(60)
    again = journal()
    until(lambda: again.status()["state"] == "ok", "checked")
    again._writer._examined = float("-inf")
    data = bytearray(again.path.read_bytes())
    leaves = [at for at in range(60 * 1024, len(data), 1024) if data[at] == 0x0D]
    with again.path.open("r+b") as file:
        file.seek(leaves[10])
        file.write(bytes(512))
    outbox = again.outbox("influx")
    taken: set[int] = set()

    def over() -> bool:
        for entry in outbox.page():
            taken.add(entry.item.seq or 0)
            outbox.settle(entry.id, delivered={"main": 1})
        again.append(item(4_000))
        return again.flush(1) and bool(again.status()["notices"]) and len(taken) > 3_900

    until(over, "gone on behind the broken page")
    assert outbox.page()
    assert len(taken) < 4_000
    assert any("was set aside" in notice for notice in again.status()["notices"])
    assert terms(again, "influx")["evicted"] > 0, "what could not be salvaged is named"
    assert terms(again, "influx")["pending"] == len(outbox.page())


def test_threads_share_an_outbox(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    outbox = kept.outbox("influx")
    seen: list[int] = []
    stop = threading.Event()

    def work() -> None:
        while len(seen) < 3_000 and not stop.is_set():
            for entry in outbox.page(limit=50):
                outbox.settle(entry.id, delivered={"main": 1})
                seen.append(entry.item.seq or 0)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for start in range(0, 3_000, 100):
            fill(kept, item, start, start + 100)
        thread.join(60)
    finally:
        stop.set()
    assert seen == list(range(1, 3_001))
    assert kept.conservation()["sinks"]["influx"]["main"]["pending"] == 0


def test_dead_letters_that_cannot_be_written_are_bounded(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, WAITING + 500)
    outbox = kept.outbox("influx")
    while page := outbox.page():
        deliver(outbox, page, [Dead(entry, "refused") for entry in page])
    assert len(kept._state.cursors.waiting) == WAITING
    kept.flush(60)
    assert terms(kept, "influx")["dead_letter"] == WAITING + 500, "each one is counted"
    assert not kept._state.cursors.waiting


def test_the_time_of_the_oldest_that_waits_is_shown(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    outbox = kept.outbox("influx")
    assert outbox.status()["oldest_pending"] is None
    fill(kept, item, 0, 10)
    assert outbox.status()["oldest_pending"] == "2026-11-21T22:20:05Z"
    deliver(outbox, outbox.page(limit=4))
    assert kept.flush(60)
    status = outbox.status()
    assert status["oldest_pending"] == "2026-11-21T22:20:09Z"
    assert (status["delivered"], status["pending"], status["meters"]["main"]["pending"]) == (4, 6, 6)


def test_a_sink_that_takes_the_place_of_another_goes_on_where_that_one_came_to(
    journal: MakeJournal, item: MakeItem
) -> None:
    kept = journal()
    fill(kept, item, 0, 20)
    before = kept.outbox("mqtt")
    in_hand = before.page(limit=10)
    deliver(before, in_hand[:4])
    unused, after = kept.outbox("mqtt"), kept.outbox("mqtt")
    assert unused.position == in_hand[3].id
    deliver(before, in_hand[4:6])  # who never reads takes nobody's place
    before.let_go()
    assert [entry.item.seq for entry in after.page(limit=3)] == [7, 8, 9]
    deliver(before, in_hand[6:])  # confirmed late, by a thread that hung: it was handed out again
    assert before.page() == []
    assert after.position == in_hand[5].id
    assert terms(kept, "mqtt") == {"delivered": 6, "pending": 14, "evicted": 0, "dead_letter": 0}
    deliver(after, after.page())
    assert terms(kept, "mqtt") == {"delivered": 20, "pending": 0, "evicted": 0, "dead_letter": 0}


def test_an_outbox_whose_file_was_closed_in_between_reads_on(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 5)
    outbox = kept.outbox("mqtt")
    deliver(outbox, outbox.page())
    outbox.let_go()  # the sink ended by an error, and starts again
    fill(kept, item, 5, 10)
    assert [entry.item.seq for entry in outbox.page()] == [6, 7, 8, 9, 10]
    kept.close(60)
    assert outbox.page() == []


def test_an_outbox_that_nobody_has_any_more_closes_its_file(journal: MakeJournal, item: MakeItem) -> None:
    """Sinks come and go with each reload: what they leave behind must not wait for the garbage collector."""
    kept = journal()
    fill(kept, item, 0, 5)
    gc.disable()
    try:
        before = logs_open(kept.path)
        for _ in range(20):
            assert len(kept.outbox("mqtt").page()) == 5
        assert logs_open(kept.path) == before
    finally:
        gc.enable()


def logs_open(path: Path) -> int:
    """How often this process has the log of a journal open."""
    name, files = f"{path}-wal", Path("/proc/self/fd").iterdir()
    return sum(os.path.realpath(file) == name for file in files)


def test_rows_in_hand_of_a_sink_that_is_gone_may_give_way(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal(max_bytes=5 << 20)
    fill(kept, item, 0, 500)
    before = kept.outbox("influx")
    assert len(before.page()) == 500
    after = kept.outbox("influx")
    for start in range(500, 12_000, 500):
        fill(kept, item, start, start + 500)
    assert kept.evicted("main") > 500
    while page := after.page():
        deliver(after, page)
    counted = terms(kept, "influx")
    assert counted["evicted"] == kept.evicted("main")
    assert counted["delivered"] == 12_000 - kept.evicted("main")


def test_accounts_that_never_add_up_end_no_delivery(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    outbox = kept.outbox("influx")
    for _ in range(MISCOUNTS - 1):
        page = outbox.page(limit=5)
        with pytest.raises(ValueError, match="influx settles"):
            outbox.settle(page[-1].id, delivered={"main": 2, "barn": 1}, dead=[Dead(page[1], "refused")])
    assert terms(kept, "influx")["pending"] == 10
    page = outbox.page(limit=5)
    outbox.settle(page[-1].id, delivered={"main": 2, "barn": 1}, dead=[Dead(page[1], "refused")])
    assert terms(kept, "influx") == {"delivered": 2, "pending": 5, "evicted": 0, "dead_letter": 3}
    kept.flush(60)
    reasons = {letter["id"]: letter["reason"] for letter in kept.dead_letters()}
    assert reasons == {page[1].id: "refused", page[3].id: MISCOUNTED, page[4].id: MISCOUNTED}
    deliver(outbox, outbox.page())
    assert terms(kept, "influx") == {"delivered": 7, "pending": 0, "evicted": 0, "dead_letter": 3}


def test_one_account_that_does_not_add_up_now_and_then_costs_no_row(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    outbox = kept.outbox("influx")
    for _ in range(2 * MISCOUNTS):
        (one,) = outbox.page(limit=1)
        with pytest.raises(ValueError, match="influx settles"):
            outbox.settle(one.id, delivered={})
        deliver(outbox, outbox.page(limit=1))
    assert terms(kept, "influx")["dead_letter"] == 0


def test_what_the_user_before_settles_while_a_page_is_read_is_not_handed_out_again(
    journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal()
    fill(kept, item, 0, 10)
    before = kept.outbox("influx")
    page = before.page(limit=5)
    after = kept.outbox("influx")
    take, taken = after._take, []

    def settled_meanwhile(*row: object) -> None:
        take(*row)
        taken.append(row)
        if len(taken) == 3:
            deliver(before, page)

    monkeypatch.setattr(after, "_take", settled_meanwhile)
    assert after.page() == []
    rest = after.page()
    assert [entry.item.seq for entry in rest] == [one.item.seq for one in kept.outbox("other").page()][5:]
    deliver(after, rest)
    assert terms(kept, "influx")["delivered"] == 10


#: users that hold the place at the same time, and all that ever do: a slow machine has no more of them than a fast one
USERS_AT_ONCE, USERS = 6, 300


def use(outbox: Outbox, pages: int, pause_s: float) -> None:
    """Deliver some pages, and hang before each is settled."""
    for _ in range(pages):
        page = outbox.page(limit=7)
        page += outbox.page(page[-1].id, limit=7) if page else []
        time.sleep(pause_s)
        if page:
            deliver(outbox, page)


def test_threads_that_read_settle_and_take_each_others_place_lose_nothing(journal: MakeJournal, item: MakeItem) -> None:
    """A user that hangs while the next one has begun already, again and again, while readings give way."""
    kept = journal(max_bytes=5 << 20)
    kept.outbox("influx")
    rng, stop, errors = random.Random(6), threading.Event(), list[ValueError]()
    room = threading.Semaphore(USERS_AT_ONCE)

    def work(outbox: Outbox, pages: int, pause_s: float) -> None:
        try:
            use(outbox, pages, pause_s)
        except ValueError as error:
            errors.append(error)
        finally:
            outbox.let_go()
            room.release()

    def take_places() -> None:
        for _ in range(USERS):
            room.acquire()
            if stop.is_set():
                break
            outbox, pause_s = kept.outbox("influx"), rng.random() * 0.01
            threads.append(threading.Thread(target=work, args=(outbox, rng.randint(1, 8), pause_s), daemon=True))
            threads[-1].start()
            time.sleep(rng.random() * 0.01)

    threads: list[threading.Thread] = []
    maker = threading.Thread(target=take_places, daemon=True)
    maker.start()
    try:
        for start in range(0, 9_000, 300):
            fill(kept, item, start, start + 300)
            until(lambda start=start: len(threads) > start // 300, "a user comes with each group")  # type: ignore[misc]
    finally:
        stop.set()  # whatever comes of it: no thread may trouble the tests after this one
        maker.join(60)
    for thread in threads:
        thread.join(60)
    assert not [one for one in (maker, *threads) if one.is_alive()]
    assert not errors
    last = kept.outbox("influx")
    while page := last.page():
        deliver(last, page)
    assert last.trouble is None
    counted = terms(kept, "influx")
    assert counted["pending"] == counted["dead_letter"] == 0
    assert counted["delivered"] + counted["evicted"] == 9_000
    assert counted["delivered"] >= 9_000 - kept.evicted("main")
