"""`meterd setup`: which port, which line parameters, and which meter talks there."""

from collections.abc import Sequence

from decoders.decoder import Security
from decoders.recognise import Recognised
from gateway.commands.setup_dialogue import StoppedError
from gateway.commands.setup_plan import Plan
from gateway.profiles import Profile, ProfileSyntaxError
from gateway.setup import listen, ports
from gateway.setup.candidates import candidates, detected, recognised
from gateway.setup.listen import Attempt, Heard, Line, Watcher
from gateway.sources import problem

SILENT = (
    "Nothing arrives. Is the plug in the customer port, and is the port activated? Many operators switch it on only on"
    " request; P1 ports send only while the cable gives 5 V on Data Request (pin 2). docs/countries says how."
)
NOISE = (
    "Octets arrive, and no telegram in them with any line parameters: check that the cable is made for this port (P1"
    " cables invert the signal, many HAN ports are M-Bus), its ground, and its length."
)
DAMAGED = "Telegrams arrive damaged: check the plug, the ground and the length of the cable."
STRANGE = (
    "Whole telegrams arrive, and no profile reads them. Capture some and try `meterd decode --explain FILE`; a report"
    " with that helps everybody with this meter."
)
#: profiles of an encrypted meter that are named
LIKELY = 3


def check_profile(plan: Plan) -> None:
    """End before anything is asked where --profile names none."""
    if plan.args.profile:
        _among(plan.args.profile)


def choose_port(plan: Plan) -> None:
    """Take the port of --port, or ask with a list; one that somebody has is refused, and never opened."""
    args, talk = plan.args, plan.talk
    talk.title("Port")
    taken = ports.in_use(plan.others, plan.settings.control.socket if plan.settings else "/run/meterd/control")
    found = [] if args.port else ports.found(taken)
    for number, port in enumerate(found, 1):
        talk.show(f"{number}  {port.name}")
        if port.holder:
            talk.say(f"   {port.holder}")
    if not found and not args.port:
        talk.say("There is no serial port here. Plug the cable in, or name a bridge.")
    free = [str(number) for number, port in enumerate(found, 1) if not port.holder]
    names = {str(number): port.name for number, port in enumerate(found, 1)}

    def wrong(answer: str) -> str | None:
        name = names.get(answer, answer)
        return problem(name) or ports.look(name, taken).holder or None

    # the first free one is a good guess for a person to look at, and for nobody else unless it is the only one
    default = free[0] if len(free) == 1 or (free and talk.asks) else None
    question = "Number, path, or socket://HOST:PORT"
    answer = talk.ask(question, "--port", given=args.port, default=default, wrong=wrong)
    plan.port = names.get(answer, answer)
    talk.say(f"{plan.port} is free.")
    talk.result("port", port=plan.port, found=[port.as_dict() for port in found])


def hear(plan: Plan) -> None:
    """Scan the line, and name the meter as far as it can be named without a key."""
    args, talk = plan.args, plan.talk
    talk.title("Line")
    among = _among(args.profile)
    if args.no_listen:
        talk.say("Not listened to (--no-listen): the options are taken as they are.")
        talk.result("line", listened=False)
        plan.profile = args.profile or "auto"
        return
    talk.say("Listening; each set of line parameters takes some seconds.")
    attempts = _scan(plan, among)
    while talk.asks and not attempts[-1].heard:
        talk.say(_reason(attempts[-1]))
        if not talk.confirm("Listen again?", default=True):
            break
        attempts = _scan(plan, among)
    heard = attempts[-1].heard
    talk.result("line", listened=True, attempts=[attempt.as_dict() for attempt in attempts], **_line_facts(heard))
    if heard is None:
        raise StoppedError("no meter was heard: nothing was written" if talk.asks else _reason(attempts[-1]))
    plan.heard = heard
    _name(plan, among)


def again(plan: Plan, *, unverified: bool = False) -> Recognised:
    """Decode what was heard with what is known by now: keys, zone, system title."""
    heard = plan.heard
    if heard is None:
        return Recognised()
    keys = plan.material.keys() if plan.material.encryption else None
    security = Security(keys, _title(plan), unverified_by_person=unverified)
    return recognised(heard.octets, _among(plan.args.profile), link=heard.link, tz=plan.timezone, security=security)


def _title(plan: Plan) -> bytes | None:
    return bytes.fromhex(plan.args.system_title) if plan.args.system_title else None


def _likely(plan: Plan, among: Sequence[Profile]) -> list[Profile]:
    """The profiles of an encrypted meter that are likeliest by length, tag and manufacturer."""
    assert plan.heard is not None  # noqa: S101  # called with what was heard
    best = detected(plan.heard.octets, among).best
    return list(best.profiles[:LIKELY]) if best and best.ciphered and len(among) > 1 else []


