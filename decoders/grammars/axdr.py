"""Grammar axdr, first half: A-XDR data (IEC 61334-6; types of IEC 62056-6-2, clause 4.1.5) to nested values.

A leaf is (tag, value); an array or structure is a list. Integers stay integers, strings stay octets, and floats stay
octets too, because no customer interface sends a value of item P so. Depth, elements and lengths are bounded before
anything is read, so the work is linear in the input.
"""

from struct import Struct
from typing import Any, Final, TypeAlias

from decoders.errors import GrammarError

ARRAY, STRUCTURE, OCTETS, VISIBLE, UTF8, INT8, UINT16, COMPACT, ENUM, DATE_TIME = 1, 2, 9, 10, 12, 15, 18, 19, 22, 25
INTEGERS: Final = frozenset((5, 6, 15, 16, 17, 18, 20, 21))
STRINGS: Final = frozenset((OCTETS, VISIBLE, UTF8))

MAX_DEPTH = 16
MAX_ELEMENTS = 4_096

#: a Leaf, or a list of values
Value: TypeAlias = Any

#: tag -> how its octets are read; those that stay octets have the form `<n>s`
_FIXED: dict[int, Struct] = {
    tag: Struct(form)
    for tag, form in {
        3: ">?", 5: ">i", 6: ">I", 13: ">1s", 15: ">b", 16: ">h", 17: ">B", 18: ">H", 20: ">q", 21: ">Q", 22: ">B",
        23: ">4s", 24: ">8s", 25: ">12s", 26: ">5s", 27: ">4s",
    }.items()
}  # fmt: skip


class Data:
    """Reads A-XDR values from octets, from `pos` on."""

    def __init__(self, octets: bytes, pos: int = 0, *, bare_descriptors: bool = False) -> None:
        """`bare_descriptors`: structures of two begin with an attribute descriptor without tags (Sagemcom XT211)."""
        self.octets = octets
        self.pos = pos
        self._bare_descriptors = bare_descriptors
        self._elements = 0

    def value(self, depth: int = 0) -> Value:
        """The next value; raises GrammarError."""
        tag = self._octet()
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise GrammarError("elements", len(self.octets))
        if tag in _FIXED:
            form = _FIXED[tag]
            return tag, form.unpack(self.take(form.size))[0]
        if tag in STRINGS:
            return tag, self.take(self.length())
        if tag in (ARRAY, STRUCTURE):
            return self._list(tag, depth)
        if tag == 0:
            return 0, None
        if tag == 4:
            bits = self.length()
            return tag, self.take((bits + 7) // 8)
        if tag == COMPACT:
            return self._compact(depth)
        raise GrammarError("type", len(self.octets))

    def take(self, n: int) -> bytes:
        """The next n octets."""
        taken = self.octets[self.pos : self.pos + n]
        if len(taken) != n:
            raise GrammarError("length", len(self.octets))
        self.pos += n
        return taken

    def length(self) -> int:
        """A length: one octet below 128, else the number of octets that follow (at most 4)."""
        first = self._octet()
        if first < 0x80:
            return first
        if not 0x81 <= first <= 0x84:
            raise GrammarError("length", len(self.octets))
        return int.from_bytes(self.take(first & 0x0F), "big")

    @property
    def rest(self) -> int:
        """Octets that are left."""
        return len(self.octets) - self.pos

    def _octet(self) -> int:
        if self.pos >= len(self.octets):
            raise GrammarError("length", len(self.octets))
        octet = self.octets[self.pos]
        self.pos += 1
        return octet

    def _list(self, tag: int, depth: int) -> list[Value]:
        count = self.length()
        # every element takes an octet at least
        if count > self.rest or depth >= MAX_DEPTH:
            raise GrammarError("elements", len(self.octets))
        if self._bare_descriptors and tag == STRUCTURE and count == 2 and depth:
            return [self._bare_descriptor(), self.value(depth + 1)]
        return [self.value(depth + 1) for _ in range(count)]

    def _bare_descriptor(self) -> list[Value]:
        class_, code, attribute = self.take(2), self.take(6), self.take(1)
        return [(UINT16, int.from_bytes(class_, "big")), (OCTETS, code), (INT8, attribute[0])]

    def _compact(self, depth: int) -> list[Value]:
        """A compact array: one description of its elements, then their octets without tags."""
        description = self._description(depth + 1)
        contents = Data(self.take(self.length()))
        values = []
        while contents.rest:
            before = contents.pos
            values.append(contents.described(description))
            self._elements += contents.pos - before or 1
            if self._elements > MAX_ELEMENTS or contents.pos == before:
                raise GrammarError("elements", len(self.octets))
        return values

    def _description(self, depth: int) -> Any:
        """What the elements of a compact array are: a tag, or (array, n, element), or (structure, elements)."""
        tag = self._octet()
        if depth >= MAX_DEPTH:
            raise GrammarError("elements", len(self.octets))
        if tag == ARRAY:
            count = int.from_bytes(self.take(2), "big")
            return [self._description(depth + 1)] * self._within(count)
        if tag == STRUCTURE:
            return [self._description(depth + 1) for _ in range(self._within(self.length()))]
        if tag not in _FIXED and tag not in STRINGS and tag != 0:
            raise GrammarError("type", len(self.octets))
        return tag

    def _within(self, count: int) -> int:
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise GrammarError("elements", len(self.octets))
        return count

    def described(self, description: Any) -> Value:
        """A value without tag."""
        if isinstance(description, list):
            return [self.described(element) for element in description]
        if description in STRINGS:
            return description, self.take(self.length())
        if description == 0:
            return 0, None
        form = _FIXED[description]
        return description, form.unpack(self.take(form.size))[0]
