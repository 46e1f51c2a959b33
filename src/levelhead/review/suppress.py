"""Findings that people ignore in place: `# levelhead: ignore[LH033] reason`, on the line or on the line above it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from levelhead.model import Origin
from levelhead.review.base import Finding, Language, Rule

WITHOUT_REASON: Final = Rule(
    "LH900", "ignore-without-reason", "warning",
    "an ignore comment that gives no reason, or names no rule: it ignores nothing",
    "write `# levelhead: ignore[CODE] reason`",
)  # fmt: skip
UNUSED: Final = Rule(
    "LH901", "ignore-unused", "info", "an ignore comment for something that is not found there (any more)",
    "remove the comment",
)  # fmt: skip

_COMMENT: Final = re.compile(r"#\s*levelhead:\s*ignore\b\s*(?:\[([^\]\n]*)\])?[ \t]*:?[ \t]*(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Ignore:
    """One comment: the codes or names it holds, its reason, and the line whose findings it means."""

    words: tuple[str, ...]
    reason: str
    line: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Sifted:
    """What is left of findings, what was ignored, and the troubles with the comments themselves."""

    kept: tuple[Finding, ...]
    ignored: tuple[Finding, ...]
    about_comments: tuple[Finding, ...]


def sifted(
    findings: Sequence[Finding], files: Mapping[str, str], language: Language, rules: Sequence[Rule]
) -> Sifted:
    """The findings of one configuration without those that a comment in it ignores.

    `rules` are those that were asked: only for them can a comment be called unused.
    """
    ignores = [ignore for name, text in files.items() for ignore in ignores_of(name, text)]
    if not ignores:
        return Sifted(tuple(findings), (), ())
    asked = frozenset(word.lower() for rule in rules for word in (rule.code, rule.name))
    valid = [ignore for ignore in ignores if ignore.words and ignore.reason]
    by_place: dict[tuple[str, int], list[Ignore]] = {}
    for ignore in valid:
        by_place.setdefault((ignore.origin.file, ignore.line), []).append(ignore)
    kept, ignored, used = list[Finding](), list[Finding](), set[tuple[Origin, str]]()
    for finding in findings:
        here = by_place.get((finding.origin.file, finding.origin.line), ())
        hits = {(i.origin, word) for i in here for word in i.words if _names(word, finding)}
        used |= hits
        (ignored if hits else kept).append(finding)
    troubles = [*_malformed(ignores, language), *_unused(valid, used, asked, language)]
    return Sifted(tuple(kept), tuple(ignored), tuple(troubles))


def ignores_of(file: str, text: str) -> Iterator[Ignore]:
    """Every ignore comment of a text. One that stands alone means the next line that is no comment."""
    if "levelhead:" not in text:
        return
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        found = _COMMENT.search(line)
        if not found:
            continue
        alone = not line[: found.start()].strip()
        meant = next((n for n, later in enumerate(lines[number:], number + 1) if not _is_comment(later)), number)
        words = tuple(word.strip() for word in (found[1] or "").split(",") if word.strip())
        yield Ignore(words, found[2], meant if alone else number, Origin(file, number, found.start() + 1))


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _names(word: str, finding: Finding) -> bool:
    return word.upper() == finding.code or word.lower() == finding.rule


def _malformed(ignores: Sequence[Ignore], language: Language) -> Iterator[Finding]:
    for ignore in ignores:
        if not ignore.words:
            yield _finding(WITHOUT_REASON, language, ignore.origin, "the comment names no rule, so it ignores nothing")
        elif not ignore.reason:
            said = f"ignoring {', '.join(ignore.words)} needs a reason, so it is not ignored"
            yield _finding(WITHOUT_REASON, language, ignore.origin, said)


def _unused(
    ignores: Sequence[Ignore], used: set[tuple[Origin, str]], asked: frozenset[str], language: Language
) -> Iterator[Finding]:
    for ignore in ignores:
        for word in ignore.words:
            if (ignore.origin, word) not in used and word.lower() in asked:
                said = f"{word} is not found here, so there is nothing to ignore"
                yield _finding(UNUSED, language, ignore.origin, said)
            elif word.lower() not in asked and not re.fullmatch(r"[Ll][Hh]\d{3}|[a-z0-9]+(-[a-z0-9]+)+", word):
                said = f"{word} is neither the code nor the name of a rule"
                yield _finding(WITHOUT_REASON, language, ignore.origin, said)


def _finding(rule: Rule, language: Language, origin: Origin, message: str) -> Finding:
    return Finding(rule.code, rule.name, rule.severity, language, origin, message, rule.fix)