def described(profile: Profile) -> str:
    """A profile as a person knows the meter."""
    return f"{profile.title} (profile {profile.name})"


def _among(name: str | None) -> list[Profile]:
    try:
        return candidates(name or "auto")
    except KeyError:
        raise StoppedError(f"--profile: {name!r} is no profile; docs/meters has a page for each", 2) from None
    except ProfileSyntaxError as error:
        raise StoppedError(f"--profile: {error}") from None


def _scan(plan: Plan, among: Sequence[Profile]) -> list[Attempt]:
    seconds = plan.args.seconds

    def enough(heard: Heard) -> bool:
        security = Security(system_title=_title(plan))
        return recognised(heard.octets, among, link=heard.link, security=security).is_certain

    def waiting() -> None:
        plan.talk.say(
            f"Nothing for {listen.LONGEST_S:.0f} s. Some meters send once a minute: listening for {seconds} s."
        )

    watcher = Watcher(lambda attempt: plan.talk.say(attempt_line(attempt)), waiting)
    return listen.scan(plan.port, _lines(plan, among), enough, watcher, silence_s=seconds)


def _lines(plan: Plan, among: Sequence[Profile]) -> Sequence[Line]:
    """The sets to try: as the options or the named profile say, else all."""
    args = plan.args
    if args.baud and args.framing:
        return [Line(args.baud, args.framing)]
    named = [Line(among[0].line.baud, among[0].line.framing)] if args.profile not in (None, "auto") else []
    known = [*named, *(line for line in listen.LINES if line not in named)]
    fitting = [line for line in known if args.baud in (None, line.baud) and args.framing in (None, line.framing)]
    return fitting or [Line(args.baud or 115_200, args.framing or "8N1")]


def attempt_line(attempt: Attempt) -> str:
    """The evidence of one attempt in one line."""
    if attempt.trouble:
        return attempt.trouble.detail
    heard = attempt.heard
    line = (heard.line if heard else attempt.line) or "bridge"
    count = f"{attempt.octets:,}".replace(",", " ")
    errors = "" if attempt.line_errors is None else f", {attempt.line_errors} line errors"
    found = f"{_telegrams(heard.evidence.count)}, link {heard.link}" if heard else "no telegram"
    if not heard and attempt.evidence.damaged:
        found = _telegrams(attempt.evidence.damaged, "damaged ")
    top = f", {attempt.evidence.top_bit_percent} % with top bit" if attempt.octets else ""
    return f"{line}: {count} octets in {attempt.seconds:.0f} s{top}{errors}, {found}"


def _telegrams(count: int, kind: str = "") -> str:
    return f"{count} {kind}telegram{'' if count == 1 else 's'}"


def _line_facts(heard: Heard | None) -> dict[str, str | None]:
    if heard is None:
        return {"line": None, "link": None}
    return {"line": str(heard.line) if heard.line else None, "link": heard.link}


def _reason(attempt: Attempt) -> str:
    """Why no meter was heard."""
    if attempt.trouble:
        return attempt.trouble.detail
    if not attempt.octets:
        return SILENT
    return DAMAGED if attempt.evidence.damaged else NOISE


def _name(plan: Plan, among: Sequence[Profile]) -> None:
    """Say what was heard, and which meter it is."""
    heard, talk = plan.heard, plan.talk
    assert heard is not None  # noqa: S101  # called with what was heard
    if heard.line is None and heard.is_seven and heard.link == "p1":
        raise StoppedError(f"{plan.port}: the bridge reads 7E1 as 8N1: set it to 7 data bits and even parity")
    plan.recognised = found = again(plan)
    talk.title("Meter")
    ciphered = found.ciphered
    if ciphered:
        talk.say(f"Encrypted telegrams: {ciphered}. They open with the operator's key.")
        likely = [profile.name for profile in _likely(plan, among)]
        if likely:
            talk.say(f"Profiles that it may be: {', '.join(likely)}.")
    elif found.reading and found.profile:
        talk.say(f"{described(found.profile)}, {_telegrams(heard.evidence.count)}, not encrypted.")
    else:
        reason = f" ({found.trouble})" if found.trouble else ""
        talk.say(STRANGE + reason)
        if not talk.confirm("Write the configuration all the same?", default=False):
            talk.result("meter", profile=None, encrypted=False, trouble=found.trouble)
            raise StoppedError(f"no profile reads these telegrams{reason}: nothing was written")
    facts = ciphered.as_dict() if ciphered else {}
    profile = found.profile.name if found.profile else None
    talk.result("meter", profile=profile, encrypted=ciphered is not None, trouble=found.trouble or None, **facts)
