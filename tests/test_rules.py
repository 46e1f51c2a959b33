"""The page of every rule is its test: each bad configuration fires at the marked lines, each good one is silent."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from levelhead.review import RULES, review
from levelhead.review.base import Config, Facts, Language, Rule
from levelhead.review.languages import config_of

PAGES = Path(__file__).parents[1] / "docs" / "rules"
FENCE = re.compile(r"^```(\w+) (base|fires|silent)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MARK = "# <-"


@dataclass(frozen=True)
class Snippet:
    """One configuration of a page; `lines` are those marked with `# <-`, where the rule must fire, and nowhere else."""

    rule: Rule
    language: Language
    fires: bool
    text: str
    facts: Facts
    version: tuple[int, ...]
    lines: frozenset[int]
    base: str


def snippets(rule: Rule) -> list[Snippet]:
    """A block that is marked `base` is what those after it, in its language, were before the change."""
    found = []
    bases: dict[str, str] = {}
    for language, kind, words, text in FENCE.findall((PAGES / f"{rule.code}.md").read_text()):
        assert language in get_args(Language), f"{rule.code}: {language}"
        if kind == "base":
            bases[language] = text
            continue
        given = dict(word.split("=", 1) for word in words.split())
        version = tuple(int(n) for n in given.pop("version", "").split(".") if n)
        at = given.pop("line", "")
        marked = {n for n, line in enumerate(text.split("\n"), 1) if MARK in line} | ({int(at)} if at else set())
        found.append(Snippet(
            rule, cast(Language, language), kind == "fires", text, facts(given), version, frozenset(marked),
            bases.get(language, ""),
        ))  # fmt: skip
    return found


def facts(given: dict[str, str]) -> Facts:
    """Facts as words of the fence: `peak_rps=300 behind_proxy=true capacity_rps=a:100,b:50`."""
    values: dict[str, object] = {}
    for name, text in given.items():
        if ":" in text:
            pairs = [pair.split(":") for pair in text.split(",")]
            values[name] = {key: value if name == "zones" else float(value) for key, value in pairs}
        else:
            values[name] = text == "true" if text in ("true", "false") else float(text)
    return Facts(**values)  # type: ignore[arg-type]


CASES = [
    pytest.param(snippet, id=f"{rule.code}-{snippet.language}-{'fires' if snippet.fires else 'silent'}-{number}")
    for rule in RULES
    for number, snippet in enumerate(snippets(rule))
]


@pytest.mark.parametrize("snippet", CASES)
def test_a_page_says_what_its_rule_does(snippet: Snippet) -> None:
    name = f"page.{'yaml' if snippet.language in ('envoy', 'levelhead') else 'conf'}"
    text = snippet.text.replace(MARK, "#") if snippet.language == "levelhead" else snippet.text
    config = config_of({name: text}, name, snippet.language, version=snippet.version, facts=snippet.facts)
    if snippet.base:
        base = config_of({name: snippet.base}, name, snippet.language, version=snippet.version, facts=snippet.facts)
        config = replace(cast(Config[Any], config), base=base)
    found = review(config, (snippet.rule,))
    assert {f.origin.line for f in found} == (snippet.lines if snippet.fires else set()), [f.message for f in found]
    assert bool(found) is snippet.fires


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_language_of_a_rule_has_a_case_that_fires_and_one_that_does_not(rule: Rule) -> None:
    judged = {language for language in get_args(Language) if getattr(rule, language) is not None}
    shown = {(s.language, s.fires) for s in snippets(rule)}
    assert shown == {(language, fires) for language in judged for fires in (True, False)}
