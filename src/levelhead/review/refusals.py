"""What the engine itself would refuse, or not do as written, told as findings beside those of the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from levelhead.engines.nginx import picture as nginx
from levelhead.engines.text import Problem
from levelhead.model import Fleet
from levelhead.review.base import Finding, Rule, Severity
from levelhead.review.languages import AnyConfig

REFUSED: Final = Rule(
    "LH000", "engine-refuses", "error", "what the engine itself would refuse, or not do as written",
    "correct it: the engine does not start with this, or passes over it",
)  # fmt: skip


def refusals(config: AnyConfig) -> tuple[Finding, ...]:
    """One finding for every problem that the reader met; its warnings stay warnings, what is unknown is told."""
    return tuple(
        Finding(REFUSED.code, REFUSED.name, _severity(p), config.language, p.origin, p.sentence, REFUSED.fix)
        for p in problems(config)
    )


def _severity(problem: Problem) -> Severity:
    return "info" if problem.kind == "unknown" else problem.kind


def problems(config: AnyConfig) -> tuple[Problem, ...]:
    """What the reader of this language met; levelhead.yaml is refused as a whole or read as a whole."""
    return () if isinstance(config.reading, Fleet) else config.reading.problems


def files_read(config: AnyConfig) -> Mapping[str, str]:
    """The texts that this configuration really is: of those at hand, nginx and Envoy may read only a few."""
    match config.language:  # and not the type: a picture that nobody asked for is not loaded to compare with
        case "nginx" | "envoy":
            return {name: config.files[name] for name in getattr(config.reading, "files", config.files)}
        case _:
            return config.files


def absent(config: AnyConfig) -> tuple[str, ...]:
    """What the configuration refers to and nobody gave, as sentences with their place."""
    if config.language != "nginx" or not isinstance(config.reading, nginx.Reading):
        return ()
    said = "is included but not there, so what it sets is unknown"
    return tuple(dict.fromkeys(f"{missing.origin}: {missing.pattern} {said}" for missing in config.reading.absent))
