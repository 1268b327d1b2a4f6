"""A delivery between the thread that receives it and the one that stores it: answered when durable, or refused."""

import queue
from concurrent.futures import Future, InvalidStateError
from typing import Final

from gateway.uploader.hubs.cz_portal import Delivered

#: deliveries that wait to be stored; further ones are told to come again
MOST_WAITING: Final = 4


class RefusedError(Exception):
    """A delivery that is not taken, and will not be: one sentence for its sender."""


class Delivery:
    """One delivery that waits for its answer."""

    def __init__(self, body: bytes, said: Delivered, certificate: str | None) -> None:
        self.body = body
        self.said = said
        #: serial number of the sender's certificate, in hexadecimal
        self.certificate = certificate
        #: True: this id was stored before
        self.known: Future[bool] = Future()

    def stored(self, *, known: bool = False) -> None:
        """Say that it is durable; a sender that no longer waits for it asks again."""
        try:
            self.known.set_result(known)
        except InvalidStateError:
            return

    def refuse(self, reason: str) -> None:
        """Say why it is not taken."""
        try:
            self.known.set_exception(RefusedError(reason))
        except InvalidStateError:
            return


class Deliveries:
    """Deliveries in the order in which they came, bounded."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Delivery] = queue.Queue(MOST_WAITING)

    def put(self, delivery: Delivery) -> bool:
        """Add one; False when there are too many."""
        try:
            self._waiting.put_nowait(delivery)
        except queue.Full:
            return False
        return True

    def take(self) -> Delivery | None:
        """The oldest that is still waited for, or None."""
        while True:
            try:
                delivery = self._waiting.get_nowait()
            except queue.Empty:
                return None
            if not delivery.known.done():
                return delivery
