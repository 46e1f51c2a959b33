"""YAML text to a tree of nodes that know their line and column, with every fault of form as a problem.

Scalars stay text: what a value means is decided by the setting it is for, so `off`, `no`, `010` and `1e3` are never
guessed at. Aliases are followed, within a bound; tags, merge keys and second documents are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from levelhead.errors import ConfigError
from levelhead.model import Origin

MAX_DEPTH: Final = 20
MAX_NODES: Final = 500_000

Plain = str | list["Plain"] | dict[str, "Plain"] | None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place, as a sentence without its full stop; `setting` is its path, where it has one."""

    where: Origin
    what: str
    setting: str = ""

    def __str__(self) -> str:
        # A flag is its own place; the path of the setting it stands for would only puzzle.
        return f"{self.setting}: {self.what}" if self.setting and self.where.line else self.what


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written; `null` where nothing, `null` or `~` stands there unquoted."""

    text: str
    where: Origin
    null: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    where: Origin


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, where it was written, and its value."""

    where: Origin
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: dict[str, Entry]
    where: Origin


Node = Scalar | Sequence | Mapping


def compose(text: str, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The root node, and the faults found on the way; no root where the text is empty or is not YAML at all."""
    try:
        composer = _Composer(text, file)
    except (yaml.reader.ReaderError, UnicodeEncodeError):
        return None, (_unreadable(text, file),)
    try:
        return composer.document(), tuple(composer.problems)
    except ConfigError as stop:
        return None, (*composer.problems, Problem(Origin(file, stop.line, stop.column), stop.what))
    except yaml.MarkedYAMLError as error:
        return None, (*composer.problems, _syntax(error, text, file))
    except (yaml.reader.ReaderError, UnicodeEncodeError):
        return None, (*composer.problems, _unreadable(text, file))


def plain(node: Node) -> Plain:
    """The tree as Python values without places: text, None, lists and dictionaries."""
    match node:
        case Scalar():
            return None if node.null else node.text
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def place(node: Node, path: tuple[str | int, ...], *, key: bool = False) -> Origin:
    """Where the value at `path` was written, or its key; the nearest enclosing value where it was not written."""
    where = node.where
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            entry = node.entries[str(step)]
            node, where = entry.value, entry.where if key else entry.value.where
        elif isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            where = node.where
    return where


class _Composer:
    """One pass over the parser's events."""

    def __init__(self, text: str, file: str) -> None:
        # libyaml where it was built in: about ten times faster.
        loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=loader))
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.count = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _stop(self._at(event), "a second YAML document begins here; one file holds one")
                root = self._node(next(self.events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        where = self._at(event)
        if depth > MAX_DEPTH:
            raise _stop(where, f"nested more than {MAX_DEPTH} levels deep")
        self.count += 1
        if self.count > MAX_NODES:
            raise _stop(where, f"more than {MAX_NODES} values, aliases counted each time they are used")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, where)
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):
            raise _stop(where, "a value was expected here")
        before = self.count
        self._no_tag(event, where)
        node = self._value(event, where, depth)
        if event.anchor:
            self.anchors[event.anchor] = (node, self.count - before + 1)
        return node

    def _value(
        self, event: yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent, where: Origin, depth: int
    ) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            # The parser gives "" as the style of a plain scalar, or None, by its implementation.
            null = not event.style and event.value in ("", "~", "null", "Null", "NULL")
            return Scalar(event.value, where, null)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(where, depth)
        return self._mapping(where, depth)

    def _sequence(self, where: Origin, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(tuple(items), where)

    def _mapping(self, where: Origin, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self.events), depth + 1)
            # An alias's node was written elsewhere; the key stands here.
            at = self._at(event)
            if not isinstance(key, Scalar):
                self.problems.append(Problem(at, "a key must be one word, not a list or a mapping"))
            elif key.text == "<<":
                self.problems.append(Problem(at, "merge keys (<<) are not supported; alias a whole value instead"))
            elif key.text in entries:
                first = entries[key.text].where
                self.problems.append(Problem(at, f"{key.text!r} is written twice; the first is in line {first.line}"))
            else:
                entries[key.text] = Entry(at, value)
        return Mapping(entries, where)

    def _alias(self, event: yaml.AliasEvent, where: Origin) -> Node:
        name = event.anchor
        if name not in self.anchors:
            raise _stop(where, f"*{name} is used here, but no complete value before it is marked &{name}")
        node, size = self.anchors[name]
        self.count += size - 1
        return node

    def _no_tag(
        self, event: yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent, where: Origin
    ) -> None:
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:str"):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.append(Problem(where, f"the YAML tag {tag} is not supported; leave it out"))

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


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = error.problem or error.context or "the parser gave up"
    if mark is None:
        return Problem(Origin(file), f"this is not YAML: {said}")
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    hint = next((f" ({advice})" for words, advice in _HINTS if words in said), "")
    if "\t" in line[: mark.column + 1]:
        hint = " (indent with spaces, not with tabs)"
    return Problem(Origin(file, mark.line + 1, mark.column + 1), f"this is not YAML: {said}{hint}")


def _unreadable(text: str, file: str) -> Problem:
    """The parser names a byte or an index; look for the character ourselves, so that the place is in lines."""
    for number, line in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line, 1):
            if yaml.reader.Reader.NON_PRINTABLE.match(character):
                return Problem(Origin(file, number, column), f"a control character ({character!r}) is not allowed here")
    return Problem(Origin(file), "this is not text that YAML can hold")
