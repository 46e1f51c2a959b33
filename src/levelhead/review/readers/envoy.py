"""Envoy's texts to a Config: from the main file on."""

from __future__ import annotations

from collections.abc import Mapping

from levelhead.engines.envoy import fleet, picture, reading
from levelhead.review.base import Config, Facts, Version


def config(files: Mapping[str, str], main: str, version: Version, facts: Facts) -> Config[picture.Reading]:
    """Raises ConfigError, with its place, for what is neither YAML nor JSON, or a template."""
    clusters = reading.read(files, main)
    return Config("envoy", files, clusters, fleet.fleet_of(clusters), version, facts)
