"""A levelhead.yaml on its way into force: reviewed first, whoever brings it."""

from __future__ import annotations

from levelhead.control.base import Revise
from levelhead.review import RULES, judged
from levelhead.review.base import Config
from levelhead.review.facts import declared, facts_of
from levelhead.review.languages import USUAL
from levelhead.settings import Settings


def revise(settings: Settings, source: str) -> Revise:
    """The wish to ship these settings, with what the review has against them. `source` is their text."""
    return Revise(settings.fleet, source, objections(settings, source))


def objections(settings: Settings, source: str) -> tuple[str, ...]:
    """Findings of severity error, each with its place, as sentences without their full stop."""
    file = settings.origin.file
    facts = declared(facts_of(settings.facts), settings.fleet)
    config = Config("levelhead", {file: source}, settings.fleet, settings.fleet, USUAL["levelhead"], facts)
    found = judged(config, RULES).kept
    return tuple(f"{f.origin}: {f.message} ({f.code} {f.rule})" for f in found if f.severity == "error")
