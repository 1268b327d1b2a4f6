"""Kinds of arguments that several commands take; each says what it expects."""

import argparse
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def moment(text: str) -> datetime:
    """Read a time with a zone; raises argparse.ArgumentTypeError, which says what is expected."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write ISO 8601 with a zone, such as 2026-11-21T22:20:05Z"
        ) from None
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} has no zone, and none is guessed: add Z for UTC or an offset such as +01:00"
        )
    return found


def zone(name: str) -> str:
    """Check the IANA name of a zone; raises argparse.ArgumentTypeError."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"{name!r} is no time zone: write one such as Europe/Amsterdam") from None
    return name


def title(text: str) -> bytes:
    """Read a system title; raises argparse.ArgumentTypeError."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 8:
        raise argparse.ArgumentTypeError(f"{text!r} is no system title: write 16 hexadecimal digits (8 octets)")
    return found


def seconds(text: str) -> int:
    """Read a time to wait; raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or not 1 <= int(text) <= 3_600:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of seconds from 1 to 3600")
    return int(text)
