"""`meterd setup`: the name of the meter, its keys, each proved on telegrams of this very meter, and its zone."""

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from decoders.cipher import KeyTextError
from decoders.counters import RANK
from decoders.decoder import TITLES
from decoders.detect import ANYWHERE
from decoders.model import Frame
from gateway import keys
from gateway.commands import key_prove
from gateway.commands.arguments import zone
from gateway.commands.key_input import from_options
from gateway.commands.key_prove import Proof
from gateway.commands.setup_dialogue import StoppedError
from gateway.commands.setup_line import STRANGE, again, described
from gateway.commands.setup_plan import Plan
from gateway.key_material import KeyFileError, Material, combined, parse_keys, parse_one
from gateway.settings import MeterSettings

NAME = re.compile(r"[a-z0-9_-]{1,32}")
#: how often a key may be entered
TRIES = 3
LOCALTIME = Path("/etc/localtime")


def name_meter(plan: Plan) -> None:
    """Take the name of --name, or ask; never the serial number."""
    used = {meter.name for meter in plan.others}
    default = next(name for name in ("main", *(f"main{n}" for n in range(2, 99))) if name not in used)

    def wrong(name: str) -> str | None:
        if not NAME.fullmatch(name):
            return "a name has 1 to 32 of a-z, 0-9, _ and -; it becomes part of topics"
        return f"the configuration has a meter {name} already; --force replaces it all" if name in used else None

    plan.name = plan.talk.ask("Name of this meter", "--name", given=plan.args.name, default=default, wrong=wrong)
    plan.talk.result("name", name=plan.name)


def enter_keys(plan: Plan) -> None:
    """Take the keys of the options, those that are stored, or ask; each pair is tried on what was heard."""
    given = _given(plan)
    if plan.heard is None:
        plan.material, plan.stores_keys = given or Material(), given is not None
        if given:
            plan.talk.say("The key is not proved: nothing was listened to. `meterd key prove` does it later.")
            plan.talk.result("key", verdict=None, **_fingerprints(plan), text="not proved")
        return
    if plan.recognised.ciphered is None:
        if given:
            plan.talk.say("The telegrams are not encrypted: the key is not needed, and not stored.")
        return
    plan.talk.title("Key")
    if given is not None:
        _take_given(plan, given)
    elif not _take_stored(plan):
        _ask(plan)
    _tell(plan)


def settle_meter(plan: Plan) -> None:
    """With keys and zone the telegrams are readings: fix the profile, the zone, and the class that is accepted."""
    plan.timezone = plan.args.tz
    plan.min_auth = plan.args.min_auth or plan.min_auth
    found = again(plan, unverified=plan.min_auth == "unverified")
    if plan.heard is None or (plan.recognised.ciphered and not plan.material.encryption):
        return
    if found.reading and "zone_unknown" in found.reading.flags:
        plan.timezone = _ask_zone(plan)
        found = again(plan, unverified=plan.min_auth == "unverified")
    plan.recognised = found
    if found.reading is None:
        plan.talk.say(f"{STRANGE} ({found.trouble})")
        if not plan.talk.confirm("Write the configuration all the same?", default=False):
            raise StoppedError(f"no profile reads these telegrams ({found.trouble}): nothing was written")
    elif found.profile:
        plan.profile = "auto" if found.profile.country == ANYWHERE and not plan.args.profile else found.profile.name
        if RANK[found.reading.auth] < RANK[found.profile.min_auth] and plan.profile != "auto":
            plan.min_auth = found.reading.auth
        if plan.material.encryption:
            plan.talk.say(f"{described(found.profile)}.")
    plan.talk.result("profile", profile=plan.profile, timezone=plan.timezone, min_auth=plan.min_auth)


def system_zone() -> str | None:
    """The zone of this host, None where it has no name."""
    target = os.path.realpath(LOCALTIME)
    name = os.environ.get("TZ", "").removeprefix(":") or target.rpartition("/zoneinfo/")[2]
    return None if name == target or _wrong_zone(name) else name


def _given(plan: Plan) -> Material | None:
    try:
        given = from_options(plan.args.key_file, plan.args.auth_key_file)
    except (KeyFileError, KeyTextError, LookupError) as error:
        raise StoppedError(str(error.args[0])) from None
    if given is not None and given.encryption is None:
        raise StoppedError("there is no encryption key in this: an authentication key alone opens nothing")
    return given


def _take_given(plan: Plan, given: Material) -> None:
    """Take the keys of the options, which must fit."""
    proof = _try(plan, given)
    if not _fits(plan, proof):
        raise StoppedError(f"{proof.sentence}: nothing was written")


