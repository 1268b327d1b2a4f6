"""Grammar teleinfo: groups of a French meter's customer output to registers, by their labels (Enedis-NOI-CPT_54E).

The wire carries apparent power in VA (PAPP, SINSTS, SINSTI), never the active power of this moment: no P+ and no P-.
The address of the meter (ADCO, ADSC, ADS) and that of the delivery point (PRM) name a household and are no registers.
"""

import re

from decoders.clock import parse_time
from decoders.errors import GrammarError
from decoders.model import Frame, MeterTime, Register, Telegram

#: groups of a frame: the standard mode has 80 labels
MAX_GROUPS = 256
MAX_DIGITS = 18

#: unit -> labels, as far as their values are measured
_LABELS = {
    "Wh": "BASE HCHC HCHP EJPHN EJPHPM BBRHCJB BBRHPJB BBRHCJW BBRHPJW BBRHCJR BBRHPJR EAST EAIT",
    "varh": "ERQ1 ERQ2 ERQ3 ERQ4",
    "VA": "PAPP SINSTS SINSTS1 SINSTS2 SINSTS3 SINSTI SMAXSN SMAXSN1 SMAXSN2 SMAXSN3 SMAXSN-1 SMAXSN1-1 SMAXSN2-1 "
    "SMAXSN3-1 SMAXIN SMAXIN-1",
    "kVA": "PREF PCOUP",
    "W": "CCASN CCASN-1 CCAIN CCAIN-1 PMAX",
    "V": "URMS1 URMS2 URMS3 UMOY1 UMOY2 UMOY3",
    "A": "ISOUSC IINST IINST1 IINST2 IINST3 IMAX IMAX1 IMAX2 IMAX3 ADPS ADIR1 ADIR2 ADIR3 IRMS1 IRMS2 IRMS3",
    "min": "PEJP",
}
UNITS = {label: unit for unit, labels in _LABELS.items() for label in labels.split()}
UNITS |= {f"{index}{n:02}": "Wh" for index, last in (("EASF", 10), ("EASD", 4)) for n in range(1, last + 1)}
_ADDRESSES = ("ADSC", "ADCO", "ADS")
#: season (E summer, H winter, blank where the meter knows none; small letters: the clock runs degraded), local time
_HORODATE = re.compile(r"([EHeh ])(\d{12})")
_SUMMER = {"E": True, "H": False, " ": None}


class TeleinfoGrammar:
    """Reads the frames of one meter."""

    def __init__(self) -> None:
        self._layout: object = None

    def parse(self, frame: Frame) -> Telegram:
        """Read a frame: its mode, then label, horodate and value in each line; raises GrammarError."""
        mode, *lines = frame.payload.decode("ascii").splitlines()
        if len(lines) > MAX_GROUPS:
            raise GrammarError("elements", frame.size)
        registers: list[Register] = []
        texts: dict[str, str] = {}
        times: dict[int, MeterTime] = {}
        clock: str | None = None
        for label, horodate, value in (line.split("\t") for line in lines):
            register = _register(label, value, frame.size)
            if label == "DATE":
                clock = horodate
            elif register is None:
                texts[label] = value.strip()
            else:
                if horodate and (time := horodated(horodate)):
                    times[len(registers)] = time
                registers.append(register)
        return Telegram(
            identification=f"teleinfo {mode}",
            time=horodated(clock) if clock else None,
            clock=clock,
            registers=tuple(registers),
            register_times=times,
            texts=texts,
            sub=(),
            layout=self._remembered(mode, registers, texts),
            clock_valid=clock is None or not clock[:1].islower(),
            device=next((texts[label] for label in _ADDRESSES if label in texts), None),
        )

    def _remembered(self, mode: str, registers: list[Register], texts: dict[str, str]) -> object:
        """The same object while the same registers come in the same order under the same contract."""
        layout = mode, tuple(register[0] for register in registers), texts.get("OPTARIF"), tuple(texts)
        if layout != self._layout:
            self._layout = layout
        return self._layout


def horodated(text: str) -> MeterTime | None:
    """`SAAMMJJhhmmss`: the local time, and its season; None when it is no time."""
    match = _HORODATE.fullmatch(text)
    time = parse_time(match[2].encode()) if match else None
    return time._replace(summer=_SUMMER[match[1].upper()]) if match and time else None


def _register(label: str, value: str, size: int) -> Register | None:
    """A measured value; raises GrammarError for one that is no number, which its checksum does not exclude."""
    unit = UNITS.get(label)
    if unit is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS):
        raise GrammarError("number", size)
    return label, int(value), 0, unit
