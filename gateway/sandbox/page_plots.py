"""A series as a small SVG: one bar for each interval, its colour by quality, no bar where nothing is known."""

from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Any, Final

WIDTH: Final = 480
HEIGHT: Final = 72
#: CIM quality -> class of its bar and word
QUALITIES: Final = {
    "A01": ("edited", "edited"),
    "A02": ("missing", "missing"),
    "A03": ("estimated", "estimated"),
    "A04": ("measured", "measured"),
    "A05": ("estimated", "incomplete"),
    "A06": ("estimated", "calculated"),
}


def quality(code: str) -> tuple[str, str]:
    """Class and word of a quality; what no one knows is shown as it is."""
    return QUALITIES.get(code, ("estimated", code))


def plot(values: Sequence[Sequence[Any]], title: str) -> str:
    """SVG of values (start, quantity as decimal text or None, quality)."""
    quantities = [Decimal(it[1]) if it[1] is not None else None for it in values]
    top = max((it for it in quantities if it is not None), default=Decimal(0)) or Decimal(1)
    step = Decimal(WIDTH) / max(1, len(values))
    bars = "".join(
        _bar(n * step, step, quantity / top, values[n][2])
        for n, quantity in enumerate(quantities)
        if quantity is not None
    )
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f'<title>{escape(title)}</title><rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>{bars}</svg>'
    )


def _bar(x: Decimal, width: Decimal, share: Decimal, code: str) -> str:
    height = max(Decimal(1), share * HEIGHT)
    shown = f'x="{x:.2f}" y="{HEIGHT - height:.2f}" width="{max(width - 1, width / 2):.2f}" height="{height:.2f}"'
    return f'<rect class="{quality(code)[0]}" {shown}/>'
