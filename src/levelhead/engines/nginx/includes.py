"""Puts the files of one nginx configuration together: every include gives way to what it names, as nginx reads it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from levelhead.engines.nginx.syntax import MAX_DEPTH, Comment, Directive, Tree, parse
from levelhead.engines.text import Problem
from levelhead.errors import ConfigError
from levelhead.model import Origin

MAX_DIRECTIVES: Final = 250_000

# Where packages and images keep their configuration: absolute includes mean the folder of the files at hand.
_HOMES: Final = (
    "/etc/nginx/", "/usr/local/nginx/conf/", "/usr/local/openresty/nginx/conf/", "/usr/local/etc/nginx/",
    "/opt/nginx/conf/", "/opt/homebrew/etc/nginx/", "/usr/share/nginx/",
)  # fmt: skip
# Shipped with nginx or its packages: they set MIME types and request parameters, nothing that balances.
_SHIPPED: Final = frozenset(
    {"mime.types", "fastcgi.conf", "fastcgi_params", "scgi_params", "uwsgi_params", "proxy_params", "koi-utf",
     "koi-win", "win-utf"}
)  # fmt: skip

_MARK: Final = "\ufeff"
_SPECIAL: Final = re.compile(r"[\\\[&~|^]")
_SIGN: Final = re.compile(r"\[[!^]?[^]/][^]/]*\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Absent:
    """An include whose file was not given: what it would set is unknown."""

    pattern: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Merged:
    """One configuration: its directives with includes resolved, its files in the order nginx meets them."""

    directives: tuple[Directive, ...]
    files: tuple[str, ...]
    comments: tuple[Comment, ...]
    absent: tuple[Absent, ...]
    problems: tuple[Problem, ...]


def merge(files: Mapping[str, str], main: str) -> Merged:
    """The configuration that starts at `main`. Raises ConfigError for a file that nginx could not read as such."""
    if main not in files:
        raise ConfigError("no such file among those given", file=main)
    return _Merger(files, main).merged()


def wanted(text: str, name: str) -> tuple[str, ...]:
    """The patterns that a text includes. Raises ConfigError for a file that nginx could not read as such."""
    return tuple(d.text(0) for d in _includes(parse(text, name).directives) if len(d.args) == 1)


def places(pattern: str, main: str) -> Iterator[str]:
    """Where the files of an include may be, seen from the main file; likeliest first, wildcards as they are."""
    return _Found({}, main).paths(pattern)


def roots(files: Mapping[str, str]) -> tuple[str, ...]:
    """The files that no other one includes, in their order: where reading begins. All, if they include each other."""
    return begins(reach({name: wanted(text, name) for name, text in files.items()}))


def begins(reached: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The same of what `reach` found."""
    included = {name for main, names in reached.items() for name in names if name != main}
    return tuple(name for name in reached if name not in included) or tuple(reached)


