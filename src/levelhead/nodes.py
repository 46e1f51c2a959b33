"""YAML text to a tree of nodes that know their line and column; what a language does with its oddities is its own.

Scalars stay text: what a value means is for whoever reads it. Aliases are followed, within a bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from levelhead.errors import ConfigError
from levelhead.model import Origin

MAX_NODES: Final = 500_000
NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written; `plain` where it stood without quotes and may be a number, a bool or nothing."""

    text: str
    where: Origin
    plain: bool = False

    @property
    def null(self) -> bool:
        return self.plain and self.text in NULLS


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
    entries: dict[str, Entry]
    where: Origin


Node = Scalar | Sequence | Mapping


class Composer(ABC):
    """One pass over the parser's events. It raises ConfigError, and yaml.YAMLError where the text is no YAML."""

    def __init__(self, text: str, file: str, max_depth: int) -> None:
        # libyaml where it was built in: about ten times faster.
        loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=loader))
        self._file, self._max_depth = file, max_depth
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    @abstractmethod
    def enter(self, entries: dict[str, Entry], key: Node, tag: str | None, where: Origin, value: Node) -> None:
        """Put a key of a mapping among its entries, or do not."""

    @abstractmethod
    def another(self, where: Origin) -> None:
        """A second document begins here; it is not read."""

    @abstractmethod
    def tagged(self, tag: str, where: Origin) -> None:
        """The value that begins here has a tag."""

    def scalar(self, event: yaml.ScalarEvent, where: Origin) -> Scalar:
        """One value."""
        # The parser gives "" as the style of a plain scalar, or None, by its implementation.
        return Scalar(event.value, where, not event.style)

    def document(self) -> Node | None:
        """The root of the first document; None where nothing stands there."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self.another(self._at(event))
                    break
                root = self._node(next(self._events), 0)
        return None if isinstance(root, Scalar) and root.null else root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        where = self._at(event)
        if depth > self._max_depth:
            raise stop(where, f"nested more than {self._max_depth} levels deep")
        self._count += 1
        if self._count > MAX_NODES:
            raise stop(where, f"more than {MAX_NODES} values, aliases counted each time they are used")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, where)
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):
            raise stop(where, "a value was expected here")
        before = self._count
        if event.tag is not None:
            self.tagged(event.tag, where)
        node = self._value(event, where, depth + 1)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._count - before + 1)
        return node

    def _value(self, event: yaml.Event, where: Origin, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, where)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth))
            return Sequence(tuple(items), where)
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth)
            value = self._node(next(self._events), depth)
            # An alias's node was written elsewhere; the key stands here.
            self.enter(entries, key, getattr(event, "tag", None), self._at(event), value)
        return Mapping(entries, where)

    def _alias(self, event: yaml.AliasEvent, where: Origin) -> Node:
        name = event.anchor
        if name not in self._anchors:
            raise stop(where, f"*{name} is used here, but no complete value before it is marked &{name}")
        node, size = self._anchors[name]
        self._count += size - 1
        return node

    def _at(self, event: yaml.Event) -> Origin:
        if event.start_mark is None:
            return Origin(self._file)
        return Origin(self._file, event.start_mark.line + 1, event.start_mark.column + 1)


def stop(where: Origin, what: str) -> ConfigError:
    """The error that says that reading cannot go on."""
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


def slip(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str, str]:
    """Where the parser gave up, what it says, and what to do about it in brackets, if that is known."""
    said = error.problem or error.context or "the parser gave up"
    hint = next((f" ({advice})" for words, advice in _HINTS if words in said), "")
    return error.problem_mark or error.context_mark, said, hint


def forbidden(text: str) -> tuple[int, int, str] | None:
    """Line, column and the first character that YAML does not allow; the parser names only a byte or an index."""
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found is None:
        return None
    at = found.start()
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), found[0]
