"""Grammar axdr, the commonest body, cut at once: a list of n objects, each a code, its value and mostly its scaler.

    01 n { 02 02 | 09 06 code | value
           02 03 | 09 06 code | value | 02 02 | 0F scaler | 16 unit }

What fits says to `axdr.Data` the same, octet by octet: counts, tags and lengths are all part of the pattern. Every body
of another form is left to it, and so is every refusal.
"""

import re
from collections.abc import Callable, Iterable
from operator import itemgetter
from struct import Struct
from typing import Final, TypeAlias

from decoders.grammars.axdr import ARRAY, ENUM, FORMS, INT8, INTEGERS, OCTETS, STRINGS, STRUCTURE
from decoders.model import Leaf

#: whether there is a scaler, code, value with its tag (and length), scaler and unit with its tag between
Cut: TypeAlias = tuple[bytes, bytes, bytes, bytes]

#: octets of the longest string that is looked for: the pattern has one branch for each length
_LONGEST = 64
#: objects of the longest list whose length is one octet: far fewer elements than their bound
_MOST = 0x7F

_FORMS = {tag: Struct(">B" + FORMS[tag]) for tag in INTEGERS}
#: tag -> what reads a leaf from the octets of tag and number
INTEGER_LEAF: Final[dict[int, Callable[[bytes], Leaf]]] = {tag: form.unpack for tag, form in _FORMS.items()}


def _octets(*values: int) -> bytes:
    return b"".join(b"\\x%02x" % value for value in values)


def _one_of(tags: Iterable[int]) -> bytes:
    return b"[" + _octets(*sorted(tags)) + b"]"


def _pattern() -> bytes:
    """An object; else any octet, with empty groups."""
    by_size = {form.size: [tag for tag in _FORMS if _FORMS[tag].size == form.size] for form in _FORMS.values()}
    numbers = b"|".join(_one_of(tags) + b".{%d}" % (size - 1) for size, tags in by_size.items())
    strings = b"|".join(_octets(n) + b".{%d}" % n for n in range(_LONGEST + 1))
    value = b"(" + numbers + b"|" + _one_of(STRINGS) + b"(?:" + strings + b"))"
    code = _octets(OCTETS, 6) + b"([\\x00\\x01].{4}\\xff)"
    scaled = _octets(STRUCTURE, 2, INT8) + b"(." + _octets(ENUM) + b".)"
    head = _octets(STRUCTURE) + b"(?:(" + _octets(3) + b")|" + _octets(2) + b")"
    return head + code + value + b"(?(1)" + scaled + b")|."


_CODE_OF = itemgetter(1)
_OBJECT = re.compile(_pattern(), re.DOTALL)


def cut(payload: bytes, start: int) -> list[Cut] | None:
    """The objects of a body from `start` to the end of the payload; None for a body of any other form."""
    head = payload[start : start + 2]
    if len(head) < 2 or head[0] not in (ARRAY, STRUCTURE) or not 0 < head[1] <= _MOST:
        return None
    first = _OBJECT.match(payload, start + 2)
    if first is None or not first[2]:
        return None
    objects: list[Cut] = _OBJECT.findall(payload, start + 2)
    # an octet that belongs to no object is one too many, or one without code in place of an object
    return objects if len(objects) == head[1] and all(map(_CODE_OF, objects)) else None
