"""The portal as a source: deliveries kept once, exports brought by a person, and when a day is called late."""

import datetime as dt
import json

import pytest

from gateway.imports.record import ImportFileError
from gateway.reconcile import compare
from gateway.settings import SettingsError, load
from gateway.uploader.hub import BuildError
from gateway.uploader.hubs import cz_pnd, cz_portal
from gateway.uploader.hubs.cz_delivery import Delivery, RefusedError
from gateway.uploader.registry import make
from tests.hubs.cz_parts import PRAGUE, SAMPLES, Outbox, Wired, build, delivery, ean, part, settings

DAY = dt.timedelta(days=1)


class Portal:
    """An adapter with a clock that a test sets, and the notes that its store keeps."""

    def __init__(self, at: str, **changes: object) -> None:
        given = {"kind": "cz-pnd", "name": "pnd", "points": (ean(1),), "legal_basis": "contract"} | changes
        self.hub = cz_pnd.CzPnd(settings(**given), clock=lambda: self.now)
        self.outbox = Outbox()
        self.at(at)

    def at(self, moment: str) -> "Portal":
        self.now = dt.datetime.fromisoformat(moment).replace(tzinfo=PRAGUE).timestamp()
        return self

    def poll(self):
        self.hub._next = 0
        return list(self.hub.inbox(Wired(), self.outbox))

    def late(self):
        return [(one.facts["recovered"], json.loads(one.body)["days"]) for one in self.poll() if one.kind == "late_day"]

    def deliver(self, *days: str, name: str = "m-1", **more: object) -> Delivery:
        body = delivery([dt.date.fromisoformat(day) for day in days], name=name, **more)
        one = Delivery(body, cz_portal.delivery(body), "1f")
        assert self.hub.deliveries.put(one)
        return one


@pytest.fixture
def portal():
    """A portal that was activated on Tuesday 2026-02-03, looked at after the first five working days."""
    made = Portal("2026-02-03T12:00")
    (first,) = made.poll()
    assert (first.kind, first.severity) == ("activation", None)
    return made


def test_a_delivery_is_answered_when_it_is_stored(portal):
    one = portal.at("2026-02-05T08:00").deliver("2026-02-04")
    inbox = portal.hub.inbox(Wired(), portal.outbox)
    inbound = next(inbox)
    assert not one.known.done(), "nothing is answered before the inbound is stored"
    assert (inbound.id[:13], inbound.kind, inbound.body) == ("delivery-m-1-", "measured-data", one.body)
    assert inbound.facts == {
        "message": "m-1", "created": "2026-03-04T06:00:00+01:00", "certificate": "1f", "series": 1,
    }  # fmt: skip
    assert inbound.text == (f"PND: import of {ean(1)}, 96 values of 2026-02-03T23:00Z to 2026-02-04T23:00Z")
    assert list(inbox) == []
    assert one.known.result(0) is False


def test_the_same_delivery_is_known_and_another_under_its_id_is_refused(portal):
    portal.at("2026-02-06T08:00").deliver("2026-02-04")
    assert len(portal.poll()) == 1
    again, other = portal.deliver("2026-02-04"), portal.deliver("2026-02-05")
    assert portal.poll() == []
    assert again.known.result(0) is True
    with pytest.raises(RefusedError, match="m-1 was used before"):
        other.known.result(0)


def test_a_delivery_whose_sender_went_away_is_not_taken(portal):
    portal.deliver("2026-02-01").known.cancel()
    assert portal.poll() == []


def test_what_is_not_over_yet_is_refused(portal):
    one = portal.at("2026-02-04T23:44").deliver("2026-02-04")
    assert portal.poll() == []
    with pytest.raises(RefusedError, match="2026-02-04T23:00Z, which is not over yet"):
        one.known.result(0)


def test_waiting_deliveries_are_bounded(portal):
    body = delivery([dt.date(2026, 2, 1)])
    one = cz_portal.delivery(body)
    taken = [portal.hub.deliveries.put(Delivery(body, one, None)) for _ in range(6)]
    assert taken == [True, True, True, True, False, False]


