"""Data of M-Bus records (EN 13757-3, annex A): integers, BCD, IEEE 754 floats, dates and times; exact, or None.

Octets come least significant first (mode 1); the grammar turns those of mode 2. None is a value that the meter itself
calls none: hexadecimal digits in BCD, not-a-number, a date that is not set.
"""

from datetime import datetime

from decoders.model import MeterTime


def integer(data: bytes) -> int | None:
    """Type B: signed, and its most negative number stands for none."""
    number = int.from_bytes(data, "little", signed=True)
    return None if len(data) > 1 and number == -1 << (8 * len(data) - 1) else number


def unsigned(data: bytes) -> int | None:
    """Types C and D: bits."""
    return int.from_bytes(data, "little")


def bcd(data: bytes) -> int | None:
    """Type A: two digits an octet; F as the first digit is a minus, any other digit above 9 is no value."""
    digits = data[::-1].hex()
    if digits.isdigit():
        return int(digits)
    return -int(digits[1:]) if digits[:1] == "f" and digits[1:].isdigit() else None


def real(data: bytes) -> tuple[int, int] | None:
    """Type H, IEEE 754 of 32 bits, as (integer, power of ten): every float is an exact decimal fraction."""
    bits = int.from_bytes(data, "little")
    fraction, power = bits & 0x7FFFFF, bits >> 23 & 0xFF
    if power == 0xFF:
        return None
    if power:
        fraction |= 0x800000
    else:
        power = 1
    power -= 150
    if bits >> 31:
        fraction = -fraction
    if power >= 0 or not fraction:
        return (fraction << power if fraction else 0), 0
    # fewer halvings are fewer digits: 1.5 is 3 * 2**-1, not 12582912 * 2**-23
    halvings = min(-power, (fraction & -fraction).bit_length() - 1)
    fraction, power = fraction >> halvings, power + halvings
    return fraction * 5**-power, power


def variable(lvar: int, data: bytes) -> int | str | None:
    """What LVAR says the octets are: a text (ISO 8859-1), a number in BCD, or hexadecimal digits of anything else."""
    if lvar <= 0xBF:
        text = data[::-1].decode("latin-1")
        return text if text.isprintable() else text.encode("unicode_escape").decode()
    if lvar <= 0xDF:
        number = bcd(data)
        return number if number is None or lvar < 0xD0 else -number
    return data[::-1].hex().upper()


def date(data: bytes) -> str | None:
    """Type G, two octets, in ISO 8601; None where a part of it is not set."""
    wall = _wall(_year(data[0], data[1]), data[1] & 0x0F, data[0] & 0x1F)
    return wall.date().isoformat() if wall else None


def date_time(data: bytes) -> tuple[MeterTime | None, bool]:
    """Type F (four octets, no seconds) or I (six): the time, and whether the meter calls it valid."""
    if len(data) == 6:
        second, minute, hour, low, high = data[0], data[1], data[2], data[3], data[4]
        invalid, summer, century = data[1] & 0x80, data[0] & 0x40, 2000
    else:
        second, minute, hour, low, high = 0, *data
        invalid, summer = data[0] & 0x80, data[1] & 0x80
        century = 1900 + 100 * (data[1] >> 5 & 0x03)
    year = _year(low, high) - 2000
    if century == 1900 and year <= 80:
        century = 2000
    wall = _wall(century + year, high & 0x0F, low & 0x1F, hour & 0x1F, minute & 0x3F, second & 0x3F)
    return (MeterTime(wall, bool(summer)) if wall and year <= 99 else None), not invalid and wall is not None


def time_of_day(data: bytes) -> str | None:
    """Type J, three octets: seconds, minutes, hours."""
    second, minute, hour = data[0] & 0x3F, data[1] & 0x3F, data[2] & 0x1F
    return f"{hour:02d}:{minute:02d}:{second:02d}" if hour < 24 and minute < 60 and second < 60 else None


def _year(low: int, high: int) -> int:
    """Seven bits of the year, in the upper halves of the octets of day and month."""
    return 2000 + (low >> 5 | (high & 0xF0) >> 1)


def _wall(*parts: int) -> datetime | None:
    try:
        return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None
