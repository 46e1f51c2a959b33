"""Says of every directive whether it may stand where it stands, and with that many arguments, as nginx would."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Final, assert_never

from levelhead.engines.nginx.directives import MANY, Shape, known
from levelhead.engines.nginx.picture import Context
from levelhead.engines.nginx.syntax import Directive, Word
from levelhead.engines.text import Problem
from levelhead.model import NOWHERE

# The context inside a block; what is not listed (map, types, another module's block) has words of its own.
_INSIDE: Final = {
    ("main", "events"): "events",
    ("main", "http"): "http",
    ("main", "stream"): "stream",
    ("http", "server"): "server",
    ("http", "upstream"): "upstream",
    ("server", "location"): "location",
    ("server", "if"): "server-if",
    ("location", "location"): "location",
    ("location", "if"): "location-if",
    ("location", "limit_except"): "limit_except",
    ("stream", "server"): "stream-server",
    ("stream", "upstream"): "stream-upstream",
}
_SAID: Final = {
    "main": "the top level", "server-if": "an if of a server", "location-if": "an if of a location",
    "stream-server": "a server of stream", "stream-upstream": "an upstream of stream",
}  # fmt: skip
_MOST_GUESSED: Final = 20
_SHORTEST_GUESSED: Final = 6

# In this order where a text would fit several.
_CONTEXTS: Final[tuple[Context, ...]] = (
    "main", "http", "server", "location", "upstream", "stream", "stream-server", "stream-upstream",
)  # fmt: skip


@dataclass(slots=True)
class Checked:
    """What was found: misplaced or misshapen directives, and those nginx itself does not know."""

    problems: list[Problem] = field(default_factory=list)
    unknown: list[Directive] = field(default_factory=list)


def check(directives: tuple[Directive, ...], context: Context) -> Checked:
    """Every directive of a configuration, or of a piece that belongs into `context`."""
    checked = Checked()
    _check(directives, context, checked)
    checked.problems += _mistyped(checked.unknown)
    return checked


def context_of(directives: tuple[Directive, ...]) -> Context:
    """Where a text belongs: the outermost context in which least of it is misplaced."""
    return min(_CONTEXTS, key=lambda context: _misfit(directives, context))


def _misfit(directives: tuple[Directive, ...], context: Context) -> tuple[int, int]:
    """How many directives at the top, and how many in all, have something wrong in this context."""
    table = known()
    top = sum(d.name in table and context not in table[d.name] for d in directives)
    checked = Checked()
    _check(directives, context, checked)
    return top, len(checked.problems)


def wrapped(directives: tuple[Directive, ...], context: Context) -> tuple[Directive, ...]:
    """A piece inside the blocks it belongs into, so that it reads like a whole; those blocks stand NOWHERE."""
    match context:
        case "main":
            return directives
        case "http" | "stream":
            return (_block(context, directives),)
        case "server" | "upstream":
            return wrapped((_block(context, directives),), "http")
        case "location":
            return wrapped((_block("location", directives, "/"),), "server")
        case "stream-server" | "stream-upstream":
            return wrapped((_block(context.removeprefix("stream-"), directives),), "stream")
        case _:
            assert_never(context)


def _block(name: str, inside: tuple[Directive, ...], *words: str) -> Directive:
    args = tuple(Word(word, NOWHERE) for word in words)
    return Directive(Word(name, NOWHERE), args, inside, NOWHERE)


def _check(directives: tuple[Directive, ...], context: str, checked: Checked) -> None:
    table = known()
    for directive in directives:
        places = table.get(directive.name)
        if places is None:
            checked.unknown.append(directive)
            continue
        shape = places.get(context)
        if shape is None:
            alike = [c for c, s in places.items() if s.block == (directive.block is not None)] or list(places)
            allowed = _either([_SAID.get(c, c) for c in alike])
            said = f'"{directive.name}" may stand in {allowed}, not in {_SAID.get(context, context)}'
            checked.problems.append(Problem(directive.origin, said))
            continue
        if fault := _swallowed(directive, context) or _misshapen(directive, shape):
            checked.problems.append(fault)
        inside = _INSIDE.get((context, directive.name))
        if inside is not None and directive.block:
            _check(directive.block, inside, checked)


def _misshapen(directive: Directive, shape: Shape) -> Problem | None:
    """What is wrong with the form; None where nothing is."""
    name, count = directive.name, len(directive.args)
    if shape.block and directive.block is None:
        return Problem(directive.end, f'"{name}" needs a block in braces, not a ";"')
    if not shape.block and directive.block is not None:
        return Problem(directive.origin, f'"{name}" takes no block: a ";" is missing')
    if not shape.least <= count <= shape.most:
        return Problem(directive.origin, f'"{name}" takes {_wanted(shape)}, not {count}')
    if shape.flag and directive.text(0).lower() not in ("on", "off"):
        return Problem(directive.args[0].origin, f'"{name}" is on or off, not "{directive.text(0)[:40]}"')
    return None


def _swallowed(directive: Directive, context: str) -> Problem | None:
    """A directive at the beginning of a line that became an argument of the one before it."""
    before = directive.head
    for word in directive.args:
        if word.origin.line > before.origin.line and not word.quote and context in known().get(word.text, ()):
            return Problem(before.origin, f'a ";" is missing after "{before.text[:40]}"')
        before = word
    return None


def _wanted(shape: Shape) -> str:
    noun = "argument" if shape.least == shape.most == 1 else "arguments"
    if shape.most == MANY:
        return f"at least {shape.least} {'argument' if shape.least == 1 else 'arguments'}"
    if shape.least == shape.most:
        return f"{shape.least or 'no'} {noun}"
    return f"{shape.least} to {shape.most} {noun}"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _mistyped(unknown: list[Directive]) -> list[Problem]:
    """Names that come so close to one of nginx's own that they can only be meant for it."""
    first: dict[str, Directive] = {}
    for directive in unknown:
        first.setdefault(directive.name, directive)
    problems = []
    for name in list(first)[:_MOST_GUESSED]:
        if not _SHORTEST_GUESSED <= len(name) <= 60:
            continue
        near = [k for k in known() if abs(len(k) - len(name)) <= 1 and k[:1] == name[:1]]
        meant = difflib.get_close_matches(name, near, 1, 0.93)
        problems += [
            Problem(d.origin, f'"{name}" is no directive of nginx: did you mean "{meant[0]}"?')
            for d in unknown
            if meant and d.name == name
        ]
    return problems
