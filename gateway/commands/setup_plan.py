"""What `meterd setup` has found out and been told so far; nothing of it is on a disk before the last step."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decoders.recognise import Recognised
from gateway.commands.setup_dialogue import Dialogue
from gateway.key_material import Material
from gateway.settings import MAX_POWER_W, MeterSettings, Settings
from gateway.setup.listen import Heard


@dataclass
class Plan:
    """One run of the wizard."""

    args: argparse.Namespace
    talk: Dialogue
    #: the configuration that is written, and what stands there already
    file: Path
    text: str | None = None
    settings: Settings | None = None
    #: a meter is added to it, instead of replacing it
    adds: bool = False
    port: str = ""
    #: None where nobody listened
    heard: Heard | None = None
    recognised: Recognised = field(default_factory=Recognised)
    #: the profile for the configuration
    profile: str = "auto"
    name: str = ""
    material: Material = field(default_factory=Material)
    #: the keys are new, and have to be stored
    stores_keys: bool = False
    timezone: str | None = None
    min_auth: str | None = None
    #: what the connection carries (W), 0 for no limit
    max_power_w: int = MAX_POWER_W
    #: `[mqtt]`, None for none; the password goes into a file beside the configuration
    mqtt: dict[str, Any] | None = None
    password: str | None = None

    def trial(self) -> MeterSettings:
        """The meter as far as it is known, for proofs."""
        named = self.name or "main"
        return MeterSettings(
            name=named, port=self.port, profile=self.args.profile or "auto", system_title=self.args.system_title
        )

    @property
    def others(self) -> tuple[MeterSettings, ...]:
        """The meters that stay in the configuration."""
        return self.settings.meter if self.settings and self.adds else ()
