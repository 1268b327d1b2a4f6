"""Whether several electricity meters answer on one line: then nothing tells which of them is this meter.

Only an M-Bus carries several. A meter that took the place of another one is believed when the other one has not been
heard for KEPT readings.
"""

from collections import deque

from decoders.model import Reading

#: readings with item P whose meter is remembered
KEPT = 16
_BUSES = frozenset(("mbus",))


class Neighbours:
    """The electricity meters of one line."""

    def __init__(self) -> None:
        self._heard: deque[str] = deque(maxlen=KEPT)

    def is_among_several(self, reading: Reading) -> bool:
        """Take a reading; tell whether another meter's was among the last ones. Those of other media do not count."""
        if reading.interface not in _BUSES or reading.identity is None:
            return False
        quantities = reading.p_import_w, reading.p_export_w, reading.a_import_wh, reading.a_export_wh
        if all(quantity is None for quantity in quantities):
            return False
        self._heard.append(reading.identity)
        return self._heard.count(reading.identity) < len(self._heard)
