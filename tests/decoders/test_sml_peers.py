"""smllib, pysml and libsml, three independent readers of SML, and meterd give the same values; where not, it says why.

- smllib drops a whole file for one entry without its mandatory value (EMH eHZ-IW8), and does not check the checksums of
  the messages. It needs to be told which of the two checksums a meter uses.
- pysml knows CRC-16/X-25 only. It corrects the power of DZG meters in the register itself, by the status word; meterd
  leaves the register as sent and corrects item P.
- libsml does not check the checksum of the transport, and Debian's version not those of the messages. It reads numbers
  as floats. It runs in a process of its own: it is C, and the octets are damaged.
"""

import ctypes.util
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sml
from smllib import SmlStreamReader
from smllib.errors import CrcError

from decoders.errors import GrammarError
from decoders.grammars.sml import SmlGrammar
from decoders.links.sml import SmlLink
from decoders.model import Frame, Register
from gateway import profiles

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "sml.jsonl"
LIBSML = ctypes.util.find_library("sml")
KERMIT, MISSING, BARE = "de-holley-dtz541-kermit.sml", "de-emh-ehz-missing-value.sml", "de-iskra-mt631-bare.sml"
WRAPPED = {"de-dzg-dvs74-import.sml"}
#: what Debian's libsml reads nothing of: a time as a bare number (Holley), an entry without value
NOT_BY_LIBSML = {KERMIT, MISSING, "de-holley-dtz541-phases.sml", "de-holley-dtz541-tariffs.sml"}
#: its value is a list with a time in it, which smllib shows as a number, and libsml cannot read
LISTED = "129-0:96.8.0*1"
LISTS = {"de-emh-emobility-billing.sml"}
UNITS = {8: "deg", 27: "W", 30: "Wh", 33: "A", 35: "V", 44: "Hz"}

Rows = list[tuple[str, Decimal]]


def captures() -> dict[str, bytes]:
    """Every file of a profile, and every capture of tests/corpus."""
    folder = profiles.shipped().joinpath("frames")
    found = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".sml")}
    rows = map(json.loads, CORPUS.read_text(encoding="utf-8").splitlines())
    return found | {row["id"]: bytes.fromhex(row["data"]) for row in rows}


CAPTURES = captures()
WITH_TRANSPORT = [name for name in CAPTURES if name != BARE]


def files(data: bytes) -> list[tuple[Register, ...]]:
    """The registers of every file that meterd reads."""
    link, grammar, found = SmlLink(), SmlGrammar(), []
    for frame in link.feed(data) + link.close():
        if isinstance(frame, Frame):
            try:
                found.append(grammar.parse(frame).registers)
            except GrammarError:
                continue
    return found


def meterd(data: bytes) -> list[Rows]:
    return [[(code, Decimal(n).scaleb(e)) for code, n, e, _ in registers] for registers in files(data)]


def decimal(value: float) -> Decimal:
    """A float as the peers make it from an integer and a scaler, without what it cannot hold."""
    return Decimal(repr(round(value, 6)))


