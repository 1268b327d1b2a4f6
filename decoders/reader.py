"""Telegram to item P by the map of a profile: integers of W and Wh, tariffs summed exactly, cut toward zero.

Item P: Regulation (EU) 2023/1162, annex, table III. Nothing is carried over from earlier telegrams and nothing is
filled in: what the telegram does not say is None, and what it says in a way that cannot be trusted is refused whole.
"""

from collections.abc import Mapping
from datetime import datetime, tzinfo

from decoders.clock import Zone, parse_time, shown
from decoders.errors import ProfileError
from decoders.model import Auth, MeterTime, Quality, Reading, Register, SubReading, SubTelegram, Telegram
from decoders.obis import ENERGY_SCALE, MEDIA, POWER_SCALE
from decoders.profile import Profile

#: where meters print their own identification, the most telling first
_IDENTITIES = ("0-0:96.1.1", "0-0:42.0.0", "0-0:96.1.0", "1-0:0.0.0", "0-0:96.1.255")

_Index = Mapping[str, Register]


class Reader:
    """Reads telegrams of one meter by one profile; keeps nothing of them."""

    def __init__(self, profile: Profile, zone: tzinfo | None) -> None:
        self.profile = profile
        self._zone = Zone(zone) if zone else None
        map_ = profile.item_p
        self._power_codes = {code for code in (map_.p_import, map_.p_export) if code}
        self._energies = ((map_.a_import, map_.a_import_tariffs), (map_.a_export, map_.a_export_tariffs))

    def read(self, telegram: Telegram, *, auth: Auth, size: int) -> Reading:
        """Item P of a telegram of `size` octets; raises ProfileError where a register of item P cannot be trusted."""
        registers = telegram.registers
        index = {register[0]: register for register in registers}
        try:
            if len(index) != len(registers):
                self._refuse_contradictions(index, registers)
            p_import, p_export = self._powers(index)
            a_import, a_export = (self._energy(total, tariffs, index) for total, tariffs in self._energies)
        except ProfileError as error:
            error.size = size
            raise
        sub = tuple(reading for channel in telegram.sub if (reading := self._sub(channel)))
        if not sub and p_import is None and p_export is None and a_import is None and a_export is None:
            raise ProfileError("no_values", size)
        t, t_meter, flags = self._time(telegram)
        return Reading(
            profile=self.profile.name,
            interface=self.profile.interface,
            auth=auth,
            quality="measured",
            t=t,
            t_meter=t_meter,
            p_import_w=p_import,
            p_export_w=p_export,
            p_net_w=self._net(p_import, p_export),
            a_import_wh=a_import,
            a_export_wh=a_export,
            reg_t=None if a_import is None and a_export is None else t,
            registers=registers,
            register_times=tuple((i, shown(time, self._utc(time))) for i, time in telegram.register_times.items()),
            sub=sub,
            identity=_identity(telegram),
            interval_s=self.profile.interval_s,
            flags=flags,
            size=size,
        )

    def _refuse_contradictions(self, index: _Index, registers: tuple[Register, ...]) -> None:
        """One object twice with different values: harmless outside item P, not to be believed inside."""
        stems = tuple(total.rpartition(".")[0] + "." for total, _ in self._energies if total)
        for register in registers:
            code = register[0]
            if index[code] != register and (code in self._power_codes or code.startswith(stems)):
                raise ProfileError("duplicate")

    def _powers(self, index: _Index) -> tuple[int | None, int | None]:
        map_ = self.profile.item_p
        signed = map_.power == "signed"
        power = self._scaled(map_.p_import, index, POWER_SCALE, signed=signed)
        if power is not None and power < 0:
            return None, -power
        return power, self._scaled(map_.p_export, index, POWER_SCALE)

    def _net(self, p_import: int | None, p_export: int | None) -> int | None:
        """Import minus export when both are known, or when the meter's one register is all there is."""
        if p_import is not None and p_export is not None:
            return p_import - p_export
        if self.profile.item_p.power == "two registers":
            return None
        return p_import if p_export is None else -p_export

    def _energy(self, total: str | None, tariffs: tuple[str, ...], index: _Index) -> int | None:
        """The total where the meter sends it, else the sum of all its tariffs, exact before it is cut to Wh."""
        if total is None:
            return None
        if total in index or not tariffs:
            return self._scaled(total, index, ENERGY_SCALE)
        stem = total.rpartition(".")[0] + "."
        present = [code for code in index if code.startswith(stem)]
        if not set(tariffs).issubset(present):
            return None
        exact = [self._exact(index[code], ENERGY_SCALE) for code in present]
        lowest = min(exponent for _, exponent in exact)
        return _cut(sum(integer * 10 ** (exponent - lowest) for integer, exponent in exact), lowest)

    def _scaled(self, code: str | None, index: _Index, scale: Mapping[str, int], *, signed: bool = False) -> int | None:
        """A register in W or Wh; None when it is absent."""
        if code is None or code not in index:
            return None
        return _cut(*self._exact(index[code], scale, signed=signed))

    def _exact(self, register: Register, scale: Mapping[str, int], *, signed: bool = False) -> tuple[int, int]:
        """A register as (integer, power of ten) in W or Wh, by its own unit, else by the profile's."""
        code, integer, exponent, unit = register
        power_of_ten = scale.get(unit or self.profile.units.get(code, ""))
        if power_of_ten is None:
            raise ProfileError("unit")
        if integer < 0 and not signed:
            raise ProfileError("negative")
        return integer, exponent + power_of_ten

    def _time(self, telegram: Telegram) -> tuple[datetime | None, str | None, tuple[str, ...]]:
        """UTC and ISO form of the meter's time, with the flag that says why one of them is missing."""
        clock, texts = self.profile.clock, dict(telegram.texts)
        if clock.date and clock.time:
            said = clock.date in texts or clock.time in texts
            time = parse_time((texts.get(clock.date, "") + texts.get(clock.time, "")).encode())
        else:
            said, time = "0-0:1.0.0" in texts, telegram.time
        if time is None:
            return None, None, ("clock_invalid",) if said else ()
        t = self._utc(time)
        if t is None:
            return None, shown(time, None), ("clock_invalid" if self._zone else "zone_unknown",)
        return t, shown(time, t), ()

    def _utc(self, time: MeterTime | None) -> datetime | None:
        return self._zone.utc(time) if self._zone and time else None

    def _sub(self, channel: SubTelegram) -> SubReading | None:
        """A sub-meter's reading; a channel without value, unit or known device type has none."""
        medium = MEDIA.get(channel.device_type or -1)
        if channel.value is None or medium is None:
            return None
        code, integer, exponent, unit = channel.value
        unit = unit or self.profile.units.get(code, "")
        t = self._utc(channel.time)
        quality: Quality = "suspect" if integer < 0 or (channel.time is None) else "measured"
        if not unit or (channel.device is None and channel.time is None):
            return None
        return SubReading(
            channel=channel.channel,
            medium=medium,
            device=channel.device,
            t=t,
            t_meter=shown(channel.time, t) if channel.time else None,
            integer=integer,
            exponent=exponent,
            unit=unit,
            quality=quality,
        )


def _cut(integer: int, exponent: int) -> int:
    """integer * 10**exponent without its fraction, cut toward zero."""
    if exponent >= 0:
        return int(integer * 10**exponent)
    whole = int(abs(integer) // 10**-exponent)
    return -whole if integer < 0 else whole


def _identity(telegram: Telegram) -> str | None:
    """The meter's identification as sent, or None where it sends none; the sub-meters' never count."""
    texts = dict(telegram.texts)
    return next((texts[code] for code in _IDENTITIES if texts.get(code)), None)
