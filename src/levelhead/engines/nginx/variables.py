"""Reads map, geo, split_clients and set, and tells what a text with variables can come to as far as they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from levelhead.engines.nginx.picture import Map, Module, Part, Split
from levelhead.engines.nginx.scope import Scope
from levelhead.engines.nginx.syntax import Directive, Word
from levelhead.engines.nginx.values import percent

_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_MAP_OPTIONS: Final = frozenset({"hostnames", "volatile"})
_GEO_OPTIONS: Final = frozenset({"delete", "proxy", "proxy_recursive", "ranges"})
# Enough for any real configuration; beyond it, what a variable holds counts as not known.
_MOST_STEPS: Final = 500
_LONGEST: Final = 500
_DEEPEST: Final = 8
# nginx's own variables that hold a path or a query: what follows a server in a target.
_PATHS: Final = ("request_uri", "uri", "document_uri")
_QUERIES: Final = ("is_args", "args", "query_string")


def names(text: str) -> tuple[str, ...]:
    """The variables in a text, in order, each once, without their `$`."""
    return tuple(dict.fromkeys(braced or bare for braced, bare in _VARIABLE.findall(text)))


def split(directive: Directive, scope: Scope) -> Split:
    """A split_clients block; shares of more than everything are a problem."""
    parts = []
    for line in directive.block or ():
        if len(line.args) != 1:
            scope.problem(line.origin, "a line of split_clients is a percentage and a value")
            continue
        share = None if line.name == "*" else percent(line.name)
        if (share is None and line.name != "*") or share == 0:
            scope.problem(line.origin, f'"{line.name[:40]}" is no percentage above 0')
            continue
        parts.append(Part(share, line.args[0]))
    total = sum(part.share or 0.0 for part in parts)
    if total > 1 + 1e-9:
        scope.problem(directive.origin, f"the shares add up to {total:.2%}")
    key = directive.args[0] if directive.args else directive.head
    return Split(scope.module, key, _bare(directive.text(1)), tuple(parts), directive.origin)


def mapping(directive: Directive, module: Module) -> Map:
    """A map or geo block."""
    if directive.name == "map":
        source, variable, options = directive.text(0), directive.text(1), _MAP_OPTIONS
    else:
        two = len(directive.args) == 2
        source = directive.text(0) if two else "$remote_addr"
        variable, options = directive.text(1 if two else 0), _GEO_OPTIONS
    entries: list[tuple[Word, Word]] = []
    default = None
    for line in directive.block or ():
        if not line.args or line.name in options:
            continue
        if line.name == "default":
            default = line.args[0]
        else:
            entries.append((line.head, line.args[0]))
    kind: Literal["map", "geo"] = "map" if directive.name == "map" else "geo"
    return Map(module, kind, source, _bare(variable), tuple(entries), default, directive.origin)


@dataclass(frozen=True, slots=True)
class Known:
    """What each variable of a module can hold as far as the text says; `open_ended` ones may hold something else."""

    values: Mapping[str, tuple[str, ...]]
    open_ended: frozenset[str]

    def expand(self, text: str) -> tuple[tuple[str, ...], bool]:
        """What a text can come to, and whether it may come to something else as well."""
        done: dict[str, None] = {}
        waiting, open_ended = [(text, 0)], False
        for _ in range(_MOST_STEPS):
            if not waiting:
                return tuple(done), open_ended
            at_hand, depth = waiting.pop()
            found = _VARIABLE.search(at_hand)
            if found is None:
                done[at_hand] = None
                continue
            name = found[1] or found[2]
            values = self.values.get(name, ())
            unclear = depth >= _DEEPEST or not values or len(at_hand) > _LONGEST
            open_ended = open_ended or unclear or name in self.open_ended
            if not unclear:
                before, after = at_hand[: found.start()], at_hand[found.end() :]
                waiting += [(before + value + after, depth + 1) for value in reversed(values[:_MOST_STEPS])]
        return tuple(done), True


def known(maps: tuple[Map, ...], splits: tuple[Split, ...], module: Module, everywhere: tuple[Directive, ...]) -> Known:
    """The variables of a module: those set here, and the few of nginx's own that tell nothing about a server."""
    values: dict[str, dict[str, None]] = {name: {"/": None} for name in _PATHS} | {
        name: {"": None} for name in _QUERIES
    }
    values["scheme"] = {"http": None, "https": None}
    open_ended: set[str] = set()
    for made in maps:
        if made.module != module:
            continue
        words = [value for _, value in made.entries]
        # Without a default the variable is empty where nothing matches.
        words += [made.default] if made.default is not None else []
        values.setdefault(made.variable, {}).update(dict.fromkeys(w.text for w in words))
        if made.default is None:
            open_ended.add(made.variable)
    for cut in splits:
        if cut.module == module:
            values.setdefault(cut.variable, {}).update(dict.fromkeys(p.value.text for p in cut.parts))
    for directive in _sets(everywhere):
        values.setdefault(_bare(directive.text(0)), {})[directive.text(1)] = None
    return Known({name: tuple(texts) for name, texts in values.items()}, frozenset(open_ended))


def _sets(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    waiting = list(reversed(directives))
    while waiting:
        directive = waiting.pop()
        if directive.name == "set" and len(directive.args) == 2:
            yield directive
        waiting += reversed(directive.block or ())


def _bare(variable: str) -> str:
    return variable.removeprefix("$")
