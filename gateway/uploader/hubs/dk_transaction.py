"""RSM-012 as it is read: the transactions of a NotifyValidatedMeasureData, each value as the text that stands there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateway.uploader.hubs import dk_reading as cim
from gateway.uploader.hubs.dk_reading import Node


class Observation(NamedTuple):
    """A Point, as the document says it; None: it does not."""

    position: str | None
    quantity: str | None
    quality: str | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """A Series of RSM-012, as the document says it; None: it does not."""

    id: str | None
    point: str | None
    point_type: str | None
    product: str | None
    unit: str | None
    resolution: str | None
    start: str | None
    end: str | None
    observations: tuple[Observation, ...]

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Start and end in UTC seconds, where the document names both as it must: without seconds."""
        start, end = cim.instant(self.start, seconds=False), cim.instant(self.end, seconds=False)
        return None if start is None or end is None else (start, end)


def transactions(root: Node) -> Iterator[Transaction]:
    """The transactions of a NotifyValidatedMeasureData; raises AnswerError."""
    for series in cim.nodes(root, "Series"):
        period = _only(series, "Period")
        interval = _only(period, "timeInterval")
        yield Transaction(
            id=cim.text(series, "mRID"),
            point=cim.text(series, "marketEvaluationPoint.mRID"),
            point_type=cim.text(series, "marketEvaluationPoint.type"),
            product=cim.text(series, "product"),
            unit=cim.text(series, "quantity_Measure_Unit.name"),
            resolution=cim.text(period, "resolution"),
            start=cim.text(interval, "start"),
            end=cim.text(interval, "end"),
            observations=tuple(_observation(point) for point in cim.nodes(period, "Point")),
        )


def _only(node: Node, name: str) -> Node:
    found = cim.nodes(node, name)
    return found[0] if len(found) == 1 else {}


def _observation(point: Node) -> Observation:
    return Observation(cim.text(point, "position"), cim.text(point, "quantity"), cim.text(point, "quality"))
