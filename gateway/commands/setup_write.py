"""`meterd setup`: the last step, which writes everything or nothing, and says what to do next."""

import os
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway import keys, profiles
from gateway.commands import check, configuration
from gateway.commands.setup_broker import password_path
from gateway.commands.setup_dialogue import StoppedError
from gateway.commands.setup_plan import Plan
from gateway.item_p import ItemP, to_dict
from gateway.key_material import KeyFileError
from gateway.settings import MAX_POWER_W
from gateway.setup import document
from gateway.setup.files import Changes, all_or_nothing
from gateway.setup.suggestion import meter_table

UNITS = tuple(
    Path(folder) / "systemd/system/meterd.service" for folder in ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
)
SYSTEM_JOURNAL = Path("/var/lib/meterd/journal.db")


def open_file(plan: Plan) -> None:
    """Look at the configuration that is there; what happens to it is asked before anything else."""
    args, talk = plan.args, plan.talk
    if not plan.file.exists():
        _may_write(plan.file)
        return
    settings, errors, _ = check.findings(plan.file)
    plan.settings, plan.text = settings, plan.file.read_text(encoding="utf-8") if settings else ""
    names = ", ".join(meter.name for meter in settings.meter) if settings else ""
    talk.title("Configuration")
    talk.say(f"{plan.file} is there{f', with the meters: {names}' if names else f'; it has errors: {errors[0]}'}.")
    _may_write(plan.file)
    if args.force:
        return
    choices = {"a": "add a meter to it", "r": "replace it", "q": "leave it as it is"}
    if settings is None:
        del choices["a"]
    answer = talk.choose("What now", choices, "a" if settings else "q")
    if answer == "q":
        raise StoppedError(f"{plan.file} stays as it is (--force replaces it, --output names another)")
    plan.adds = answer == "a"
    if plan.adds and any(value is not None for option, value in vars(args).items() if option.startswith("mqtt_")):
        raise StoppedError(f"{plan.file} has its broker already: leave out the --mqtt options, or change it there", 2)


def _may_write(file: Path) -> None:
    """End at once where the last step would fail."""
    folder = next(folder for folder in file.absolute().parents if folder.exists())
    if not os.access(folder, os.W_OK):
        raise StoppedError(f"{folder} cannot be written by this user: use sudo, or name another place with --output")


def write(plan: Plan) -> None:
    """Write configuration, password and keys, after `meterd check` has accepted the configuration."""
    talk, text = plan.talk, _text(plan)
    talk.title("Write")
    for path, what in _files(plan):
        talk.show(f"{path}  {what}")
    if not talk.confirm("Write this?", default=True):
        raise StoppedError("nothing was written")
    with all_or_nothing() as changes:
        try:
            _write(plan, text, changes)
        except (OSError, KeyFileError) as error:
            where = getattr(error, "filename", None)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StoppedError(f"{f'{where}: ' if where else ''}{reason}: nothing was written") from None
    _, _, warnings = check.findings(plan.file)
    for warning in warnings:
        talk.say(f"warning: {warning}.")
    talk.say("Written, and `meterd check` accepts it.")
    talk.result("write", file=str(plan.file), written=[str(path) for path in changes.written], warnings=warnings)


def show(plan: Plan) -> None:
    """Show the reading that was heard, the topics, and what to do next."""
    reading, talk = plan.recognised.reading, plan.talk
    if reading:
        talk.title("First reading")
        item = ItemP(plan.name, reading, reading.t or datetime.now(UTC), "meter" if reading.t else "gateway")
        shown = to_dict(item)
        for key in ("t", "p_import_w", "p_export_w", "a_import_wh", "a_export_wh", "quality", "auth"):
            if key in shown:
                talk.show(f"{key:<12} {shown[key]}")
        talk.result("reading", item_p=shown)
    topics, commands = list(_topics(plan)), list(_commands(plan))
    talk.title("Next")
    for command in commands:
        talk.show(command)
    for topic in topics:
        talk.show(f"subscribe to {topic}")
    talk.result("next", commands=commands, topics=topics)


def _text(plan: Plan) -> str:
    today = datetime.now().astimezone().date()
    template = profiles.template()
    try:
        if plan.adds and plan.text is not None:
            return document.added(plan.text, _meter(plan), heard=_heard(plan), today=today)
        tables = {"mqtt": _mqtt(plan), "journal": _journal(plan)}
        return document.filled(template, _meter(plan), tables, heard=_heard(plan), today=today)
    except document.DocumentError as error:
        raise StoppedError(f"{plan.file}: {error}") from None


