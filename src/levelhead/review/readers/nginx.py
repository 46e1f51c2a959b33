"""nginx's texts to a Config: from the main file on."""

from __future__ import annotations

from collections.abc import Mapping

from levelhead.engines.nginx import fleet, picture, reading
from levelhead.review.base import Config, Facts, Version


def config(files: Mapping[str, str], main: str, version: Version, facts: Facts) -> Config[picture.Reading]:
    """Raises ConfigError, with its place, for a text that nginx could not split into directives."""
    exact = (*version, 0, 0, 0)
    sites = reading.read(files, main, version=(exact[0], exact[1], exact[2]))
    return Config("nginx", files, sites, fleet.fleet_of(sites), version, facts)