def _take_stored(plan: Plan) -> bool:
    """Take the keys that are stored for this name already, if they fit."""
    held = keys.find(plan.name)
    if held.material.encryption is None:
        return False
    proof = key_prove.prove(_frames(plan), held.material, _others(plan), _trial(plan))
    place = held.places["encryption"]
    plan.talk.say(f"There is a key for {plan.name} ({place}): {proof.sentence}.")
    if proof.verdict != "right":
        return False
    plan.material = held.material
    plan.talk.result("key", verdict=proof.verdict, **_fingerprints(plan), text=proof.sentence)
    return True


def _ask(plan: Plan) -> None:
    """Ask for the keys without echo, up to TRIES times; entering none leaves it for later."""
    talk = plan.talk
    talk.say("Enter it as it was written (32 hexadecimal digits or base64; two keys are fine). It is not shown.")
    for _ in range(TRIES if talk.asks else 0):
        try:
            entered = _entered(plan)
        except (KeyTextError, KeyFileError) as error:
            talk.say(f"{error}.")
            continue
        if entered is None:
            break
        if _fits(plan, _try(plan, entered)):
            return
    plan.material = Material()
    if not talk.confirm("Go on without a key? Nothing is read until it is there", default=False, unasked=True):
        raise StoppedError("no key that fits: nothing was written")
    talk.say(f"Later: `meterd key set {plan.name}`.")
    talk.result("key", verdict=None, encryption=None, authentication=None, text="no key yet")


def _entered(plan: Plan) -> Material | None:
    text = plan.talk.secret("Encryption key, or both (empty: later)")
    if not text:
        return None
    material = parse_keys(text)
    if material.encryption is None:
        raise KeyTextError("this is an authentication key, which alone opens nothing")
    ciphered = plan.recognised.ciphered
    if material.authentication is None and ciphered and ciphered.has_tag:
        second = plan.talk.secret("Authentication key (empty: there is none)")
        material = combined(material, parse_one(second, "authentication"), "the second key") if second else material
    return material


def _try(plan: Plan, material: Material) -> Proof:
    """Prove keys on the telegrams that were heard; a pair that is swapped is turned round."""
    attempt = partial(key_prove.prove, _frames(plan), others=_others(plan), meter=_trial(plan))
    proof = attempt(material)
    turned = Material(material.authentication, material.encryption)
    if proof.verdict == "swapped" and (better := attempt(turned)).verdict == "right":
        plan.talk.say("The two keys were given the other way round.")
        material, proof = turned, better
    plan.material = material
    plan.talk.say(f"{proof.sentence[0].upper()}{proof.sentence[1:]}.")
    return proof


def _fits(plan: Plan, proof: Proof) -> bool:
    """Whether to go on with these keys; without the second key only if a person accepts what that means."""
    accepted = proof.verdict == "right"
    if proof.verdict == "authentication_key_missing":
        question = "Go on without it? Readings are then not verified (auth unverified)"
        accepted = plan.talk.confirm(question, default=False, unasked=plan.args.min_auth == "unverified")
        plan.min_auth = "unverified" if accepted else plan.min_auth
    plan.stores_keys = accepted
    plan.talk.result("key", verdict=proof.verdict, **_fingerprints(plan), text=proof.sentence)
    return accepted


def _tell(plan: Plan) -> None:
    if plan.material.encryption:
        shown = _fingerprints(plan)
        second = shown["authentication"] or "none"
        plan.talk.say(f"Fingerprints: encryption key {shown['encryption']}, authentication key {second}.")


def _fingerprints(plan: Plan) -> Mapping[str, str | None]:
    return dict(plan.material.fingerprints().items())


def _frames(plan: Plan) -> list[Frame]:
    assert plan.heard is not None  # noqa: S101  # keys are tried on what was heard
    return plan.heard.evidence.frames


def _others(plan: Plan) -> dict[str, Material]:
    return {other.name: keys.find(other.name, other.key_file, other.auth_key_file).material for other in plan.others}


def _trial(plan: Plan) -> MeterSettings:
    """The meter for a proof, with the system title of links that have a fixed one."""
    import msgspec

    trial = plan.trial()
    fixed = TITLES.get(plan.heard.link) if plan.heard else None
    return msgspec.structs.replace(trial, system_title=trial.system_title or (fixed.hex() if fixed else None))


def _ask_zone(plan: Plan) -> str:
    plan.talk.say("The meter tells a wall clock without its zone.")
    return plan.talk.ask("Zone of the meter's clock", "--timezone", default=system_zone(), wrong=_wrong_zone)


def _wrong_zone(name: str) -> str | None:
    import argparse

    try:
        zone(name)
    except argparse.ArgumentTypeError as error:
        return str(error)
    return None
