"""YAML or JSON to a tree of nodes that know their line and column, with scalars told apart as Envoy tells them.

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

MAX_DEPTH: Final = 100
MAX_NODES: Final = 500_000

_TEMPLATE: Final = re.compile(r"\{\{|\{%")
_TEMPLATE_NAME: Final = re.compile(r"\.(tmpl|gotmpl|tpl|template|j2|jinja2?|erb|mustache)(\.|$)")
_COMMENT: Final = re.compile(r"(?:^|(?<=[ \t\n]))#([^\n]*)", re.MULTILINE)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
# The words that Envoy's YAML library takes for true and false where no quotes are; y and n are among them.
_TRUE: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_WHOLE: Final = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_FRACTION: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written; `plain` where it stood without quotes and may be a number, a bool or nothing."""

    text: str
    where: Origin
    plain: bool = False

    @property
    def null(self) -> bool:
        return self.plain and self.text in _NULLS

    @property
    def flag(self) -> bool | None:
        """True or false; None where it is neither."""
        if self.plain and self.text in _TRUE:
            return True
        if self.plain and self.text in _FALSE:
            return False
        # Between quotes, only these two.
        return {"true": True, "false": False}.get(self.text)

    @property
    def whole(self) -> int | None:
        """The whole number it is, also between quotes; None where it is none."""
        if len(self.text) > 40:
            return None
        if self.plain and _WHOLE.fullmatch(self.text):
            digits = self.text.lstrip("+-").lower()
            # A leading 0 makes it octal, except where a digit says it cannot be.
            octal = digits.startswith("0") and not set("89") & set(digits)
            base = 16 if digits.startswith("0x") else 8 if octal else 10
            return int(digits, base) * (-1 if self.text.startswith("-") else 1)
        number = self.number
        return int(number) if number is not None and number.is_integer() else None

    @property
    def number(self) -> float | None:
        """The number it is, also between quotes; None where it is none."""
        if len(self.text) > 40 or not _FRACTION.fullmatch(self.text):
            return None
        return float(self.text)

    @property
    def is_text(self) -> bool:
        """Whether it is text and nothing else: between quotes, or no other thing."""
        if not self.plain:
            return True
        other = self.text in _NULLS or self.text in _TRUE or self.text in _FALSE
        return not (other or _WHOLE.fullmatch(self.text) or _FRACTION.fullmatch(self.text))


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    where: Origin


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, where it was written, and its value."""

    key: str
    where: Origin
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: tuple[Entry, ...]
    by_key: dict[str, Entry]
    where: Origin


Node = Scalar | Sequence | Mapping


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


class _Composer:
    """One pass over the parser's events."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.problems: list[Problem] = []
        self.quoted: list[tuple[int, int]] = []
        self.templated = False
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.count = 0

    def document(self) -> Node | None:
        # libyaml where it was built in: about ten times faster.
        loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.events: Iterator[yaml.Event] = iter(yaml.parse(self.text, Loader=loader))
        root: Node | None = None
        for event in self.events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if root is not None:
                said = "a second document begins here: Envoy reads the first only"
                self.problems.append(Problem(self._at(event), said))
                break
            root = self._node(next(self.events), 0)
        return None if isinstance(root, Scalar) and root.null else root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        where = self._at(event)
        if depth > MAX_DEPTH:
            raise _stop(where, f"nested more than {MAX_DEPTH} levels deep")
        self.count += 1
        if self.count > MAX_NODES:
            raise _stop(where, f"more than {MAX_NODES} values, aliases counted each time they are used")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, where)
        before = self.count
        node = self._value(event, where, depth)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.anchors[anchor] = (node, self.count - before + 1)
        return node

    def _value(self, event: yaml.Event, where: Origin, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, where)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Sequence(tuple(items), where)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where, depth)
        raise _stop(where, "a value was expected here")

    def _scalar(self, event: yaml.ScalarEvent, where: Origin) -> Scalar:
        # The parser gives "" as the style of a plain scalar, or None, by its implementation.
        plain = not event.style
        if not plain and event.start_mark is not None and event.end_mark is not None:
            self.quoted.append((event.start_mark.index, event.end_mark.index))
        # Code in a block of its own (Lua) may hold two braces in a row.
        self.templated = self.templated or (event.style not in ("|", ">") and bool(_TEMPLATE.search(event.value)))
        return Scalar(event.value, where, plain and event.tag is None)

    def _mapping(self, where: Origin, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self.events), depth + 1)
            at = self._at(event)
            if not isinstance(key, Scalar):
                raise _stop(at, "a key must be one word, not a list or a mapping")
            if getattr(event, "tag", None) == "!ignore":
                continue
            if key.text in entries:
                said = f'"{key.text[:60]}" is written twice; the first is in line {entries[key.text].where.line}'
                self.problems.append(Problem(at, said))
            entries[key.text] = Entry(key.text, at, value)
        return Mapping(tuple(entries.values()), entries, where)

    def _alias(self, event: yaml.AliasEvent, where: Origin) -> Node:
        name = event.anchor
        if name not in self.anchors:
            raise _stop(where, f"*{name} is used here, but no complete value before it is marked &{name}")
        node, size = self.anchors[name]
        self.count += size - 1
        return node

    def _at(self, event: yaml.Event) -> Origin:
        if event.start_mark is None:
            return Origin(self.file)
        return Origin(self.file, event.start_mark.line + 1, event.start_mark.column + 1)


def _stop(where: Origin, what: str) -> ConfigError:
    """Reading cannot go on."""
    return ConfigError(what, file=where.file, line=where.line, column=where.column)


# What the parser says of the commonest slips, and what to do about them.
_HINTS: Final = (
    ("mapping values are not allowed", "the indentation is off, or a value that holds ': ' needs quotes"),
    ("could not find expected ':'", "a ':' is missing after the key, or the indentation is off"),
    ("expected <block end>", "the indentation is off"),
    ("expected '-' indicator", "a list's items and a mapping's keys cannot stand side by side"),
    ("expected key", "a list's items and a mapping's keys cannot stand side by side"),
    ("cannot start any token", "quote a value that begins with @, ` or %"),
    ("expected ',' or", "a bracket or a comma is missing"),
    ("unexpected end of stream", "a quote is not closed"),
    ("expected node content", "a bracket is not closed, or a value is missing"),
)


def _unreadable(error: Exception, text: str, file: str) -> ConfigError:
    if not isinstance(error, yaml.MarkedYAMLError):
        return _forbidden(text, file)
    mark = error.problem_mark or error.context_mark
    said = error.problem or error.context or "the parser gave up"
    hint = next((f" ({advice})" for words, advice in _HINTS if words in said), "")
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return ConfigError(f"this is neither YAML nor JSON: {said}{hint}", file=file, line=line, column=column)


def _forbidden(text: str, file: str) -> ConfigError:
    """The parser names a byte or an index; look for the character ourselves, so that the place is in lines."""
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    at = found.start() if found else 0
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
    said = f"a character ({text[at : at + 1]!r}) that YAML does not allow" if found else "not text that YAML can hold"
    return ConfigError(said, file=file, line=line, column=column)


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
