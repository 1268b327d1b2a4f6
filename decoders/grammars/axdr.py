"""Grammar axdr, first half: A-XDR data (IEC 61334-6; types of IEC 62056-6-2, clause 4.1.5) to nested values.

A leaf is (tag, value); an array or structure is a list. Integers stay integers, strings stay octets, and floats stay
octets too, because no customer interface sends a value of item P so. Depth, elements and lengths are bounded before
anything is read, so the work is linear in the input.
"""

import struct
from struct import Struct
from typing import Any, Final, TypeAlias

from decoders.errors import GrammarError

ARRAY, STRUCTURE, OCTETS, VISIBLE, UTF8, INT8, UINT16, COMPACT, ENUM, DATE_TIME = 1, 2, 9, 10, 12, 15, 18, 19, 22, 25
NULL, BITS = 0, 4
_LISTS: Final = (STRUCTURE, ARRAY)
INTEGERS: Final = frozenset((5, 6, 15, 16, 17, 18, 20, 21))
STRINGS: Final = frozenset((OCTETS, VISIBLE, UTF8))

MAX_DEPTH = 16
MAX_ELEMENTS = 4_096

#: a Leaf, or a list of values
Value: TypeAlias = Any

#: tag -> how its octets are read, in the letters of `struct`; those that stay octets have the form `<n>s`
FORMS: dict[int, str] = {
    3: "?", 5: "i", 6: "I", 13: "1s", 15: "b", 16: "h", 17: "B", 18: "H", 20: "q", 21: "Q", 22: "B",
    23: "4s", 24: "8s", 25: "12s", 26: "5s", 27: "4s",
}  # fmt: skip
_FIXED = {tag: Struct(">" + form) for tag, form in FORMS.items()}
#: tag -> what reads a value behind its tag, and octets of both
_READ = {tag: (form.unpack_from, 1 + form.size) for tag, form in _FIXED.items()}


class Data:
    """Reads A-XDR values from octets, from `pos` on."""

    def __init__(self, octets: bytes, pos: int = 0, *, bare_descriptors: bool = False) -> None:
        """`bare_descriptors`: structures of two begin with an attribute descriptor without tags (Sagemcom XT211)."""
        self.octets = octets
        self.pos = pos
        self._bare_descriptors = bare_descriptors
        self._elements = 0

    def value(self) -> Value:
        """The next value; raises GrammarError."""
        try:
            return self._values(1, 0)[0]
        except (IndexError, struct.error):
            raise GrammarError("length", len(self.octets)) from None

    def take(self, n: int) -> bytes:
        """The next n octets."""
        taken = self.octets[self.pos : self.pos + n]
        if len(taken) != n:
            raise GrammarError("length", len(self.octets))
        self.pos += n
        return taken

    def length(self) -> int:
        """A length: one octet below 128, else the number of octets that follow (at most 4)."""
        first = self.take(1)[0]
        if first < 0x80:
            return first
        if not 0x81 <= first <= 0x84:
            raise GrammarError("length", len(self.octets))
        return int.from_bytes(self.take(first & 0x0F), "big")

    @property
    def rest(self) -> int:
        """Octets that are left."""
        return len(self.octets) - self.pos

    def _values(self, count: int, depth: int) -> list[Value]:
        """The next values; numbers and short strings, which most are, take no further call. Raises struct.error too."""
        self._count(count)
        octets, pos = self.octets, self.pos
        values: list[Value] = []
        for _ in range(count):
            tag = octets[pos]
            if tag in _READ:
                read, size = _READ[tag]
                values.append((tag, read(octets, pos + 1)[0]))
                pos += size
            elif tag == OCTETS and octets[pos + 1] < 0x80 and (end := pos + 2 + octets[pos + 1]) <= len(octets):
                values.append((tag, octets[pos + 2 : end]))
                pos = end
            else:
                self.pos = pos + 1
                values.append(self._list(tag, depth) if tag in _LISTS else self._other(tag, depth))
                pos = self.pos
        self.pos = pos
        return values

    def _other(self, tag: int, depth: int) -> Value:
        """What has a length, or nothing, behind its tag."""
        if tag in STRINGS:
            return tag, self.take(self.length())
        if tag == NULL:
            return NULL, None
        if tag == BITS:
            return BITS, self.take((self.length() + 7) // 8)
        if tag == COMPACT:
            return self._compact(depth)
        raise GrammarError("type", len(self.octets))

    def _list(self, tag: int, depth: int) -> list[Value]:
        count = self.length()
        # every element takes an octet at least
        if count > self.rest or depth >= MAX_DEPTH:
            raise GrammarError("elements", len(self.octets))
        if self._bare_descriptors and tag == STRUCTURE and count == 2 and depth:
            return [self._bare_descriptor(), *self._values(1, depth + 1)]
        return self._values(count, depth + 1)

    def _bare_descriptor(self) -> list[Value]:
        class_, code, attribute = self.take(2), self.take(6), self.take(1)
        return [(UINT16, int.from_bytes(class_, "big")), (OCTETS, code), (INT8, attribute[0])]

    def _compact(self, depth: int) -> list[Value]:
        """A compact array: one description of its elements, then their octets without tags."""
        description = self._description(depth + 1)
        end = self.length() + self.pos
        if end > len(self.octets):
            raise GrammarError("length", len(self.octets))
        values = []
        while self.pos < end:
            before = self.pos
            values.append(self._described(description))
            if self.pos == before:
                raise GrammarError("elements", len(self.octets))
        if self.pos != end:
            raise GrammarError("length", len(self.octets))
        return values

    def _description(self, depth: int) -> Any:
        """What the elements of a compact array are: a tag, or a list of descriptions."""
        tag = self.take(1)[0]
        if depth >= MAX_DEPTH:
            raise GrammarError("elements", len(self.octets))
        if tag == ARRAY:
            count = int.from_bytes(self.take(2), "big")
            self._count(count)
            return [self._description(depth + 1)] * count
        if tag == STRUCTURE:
            count = self.length()
            self._count(count)
            return [self._description(depth + 1) for _ in range(count)]
        if tag not in _FIXED and tag not in STRINGS and tag not in (NULL, BITS):
            raise GrammarError("type", len(self.octets))
        return tag

    def _described(self, description: Any) -> Value:
        """A value without tag. Lists within lists multiply, and nulls take no octets: each one is counted."""
        self._count(1)
        if isinstance(description, list):
            return [self._described(element) for element in description]
        if description in _FIXED:
            form = _FIXED[description]
            return description, form.unpack(self.take(form.size))[0]
        return self._other(description, MAX_DEPTH)

    def _count(self, count: int) -> None:
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise GrammarError("elements", len(self.octets))