def test_the_ids_that_are_remembered_are_bounded(portal):
    portal.outbox.notes["deliveries"] = json.dumps({f"m{n}": "0" * 16 for n in range(cz_pnd.MOST_IDS)}).encode()
    portal.deliver("2026-02-02")
    portal.poll()
    known = json.loads(portal.outbox.notes["deliveries"])
    assert len(known) == cz_pnd.MOST_IDS
    assert "m0" not in known
    longest = {f"{n:064d}": "0" * 16 for n in range(cz_pnd.MOST_IDS)}
    assert len(json.dumps(longest)) < 64 << 10


def test_late_is_said_after_the_second_working_day_and_not_before(portal):
    # Wednesday 4 to Tuesday 10 February: the fifth working day after activation; the first days are due by then
    assert portal.at("2026-02-10T23:59").late() == []
    assert portal.at("2026-02-11T00:00").late() == [
        (False, ["2026-02-03", "2026-02-04", "2026-02-05", "2026-02-06", "2026-02-07", "2026-02-08"]),
    ]
    assert portal.late() == [], "a late day is told once"
    (event,) = [one for one in portal.at("2026-02-12T00:00").poll() if one.kind == "late_day"]
    assert event.severity == "warning"
    assert event.facts["key"] == ean(1)
    assert event.text.startswith(f"PND has not delivered 2026-02-09 of {ean(1)}, due by the second working day: ")


def test_easter_is_waited_out(portal):
    portal.outbox.notes[f"days:{ean(1)}"] = json.dumps([["2026-02-03", "2026-03-31"]]).encode()
    assert portal.at("2026-04-07T23:59").late() == []
    assert portal.at("2026-04-08T00:00").late() == [(False, ["2026-04-01"])]


def test_the_recovery_is_told_when_the_last_late_day_has_come(portal):
    portal.at("2026-02-11T08:00").late()
    portal.deliver("2026-02-03", "2026-02-04", "2026-02-05")
    assert portal.late() == []
    portal.deliver("2026-02-06", "2026-02-07", "2026-02-08", name="m-2")
    assert portal.late() == [(True, ["2026-02-06", "2026-02-07", "2026-02-08"])]
    assert portal.late() == []
    assert portal.at("2026-02-12T00:00").late() == [(False, ["2026-02-09"])], "what is late later is told anew"


def test_half_a_day_has_not_come(portal):
    portal.at("2026-02-11T08:00")
    values = dict.fromkeys(range(40, 50), (None, "nedostupná data"))
    portal.deliver("2026-02-03", value=lambda n: values.get(n, ("1", "naměřená data OK")))
    (late,) = portal.late()
    assert "2026-02-03" in late[1]


def test_history_that_was_asked_for_is_late_after_the_fifth_working_day():
    portal = Portal("2026-02-03T12:00", since="2026-01-30")
    portal.poll()
    assert portal.at("2026-02-10T12:00").late() == []
    ((_, days),) = portal.at("2026-02-11T12:00").late()
    assert (days[0], days[-1]) == ("2026-01-30", "2026-02-08")


def test_how_far_back_is_looked_is_bounded():
    portal = Portal("2026-02-03T12:00", since="1990-01-01")
    portal.poll()
    ((_, days),) = portal.at("2026-02-11T12:00").late()
    assert len(days) == cz_pnd.MOST_DAYS - 2
    assert all(len(note) < 64 << 10 for note in portal.outbox.notes.values())


def test_an_export_is_kept_and_compared_with_our_own_intervals(portal):
    portal.at("2026-03-05T12:00")
    data = (SAMPLES / "pnd-simplified.csv").read_bytes()
    inbound = portal.hub.read_answer(data, portal.outbox)
    assert (inbound.kind, inbound.content_type, inbound.severity) == ("measured-data", cz_portal.CSV, None)
    assert portal.hub.read_answer(data, portal.outbox).id == inbound.id
    (theirs,) = portal.hub.account(inbound.kind, inbound.body, inbound.content_type)
    assert (theirs.point, theirs.direction) == (ean(1), "import")
    ours = part(dt.date(2026, 3, 3), values=lambda n: (120 + 5 * n, "valid")).series.intervals
    rows = [cz_portal.Row(one.start, one.end, one.quantity * 1_000, "measured") for one in ours]
    equal = [one.verdict for one in compare(rows, theirs.rows)]
    assert equal.count("equal") == 16, "the sample begins 0,5 0,52 0,54 kW: 125, 130, 135 Wh"
    assert json.loads(portal.outbox.notes[f"days:{ean(1)}"]) == [["2026-03-03", "2026-03-03"]]


