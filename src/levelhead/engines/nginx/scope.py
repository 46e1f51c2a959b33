"""The blocks around a directive, innermost first: what nginx inherits from where, and the value that is in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from levelhead.engines.nginx.picture import Module
from levelhead.engines.nginx.syntax import Directive
from levelhead.engines.nginx.values import number, time_s
from levelhead.engines.text import Problem, Value
from levelhead.model import Origin

T = TypeVar("T")


@dataclass(slots=True)
class Scope:
    """One block and the blocks around it. `problems` is one for all, each told once: values nginx would refuse."""

    module: Module
    directives: tuple[Directive, ...]
    above: Scope | None
    problems: dict[Problem, None]
    by_name: dict[str, list[Directive]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {}
        for directive in self.directives:
            self.by_name.setdefault(directive.name, []).append(directive)

    def inner(self, directives: tuple[Directive, ...]) -> Scope:
        return Scope(self.module, directives, self, self.problems)

    def here(self, name: str) -> list[Directive]:
        """The directives of this name in this very block."""
        return self.by_name.get(name, [])

    def all(self, name: str) -> list[Directive]:
        """Those of the innermost block that has any: a block's own list replaces what it would inherit."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.by_name:
                return scope.by_name[name]
            scope = scope.above
        return []

    def one(self, name: str) -> Directive | None:
        """The one in force; None where nobody wrote it."""
        found = self.all(name)
        return found[-1] if found else None

    def value(self, name: str, default: T, parsed: Callable[[str], T | None], expected: str = "") -> Value[T]:
        """The first argument in force, parsed. One that is not what was `expected` is a problem; the default holds."""
        found = self.all(name)
        if not found or not found[-1].args:
            return Value(default)
        directive = found[-1]
        if len(found) > 1:
            self.problem(directive.origin, f'"{name}" is written twice in this block')
        word = directive.args[0]
        value = parsed(word.text)
        # A variable's value is known only while nginx runs, and a wrong number of arguments was told already.
        if value is None:
            if "$" not in word.text and len(directive.args) == 1:
                self.problem(word.origin, f'"{name}" takes {expected}, not "{word.text[:40]}"')
            return Value(default, word.origin)
        return Value(value, word.origin)

    def time(self, name: str, default_s: float) -> Value[float]:
        return self.value(name, default_s, time_s, "a time")

    def count(self, name: str, default: int) -> Value[int]:
        return self.value(name, default, number, "a whole number")

    def text(self, name: str, default: str) -> Value[str]:
        return self.value(name, default, str)

    def flag(self, name: str, default: bool) -> Value[bool]:
        # Whether it is on or off was checked with its form.
        return self.value(name, default, lambda text: text.lower() == "on")

    def problem(self, origin: Origin, sentence: str) -> None:
        self.problems[Problem(origin, sentence)] = None
