"""What `[[point]]` must hold beyond the type of each key: a meter that there is, one table for each point, a zone."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from gateway.settings_rules import METER_RULES, check_keys
from gateway.toml_tables import Problems, near


def check(points: Mapping[str, dict[str, Any]], meters: Collection[str], problems: Problems) -> None:
    """Check tables by how a message names them; `meters` are the names of all meters."""
    rules = {"timezone": METER_RULES["timezone"]}
    first: dict[tuple[str, int], str] = {}
    for where, values in points.items():
        meter, channel = values.get("meter"), values.get("channel", 0)
        if meter is not None and meter not in meters:
            problems.add(
                f"{where} meter", f"there is no meter {meter!r}{near(meter, meters)}", ", ".join(sorted(meters))
            )
        if meter is not None and (other := first.setdefault((meter, channel), where)) != where:
            problems.add(where, f"channel {channel} of {meter!r} has a point in {other}", "one table for each point")
        check_keys(rules, values, where, problems)
        if "gas_kwh_per_m3" in values:
            _check_gas(values, where, problems)
        if values.get("like_least", 3) > values.get("like_most", 5):
            problems.add(f"{where} like_least", "is more than like_most", "as many or fewer")
        if "intervals" in values and len(set(values["intervals"])) != len(values["intervals"]):
            problems.add(f"{where} intervals", "names a resolution twice", "each once")


def _check_gas(values: Mapping[str, Any], where: str, problems: Problems) -> None:
    if not values.get("channel"):
        problems.add(f"{where} gas_kwh_per_m3", "is for the channel of a gas meter", "channel beside it")
    if not Decimal(values["gas_kwh_per_m3"]):
        problems.add(f"{where} gas_kwh_per_m3", "0 makes no energy of gas", "kWh of a cubic metre, mostly 9 to 12")
