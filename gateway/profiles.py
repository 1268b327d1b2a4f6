"""The profiles that are shipped, and those that a person put beside them; read as text and handed to decoders."""

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from decoders.profile import Profile, ProfileSyntaxError
from decoders.profile import load as load_text

#: a profile here replaces a shipped one of the same name
USER_FOLDER = Path("/etc/meterd/profiles")


def names() -> list[str]:
    """Names of all profiles, in order."""
    return sorted(_all())


def load(name: str) -> Profile:
    """One profile by name; raises KeyError when there is none, ProfileSyntaxError when it cannot be used."""
    return load_text(_all()[name].read_text(encoding="utf-8"), name)


def load_auto(interface: str | None = "p1") -> list[Profile]:
    """Every profile, or every one of an interface, for `profile = "auto"`; raises ProfileSyntaxError."""
    return [profile for name in names() if interface in ((profile := load(name)).interface, None)]


def shipped() -> Traversable:
    """The folder of the shipped profiles."""
    return _data() / "profiles"


def template() -> str:
    """The example of a configuration with every key and its comment."""
    return (_data() / "meterd.toml").read_text(encoding="utf-8")


def objects() -> dict[str, tuple[str, str]]:
    """What the objects of P1 telegrams mean: code (`n` for a sub-meter's channel) -> (unit or kind, meaning)."""
    text = (_data() / "objects.toml").read_text(encoding="utf-8")
    return {code: (entry[0], entry[1]) for code, entry in tomllib.loads(text)["objects"].items()}


def _data() -> Traversable:
    """The folder of what is shipped as data: inside the wheel, or config/ of a checkout."""
    packaged = files("gateway") / "data"
    return packaged if packaged.is_dir() else files("gateway") / ".." / "config"


def _all() -> dict[str, Traversable]:
    found = {entry.name[:-5]: entry for entry in shipped().iterdir() if entry.name.endswith(".toml")}
    if USER_FOLDER.is_dir():
        found |= {entry.stem: entry for entry in sorted(USER_FOLDER.glob("*.toml"))}
    return found


__all__ = ["Profile", "ProfileSyntaxError", "load", "load_auto", "names", "objects", "shipped", "template"]
