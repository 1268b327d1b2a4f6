"""Telegram to item P by the map of a profile: integers of W and Wh, tariffs summed exactly, cut toward zero.

Item P: Regulation (EU) 2023/1162, annex, table III. Nothing is carried over from earlier telegrams and nothing is
filled in: what the telegram does not say is None, and what it says in a way that cannot be trusted is refused whole.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from decoders.clock import Zone, instant, parse_time, shown
from decoders.errors import ProfileError
from decoders.lists import named, scaled
from decoders.meaning import choices, main_place, sub_telegram
from decoders.model import Auth, MeterTime, Quality, Reading, Register, SubReading, SubTelegram, Telegram
from decoders.obis import ENERGY_SCALE, MEDIA, POWER_SCALE
from decoders.profile import Profile, Records

if TYPE_CHECKING:
    from decoders.counters import Seen

#: where meters print their own identification, the most telling first
_IDENTITIES = ("0-0:96.1.1", "0-0:42.0.0", "0-0:96.1.0", "1-0:0.0.0", "1-1:0.0.5", "0-0:96.1.255")

_Scale = Mapping[str, int]


def _nothing(_: str | None) -> None:
    """For what comes outside every cipher."""


class Term(NamedTuple):
    """One register of a quantity: its place in the telegram, and the power of ten from its unit to W or Wh."""

    place: int
    power_of_ten: int


#: registers that add up to a quantity; empty when it is absent
Terms = tuple[Term, ...]


class Plan(NamedTuple):
    """Where the quantities of item P stand in every telegram of one layout."""

    p_import: Terms
    p_export: Terms
    a_import: Terms
    a_export: Terms
    #: a quantity is left out because several registers could be it
    ambiguous: bool = False
    #: the total of a meter for something else than electricity
    main: int | None = None


class Reader:
    """Reads telegrams of one meter by one profile."""

    def __init__(self, profile: Profile, zone: tzinfo | None) -> None:
        self.profile = profile
        self._zone = Zone(zone) if zone else None
        self._net = profile.item_p.power == "net"
        self._signed = profile.item_p.power == "signed"
        #: no telegram has this layout, not even one whose grammar knows none
        self._layout: object = ()
        self._plan = Plan((), (), (), ())
        self._channels: tuple[SubTelegram, ...] = ()
        self._sub_readings: tuple[SubReading, ...] = ()

    def read(
        self, telegram: Telegram, *, auth: Auth, size: int, seen: "Callable[[str | None], Seen | None]" = _nothing
    ) -> Reading:
        """Item P of a telegram of `size` octets; raises ProfileError where a register of item P cannot be trusted.

        `seen` gives what the rules of the receive counter judge, from the meter's time as it is shown.
        """
        sent = telegram
        if self.profile.list:
            telegram = named(self.profile, telegram)
        registers = telegram.registers
        if self.profile.scales and telegram is sent:
            registers = scaled(self.profile.scales, registers)
        try:
            plan = self._plan_for(telegram, registers)
            net = self._net and not plan.p_export
            if self.profile.direction:
                p_import, p_export = self._directed(plan.p_import, telegram, registers)
            else:
                p_import = _sum(plan.p_import, registers, signed=self._signed or net)
                p_export = _sum(plan.p_export, registers)
            a_import, a_export = _sum(plan.a_import, registers), _sum(plan.a_export, registers)
        except ProfileError as error:
            error.size = size
            raise
        if net and p_import is not None:
            p_import, p_export = max(p_import, 0), max(-p_import, 0)
        elif p_import is not None and p_import < 0:
            p_export, p_import = -p_import, None
        sub = self._subs(telegram.sub if plan.main is None else (sub_telegram(telegram, registers[plan.main]),))
        if not sub and not registers:
            raise ProfileError("no_values", size)
        t, t_meter, flags = self._time(telegram)
        if plan.ambiguous:
            flags = (*flags, "ambiguous")
        if not plan.p_import and self._is_locked(plan, registers):
            flags = (*flags, "pin_locked")
        return Reading(
            profile=self.profile.name,
            interface=self.profile.interface,
            auth=auth,
            quality="measured",
            t=t,
            t_meter=t_meter,
            p_import_w=p_import,
            p_export_w=p_export,
            p_net_w=self._balance(p_import, p_export),
            a_import_wh=a_import,
            a_export_wh=a_export,
            reg_t=None if a_import is None and a_export is None else t,
            registers=registers,
            register_times=self._register_times(telegram),
            sub=sub,
            identity=_identity(telegram),
            interval_s=self.profile.interval_s,
            flags=flags,
            size=size,
            seen=seen(t_meter),
        )

    def _plan_for(self, telegram: Telegram, registers: tuple[Register, ...]) -> Plan:
        """The plan of the telegram's layout, made anew when the layout is another."""
        if telegram.layout is not self._layout:
            map_ = self.profile.item_p
            self._layout = ()
            self._plan = (
                self._chosen(self.profile.records, telegram, registers)
                if self.profile.records
                else Plan(
                    self._terms(map_.p_import, (), registers, POWER_SCALE),
                    self._terms(map_.p_export, (), registers, POWER_SCALE),
                    self._terms(map_.a_import, map_.a_import_tariffs, registers, ENERGY_SCALE)
                    or self._by_contract(telegram, registers),
                    self._terms(map_.a_export, map_.a_export_tariffs, registers, ENERGY_SCALE),
                )
            )
            self._layout = telegram.layout
        return self._plan

    def _chosen(self, records: Records, telegram: Telegram, registers: tuple[Register, ...]) -> Plan:
        """The plan of a telegram of M-Bus records, which are found by their meaning."""
        found = choices(records, telegram, registers)
        terms = [
            tuple(
                Term(place, self._power_of_ten(registers[place], scale) + choice.power_of_ten)
                for place in choice.places
            )
            for choice, scale in zip(found, (POWER_SCALE, POWER_SCALE, ENERGY_SCALE, ENERGY_SCALE), strict=True)
        ]
        p_import, p_export, a_import, a_export = terms
        ambiguous, main = any(choice.ambiguous for choice in found), main_place(records, telegram, registers)
        return Plan(p_import, p_export, a_import, a_export, ambiguous, main)

    def _terms(
        self, total: str | None, tariffs: tuple[str, ...], registers: tuple[Register, ...], scale: _Scale
    ) -> Terms:
        """The total where the meter sends it, else all tariffs of its direction if the expected ones are there."""
        if total is None:
            return ()
        places = _places(total, registers)
        if not places and tariffs:
            stem = total.rpartition(".")[0] + "."
            codes = {code for code, _, _, _ in registers if code.startswith(stem) and "*" not in code}
            if codes.issuperset(tariffs):
                places = [place for code in sorted(codes) for place in _places(code, registers)]
        return tuple(Term(place, self._power_of_ten(registers[place], scale)) for place in places)

    def _by_contract(self, telegram: Telegram, registers: tuple[Register, ...]) -> Terms:
        """All registers of the contract that the telegram names, if they are there and those of no other."""
        map_ = self.profile.item_p
        said = telegram.texts.get(map_.contract or "", "")
        wanted = next((codes for start, codes in map_.a_import_by_contract.items() if said.startswith(start)), ())
        every = {code for codes in map_.a_import_by_contract.values() for code in codes}
        if {code for code, _, _, _ in registers} & every != set(wanted):
            return ()
        places = [place for code in wanted for place in _places(code, registers)]
        return tuple(Term(place, self._power_of_ten(registers[place], ENERGY_SCALE)) for place in places)

    def _power_of_ten(self, register: Register, scale: _Scale) -> int:
        """By the register's own unit, else by the one that the profile states."""
        code, _, _, unit = register
        power_of_ten = scale.get(unit or self.profile.units.get(code, ""))
        if power_of_ten is None:
            raise ProfileError("unit")
        return power_of_ten

    def _directed(
        self, power: Terms, telegram: Telegram, registers: tuple[Register, ...]
    ) -> tuple[int | None, int | None]:
        """Import and export of a power register whose sign stands in a status word, one of them 0."""
        rule = self.profile.direction
        status = (telegram.status or {}).get(rule.register) if rule else None
        if not power or rule is None or status is None:
            return None, None
        exports = bool(status & rule.mask)
        if rule.power == "wrapped":
            place = power[0].place
            code, integer, exponent, unit = registers[place]
            if integer < 0 and not exports:
                integer += 1 << 8 * telegram.widths[place]
                registers = (*registers[:place], (code, integer, exponent, unit), *registers[place + 1 :])
            watts = _sum(power, registers, signed=exports) or 0
            return max(watts, 0), max(-watts, 0)
        watts = _sum(power, registers) or 0
        return (0, watts) if exports else (watts, 0)

    def _balance(self, p_import: int | None, p_export: int | None) -> int | None:
        """Import minus export when both are known, or when the meter's one register is all there is."""
        if p_import is not None and p_export is not None:
            return p_import - p_export
        if self.profile.item_p.power == "two registers":
            return None
        return p_import if p_export is None else -p_export

    def _is_locked(self, plan: Plan, registers: tuple[Register, ...]) -> bool:
        """Whether energy comes in the coarse steps in which this kind of meter shows it before its PIN is entered."""
        step, energy = self.profile.item_p.pin_step, plan.a_import + plan.a_export
        return step is not None and bool(energy) and all(registers[at][2] + scale >= step for at, scale in energy)

    def _time(self, telegram: Telegram) -> tuple[datetime | None, str | None, tuple[str, ...]]:
        """UTC and ISO form of the meter's time, with the flag that says why one of them is missing."""
        clock, texts = self.profile.clock, telegram.texts
        if clock.date and clock.time and telegram.clock is None:
            said = clock.date in texts or clock.time in texts
            time = parse_time((texts.get(clock.date, "") + texts.get(clock.time, "")).encode())
        else:
            said, time = telegram.clock is not None, telegram.time
        if time is None:
            return None, None, ("clock_invalid",) if said else ()
        if not telegram.clock_valid:
            return None, shown(time, self._offset(time)), ("clock_invalid",)
        offset = self._offset(time)
        flags = () if offset is not None else ("clock_invalid" if self._zone else "zone_unknown",)
        return instant(time, offset), shown(time, offset), flags

    def _register_times(self, telegram: Telegram) -> tuple[tuple[int, str], ...]:
        if not telegram.register_times:
            return ()
        return tuple((i, shown(time, self._offset(time))) for i, time in telegram.register_times.items())

    def _offset(self, time: MeterTime) -> timedelta | None:
        """The meter's own deviation where its profile believes it, else that of the zone."""
        rule = self.profile.clock.deviation
        if time.deviation is not None and rule != "ignore":
            return timedelta(minutes=time.deviation if rule == "inverted" else -time.deviation)
        return self._zone.offset(time) if self._zone else None

    def _subs(self, channels: tuple[SubTelegram, ...]) -> tuple[SubReading, ...]:
        """Readings of the sub-meters; they change every five minutes at most, so the last ones are remembered."""
        if channels != self._channels:
            self._sub_readings = tuple(reading for channel in channels if (reading := self._sub(channel)))
            self._channels = channels
        return self._sub_readings

    def _sub(self, channel: SubTelegram) -> SubReading | None:
        """A sub-meter's reading; a channel without value, unit or known device type has none."""
        medium = MEDIA.get(channel.device_type or -1)
        if channel.value is None or medium is None:
            return None
        code, integer, exponent, unit = channel.value
        unit = unit or self.profile.units.get(code, "")
        time = channel.time
        offset = self._offset(time) if time else None
        if channel.present and offset is None:
            # a value of now needs no time, and one of an unknown zone says none
            time = None
        quality: Quality = "suspect" if integer < 0 or (time is None and not channel.present) else "measured"
        if not unit or (channel.device is None and time is None and not channel.present):
            return None
        return SubReading(
            channel=channel.channel,
            medium=medium,
            device=channel.device,
            t=instant(time, offset) if time else None,
            t_meter=shown(time, offset) if time else None,
            integer=integer,
            exponent=exponent,
            unit=unit,
            quality=quality,
        )


