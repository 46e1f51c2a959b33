"""Reads HAProxy configuration: text in, the picture of what HAProxy would build out, with what is wrong and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from levelhead.engines.haproxy import keywords, preprocess, proxies, sections, syntax, targets
from levelhead.engines.haproxy.picture import Global, Kind, Opaque, Proxy, Reading
from levelhead.engines.haproxy.preprocess import Setup, Statement
from levelhead.engines.haproxy.servers import Wrong
from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.haproxy.values import shown
from levelhead.engines.text import Problem
from levelhead.model import Origin

_UNNAMED: Final = frozenset({"global", "namespace_list", "traces", "crt-store"})
_NAMED_ONCE: Final = frozenset({"global", "defaults", "traces", "namespace_list"})
_ANY_SETUP: Final = Setup()


def read(files: Mapping[str, str], setup: Setup = _ANY_SETUP) -> Reading:
    """What HAProxy would build of these files, in this order (of a folder, HAProxy takes the .cfg files by name).

    Never fails on a configuration that is wrong: see `Reading.problems`. Raises ConfigError, with the place,
    for what is
    no text at all.
    """
    trees = tuple(syntax.parse(text, name) for name, text in files.items())
    statements, problems = preprocess.run(trees, setup, keywords.HEADERS)
    work = _Work(setup, Wrong(problems))
    for group in _groups(statements, work.wrong):
        work.section(group)
    lax = any(word.text == "none" for word in work.globals.setting("ssl-server-verify"))
    found = targets.resolved(work.proxies, work.others, lax, work.wrong)
    return Reading(trees, work.globals, found, tuple(work.others), _ordered(problems, tuple(files)))


def _ordered(problems: Sequence[Problem], files: tuple[str, ...]) -> tuple[Problem, ...]:
    rank = {name: n for n, name in enumerate(files)}
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda p: (rank.get(p.origin.file, 0), p.origin.line, p.origin.column)))


def _groups(statements: Sequence[Statement], wrong: Wrong) -> list[list[Statement]]:
    """Statements by section, each with its header first. A section ends with its file."""
    groups: list[list[Statement]] = []
    file = ""
    for statement in statements:
        if statement.origin.file != file:
            file, inside = statement.origin.file, False
        if statement.keyword.startswith("."):
            if groups and inside:
                groups[-1].append(statement)
        elif statement.active and statement.keyword in keywords.HEADERS:
            groups.append([statement])
            inside = True
        elif inside:
            groups[-1].append(statement)
        elif statement.active:
            near = keywords.likely(statement.keyword, keywords.HEADERS)
            wrong.error(statement.words[0], f"{shown(statement.keyword)} stands in no section{near}")
    return groups


class _Work:
    """What has been read so far: HAProxy reads sections in order, and defaults act on those after them."""

    def __init__(self, setup: Setup, wrong: Wrong) -> None:
        self.setup, self.wrong = setup, wrong
        self.words = keywords.words(setup.version)
        self.variables: Mapping[str, str] = setup.variables
        self.globals = Global()
        self.proxies: list[Proxy] = []
        self.others: list[Opaque] = []
        self.defaults: Proxy | None = None
        self.named: dict[str, list[Proxy]] = {}
        self.referenced: set[Origin] = set()
        self.implied: set[Origin] = set()

    def section(self, group: list[Statement]) -> None:
        header, *lines = group
        body = [s for s in lines if not s.keyword.startswith(".")]
        kind = header.keyword
        if kind == "global":
            self._global(header, body)
        elif kind in keywords.PROXIES:
            self._proxy(cast(Kind, kind), header, body)
        else:
            self._other(kind, header, body)

    def _global(self, header: Statement, body: list[Statement]) -> None:
        if len(header.words) > 1:
            self.wrong.error(header.words[1], f"'global' cannot handle the argument {shown(header.words[1].text)}")
        before = self.globals
        if before.origin is None:
            before = Global(origin=header.origin)
        self.globals = sections.read_global(before, body, self.words, self.variables, self.wrong)

    def _name(self, header: Statement, needed: bool) -> Word | None:
        """The name in a header; says so if it is missing or cannot be one."""
        kind = header.keyword
        if len(header.words) < 2 or not header.words[1].text:
            if needed:
                self.wrong.error(header.words[0], f"{kind!r} expects a name")
            return None
        name = header.words[1]
        if not name.parts:
            for at, char in enumerate(name.text):
                if not (char.isascii() and (char.isalnum() or char in "-_.:")):
                    what = f"character {char!r} cannot be in the name {shown(name.text)} of a {kind} section"
                    self.wrong.error(Origin(name.origin.file, name.origin.line, name.origin.column + at), what)
                    break
        return name

    def _proxy(self, kind: Kind, header: Statement, body: list[Statement]) -> None:
        words = header.words
        name, rest = None, words[1:]
        if not (kind == "defaults" and len(words) > 1 and words[1].text == "from"):
            name, rest = self._name(header, needed=kind != "defaults"), words[2:]
        base = self._base(kind, header, rest)
        around = proxies.Surroundings(self.words, self.variables, self.wrong)
        found = proxies.proxy(kind, name.text if name else "", header.origin, body, base, around)
        self.proxies.append(found)
        if kind == "defaults":
            self.defaults = found
            if found.name:
                self.named.setdefault(found.name, []).append(found)

    def _base(self, kind: Kind, header: Statement, rest: tuple[Word, ...]) -> Proxy | None:
        """The defaults that a section builds on: those after `from`, else the latest; a defaults section on none."""
        if not rest:
            return None if kind == "defaults" else self._implicit(header)
        if rest[0].text != "from":
            if kind in ("frontend", "listen"):
                what = f"unexpected {shown(rest[0].text)}: 'bind' opens listening addresses"
                self.wrong.error(rest[0], what)
            else:
                self.wrong.warning(rest[0], f"HAProxy ignores {shown(rest[0].text)}: only 'from' may follow the name")
            return None if kind == "defaults" else self.defaults
        if len(rest) < 2:
            self.wrong.error(rest[0], "'from' expects the name of a defaults section")
            return None
        if len(rest) > 2:
            self.wrong.error(rest[2], f"{kind!r} cannot handle the argument {shown(rest[2].text)}")
        found = self.named.get(rest[1].text, [])
        if not found and not rest[1].parts:
            near = keywords.likely(rest[1].text, self.named)
            self.wrong.error(rest[1], f"there is no defaults section {shown(rest[1].text)} before this{near}")
        elif len(found) > 1:
            places = " and ".join(str(p.origin) for p in found[:2])
            self.wrong.error(
                rest[1], f"{shown(rest[1].text)} is ambiguous: defaults sections at {places} have this name"
            )
        if found and kind != "defaults":
            self.referenced.add(found[-1].origin)
            if found[-1].origin in self.implied:
                self._mixed(found[-1], header)
        return found[-1] if found else None

    def _mixed(self, found: Proxy, header: Statement) -> None:
        # HAProxy raises an alert, and starts all the same.
        what = (
            f"{found.title} at {found.origin} is used by name in one place and without it in another; name it in both"
        )
        self.wrong.warning(header.words[0], what)

    def _implicit(self, header: Statement) -> Proxy | None:
        found = self.defaults
        if found is not None and found.name:
            self.implied.add(found.origin)
            if found.origin in self.referenced:
                self._mixed(found, header)
        return found

    def _other(self, kind: str, header: Statement, body: list[Statement]) -> None:
        if kind in self.words.sections or kind in keywords.HEADERS:
            name = self._name(header, needed=kind not in _UNNAMED)
            if len(header.words) > 2 and kind != "resolvers":
                extra = header.words[2]
                self.wrong.error(extra, f"{kind!r} cannot handle the argument {shown(extra.text)}")
            section = Opaque(kind, name.text if name else "", header.origin, tuple(body))
            sections.check_opaque(section, self.words, self.variables, self.wrong)
            self.others.append(section)
