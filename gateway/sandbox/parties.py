"""Who may speak to the test hub: parties with the ids and roles that they have in each profile.

`meterd sandbox init` writes them to `parties.json`; whoever tests with ids of his own edits that file.
"""

import hmac
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Party:
    """A party: its certificate and its OAuth2 client are two ways to say that it is the one who speaks."""

    name: str
    #: profile -> identification there (GLN, EIC, EAN)
    ids: Mapping[str, str]
    #: profile -> roles that it has there
    roles: Mapping[str, tuple[str, ...]]
    client_id: str
    #: serial number of its client certificate, in hexadecimal; "" has none
    serial: str = ""
    secret: str = field(default="", repr=False)

    def id(self, profile: str) -> str:
        """Identification in a profile; the name where it has none."""
        return self.ids.get(profile, self.name)


#: the parties of a new test hub: a grid company that sends, another one, a supplier (the eligible party), a customer
DEFAULTS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "gridco",
        "ids": {
            "dk": "5799999933318",
            "ee": "38X-EIN-ALL----B",
            "eu": "10X1001A1001B54W",
            "ote": "8591824000991",
            "lt": "304151376",
        },
        "roles": {"dk": ["MDR", "DDM", "DDQ"], "ee": ["GRID_OPERATOR"], "eu": ["A58", "A25"], "api": ["administrator"]},
    },
    {
        "name": "othergrid",
        "ids": {
            "dk": "5790000432752",
            "ee": "38X-OTHER-GRID-C",
            "eu": "10X1001A1001B55U",
            "ote": "8591824000984",
            "lt": "304151377",
        },
        "roles": {"dk": ["MDR"], "ee": ["GRID_OPERATOR"], "eu": ["A58"], "api": ["administrator"]},
    },
    {
        "name": "supplier",
        "ids": {
            "dk": "5790001103040",
            "ee": "38X-SUPPLIER---T",
            "eu": "10X1001A1001B56S",
            "ote": "8591824000977",
            "lt": "304151378",
        },
        "roles": {"dk": ["DDQ"], "ee": ["OPEN_SUPPLIER"], "eu": ["A13"], "api": ["eligible"]},
    },
    {"name": "customer", "ids": {}, "roles": {"api": ["customer"]}},
)


class Parties:
    """The parties of a test hub, found by client certificate or by OAuth2 client."""

    def __init__(self, parties: Iterable[Party]) -> None:
        self.all = tuple(parties)
        self._serials = {party.serial: party for party in self.all if party.serial}
        self._clients = {party.client_id: party for party in self.all}

    @classmethod
    def read(cls, path: Path, secrets: Mapping[str, str]) -> "Parties":
        """Read `parties.json`; raises ValueError with one line that says what is wrong."""
        try:
            entries = json.loads(path.read_text("utf-8"))
            found = [_party(entry, secrets) for entry in entries]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: no list of parties ({error}): every party needs name, client_id, ids, roles"
            ) from None
        twice = next((mark for mark, count in Counter(_marks(found)).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"{path}: two parties have the {' '.join(twice)}: nobody could tell them apart")
        return cls(found)

    def certified(self, serial: str) -> Party | None:
        """Return the party that this certificate was issued to."""
        return self._serials.get(serial.upper().lstrip("0"))

    def client(self, client_id: str, secret: str) -> Party | None:
        """Return the party of an OAuth2 client, when the secret is its own."""
        party = self._clients.get(client_id)
        if party is None or not party.secret or not hmac.compare_digest(party.secret.encode(), secret.encode()):
            return None
        return party

    def named(self, name: str) -> Party | None:
        """Return the party of this name."""
        return next((party for party in self.all if party.name == name), None)

    def identified(self, profile: str, identification: str) -> Party | None:
        """Return the party that has this identification in a profile."""
        return next((party for party in self.all if party.ids.get(profile) == identification), None)


def _marks(parties: Iterable[Party]) -> Iterator[tuple[str, str]]:
    """What tells parties apart: kind and value."""
    for party in parties:
        yield "name", party.name
        yield "client_id", party.client_id
        if party.serial:
            yield "certificate", party.serial
        yield from ((f"{profile} id", id_) for profile, id_ in party.ids.items())


def _party(entry: Mapping[str, Any], secrets: Mapping[str, str]) -> Party:
    name = str(entry["name"])
    roles = {str(profile): tuple(map(str, names)) for profile, names in entry["roles"].items()}
    serial = str(entry.get("certificate", "")).upper().lstrip("0")
    ids = {str(profile): str(id_) for profile, id_ in entry["ids"].items()}
    return Party(name, ids, roles, str(entry["client_id"]), serial, secrets.get(name, ""))