def numbers(rows: Iterable[tuple[str, Any]]) -> Rows:
    return [
        (code.removesuffix("*255"), decimal(value))
        for code, value in rows
        if code != LISTED and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def smllib_reads(data: bytes, crc: str = "x25") -> list[Rows]:
    reader, found = SmlStreamReader(crc=crc), []  # type: ignore[arg-type]
    reader.add(data)
    while True:
        try:
            frame = reader.get_frame()
        except CrcError:
            continue
        if frame is None:
            return found
        for message in frame.parse_frame():
            entries = getattr(message.message_body, "val_list", None)
            if entries is not None:
                found.append(numbers((entry.obis.obis_code, entry.get_value()) for entry in entries))


def pysml_reads(data: bytes) -> list[Rows]:
    found = []
    while True:
        end, frame = sml.SmlBase.find_frame(data)
        if not frame:
            return found
        data = data[end:]
        for message in frame:
            body = message["messageBody"]
            if isinstance(body, sml.SmlGetListResponse):
                found.append(numbers((entry["objName"], entry.get("value")) for entry in body["valList"]))


@pytest.mark.parametrize("name", WITH_TRANSPORT)
def test_smllib_reads_the_same(name: str) -> None:
    mine = meterd(CAPTURES[name])
    if name == MISSING:
        assert len(mine) == 1
        with pytest.raises(ValueError, match="value"):
            smllib_reads(CAPTURES[name])
        return
    if name.startswith("sml-mutated"):
        # what follows a right checksum of the transport is no SML: smllib raises, meterd has a fault
        assert mine == []
        return
    assert smllib_reads(CAPTURES[name], "kermit" if name == KERMIT else "x25") == mine


def test_smllib_must_be_told_of_the_other_checksum() -> None:
    assert smllib_reads(CAPTURES[KERMIT]) == []
    assert len(meterd(CAPTURES[KERMIT])) == 1


@pytest.mark.parametrize("name", WITH_TRANSPORT)
def test_pysml_reads_the_same(name: str) -> None:
    mine = meterd(CAPTURES[name])
    if name == KERMIT:
        assert (len(mine), pysml_reads(CAPTURES[name])) == (1, [])
    elif name.startswith("sml-mutated"):
        assert mine == []
    elif name in WRAPPED:
        (registers,), (theirs,) = mine, pysml_reads(CAPTURES[name])
        assert registers[:-1] == theirs[:-1]
        assert (registers[-1][1], theirs[-1][1]) == (Decimal("-251.24"), Decimal("404.12"))
    else:
        assert pysml_reads(CAPTURES[name]) == mine


@pytest.mark.parametrize("name", ["de-iskra-mt175-export.sml", "de-holley-dtz541-phases.sml", "de-dzg-import.sml"])
def test_damaged_files_are_read_by_neither_or_alike(name: str) -> None:
    """meterd is the stricter one: what it reads of a damaged file, the peers read too."""
    rng = random.Random(17)
    for _ in range(150):
        data = bytearray(CAPTURES[name])
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        mine = meterd(bytes(data))
        if mine:
            assert pysml_reads(bytes(data)) == mine


CHILD = r"""
import ctypes, json, os, sys
from ctypes import *

lib = ctypes.CDLL(sys.argv[1])

class Octets(Structure):
    _fields_ = [("str", POINTER(c_ubyte)), ("len", c_int)]
class Value(Structure):
    _fields_ = [("type", c_uint8), ("data", c_void_p)]
class Entry(Structure):
    pass
Entry._fields_ = [("name", POINTER(Octets)), ("status", c_void_p), ("time", c_void_p), ("unit", POINTER(c_uint8)),
    ("scaler", POINTER(c_int8)), ("value", POINTER(Value)), ("signature", c_void_p), ("next", POINTER(Entry))]
class Response(Structure):
    _fields_ = [("client", c_void_p), ("server", c_void_p), ("list", c_void_p), ("time", c_void_p),
        ("entries", POINTER(Entry)), ("signature", c_void_p), ("gateway", c_void_p)]
class Body(Structure):
    _fields_ = [("tag", POINTER(c_uint32)), ("data", c_void_p)]
class Message(Structure):
    _fields_ = [("id", c_void_p), ("group", c_void_p), ("abort", c_void_p), ("body", POINTER(Body)), ("crc", c_void_p)]
class File(Structure):
    _fields_ = [("messages", POINTER(POINTER(Message))), ("count", c_short), ("buf", c_void_p)]

lib.sml_file_parse.restype = POINTER(File)
lib.sml_file_parse.argtypes = [c_char_p, c_size_t]
lib.sml_value_to_double.restype = c_double
lib.sml_value_to_double.argtypes = [c_void_p]
lib.sml_transport_read.restype = c_size_t
lib.sml_transport_read.argtypes = [c_int, c_char_p, c_size_t]

def rows(entry):
    while entry:
        one = entry.contents
        name = bytes(one.name.contents.str[:6])
        kind = one.value.contents.type & 0x70
        if kind in (0x50, 0x60):
            number = lib.sml_value_to_double(cast(one.value, c_void_p))
            yield [list(name), number, *(field.contents.value if field else 0 for field in (one.scaler, one.unit))]
        entry = one.next

read, write = os.pipe()
data = sys.stdin.buffer.read()
os.write(write, data)
os.close(write)
buffer = ctypes.create_string_buffer(8096)
# one file: at the end of its input the library waits for ever
if (size := lib.sml_transport_read(read, buffer, 8096)) > 16:
    file = lib.sml_file_parse(buffer.raw[8:size - 8], size - 16)
    for n in range(file.contents.count):
        body = file.contents.messages[n].contents.body
        if body and body.contents.tag and body.contents.tag.contents.value == 0x0701:
            response = cast(body.contents.data, POINTER(Response)).contents
            print(json.dumps(list(rows(response.entries))), flush=True)
"""


def libsml_reads(data: bytes) -> list[list[tuple[str, Decimal, str]]]:
    """The library prints to stderr what it cannot read; an old one, it may end by a signal behind the last file."""
    done = subprocess.run([sys.executable, "-c", CHILD, LIBSML or ""], input=data, capture_output=True, timeout=20)  # noqa: PLW1510
    found = []
    for line in done.stdout.splitlines():
        rows = json.loads(line)
        found.append(
            [
                (
                    "{}-{}:{}.{}.{}*{}".format(*name).removesuffix("*255"),
                    Decimal(int(n)).scaleb(scaler),
                    UNITS.get(unit, ""),
                )
                for name, n, scaler, unit in rows
            ]
        )
    return found


@pytest.mark.skipif(LIBSML is None, reason="libsml is not installed (apt-get install libsml1)")
@pytest.mark.parametrize("name", [name for name in WITH_TRANSPORT if not name.startswith("sml-") and name not in LISTS])
def test_libsml_reads_the_same(name: str) -> None:
    mine = [[(c, Decimal(n).scaleb(e), u) for c, n, e, u in registers] for registers in files(CAPTURES[name])]
    assert len(mine) == 1
    assert libsml_reads(CAPTURES[name]) == ([] if name in NOT_BY_LIBSML else mine)
