"""Parties, supply points and message numbers of the Czech market: EAN of GS1, EIC of ENTSO-E, each with its check."""

from hashlib import sha256
from typing import Final, Literal, TypeAlias

from gateway.exports.rsm012 import is_gs1

Commodity: TypeAlias = Literal["electricity", "gas"]
#: who receives what: OTE by its EAN for electricity, by its EIC for gas (seen in public messages)
OPERATOR: Final[dict[Commodity, str]] = {"electricity": "8591824000007", "gas": "27XGOTE-CZ-GAS-R"}
_EIC: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
#: digits of a message number, as public messages of interval data have them
_DIGITS: Final = 14


def is_eic(text: str) -> bool:
    """Tell whether an EIC of 16 characters is whole (ENTSO-E, EIC reference manual, annex: check character)."""
    if len(text) != 16 or not set(text) <= set(_EIC) or text[15] == "-":
        return False
    weighed = sum(_EIC.index(character) * (16 - place) for place, character in enumerate(text[:15]))
    return _EIC[36 - (weighed - 1) % 37] == text[15]


def scheme(party: str) -> str | None:
    """Coding scheme of a party: "14" for an EAN of 13 digits, "15" for an EIC; None where it is neither."""
    return "14" if is_gs1(party, 13) else "15" if is_eic(party) else None


def is_point(text: str, commodity: Commodity) -> bool:
    """Tell whether a supply point has the form of its commodity: an EAN of 18 digits, of gas also an EIC."""
    return is_gs1(text, 18) or (commodity == "gas" and is_eic(text))


def number(unique: str) -> str:
    """A message number of 14 digits from an id that is unlike every other one.

    Two of 100,000 messages share a number with a chance of 1 in 18,000; the store refuses the second then, and its next
    draft has another number.
    """
    least = 10 ** (_DIGITS - 1)
    return str(least + int.from_bytes(sha256(unique.encode()).digest()) % (9 * least))
