"""What every session has: its budget, the credentials in use, why newer ones are not, and when they end."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.uploader.budget import Budget
from gateway.uploader.credentials import CredentialError, Credentials, Loaded, Reminder
from gateway.uploader.hub import SessionError

_log = logging.getLogger(__name__)


class Identified(ABC):
    """Base of sessions: files are looked at before each request, and `_renew` is called when they changed."""

    def __init__(
        self,
        settings: HubSettings,
        *,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        told: Mapping[str, int] | None = None,
    ) -> None:
        """Open and read nothing yet. `wait(s)` gives a true value when the process is to end (Event.wait).

        `told` is `reminder.told` of an earlier run: what was said of ends is not said again.
        """
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._budget = Budget(settings.requests_per_minute, settings.budget, wait=wait, monotonic=monotonic)
        self._files = Credentials(settings)
        self._loaded: Loaded | None = None
        self.reminder = Reminder(settings.name, told)
        #: why files that were changed are not used; None: they are
        self.trouble: str | None = None

    @property
    def certificate(self) -> str | None:
        """Serial number of the client certificate in hexadecimal, or None."""
        return self._loaded.serial if self._loaded else None

    def generation(self) -> int:
        """Rises when a file of the credentials holds something else: what was blocked may be tried again."""
        self._reload()
        return self._files.generation

    def expiries(self) -> list[Event]:
        """What is to be told of ends of certificate, authority and secret since the last call."""
        self._reload()
        return self.reminder.due(self._loaded.expiries, self._clock()) if self._loaded else []

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def _renew(self, loaded: Loaded) -> None:
        """Make what is made of the credentials; raises CredentialError, and then changes nothing."""

    def _ready(self) -> Loaded:
        """The credentials as they are now; raises SessionError where there are none that can be used."""
        self._reload()
        if self._loaded is None:
            raise SessionError(self.trouble or "no credentials", sent=False, person=True)
        for expiry in self._loaded.expiries:
            if expiry.what == "certificate" and expiry.at <= self._clock():
                text = f"cert_file {expiry.place} has expired: ask the hub's operator for a new one"
                raise SessionError(text, sent=False, person=True)
        return self._loaded

    def _reload(self) -> None:
        """Take files that changed; those that do not serve are said once, and the ones before go on being used."""
        if not self._files.changed():
            return
        try:
            loaded = self._files.load()
            self._renew(loaded)
        except CredentialError as error:
            self.trouble = str(error)
            _log.warning("hub %s: %s", self._settings.name, error)
            return
        self._loaded, self.trouble = loaded, None
