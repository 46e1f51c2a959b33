"""HAProxy's texts to a Config: all files, in their order."""

from __future__ import annotations

from collections.abc import Mapping

from levelhead.engines.haproxy import fleet, picture, reading
from levelhead.engines.haproxy.preprocess import Setup
from levelhead.review.base import Config, Facts, Version


def config(files: Mapping[str, str], main: str, version: Version, facts: Facts) -> Config[picture.Reading]:
    """Raises ConfigError, with its place, for what is no text."""
    setup = Setup(version=(version[0], version[1]) if len(version) > 1 else None)
    proxies = reading.read(files, setup)
    return Config("haproxy", files, proxies, fleet.fleet_of(proxies), version, facts)
