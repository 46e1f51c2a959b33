"""A message's fields as values in force: by name in either spelling, with their default where nobody set them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from levelhead.engines.envoy import scalars
from levelhead.engines.envoy.schema import camel, named
from levelhead.engines.text import Value
from levelhead.model import Origin
from levelhead.nodes import Entry, Mapping, Node, Scalar, Sequence

T = TypeVar("T")

_SECONDS: Final = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,9})?)s")


@dataclass(frozen=True, slots=True)
class View:
    """One message. A value of the wrong kind was told by the check and counts as not set."""

    node: Node

    @property
    def where(self) -> Origin:
        return self.node.where

    @property
    def type(self) -> str:
        """The short name of what an Any says it is; empty where it says nothing."""
        entry = self.entry("@type")
        return named(entry.value.text) if entry is not None and isinstance(entry.value, Scalar) else ""

    def entry(self, name: str) -> Entry | None:
        """The field of this name, where it is set to anything."""
        if not isinstance(self.node, Mapping):
            return None
        entry = self.node.entries.get(name) or self.node.entries.get(camel(name))
        if entry is None or (isinstance(entry.value, Scalar) and entry.value.null):
            return None
        return entry

    def has(self, name: str) -> bool:
        return self.entry(name) is not None

    def view(self, name: str) -> View | None:
        """The message in this field; None where it is not set."""
        entry = self.entry(name)
        return View(entry.value) if entry is not None and isinstance(entry.value, Mapping) else None

    def within(self, name: str) -> View:
        """The message in this field; one without any fields where it is not set."""
        return self.view(name) or View(Mapping({}, self.where))

    def views(self, name: str) -> tuple[View, ...]:
        """The messages in this field, one or several."""
        return tuple(View(node) for node in self.nodes(name) if isinstance(node, Mapping))

    def nodes(self, name: str) -> tuple[Node, ...]:
        entry = self.entry(name)
        if entry is None:
            return ()
        return entry.value.items if isinstance(entry.value, Sequence) else (entry.value,)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(node.text for node in self.nodes(name) if isinstance(node, Scalar))

    def keyed(self, name: str) -> tuple[tuple[str, View], ...]:
        """The messages of a field with free keys."""
        entry = self.entry(name)
        if entry is None or not isinstance(entry.value, Mapping):
            return ()
        return tuple((e.key, View(e.value)) for e in entry.value.entries.values() if isinstance(e.value, Mapping))

    def text(self, name: str, default: str = "") -> Value[str]:
        return self._value(name, default, lambda scalar: scalar.text)

    def word(self, name: str, default: str, values: tuple[str, ...]) -> Value[str]:
        """The value of an enum, in capitals, also where it is given by number."""

        def read(scalar: Scalar) -> str | None:
            number = scalars.whole(scalar)
            if number is not None:
                return values[number] if 0 <= number < len(values) else None
            return scalar.text.upper() if scalar.text.upper() in values else None

        return self._value(name, default, read)

    def flag(self, name: str, default: bool = False) -> Value[bool]:
        return self._value(name, default, scalars.flag)

    def whole(self, name: str, default: int) -> Value[int]:
        return self._value(name, default, scalars.whole)

    def count(self, name: str) -> Value[int | None]:
        """A whole number that has no default."""
        return self._value(name, None, scalars.whole)

    def seconds(self, name: str, default_s: float) -> Value[float]:
        return self._duration(name, default_s)

    def bound_s(self, name: str) -> Value[float | None]:
        """A duration that has no default."""
        return self._duration(name, None)

    def percent(self, name: str, default: float) -> Value[float]:
        """A Percent or a double, 0 to 100."""
        inner = self.view(name)
        found = inner.number("value", 0.0) if inner is not None else self.number(name, default)
        entry = self.entry(name)
        # A Percent without a value is 0, set where the message was.
        return Value(found.value, entry.where) if inner is not None and entry is not None else found

    def number(self, name: str, default: float) -> Value[float]:
        return self._value(name, default, _number)

    def _duration(self, name: str, default: T) -> Value[float | T]:
        entry = self.entry(name)
        if entry is None:
            return Value(default)
        read = _seconds(entry.value)
        return Value(default if read is None else read, entry.value.where)

    def _value(self, name: str, default: T, parsed: Callable[[Scalar], T | None]) -> Value[T]:
        entry = self.entry(name)
        if entry is None:
            return Value(default)
        node = entry.value
        # A number or a bool may be wrapped in a message of its own.
        if isinstance(node, Mapping) and set(node.entries) == {"value"}:
            node = node.entries["value"].value
        read = parsed(node) if isinstance(node, Scalar) else None
        return Value(default if read is None else read, node.where)


def _number(scalar: Scalar) -> float | None:
    whole = scalars.whole(scalar)
    return scalars.number(scalar) if whole is None else float(whole)


def _seconds(node: Node) -> float | None:
    if isinstance(node, Scalar):
        found = _SECONDS.fullmatch(node.text)
        return float(found[1]) if found is not None else None
    if isinstance(node, Mapping):
        view = View(node)
        return view.number("seconds", 0.0).value + view.number("nanos", 0.0).value / 1e9
    return None
