"""Feeds systemd's watchdog while every part of the daemon lives; names the part that does not."""

from collections.abc import Callable

from gateway import log, sd_notify
from gateway.beats import Beats


class Watchdog:
    """Looks at the beats; `feed` is to be called each second, and at least three times in systemd's `WatchdogSec`.

    A part that hangs cannot be cured from within: `rescue` is called, to save what is open, systemd is fed no more, and
    at the next look it is asked to start the daemon anew at once. Without a watchdog the daemon goes on as it is.
    """

    def __init__(self, beats: Beats, rescue: Callable[[], None]) -> None:
        self.limit_s = sd_notify.watchdog_s()
        self._beats = beats
        self._rescue = rescue
        self._late: list[str] = []

    def feed(self) -> None:
        """Feed the watchdog, or tell who is late."""
        before, self._late = self._late, self._beats.look()
        for name in self._late:
            if name not in before:
                log.event("task_stalled", task=name, silent_s=self._beats.silent_s(name))
        for name in before:
            if name not in self._late:
                log.event("task_moves", task=name)
        if not self._late:
            self._tell("1")
        elif before:
            self._tell("trigger")
        else:
            self._rescue()

    def _tell(self, word: str) -> None:
        if self.limit_s is not None:
            sd_notify.notify(WATCHDOG=word)
