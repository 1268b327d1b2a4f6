"""Business rules of RSM-012 at DataHub 3, which it judges after it took a message, checked before one leaves.

Codes are those of the RSM-009 with which DataHub would reject: BRS-021, BusinessValidation of its process manager
(github.com/Energinet-DataHub/opengeh-process-manager). Codes in lower case are ours: what its schema and its rules let
pass and yet nobody means. E10 (unknown point), D16 (not connected), D37 (no physical or virtual point) and D50 (not
ours) are of DataHub's register: only its answer can tell them.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from gateway.exports.rsm012 import PRODUCT, is_gs1
from gateway.hub_model import Reason
from gateway.uploader.answers import words
from gateway.uploader.hubs import dk_reading as cim
from gateway.uploader.hubs.dk_reading import Node
from gateway.uploader.hubs.dk_transaction import Observation, Transaction

#: ids of messages and of transactions (00205, 00305)
MOST_ID: Final = 36
STEPS: Final = {"PT15M": 900, "PT1H": 3_600}
#: types of metering point that have readings (D18)
TYPES: Final = frozenset(("E17", "E18", "E20", *(f"D{n:02}" for n in range(1, 23)), "D99"))
#: A01 adjusted, A05 incomplete and A06 calculated pass the schema and are rejected all the same (D12)
QUALITIES: Final = frozenset(("A02", "A03", "A04"))
LEAST_S: Final = 4 * 3_600
YEARS: Final = 3
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def broken(transaction: Transaction, now: int) -> Iterator[Reason]:
    """Every rule that a transaction breaks at `now` (UTC s), with the code of the reject that it would earn."""
    for rule in RULES:
        yield from rule(transaction, now)


def head_faults(root: Node) -> Iterator[Reason]:
    """What DataHub would refuse of a header at once: ids, parties, roles and types."""
    yield from id_faults(cim.text(root, "mRID"), "message", "00201", "00205")
    for end, code in (("sender", "gln"), ("receiver", "00303")):
        party = cim.text(root, f"{end}_MarketParticipant.mRID") or ""
        if not is_gs1(party, 13) and not is_eic(party):
            yield Reason(code, f"the {end} {words(party, 40)!r} is neither a GLN with a right check digit nor an EIC")
    for name, (code, allowed) in _HEAD.items():
        if (said := cim.text(root, name)) != allowed:
            yield Reason(code, f"{name} is {words(str(said), 40)}, not {allowed}")
    seen = [cim.text(series, "mRID") for series in cim.nodes(root, "Series")]
    if len(set(seen)) != len(seen):
        yield Reason("00102", "two transactions of the message have the same id")


def id_faults(said: str | None, what: str, empty: str, long: str) -> Iterator[Reason]:
    """An id is neither empty nor longer than 36 characters."""
    if not said:
        yield Reason(empty, f"the id of the {what} is empty")
    elif len(said) > MOST_ID:
        yield Reason(long, f"the id of the {what} has {len(said)} characters, more than {MOST_ID}")


_HEAD: Final = {
    "process.processType": ("00402", "E23"),
    "type": ("00401", "E66"),
    "businessSector.type": ("00403", "23"),
    "sender_MarketParticipant.marketRole.type": ("00003", "MDR"),
    "receiver_MarketParticipant.marketRole.type": ("00304", "DGL"),
}


def is_eic(party: str) -> bool:
    """Whether a party is an EIC by its shape: 16 characters (ENTSO-E, EIC Reference Manual)."""
    return re.fullmatch(r"[0-9]{2}[0-9A-Z-]{13}[0-9A-Z]", party, re.ASCII) is not None


def _ids(t: Transaction, _now: int) -> Iterator[Reason]:
    yield from id_faults(t.id, "transaction", "00202", "00305")


def _point(t: Transaction, _now: int) -> Iterator[Reason]:
    if not is_gs1(t.point or "", 18):
        yield Reason("gsrn", f"{words(t.point or 'nothing', 40)} is no GSRN of 18 digits with a right check digit")
    if t.point_type not in TYPES:
        yield Reason("D18", f"type of metering point {words(str(t.point_type), 40)}: E17 consumption, E18 production")


def _product(t: Transaction, _now: int) -> Iterator[Reason]:
    if t.unit != "KWH":
        yield Reason("E73", f"unit {words(str(t.unit), 40)}: active energy is in KWH")
    if t.product != PRODUCT:
        yield Reason("product", f"product {words(str(t.product), 40)}: active energy is {PRODUCT}")


def _resolution(t: Transaction, _now: int) -> Iterator[Reason]:
    if t.resolution not in STEPS:
        yield Reason("D23", f"resolution {words(str(t.resolution), 40)}: a point has PT15M or PT1H")


def _quality(t: Transaction, _now: int) -> Iterator[Reason]:
    for one in t.observations:
        if one.quality is not None and one.quality not in QUALITIES:
            yield Reason("D12", f"quality {words(one.quality, 40)} at position {_at(one)}: A02, A03 or none is taken")
            return
    for one in t.observations:
        if (one.quality == "A02") != (one.quantity is None):
            yield Reason("quality", f"position {_at(one)}: A02 has no quantity, and what has no quantity is A02")
            return


def _quantity(t: Transaction, _now: int) -> Iterator[Reason]:
    """One reason at most for each code: the first position."""
    found: dict[str, Reason] = {}
    for one in t.observations:
        if one.quantity is not None and (fault := _of_quantity(one.quantity)):
            found.setdefault(fault[0], Reason(fault[0], f"quantity at position {_at(one)} {fault[1]}"))
    yield from found.values()


def _of_quantity(said: str) -> tuple[str, str] | None:
    if not _NUMBER.fullmatch(said):
        return "E86", "is no decimal number"
    if said.startswith("-"):
        return "E86", "is negative"
    whole, _, fraction = said.partition(".")
    if len(whole) > 10 or len(fraction) > 3:
        return "E89", "has more than 10 digits before or more than 3 behind the point"
    return None


def _positions(t: Transaction, _now: int) -> Iterator[Reason]:
    step, bounds = STEPS.get(t.resolution or ""), t.bounds
    count = len(t.observations)
    if step and bounds and (bounds[1] - bounds[0] != count * step):
        yield Reason("E87", f"{count} positions do not make up {bounds[1] - bounds[0]} s of {t.resolution}")
    wrong = (
        f"position {words(str(one.position), 20)} stands where {expected} belongs"
        for expected, one in enumerate(t.observations, 1)
        if one.position != str(expected)
    )
    yield from (Reason("E87", text) for text in islice(wrong, 1))


def _period(t: Transaction, now: int) -> Iterator[Reason]:
    if t.bounds is None:
        yield Reason("E50", "start or end is missing, or is not written as YYYY-MM-DDThh:mmZ")
        return
    start, end = t.bounds
    if start >= end:
        yield Reason("E50", "the period ends before it begins")
    elif end - start < LEAST_S:
        yield Reason("E50", "the period is shorter than 4 hours")
    step = STEPS.get(t.resolution or "", 900)
    if start % step or end % step:
        yield Reason("D66", f"start or end is not on the grid of {t.resolution}")
    elif start < end and cim.day(start) != (start, end):
        yield Reason("whole_day", "the period is not one whole Danish day, midnight to midnight")
    if is_old(start, now, YEARS):
        yield Reason("E17", f"the readings are older than {YEARS} years")
    if end > now:
        yield Reason("future", "the period has not ended yet")


def is_old(start: int, now: int, years: int, months: int = 0) -> bool:
    """Whether the Danish date of `start` is more than years and months before that of `now`, as DataHub counts them."""
    today, then = cim.local(now), cim.local(start)
    month = today.year * 12 + today.month - 1 - 12 * years - months
    return (then.year * 12 + then.month - 1, then.day) < (month, min(today.day, _last(month)))


def _last(month: int) -> int:
    """Last day of a month that is counted from year 0."""
    year, index = divmod(month, 12)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[index]


def _at(one: Observation) -> str:
    return words(str(one.position), 20)


#: in the order in which they are told
RULES: Final[tuple[Callable[[Transaction, int], Iterator[Reason]], ...]] = (
    _ids, _point, _product, _resolution, _quality, _quantity, _positions, _period,
)  # fmt: skip
