"""How keys come in: from files that options name, from standard input, or from the terminal without echo."""

import getpass
import sys
from functools import partial
from pathlib import Path

from gateway.key_material import Material, combined, decoded, parse_keys, parse_one, read_file, told

#: octets that are read from standard input
MAX_OCTETS = 4_097


def from_options(key_file: str | None, auth_key_file: str | None) -> Material | None:
    """The keys in the files that --key-file and --auth-key-file name; None without both options.

    Raises KeyFileError, KeyTextError, and LookupError where both name the same file.
    """
    if key_file is None and auth_key_file is None:
        return None
    if key_file == auth_key_file:
        raise LookupError("--key-file and --auth-key-file name the same: give both keys by --key-file alone")
    material = told(key_file, parse_keys, _text(key_file)) if key_file else Material()
    if auth_key_file:
        secret = told(auth_key_file, partial(parse_one, role="authentication"), _text(auth_key_file))
        material = combined(material, secret, auth_key_file)
    return material


def from_standard_input() -> Material:
    """The keys on standard input; raises KeyFileError, KeyTextError."""
    return parse_keys(_standard_input())


def from_terminal(meter: str) -> Material:
    """Ask for the keys, without echo; raises KeyTextError, and LookupError where none is entered."""
    try:
        material = parse_keys(getpass.getpass(f"Encryption key of {meter} (or both keys): "))
        if material.encryption is None or material.authentication is not None:
            return material
        second = getpass.getpass("Authentication key (empty: the operator gave none): ")
    except EOFError:
        raise LookupError("no key was entered") from None
    return combined(material, parse_one(second, "authentication"), "the second key") if second.strip() else material


def _text(name: str) -> str:
    """The text of a file that a person names: whoever may read it now, it is not where the key is kept."""
    return _standard_input() if name == "-" else read_file(Path(name), private=False)


def _standard_input() -> str:
    return decoded(sys.stdin.buffer.read(MAX_OCTETS), "standard input")