def _meter(plan: Plan) -> dict[str, Any]:
    """The keys of `[[meter]]`: only what differs from the defaults of the profile."""
    args, line = plan.args, plan.heard.line if plan.heard else None
    profile = None if plan.profile == "auto" else profiles.load(plan.profile)
    limit = None if plan.max_power_w == MAX_POWER_W else plan.max_power_w
    optional = {"timezone": plan.timezone, "min_auth": plan.min_auth, "system_title": args.system_title}
    return meter_table(plan.name, plan.port, profile, line or (args.baud, args.framing), max_power_w=limit, **optional)


def _mqtt(plan: Plan) -> dict[str, Any] | None:
    if plan.mqtt is None:
        return None
    kept = {"password_file": str(password_path(plan))} if plan.password else {}
    return {key: value for key, value in (plan.mqtt | kept).items() if value is not False}


def _journal(plan: Plan) -> dict[str, Any]:
    """The default where this user can write it or a service does; else a place of the user's own."""
    if plan.args.journal:
        return {"path": str(Path(plan.args.journal).absolute())}
    if os.geteuid() == 0 or os.access(SYSTEM_JOURNAL.parent, os.W_OK):
        return {}
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return {"path": str(Path(data) / "meterd" / SYSTEM_JOURNAL.name)}


def _heard(plan: Plan) -> str:
    """The comment: on what the configuration rests."""
    if plan.heard is None:
        return "the line was not listened to"
    line = f"{plan.heard.line}, link {plan.heard.link}" if plan.heard.line else f"link {plan.heard.link}"
    return f"heard: {line}, {'encrypted' if plan.recognised.ciphered or plan.material.encryption else 'not encrypted'}"


def _files(plan: Plan) -> Iterator[tuple[Path, str]]:
    """What is about to be written."""
    verb = "one meter is added" if plan.adds else "is replaced; the old one is kept beside it" if plan.text else "new"
    yield plan.file, verb
    if plan.password:
        yield password_path(plan), "the broker's password, for you alone (0600)"
    if plan.stores_keys:
        for role, fingerprint in plan.material.fingerprints().items():
            if fingerprint:
                yield keys.stored(plan.name, role), f"the {role} key, for you alone (0400)"


def _write(plan: Plan, text: str, changes: Changes) -> None:
    changes.folder(plan.file.absolute().parent)
    if not plan.adds:
        path = _journal(plan).get("path")
        changes.folder(Path(path).parent if path else SYSTEM_JOURNAL.parent, 0o750)
    if plan.password:
        changes.write(password_path(plan), plan.password.encode() + b"\n", 0o600)
    fresh = plan.file.with_name(f".{plan.file.name}.{os.getpid()}")
    mode = plan.file.stat().st_mode & 0o777 if plan.text is not None else 0o644
    changes.write(fresh, text.encode(), mode)
    _, errors, _ = check.findings(fresh)
    if errors:
        raise StoppedError("; ".join(error.replace(str(fresh), str(plan.file)) for error in errors))
    if plan.stores_keys:
        _store(plan, changes)
    changes.replace(plan.file, fresh, plan.file.with_name(f"{plan.file.name}.old") if plan.text is not None else None)


def _store(plan: Plan, changes: Changes) -> None:
    """Store the keys as `meterd key set` does; what was stored for this name comes back when the rest fails."""
    before = keys.find(plan.name).material

    def undo() -> None:
        keys.remove(plan.name)
        if before.encryption:
            keys.put(plan.name, before)

    changes.undo_by(undo)
    keys.remove(plan.name)
    changes.written += keys.put(plan.name, plan.material)


def _topics(plan: Plan) -> Iterator[str]:
    mqtt = tomllib.loads(plan.file.read_text(encoding="utf-8")).get("mqtt")
    if mqtt is not None:
        base = mqtt.get("base", "meterd")
        yield f"{base}/{plan.name}/reading  (item P as JSON)"
        yield f"{base}/{plan.name}/p_net_w  (a plain number; import is positive)"
        yield f"{base}/{plan.name}/availability, {base}/status  (online, offline)"
        if mqtt.get("discovery") != "off":
            yield f"{mqtt.get('discovery_prefix', 'homeassistant')}/#  (Home Assistant finds the meter by itself)"


def _commands(plan: Plan) -> Iterator[str]:
    is_default = plan.file.absolute() == configuration.place(None)
    named = "" if is_default else f" -c {plan.file}"
    if plan.recognised.ciphered and not plan.material.encryption:
        yield f"meterd key set {plan.name}{named}"
    if any(unit.exists() for unit in UNITS) and plan.file.absolute() == configuration.SYSTEM:
        yield "systemctl restart meterd" if plan.adds else "systemctl enable --now meterd"
    elif plan.adds:
        yield f"meterd run{named}  (restart it where it runs: it reads its configuration when it starts)"
    else:
        yield f"meterd run{named}"
    yield f"meterd status{named}"
