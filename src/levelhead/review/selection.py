"""Which rules are asked: those named by code, by the beginning of a code (LH03) or by name, less those left out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from levelhead.errors import UsageError
from levelhead.review.base import Rule


def chosen(rules: tuple[Rule, ...], select: Sequence[str], ignore: Sequence[str]) -> tuple[Rule, ...]:
    """All rules without `select`. UsageError for a word that names none of them."""
    wanted = {rule.code for word in select for rule in named(rules, word)} if select else {r.code for r in rules}
    unwanted = {rule.code for word in ignore for rule in named(rules, word)}
    return tuple(rule for rule in rules if rule.code in wanted - unwanted)


def named(rules: tuple[Rule, ...], word: str) -> tuple[Rule, ...]:
    """The rules that a word means. UsageError where there are none, with what is close."""
    found = tuple(rule for rule in rules if _means(word, rule))
    if found:
        return found
    near = close(word, [name for rule in rules for name in (rule.code, rule.name)])
    raise UsageError(f"there is no rule {word!r}{near}", next_step="levelhead explain lists every rule")


def close(word: str, known: Sequence[str]) -> str:
    """`; did you mean LH033?`, or nothing where no known word is near."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(lower[name] for name in near)}?" if near else ""


def _means(word: str, rule: Rule) -> bool:
    if re.fullmatch(r"[Ll][Hh]\d*", word):
        return rule.code.startswith(word.upper())
    return rule.name == word.lower()