def _places(code: str, registers: tuple[Register, ...]) -> list[int]:
    """Where an object of item P stands: once. Twice is damage or a layout that nobody described."""
    places = [place for place, register in enumerate(registers) if register[0] == code]
    if len(places) > 1:
        raise ProfileError("duplicate")
    return places


def _sum(terms: Terms, registers: tuple[Register, ...], *, signed: bool = False) -> int | None:
    """The sum of some registers in W or Wh, exact before it is cut toward zero; None for none."""
    if not terms:
        return None
    total = lowest = 0
    for place, power_of_ten in terms:
        _, integer, exponent, _ = registers[place]
        if integer < 0 and not signed:
            raise ProfileError("negative")
        exponent += power_of_ten
        if exponent < lowest:
            total *= 10 ** (lowest - exponent)
            lowest = exponent
        total += integer * 10 ** (exponent - lowest)
    divisor: int = 10**-lowest
    return total // divisor if total >= 0 else -(-total // divisor)


def _identity(telegram: Telegram) -> str | None:
    """The meter's identification as sent, outside its objects or in one; None where it sends none.

    The sub-meters' never count.
    """
    if telegram.device:
        return telegram.device
    for code in _IDENTITIES:
        if telegram.texts.get(code):
            return telegram.texts[code]
    return None
