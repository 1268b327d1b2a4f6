"""RSM-019, NotifyWholesaleServices: DataHub's sums of a month, exact, as facts for the reconciliation.

What a fact holds, each value as the text of the document, or None:

transaction: that of the request which it answers; series, version: DataHub's id and version of the calculation
process (D05, D32), settlement_version (D01 to D03), start, end (UTC s), resolution (P1M)
grid_area, supplier, price_owner, price_type, price_id, point_type (E17, E18), settlement_method
unit (KWH), currency (DKK)
energy_wh: whole Wh, what `meterd hub reconcile` compares; None where the document holds no energy of whole Wh
energy_from: the element that it was taken from; amount: the sum of money as a decimal
quality: of the energy (A02 to A06)

By its name and its unit `energySum_Quantity.quantity` is an energy, and so it is read where it stands alone. Where
`energy_Quantity.quantity` stands beside it, that one is the energy, and the other one an amount in `currency`: so does
DataHub's own writer fill them (opengeh-edi, NotifyWholesaleServices). `sure` is False where only the name says it.
"""

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway.uploader.answers import AnswerError, words
from gateway.uploader.hubs import dk_reading as cim
from gateway.uploader.hubs.dk_reading import Node

#: sums of one document that are told as facts; the document holds them all
MOST: Final = 200
SUM: Final = "energySum_Quantity.quantity"
ENERGY: Final = "energy_Quantity.quantity"
#: Wh of a unit
_WH: Final = {"KWH": 1_000, "MWH": 1_000_000, "GWH": 1_000_000_000}
#: what a Series says as one text -> its name in the fact
_TEXTS: Final = {
    "originalTransactionIDReference_Series.mRID": "transaction",
    "mRID": "series",
    "version": "version",
    "settlement_Series.version": "settlement_version",
    "meteringGridArea_Domain.mRID": "grid_area",
    "energySupplier_MarketParticipant.mRID": "supplier",
    "chargeType.chargeTypeOwner_MarketParticipant.mRID": "price_owner",
    "chargeType.type": "price_type",
    "chargeType.mRID": "price_id",
    "marketEvaluationPoint.type": "point_type",
    "marketEvaluationPoint.settlementMethod": "settlement_method",
    "quantity_Measure_Unit.name": "unit",
    "currency_Unit.name": "currency",
}


def sums(root: Node) -> list[dict[str, Any]]:
    """The facts of a document, one for each Series; raises AnswerError."""
    process = cim.text(root, "process.processType")
    return [{"process": process} | _fact(series) for series in cim.nodes(root, "Series")[:MOST]]


def _fact(series: Node) -> dict[str, Any]:
    found: dict[str, Any] = {name: _short(cim.text(series, element)) for element, name in _TEXTS.items()}
    periods = cim.nodes(series, "Period")
    if len(periods) != 1:
        raise AnswerError("a sum has no period, or more than one")
    intervals = cim.nodes(periods[0], "timeInterval")
    interval = intervals[0] if len(intervals) == 1 else {}
    points = cim.nodes(periods[0], "Point")
    return found | {
        "resolution": _short(cim.text(periods[0], "resolution")),
        "start": cim.instant(cim.text(interval, "start")),
        "end": cim.instant(cim.text(interval, "end")),
        **(_energy(points[0], found["unit"]) if len(points) == 1 else _energy({}, None)),
    }


def _energy(point: Node, unit: str | None) -> dict[str, Any]:
    """Energy and money of the only point; those of several points are no sum of a month."""
    total, energy = cim.text(point, SUM), cim.text(point, ENERGY)
    source = ENERGY if energy is not None else SUM
    wh = _wh(energy if energy is not None else total, unit)
    return {
        "energy_wh": wh,
        "energy_from": source if wh is not None else None,
        "sure": energy is not None,
        "amount": _short(total) if energy is not None else None,
        "quality": _short(cim.text(point, "quality")),
    }


def _wh(said: str | None, unit: str | None) -> int | None:
    """Whole Wh of a decimal of a unit; None where it is none, or finer."""
    if said is None or unit not in _WH or len(said) > 40:
        return None
    try:
        value = Decimal(said) * _WH[unit]
    except InvalidOperation:
        return None
    return int(value) if value.is_finite() and value == value.to_integral_value() and abs(value) < 10**18 else None


def _short(said: str | None) -> str | None:
    return None if said is None else words(said, 60)
