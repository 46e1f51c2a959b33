"""What a section of HAProxy amounts to for rules: its lines with those it inherits, its servers in use, its log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from levelhead.engines.haproxy import picture as haproxy
from levelhead.model import Origin
from levelhead.review.base import Config

LOOPBACK: Final = ("127.", "::1", "localhost")
_LOG_OPTIONS: Final = ("httplog", "httpslog", "tcplog")
_FIELD: Final = re.compile(r"%(?:\{[^}]*\})?([A-Za-z]+)")
_FETCH: Final = re.compile(r"%(?:\{[^}]*\})?\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is in force in a section, its words without `no`; `own` where it stands in the section itself."""

    words: tuple[str, ...]
    origin: Origin
    own: bool
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    """How requests of a section are logged: `kind` is default, httplog, httpslog, tcplog or log-format.

    `fields` are the variables of a log-format (Tr, s ...) and the words of its sample fetches. `unknown` where a
    variable of the environment is part of it.
    """

    kind: str
    fields: frozenset[str]
    origin: Origin
    unknown: bool = False


def is_http(proxy: haproxy.Proxy) -> bool:
    """HAProxy's own mode is tcp."""
    return proxy.mode is not None and proxy.mode.value == "http"


def is_checked(server: haproxy.ServerLine) -> bool:
    return server.check.enabled or server.agent.enabled or bool(server.track)


def in_use(proxy: haproxy.Proxy) -> tuple[haproxy.ServerLine, ...]:
    """The servers that take requests while all is well."""
    return () if proxy.disabled else tuple(s for s in proxy.servers if not s.backup and not s.disabled)


def lines(config: Config[haproxy.Reading], proxy: haproxy.Proxy) -> tuple[Line, ...]:
    """The lines in force in a section: first those of the defaults it builds on, then its own."""
    return next((written for at, written in config.view(_written) if at == proxy.origin), ())


def _written(reading: haproxy.Reading) -> Iterator[tuple[Origin, tuple[Line, ...]]]:
    """The lines of every section; a defaults section comes before those that build on it."""
    done: dict[Origin | None, tuple[Line, ...]] = {}
    for proxy in reading.proxies:
        given = done.get(proxy.heir_of, ()) if proxy.heir_of is not None else ()
        inherited = tuple(Line(line.words, line.origin, False, line.negated) for line in given)
        done[proxy.origin] = (*inherited, *_own(proxy))
        yield proxy.origin, done[proxy.origin]


def _own(proxy: haproxy.Proxy) -> Iterator[Line]:
    for statement in proxy.statements:
        words = tuple(word.text for word in statement.words)
        if statement.active and words:
            negated = words[0] in ("no", "default") and len(words) > 1
            yield Line(words[1:] if negated else words, statement.origin, True, negated)


def log_line(config: Config[haproxy.Reading], proxy: haproxy.Proxy) -> Line | None:
    """The line that says where a section logs to; None where it says nothing, or `no log` does."""
    found: Line | None = None
    has_global = any(words[0].text == "log" for words in config.reading.globals.settings)
    for line in lines(config, proxy):
        if line.words[0] == "log":
            goes = not line.negated and (line.words[1:] != ("global",) or has_global)
            found = line if goes else None
    return found


def log(config: Config[haproxy.Reading], proxy: haproxy.Proxy) -> Log | None:
    """How a section logs its requests; None where it does not."""
    target = log_line(config, proxy)
    if target is None:
        return None
    found = Log("default", frozenset(), target.origin)
    for line in lines(config, proxy):
        kind = line.words[1] if line.words[0] == "option" and len(line.words) > 1 else line.words[0]
        if kind in _LOG_OPTIONS and line.words[0] == "option":
            found = Log("default" if line.negated else kind, frozenset(), line.origin)
        elif kind == "log-format":
            text = " ".join(line.words[1:])
            fetched = (word for inside in _FETCH.findall(text) for word in re.split(r"[^A-Za-z_.]+", inside))
            found = Log(kind, frozenset((*_FIELD.findall(text), *fetched)), line.origin, "$" in text)
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    return host.lower().startswith(LOOPBACK)
