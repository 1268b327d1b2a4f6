"""Business rules of the OTE-like profile, pure: what a schema-valid message says, or every reason to refuse it.

A message is judged whole. Codes beside 0200 (accepted) are this hub's own: the portal's are not public.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.sandbox.ote_wsdl import NAMESPACE
from gateway.sandbox.ote_xml import Party, Reason

ZONE: Final = ZoneInfo("Europe/Prague")
#: accepted; hubs.md 2.1
ACCEPTED: Final = Reason("0200", "A01", "Zpráva úspěšně přijata")
#: operator of the market: as receiver of electricity (coding scheme 14) and of gas (15)
OPERATOR: Final = {"CDSDATA": Party("8591824000007", "14"), "CDSGASDATA": Party("27XGOTE-CZ-GAS-R", "15")}
ANSWERS: Final = {"CDSDATA": "RESPONSE", "CDSGASDATA": "GASRESPONSE"}
_TEXTS: Final = {
    "0301": "Zpráva neodpovídá schématu",
    "0302": "Zpráva se stejným identifikátorem a jiným obsahem již byla přijata",
    "0303": "Odesílatel neodpovídá certifikátu",
    "0304": "Příjemce není operátor trhu pro tuto komoditu",
    "0305": "Identifikátor odběrného místa je neplatný",
    "0306": "Období není jeden celý ukončený energetický den",
    "0307": "Počet nebo pořadí period neodpovídá energetickému dni",
    "0308": "Hodnota není nezáporné číslo s nejvýše třemi desetinnými místy",
    "0309": "Jednotka není KWH",
    "0310": "Stav hodnoty je neznámý nebo neodpovídá hodnotě",
    "0311": "Role profilu neodpovídá komoditě",
    "0312": "Rozlišení profilu není 15 ani 60 minut",
    "0313": "Profil odběrného místa a dne je ve zprávě dvakrát",
}
#: commodity -> role of a profile -> direction
_ROLES: Final = {
    "CDSDATA": {"SBX-A-PLUS": "consumption", "SBX-A-MINUS": "production"},
    "CDSGASDATA": {"SBX-GAS": "consumption"},
}
_MISSING: Final = "A02"
#: minutes -> resolution and seconds
_RESOLUTIONS: Final = {"15": ("PT15M", 900), "60": ("PT1H", 3_600)}
#: status of a value -> quality as CIM codes it
_QUALITIES: Final = {"S1": "A04", "S2": "A03", "S3": "A01", "S4": _MISSING}
_VALUE: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,3})?", re.ASCII)
_GAS_HOUR: Final = 6
#: first day of which the hub keeps anything
_FIRST: Final = dt.date(2000, 1, 1)
_EIC: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"


class Profile(NamedTuple):
    """One profile of one energy day: UTC seconds, values as (start, kWh or None, quality)."""

    point: str
    direction: str
    start: int
    end: int
    resolution: str
    values: tuple[tuple[int, str | None, str], ...]


class RuleError(Exception):
    """A rule that a message breaks; `where` says where, in a few words."""

    def __init__(self, code: str, where: str = "") -> None:
        super().__init__(code, where)
        self.reason = refusal(code, where)


def refusal(code: str, where: str = "") -> Reason:
    """A reason of type A02."""
    return Reason(code, "A02", f"{_TEXTS[code]}: {where[:200]}" if where else _TEXTS[code])


def profiles(root: Any, now: int) -> tuple[list[Profile], list[Reason]]:
    """Every profile of a message, and every reason to refuse it (then nothing of it may be stored)."""
    found: list[Profile] = []
    reasons: list[Reason] = []
    commodity = root.tag.partition("}")[2]
    receiver = root.find(f"{{{NAMESPACE}}}ReceiverIdentification")
    if (receiver.get("id"), receiver.get("coding-scheme")) != OPERATOR[commodity]:
        reasons.append(refusal("0304", receiver.get("id")))
    for location in root.iterfind(f"{{{NAMESPACE}}}Location"):
        for element in location:
            try:
                found.append(_profile(commodity, location, element, now))
            except RuleError as error:
                reasons.append(error.reason)
    slots = Counter((profile.point, profile.direction, profile.start) for profile in found)
    reasons += [refusal("0313", slot[0]) for slot, count in slots.items() if count > 1]
    return found, reasons[:1000]


def energy_day(commodity: str, day: dt.date) -> tuple[int, int]:
    """First second of an energy day and of the next one, UTC: local midnight, for gas 06:00 local time."""
    hour = dt.time(_GAS_HOUR if commodity == "CDSGASDATA" else 0)
    ends = (dt.datetime.combine(day + dt.timedelta(n), hour, ZONE) for n in (0, 1))
    start, end = (int(end.timestamp()) for end in ends)
    return start, end


def is_point(commodity: str, text: str) -> bool:
    """Tell whether it is an EAN of 18 digits with its check digit, or for gas an EIC with its check character."""
    if re.fullmatch(r"[0-9]{18}", text, re.ASCII):
        return sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(text[:17])) % 10 == (
            -int(text[17]) % 10
        )
    return commodity == "CDSGASDATA" and _is_eic(text)


def _is_eic(text: str) -> bool:
    """Check character of an EIC: ENTSO-E, The Energy Identification Coding scheme, reference manual, annex."""
    if re.fullmatch(r"[0-9A-Z-]{15}[0-9A-Z]", text, re.ASCII) is None:
        return False
    total = sum(_EIC.index(char) * (16 - place) for place, char in enumerate(text[:15]))
    return _EIC[36 - (total - 1) % 37] == text[15]


def _profile(commodity: str, location: Any, element: Any, now: int) -> Profile:
    point = location.get("opm-id")
    if not is_point(commodity, point):
        raise RuleError("0305", point)
    role = element.get("profile-role")
    if role not in _ROLES[commodity]:
        raise RuleError("0311", f"{point} {role}")
    if element.get("resolution") not in _RESOLUTIONS:
        raise RuleError("0312", f"{point} {element.get('resolution')}")
    resolution, step = _RESOLUTIONS[element.get("resolution")]
    start, end = _bounds(commodity, location, now)
    values = tuple(_values(point, element, start, end, step))
    return Profile(point, _ROLES[commodity][role], start, end, resolution, values)


def _bounds(commodity: str, location: Any, now: int) -> tuple[int, int]:
    first, last = location.get("date-from"), location.get("date-to")
    where = f"{location.get('opm-id')} {first} {last}"
    try:
        day = dt.date.fromisoformat(first)
    except ValueError:  # a zone or a year that a day of the portal does not have
        raise RuleError("0306", where) from None
    if first != last or not _FIRST <= day <= dt.datetime.fromtimestamp(now, ZONE).date():
        raise RuleError("0306", where)
    start, end = energy_day(commodity, day)
    if end > now:
        raise RuleError("0306", where)
    return start, end


def _values(point: str, element: Any, start: int, end: int, step: int) -> Iterator[tuple[int, str | None, str]]:
    periods = [int(data.get("period")) for data in element]
    if periods != list(range(1, (end - start) // step + 1)):
        raise RuleError("0307", f"{point}: {len(periods)} period, {(end - start) // step} v energetickém dni")
    for data in element:
        where = f"{point} perioda {data.get('period')}"
        value, quality = data.get("value"), _QUALITIES.get(data.get("status"))
        if data.get("unit") != "KWH":
            raise RuleError("0309", where)
        if quality is None or (quality == _MISSING) != (value is None):
            raise RuleError("0310", where)
        if value is not None and _VALUE.fullmatch(value) is None:
            raise RuleError("0308", where)
        yield start + (int(data.get("period")) - 1) * step, None if value is None else f"{Decimal(value):f}", quality
