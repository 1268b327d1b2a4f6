"""What a hub gets to know of a slot, as a hash: two revisions of the same content are one, and are sent once.

Only item E counts (Regulation (EU) 2023/1162, Art. 2): an interval that is not validated is missing to a hub. A status
that changed is a change, though the quantity is the same.
"""

from collections.abc import Iterable
from hashlib import sha256

from gateway.intervals.model import Interval, Unit


def content(intervals: Iterable[Interval], unit: Unit) -> bytes:
    """SHA-256 (32 octets) over unit, bounds, quantities and statuses, as a hub gets to know them."""
    digest = sha256(f"{unit.name} {unit.exponent}\n".encode())
    for interval in intervals:
        status = interval.status if interval.is_item_e else "missing"
        quantity = interval.quantity if interval.is_item_e else None
        digest.update(f"{interval.start} {interval.end} {quantity} {status}\n".encode())
    return digest.digest()
