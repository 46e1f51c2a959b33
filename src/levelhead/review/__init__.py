"""review(config) -> findings: every rule asked of one configuration, in order of the lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from levelhead.review import (
    breakers,
    capacity,
    changes,
    checks,
    connections,
    detection,
    ejection,
    exposure,
    hashing,
    limits,
    members,
    names,
    observability,
    policies,
    retries,
    rollout,
    routes,
    slow_start,
    timeouts,
)
from levelhead.review.base import Finding, Judge, Rule
from levelhead.review.languages import AnyConfig
from levelhead.review.refusals import REFUSED, files_read, refusals
from levelhead.review.suppress import UNUSED, WITHOUT_REASON, Sifted, sifted

RULES: Final[tuple[Rule, ...]] = (
    *breakers.RULES,
    *capacity.RULES,
    *changes.RULES,
    *connections.RULES,
    *exposure.RULES,
    *hashing.RULES,
    *limits.RULES,
    *members.RULES,
    *names.RULES,
    *observability.RULES,
    *policies.RULES,
    *retries.RULES,
    *rollout.RULES,
    *routes.RULES,
    *slow_start.RULES,
    *timeouts.RULES,
    *checks.RULES,
    *detection.RULES,
    *ejection.RULES,
)

# What is said of the file beside what the rules find in it; these have no judge of their own.
HOUSEKEEPING: Final = (REFUSED, WITHOUT_REASON, UNUSED)
# Everything that can be reported, by code.
EVERY: Final = tuple(sorted((*RULES, *HOUSEKEEPING), key=lambda rule: rule.code))


def judged(config: AnyConfig, rules: tuple[Rule, ...]) -> Sifted:
    """All there is to say of one configuration: findings of these rules, what the engine would refuse, and what
    comments in the file ignore. `rules` are of `EVERY`; one that is left out is not reported.
    """
    codes = {rule.code for rule in rules}
    found = (*(refusals(config) if REFUSED.code in codes else ()), *review(config, rules))
    left = sifted(found, files_read(config), config.language, rules)
    about = tuple(f for f in left.about_comments if f.code in codes)
    return Sifted(_ordered(config, (*left.kept, *about)), _ordered(config, left.ignored), about)


def review(config: AnyConfig, rules: tuple[Rule, ...] = RULES) -> tuple[Finding, ...]:
    """What these rules find, in order of file, line and code; the same thing found twice is said once."""
    found: dict[Finding, None] = {}
    for rule in rules:
        judge: Judge[Any] | None = getattr(rule, config.language)
        for trouble in judge(config) if judge else ():
            found[Finding(
                rule.code, rule.name, rule.severity, config.language, trouble.origin, trouble.message,
                trouble.fix or rule.fix, trouble.pool, trouble.server,
            )] = None  # fmt: skip
    return _ordered(config, found)


def _ordered(config: AnyConfig, found: Iterable[Finding]) -> tuple[Finding, ...]:
    names = list(config.files)
    return tuple(sorted(found, key=lambda f: (_place(names, f.origin.file), f.origin.line, f.origin.column, f.code)))


def _place(names: list[str], file: str) -> int:
    return names.index(file) if file in names else len(names)