def reach(patterns: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Every file with those that it takes in, itself first, if reading begins there. `patterns` are its includes."""
    by_path = _by_path(patterns)
    reached = {}
    for main in patterns:
        found, names = _Found(by_path, main), {main: None}
        waiting = [main]
        while waiting:
            new = [n for p in patterns[waiting.pop()] for n in found.named(p) if n not in names]
            names |= dict.fromkeys(new)
            waiting += new
        reached[main] = tuple(names)
    return reached


def _by_path(files: Iterable[str]) -> dict[str, str]:
    return {posixpath.normpath(name): name for name in files}


def _includes(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    waiting = list(directives)
    while waiting:
        directive = waiting.pop()
        if directive.name == "include":
            yield directive
        waiting += directive.block or ()


class _Found:
    """Which of the given files an include means, seen from the main file."""

    def __init__(self, by_path: Mapping[str, str], main: str) -> None:
        self.by_path = by_path
        self.asked: dict[str, list[str]] = {}
        home = posixpath.dirname(posixpath.normpath(main))
        # Relative includes start at the main file's folder. A file of conf.d given alone means the folder above.
        self.bases = [home]
        while (above := posixpath.dirname(self.bases[-1])) != self.bases[-1]:
            self.bases.append(above)

    def named(self, pattern: str) -> list[str]:
        """The files of an include, in the order nginx reads them; none where none was given."""
        if pattern not in self.asked:
            self.asked[pattern] = self._named(pattern)
        return self.asked[pattern]

    def _named(self, pattern: str) -> list[str]:
        for path in self.paths(pattern):
            if not is_glob(pattern):
                if path in self.by_path:
                    return [self.by_path[path]]
                continue
            matches = _glob(path)
            if names := [self.by_path[p] for p in sorted(self.by_path) if matches.fullmatch(p)]:
                return names
        return []

    def paths(self, pattern: str) -> Iterator[str]:
        """Where it may be, likeliest first."""
        if not pattern.startswith("/"):
            yield from (posixpath.normpath(posixpath.join(base, pattern)) for base in self.bases)
            return
        yield posixpath.normpath(pattern)
        for home in _HOMES:
            if pattern.startswith(home):
                rest = pattern.removeprefix(home)
                yield from (posixpath.normpath(posixpath.join(base, rest)) for base in self.bases)


def is_glob(pattern: str) -> bool:
    """Whether nginx takes this include for a pattern: then it may match nothing at all."""
    return any(character in pattern for character in "*?[")


def _glob(path: str) -> re.Pattern[str]:
    """As glob(3): a wildcard stands for neither a slash nor a leading dot."""
    try:
        return re.compile("/".join(_part(part) for part in path.split("/")))
    except re.error:
        return re.compile(re.escape(path))


def _part(part: str) -> str:
    first, *others = [_fixed(piece) for piece in re.split(r"\*+", part)]
    if part[:1] in ("*", "?", "["):
        first = rf"(?!\.){first}"
    if not others:
        return first
    *middle, last = others
    # What stands between two stars is found at its first place, once and for all: so it never takes long.
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle) + f"[^/]*{last}"


def _fixed(piece: str) -> str:
    """A piece of a pattern without stars."""
    return "".join(_one(found[0]) for found in _SIGN.finditer(piece))


def _one(sign: str) -> str:
    if sign == "?":
        return "[^/]"
    if len(sign) == 1:
        return re.escape(sign)
    negated = sign[1] in "!^"
    inside = _SPECIAL.sub(r"\\\g<0>", sign[2 if negated else 1 : -1])
    return f"[^/{inside}]" if negated else f"[{inside}]"


class _Merger:
    """Reads each file once and puts it wherever it is included."""

    def __init__(self, files: Mapping[str, str], main: str) -> None:
        self.files, self.main = files, main
        self.found = _Found(_by_path(files), main)
        self.trees: dict[str, Tree] = {}
        self.count = 0
        self.absent: list[Absent] = []
        self.problems: list[Problem] = []

    def merged(self) -> Merged:
        directives = self._file(self.main, ())
        comments = tuple(c for tree in self.trees.values() for c in tree.comments)
        return Merged(directives, tuple(self.trees), comments, tuple(self.absent), tuple(self.problems))

    def _file(self, name: str, inside: tuple[str, ...]) -> tuple[Directive, ...]:
        if name not in self.trees:
            text = self.files[name]
            if text.startswith(_MARK):
                said = "a byte order mark stands before the first word, and nginx takes it for a part of it"
                self.problems.append(Problem(Origin(name, 1, 1), said))
                text = " " + text[1:]
            self.trees[name] = parse(text, name)
        return self._expanded(self.trees[name].directives, (*inside, name), 0)

    def _expanded(
        self, directives: tuple[Directive, ...], inside: tuple[str, ...], depth: int
    ) -> tuple[Directive, ...]:
        expanded: list[Directive] = []
        for directive in directives:
            self._count(directive, depth + len(inside))
            if directive.name == "include" and len(directive.args) == 1 and directive.block is None:
                expanded += self._included(directive, inside)
            elif directive.block:
                expanded.append(replace(directive, block=self._expanded(directive.block, inside, depth + 1)))
            else:
                expanded.append(directive)
        return tuple(expanded)

    def _included(self, directive: Directive, inside: tuple[str, ...]) -> list[Directive]:
        pattern = directive.text(0)
        names = self.found.named(pattern)
        if not names and not is_glob(pattern) and posixpath.basename(pattern) not in _SHIPPED:
            self.absent.append(Absent(pattern, directive.args[0].origin))
        included: list[Directive] = []
        for name in names:
            if name in inside:
                self.problems.append(Problem(directive.origin, f"{name} includes itself: nginx would never stop"))
                continue
            included += self._file(name, inside)
        return included

    def _count(self, directive: Directive, depth: int) -> None:
        self.count += 1
        where = directive.origin
        if self.count > MAX_DIRECTIVES:
            said = f"more than {MAX_DIRECTIVES} directives, those of included files counted each time"
            raise ConfigError(said, file=where.file, line=where.line, column=where.column)
        if depth > MAX_DEPTH:
            said = f"blocks and includes are nested more than {MAX_DEPTH} deep"
            raise ConfigError(said, file=where.file, line=where.line, column=where.column)
