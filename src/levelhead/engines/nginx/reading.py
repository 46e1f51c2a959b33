"""Reads an nginx configuration: text in, `Reading` out, with every problem nginx would have with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from levelhead.engines.nginx import passes, sites, standing, upstreams, variables
from levelhead.engines.nginx.contexts import check, context_of, wrapped
from levelhead.engines.nginx.includes import Merged, merge
from levelhead.engines.nginx.picture import (
    Context,
    LogFormat,
    Map,
    Module,
    Process,
    Reading,
    Site,
    Split,
    Upstream,
    Version,
)
from levelhead.engines.nginx.scope import Scope
from levelhead.engines.nginx.syntax import Directive
from levelhead.engines.nginx.values import number, time_s
from levelhead.engines.text import Problem
from levelhead.model import Origin

# Defaults changed over time; unless told, take those of the last stable branch before keepalive became the default.
USUAL_VERSION: Final[Version] = (1, 28, 0)


def read(
    files: Mapping[str, str], main: str, *, context: Context | None = None, version: Version = USUAL_VERSION
) -> Reading:
    """What the configuration that starts at the file `main` amounts to.

    `files` are the texts by name; an include takes from them, absolute ones also by their place below nginx's usual
    folders. `context` is where the text belongs, guessed where it is None: a file of conf.d belongs into http.
    `version` is that of the nginx it is for: some defaults depend on it. Raises ConfigError, with file, line and
    column, for a text that nginx could not split into directives, and nothing else.
    """
    merged = merge(files, main)
    where = context or context_of(merged.directives)
    checked = check(merged.directives, where)
    whole = wrapped(merged.directives, where)
    problems = dict.fromkeys((*merged.problems, *checked.problems))
    known_main = where == "main" and (context == "main" or bool(merged.directives))
    if known_main and not merged.absent and not any(d.name == "events" for d in merged.directives):
        problems[Problem(Origin(main, 1, 1), 'there is no "events" block, which nginx insists on')] = None
    found = _Found(version, not merged.absent, problems)
    top = Scope("http", whole, None, problems)
    for name in ("events", "http", "stream"):
        for again in top.here(name)[1:]:
            top.problem(again.origin, f'"{name}" is written twice')
    process = _process(top)
    for directive in whole:
        if directive.name in ("http", "stream") and directive.block is not None:
            found.module("http" if directive.name == "http" else "stream", directive.block, top)
    return _reading(where, merged, process, found, checked.unknown)


def _reading(where: Context, merged: Merged, process: Process, found: _Found, unknown: list[Directive]) -> Reading:
    return Reading(
        context=where,
        files=merged.files,
        process=process,
        upstreams=tuple(found.upstreams),
        sites=tuple(found.sites),
        splits=tuple(found.splits),
        maps=tuple(found.maps),
        formats=tuple(found.formats),
        directives=merged.directives,
        comments=merged.comments,
        unknown=tuple(unknown),
        absent=merged.absent,
        problems=tuple(found.problems),
    )


def _process(top: Scope) -> Process:
    events = top.here("events")
    inside = top.inner(events[-1].block or ()) if events else top.inner(())
    return Process(
        workers=top.value("worker_processes", 1, _workers, "a number or auto"),
        connections=inside.count("worker_connections", 512),
        open_files=top.value("worker_rlimit_nofile", None, number, "a whole number"),
        shutdown_timeout_s=top.value("worker_shutdown_timeout", None, time_s, "a time"),
        modules=tuple(word for d in top.here("load_module") for word in d.args),
    )


def _workers(text: str) -> int | Literal["auto"] | None:
    return "auto" if text == "auto" else number(text)


@dataclass(slots=True)
class _Found:
    """What was met on the way through http and stream."""

    version: Version
    whole: bool
    problems: dict[Problem, None]
    upstreams: list[Upstream] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)
    formats: list[LogFormat] = field(default_factory=list)

    def module(self, module: Module, directives: tuple[Directive, ...], top: Scope) -> None:
        scope = Scope(module, directives, top, self.problems)
        formats = standing.formats(scope.here("log_format"), module)
        self.formats += formats
        for directive in directives:
            if directive.block is None:
                continue
            if directive.name == "split_clients":
                self.splits.append(variables.split(directive, scope))
            elif directive.name in ("map", "geo"):
                self.maps.append(variables.mapping(directive, module))
        explicit = list(self._explicit(scope))
        self.upstreams += explicit
        groups = frozenset(u.name.lower() for u in explicit)
        known = variables.known(tuple(self.maps), tuple(self.splits), module, directives)
        around = passes.Surroundings(self.version, known, formats, groups)
        read = [sites.site(d, scope, around) for d in scope.here("server") if d.block is not None]
        self.sites += read
        made: dict[str, Upstream] = {}
        for passed in (p for s in read for p in s.passes):
            upstream = passes.implicit(passed, groups)
            if upstream is not None:
                made.setdefault(f"{passed.scheme}://{upstream.name}", upstream)
        self.upstreams += made.values()

    def _explicit(self, scope: Scope) -> Iterator[Upstream]:
        names: set[str] = set()
        for directive in scope.here("upstream"):
            if directive.block is None:
                continue
            if directive.text(0).lower() in names:
                scope.problem(directive.origin, f'upstream "{directive.text(0)}" is written twice')
            names.add(directive.text(0).lower())
            yield upstreams.upstream(directive, scope, self.version, whole=self.whole)
