"""A levelhead.yaml to a Config, whose picture is the fleet itself."""

from __future__ import annotations

from collections.abc import Mapping

from levelhead import settings
from levelhead.model import Fleet
from levelhead.review.base import Config, Facts, Version


def config(files: Mapping[str, str], main: str, version: Version, facts: Facts) -> Config[Fleet]:
    """Raises ConfigError, with its place, for what is no such file."""
    fleet = settings.parse(files[main], main).fleet
    return Config("levelhead", files, fleet, fleet, version, facts)