def test_a_delivery_that_was_kept_is_read_again(portal):
    portal.at("2026-02-05T08:00").deliver("2026-02-04", quantities=("+A", "-A"))
    (inbound,) = portal.poll()
    found = portal.hub.account(inbound.kind, inbound.body, inbound.content_type)
    assert [(one.direction, len(one.rows)) for one in found] == [("import", 96), ("export", 96)]
    with pytest.raises(ImportFileError):
        portal.hub.account("late_day", b"{}", "application/json")


def test_points_of_others_in_a_delivery_do_not_hide_ours(portal):
    portal.at("2026-02-05T08:00").deliver("2026-02-04", points=[ean(7), ean(1)])
    (inbound,) = portal.poll()
    found = portal.hub.account(inbound.kind, inbound.body, inbound.content_type)
    assert [one.point for one in found] == [ean(7), ean(1)]
    assert [key for key in portal.outbox.notes if key.startswith("days:")] == [f"days:{ean(1)}"]


def test_an_id_that_was_forgotten_hides_no_other_content(portal):
    portal.at("2026-02-06T08:00").deliver("2026-02-04")
    first = portal.poll()
    portal.outbox.notes["deliveries"] = b"{}"
    portal.deliver("2026-02-05")
    assert [one.id != first[0].id for one in portal.poll()] == [True]


def test_an_export_of_a_meter_needs_one_point_to_belong_to():
    portal = Portal("2026-03-05T12:00", points=(ean(1), ean(2)))
    with pytest.raises(ImportFileError, match="784703"):
        portal.hub.read_answer((SAMPLES / "pnd-simplified.csv").read_bytes(), portal.outbox)
    assert portal.outbox.notes == {}


def test_an_export_of_tomorrow_is_refused():
    portal = Portal("2026-03-03T23:00")
    with pytest.raises(ImportFileError, match="not over yet"):
        portal.hub.read_answer((SAMPLES / "pnd-simplified.csv").read_bytes(), portal.outbox)


def test_nothing_is_ever_sent_to_it():
    hub = make(settings(kind="cz-pnd"))
    assert not hub.policy.takes_readings
    assert hub.send(Wired(), None).verdict == "blocked"
    assert hub.query(Wired(), None).verdict == "pending"
    assert (hub.requests(), list(hub.daily(build(settings()), Outbox()))) == ({}, [])
    with pytest.raises(BuildError, match="it sends to us"):
        hub.build([part()], build(settings()))
    with pytest.raises(BuildError):
        hub.request("data", {}, build(settings()))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('listen = "127.0.0.1:8443"', None),
        ('listen = "localhost:8443"', "listen"),
        ('environment = "production"\nparty = "8591824000991"\nrole = "MDR"', None),
        ('environment = "production"\nparty = "8591824000991"', "role"),
    ],
)
def test_its_table_of_the_configuration(tmp_path, line, word):
    path = tmp_path / "meterd.toml"
    path.write_text(
        f'[[meter]]\nname = "main"\nport = "/dev/null"\n[[point]]\nmeter = "main"\nid = "{ean(1)}"\n'
        f'[[hub]]\nname = "pnd"\nkind = "cz-pnd"\npoints = ["{ean(1)}"]\nlegal_basis = "x"\n{line}\n'
    )
    if word is None:
        assert load(path).hub[0].kind == "cz-pnd"
    else:
        with pytest.raises(SettingsError) as caught:
            load(path)
        assert [word in problem for problem in caught.value.problems] == [True]
