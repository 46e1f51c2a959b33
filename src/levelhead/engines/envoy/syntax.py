"""YAML or JSON to a tree of nodes that know their line and column, as Envoy reads it.

A text that is no YAML, or a template that is yet to be rendered, raises ConfigError at its place. Aliases are followed,
keys marked `!ignore` are left out, only the first document counts: all as Envoy does. Comments are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from levelhead.engines.text import Problem
from levelhead.errors import ConfigError
from levelhead.model import Origin
from levelhead.nodes import Composer, Entry, Node, Scalar, forbidden, slip, stop

MAX_DEPTH: Final = 100

_TEMPLATE: Final = re.compile(r"\{\{|\{%")
_TEMPLATE_NAME: Final = re.compile(r"\.(tmpl|gotmpl|tpl|template|j2|jinja2?|erb|mustache)(\.|$)")
_COMMENT: Final = re.compile(r"(?:^|(?<=[ \t\n]))#([^\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment without its `#`; `alone` where nothing stands before it on its line."""

    text: str
    origin: Origin
    alone: bool


@dataclass(frozen=True, slots=True)
class Text:
    """One file: its root (None where it is empty), its comments, and what was wrong with its form."""

    file: str
    root: Node | None
    comments: tuple[Comment, ...]
    problems: tuple[Problem, ...]


def parse(text: str, file: str) -> Text:
    """The nodes of a file. Raises ConfigError for a template, and for what is neither YAML nor JSON."""
    if _TEMPLATE_NAME.search(file):
        raise _template(text, file)
    # JSON may be indented with tabs, which YAML forbids; inside its strings there is none.
    readable = text.replace("\t", " ") if text.lstrip()[:1] in ("{", "[") else text
    composer = _Composer(readable, file)
    try:
        root = composer.document()
    except (yaml.YAMLError, ConfigError, ValueError, OverflowError) as error:
        # The parser in Python lets numbers of characters that do not exist through to chr().
        if _TEMPLATE.search(_uncommented(text)):
            raise _template(text, file) from error
        if isinstance(error, ConfigError):
            raise
        raise _unreadable(error, text, file) from error
    if composer.templated:
        raise _template(text, file)
    return Text(file, root, tuple(_comments(text, file, composer.quoted)), tuple(composer.problems))


def _template(text: str, file: str) -> ConfigError:
    found = _TEMPLATE.search(_uncommented(text))
    at = found.start() if found else 0
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
    what = "this is a template, not an Envoy configuration yet"
    return ConfigError(what, file=file, line=line, column=column, next_step="render it first, then give the result")


def _uncommented(text: str) -> str:
    """The text with comments blanked, nothing moved."""
    return _COMMENT.sub(lambda m: " " * len(m[0]), text)


class _Composer(Composer):
    """Envoy's way: of a key that is written twice the last counts, one marked `!ignore` does not."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file, MAX_DEPTH)
        self.problems: list[Problem] = []
        self.quoted: list[tuple[int, int]] = []
        self.templated = False

    def another(self, where: Origin) -> None:
        self.problems.append(Problem(where, "a second document begins here: Envoy reads the first only"))

    def enter(self, entries: dict[str, Entry], key: Node, tag: str | None, where: Origin, value: Node) -> None:
        if not isinstance(key, Scalar):
            raise stop(where, "a key must be one word, not a list or a mapping")
        if tag == "!ignore":
            return
        if key.text in entries:
            said = f'"{key.text[:60]}" is written twice; the first is in line {entries[key.text].where.line}'
            self.problems.append(Problem(where, said))
        entries[key.text] = Entry(key.text, where, value)

    def tagged(self, tag: str, where: Origin) -> None:
        """Envoy takes any tag."""

    def scalar(self, event: yaml.ScalarEvent, where: Origin) -> Scalar:
        if event.style and event.start_mark is not None and event.end_mark is not None:
            self.quoted.append((event.start_mark.index, event.end_mark.index))
        # Code in a block of its own (Lua) may hold two braces in a row.
        self.templated = self.templated or (event.style not in ("|", ">") and bool(_TEMPLATE.search(event.value)))
        # What has a tag is no plain number or word either.
        return Scalar(event.value, where, not event.style and event.tag is None)


def _unreadable(error: Exception, text: str, file: str) -> ConfigError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark, said, hint = slip(error)
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        return ConfigError(f"this is neither YAML nor JSON: {said}{hint}", file=file, line=line, column=column)
    found = forbidden(text)
    if found is None:
        return ConfigError("not text that YAML can hold", file=file, line=1, column=1)
    line, column, character = found
    return ConfigError(f"a character ({character!r}) that YAML does not allow", file=file, line=line, column=column)


def _comments(text: str, file: str, quoted: list[tuple[int, int]]) -> Iterator[Comment]:
    spans = iter(sorted(quoted))
    start, end = next(spans, (len(text), len(text)))
    counted, line = 0, 1
    for found in _COMMENT.finditer(text):
        at = found.start()
        while end <= at:
            start, end = next(spans, (len(text) + 1, len(text) + 1))
        if start <= at < end:
            continue
        line += text.count("\n", counted, at)
        counted = at
        before = text[text.rfind("\n", 0, at) + 1 : at]
        yield Comment(found[1], Origin(file, line, len(before) + 1), not before.strip())
