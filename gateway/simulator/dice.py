"""Chance that repeats itself: the same key gives the same numbers on every run and machine."""

from random import Random


def dice(*key: object) -> Random:
    """A generator of its own for every key, so that asking for one thing never changes another."""
    return Random("/".join(map(str, key)))  # noqa: S311 - a simulation must repeat itself; nothing here is secret
