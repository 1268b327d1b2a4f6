"""Every adapter, by its kind in `[[hub]]`; its module is imported only where a configuration names it."""

import importlib
from collections.abc import Callable
from typing import Final, cast

from gateway.hub_settings import HubKind, HubSettings
from gateway.uploader.hub import HubAdapter

#: kind -> module in gateway.uploader.hubs; each has `adapter(settings) -> HubAdapter`
ADAPTERS: Final[dict[HubKind, str]] = {
    "dk-datahub3": "dk_datahub3",
    "cz-ote": "cz_ote",
    "cz-pnd": "cz_pnd",
    "lt-eso": "lt_eso",
    "eu-vhd": "eu_vhd",
    "ee-estfeed": "ee_estfeed",
}


def make(settings: HubSettings) -> HubAdapter:
    """The adapter of a hub; ImportError names a package that the extra `hubs` brings."""
    module = importlib.import_module(f"gateway.uploader.hubs.{ADAPTERS[settings.kind]}")
    return cast("Callable[[HubSettings], HubAdapter]", module.adapter)(settings)
