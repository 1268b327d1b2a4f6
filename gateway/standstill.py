"""Whether octets are news: after a standstill of this process they may have waited in the kernel for any time."""

from gateway import log

#: the daemon looks at a meter every second: a process that did not for so long (s) stood still, or its loop did
STOOD_STILL_S = 2.0
#: what waited in the kernel meanwhile is read without a pause; a pause (s), or at the latest so long after, it is over
DRAINED_S, DRAINING_S = 0.2, 10.0


class Standstill:
    """What is known of one meter's octets. All times are of one monotonic clock (s)."""

    def __init__(self, meter: str) -> None:
        self._meter = meter
        self._looked: float | None = None
        #: when octets came that may have waited; None: what comes is news
        self.late: float | None = None

    def look(self, now: float) -> None:
        """Look each second, so that it shows when the process does not."""
        self._notice(now)
        self._looked = now

    def octets(self, at: float, waited_since: float | None) -> None:
        """Believe again that octets are news once the line paused: then the kernel had none left.

        `waited_since`: since when the meter waited for octets; None: it did not.
        """
        self._notice(at)
        if self.late is None:
            return
        paused_s = 0.0 if waited_since is None else at - max(waited_since, self.late)
        if paused_s >= DRAINED_S or at - self.late >= DRAINING_S:
            self.late = None

    def deaf(self, now: float) -> bool:
        """Whether the line may be silent only because nobody read it."""
        return self.late is not None and now - self.late < DRAINING_S

    def _notice(self, now: float) -> None:
        stood_s = 0.0 if self._looked is None else now - self._looked
        if stood_s <= STOOD_STILL_S:
            return
        if self.late is None:
            log.event("stood_still", meter=self._meter, seconds=round(stood_s, 1))
        self.late = now
