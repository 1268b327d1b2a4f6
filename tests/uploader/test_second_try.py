"""A status that refuses a second try says nothing of the first one, whose outcome nobody knows."""

from datetime import date
from pathlib import Path

import pytest

from tests.uploader.lying import hub_settings, noon
from tests.uploader.test_worker import House, fill


@pytest.mark.parametrize(
    ("script", "state"), [(["after", "proxy", "proxy", "ok"], "confirmed"), (["proxy"], "rejected")]
)
def test_a_proxy_judges_only_what_was_never_sent_before(tmp_path: Path, script: list[str], state: str) -> None:
    house = House(tmp_path, hub_settings(since="2026-03-02"), script=iter(script))
    fill(house, 1)
    house.now = noon(date(2026, 3, 4))
    house.run(until=house.now + 20_000, step_s=300)
    with house.store() as store:
        (message,) = store.in_state("dk")
    assert message.state == state
    assert list(house.there.effects.values()) == ([1] if state == "confirmed" else [])
