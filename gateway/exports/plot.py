"""Pictures of a period: load curve, energy by day, status of every interval; by matplotlib (extra `plot`)."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from gateway.exports.about import ExportError
from gateway.intervals.calendar import day_start
from gateway.intervals.model import Interval, Series, Status
from gateway.reconcile import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES: Final = (".png", ".svg")
#: statuses from good to bad, each with a colour that those who see no red tell apart, too (Okabe and Ito)
COLOURS: Final[dict[Status, str]] = {
    "valid": "#0072b2", "edited": "#009e73", "estimated": "#e69f00", "suspect": "#cc79a7", "raw": "#999999",
    "missing": "#000000",
}  # fmt: skip
#: lines of a day that a heat map shows: quarter-hours, those of the longest day
WIDTH, HEIGHT = 12, 11


def draw(many: Sequence[Series], path: Path) -> None:
    """Draw every series of a period into one picture; raises ExportError without matplotlib or for another suffix."""
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path}: a plot is a {' or a '.join(SUFFIXES)} file")
    if not any(series.intervals for series in many):
        raise ExportError("there is nothing to draw: no interval lies in the period")
    figure = _figure()
    power, energy, *quality = figure.subplots(2 + len(many), 1)
    for series in many:
        _load_curve(power, series)
    _by_day(energy, many)
    for axes, series in zip(quality, many, strict=True):
        _heat_map(axes, series)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def draw_differences(differences: Sequence[Difference], zone: ZoneInfo, title: str, path: Path) -> None:
    """Draw both sides of a comparison, and what lies between them; raises ExportError as `draw` does."""
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path}: a plot is a {' or a '.join(SUFFIXES)} file")
    figure = _figure()
    both, between = figure.subplots(2, 1, sharex=True)
    times: Any = [datetime.fromtimestamp(one.start, zone).replace(tzinfo=None) for one in differences]
    for name in ("ours", "theirs"):
        both.step(times, [_wh(getattr(one, name)) for one in differences], where="post", linewidth=0.8, label=name)
    both.set_ylabel("Wh")
    both.set_title(title, loc="left")
    both.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    between.step(times, [_wh(one.milli_wh) for one in differences], where="post", linewidth=0.8, color="#d55e00")
    between.set_ylabel("ours - theirs, Wh")
    figure.savefig(path)


def _wh(milli: int | None) -> float:
    return float("nan") if milli is None else milli / 1_000


def _figure() -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExportError('--plot needs matplotlib: pip install "meterd[plot]"') from None
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _load_curve(axes: "Axes", series: Series) -> None:
    """Mean power of each interval as steps; a gap where nothing is known."""
    times: Any = [_local(one.start, series.zone) for one in series.intervals]
    values = [_mean(one, series) for one in series.intervals]
    axes.step(times, values, where="post", linewidth=0.8, label=series.direction)
    axes.set_ylabel("kW" if series.unit.name == "Wh" else f"{series.unit.name} per hour")
    axes.set_title(f"{series.meter}: mean of each {series.resolution}, {series.zone}", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _by_day(axes: "Axes", many: Iterable[Series]) -> None:
    """Energy of each local day, import upwards, export downwards."""
    for series in many:
        days: dict[date, int] = {}
        for one in series.intervals:
            day = _local(one.start, series.zone).date()
            days[day] = days.get(day, 0) + (one.quantity or 0)
        sign = 1 if series.direction == "import" else -1
        values = [sign * total * 10.0**series.unit.exponent / _kilo(series) for total in days.values()]
        where: Any = list(days)
        axes.bar(where, values, label=series.direction)
        axes.set_ylabel(_unit(series))
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_title("energy by local day", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _heat_map(axes: "Axes", series: Series) -> None:
    """The status of every interval: days from left to right, the hours of the day upwards: 25 when one comes twice."""
    from matplotlib.colors import ListedColormap

    rows, order = _columns(series), list(COLOURS)
    height = 1 + max(n for column in rows.values() for n in column)
    grid: list[list[Any]] = [
        [order.index(column[n]) if n in column else float("nan") for column in rows.values()] for n in range(height)
    ]
    colours = ListedColormap([COLOURS[status] for status in order])
    days = list(rows)
    hours = height * (series.intervals[0].end - series.intervals[0].start) / 3_600
    axes.imshow(
        grid, aspect="auto", origin="lower", interpolation="nearest", cmap=colours, vmin=0, vmax=len(order) - 1,
        extent=(0, len(days), 0, hours),
    )  # fmt: skip
    step = 1 + len(days) // 12
    axes.set_xticks(range(0, len(days), step), [f"{day:%d.%m.}" for day in days[::step]])
    axes.set_yticks(range(0, 25, 6))
    axes.set_ylabel("hours since midnight")
    for status in order:
        axes.plot([], [], "s", color=COLOURS[status], label=status)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title(f"status of each interval, {series.direction}", loc="left")


def _columns(series: Series) -> dict[date, dict[int, Status]]:
    """Statuses by local day, and within it by the number of the interval: a period may begin in the middle of a day."""
    zone = ZoneInfo(series.zone)
    rows: dict[date, dict[int, Status]] = {}
    for one in series.intervals:
        day = _local(one.start, series.zone).date()
        rows.setdefault(day, {})[(one.start - day_start(day, zone)) // (one.end - one.start)] = one.status
    return rows


def _mean(one: Interval, series: Series) -> float:
    """Mean rate of an interval for the eye: a picture may round."""
    if one.quantity is None:
        return float("nan")
    return one.quantity * 10.0**series.unit.exponent * 3_600 / (one.end - one.start) / _kilo(series)


def _kilo(series: Series) -> float:
    return 1_000.0 if series.unit.name in ("Wh", "varh") else 1.0


def _unit(series: Series) -> str:
    return f"k{series.unit.name}" if series.unit.name in ("Wh", "varh") else series.unit.name


def _local(t: int, zone: str) -> datetime:
    """The local time as a naive one: matplotlib draws a wall clock."""
    return datetime.fromtimestamp(t, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
