"""`meterd setup`: what the connection carries; whatever a telegram says above that is set aside."""

from gateway.commands.setup_plan import Plan
from gateway.settings import MAX_POWER_W
from gateway.setup.limit import watts


def settle_limit(plan: Plan) -> None:
    """Take the limit of --max-power, or ask for the main fuse; the meter may not say more at this moment."""
    reading = plan.recognised.reading
    powers = (reading.p_import_w, reading.p_export_w, reading.p_net_w) if reading else ()
    now = max((abs(power) for power in powers if power is not None), default=0)

    def wrong(answer: str) -> str | None:
        try:
            limit = watts(answer)
        except ValueError as error:
            return str(error)
        above = 0 < limit < now
        return f"the meter says {now} W at this moment: the connection carries more than {limit} W" if above else None

    question = "Main fuse, such as 3x25A, or the limit in W (0: none)"
    plan.max_power_w = watts(
        plan.talk.ask(question, "--max-power", given=plan.args.max_power, default="3x25A", wrong=wrong)
    )
    plan.talk.say(f"Readings above {plan.max_power_w} W are set aside." if plan.max_power_w else "No limit is set.")
    plan.talk.result("limit", max_power_w=plan.max_power_w, default=plan.max_power_w == MAX_POWER_W)
