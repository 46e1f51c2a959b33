"""One defaults, frontend, backend or listen section from its statements, on top of the defaults it inherits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, TypeVar

from levelhead.engines.haproxy import directives, rules, servers
from levelhead.engines.haproxy.grammar import complaint
from levelhead.engines.haproxy.keywords import ANY_VERSION, Words, known_elsewhere, likely
from levelhead.engines.haproxy.picture import (
    Balance,
    Bind,
    Cookie,
    HashType,
    Kind,
    Option,
    Proxy,
    Route,
    Rule,
    ServerLine,
    Setting,
    Timeouts,
)  # fmt: skip
from levelhead.engines.haproxy.preprocess import Statement
from levelhead.engines.haproxy.servers import Wrong
from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.haproxy.values import Bad, address, duration_s, leading_integer, shown
from levelhead.model import Origin

T = TypeVar("T")

_CHECK_OPTIONS: Final = {
    "httpchk": "http", "tcp-check": "tcp-check", "mysql-check": "mysql", "pgsql-check": "pgsql", "redis-check": "redis",
    "smtpchk": "smtp", "ldap-check": "ldap", "ssl-hello-chk": "ssl-hello", "spop-check": "spop",
    "external-check": "external",
}  # fmt: skip
_CONNECTION_MODES: Final = ("httpclose", "http-server-close", "http-keep-alive", "forceclose", "http-tunnel")
_ONLY_SERVERS: Final = frozenset({
    "balance", "hash-type", "hash-balance-factor", "server", "server-template", "default-server", "cookie", "retries",
    "retry-on",
    "fullconn", "dispatch", "use-server", "http-check", "tcp-check", "stick", "http-reuse", "source",
    "max-keep-alive-queue",
    "load-server-state-from-file", "external-check", "http-send-name-header", "persist", "dynamic-cookie-key",
    "force-persist", "ignore-persist",
})  # fmt: skip
_ONLY_TRAFFIC: Final = frozenset({
    "bind", "use_backend", "default_backend", "monitor-uri", "monitor", "unique-id-format", "unique-id-header",
    "backlog",
    "rate-limit", "capture", "quic-initial", "log-format", "error-log-format",
})  # fmt: skip
_REFUSED_WITHOUT_SERVERS: Final = frozenset({"server", "server-template", "default-server"})
_NOT_IN_DEFAULTS: Final = frozenset({
    "server", "server-template", "bind", "use_backend", "use-server", "stick-table", "stick", "dispatch", "redirect",
    "use-fcgi-app", "capture", "declare", "id", "force-persist", "ignore-persist", "description", "guid",
})  # fmt: skip
_ONLY_NAMED_DEFAULTS: Final = frozenset({
    "acl", "http-request", "http-response", "http-after-response", "tcp-request", "tcp-response",
})  # fmt: skip
_NEGATABLE: Final = frozenset({"option", "log", "type"})
_TIMEOUTS_OF: Final = {
    "frontend": frozenset({"client", "client_fin", "client_hs", "http_keep_alive", "http_request", "tarpit"}),
    "backend": frozenset({"check", "connect", "http_keep_alive", "http_request", "queue", "server", "server_fin",
                          "tarpit", "tunnel"}),
}  # fmt: skip
_NUMBERS: Final = {
    "maxconn": "maxconn", "fullconn": "fullconn", "backlog": "backlog", "retries": "retries",
    "max-keep-alive-queue": "max_keep_alive_queue", "hash-balance-factor": "hash_balance_factor",
}  # fmt: skip
_TEXTS: Final = {
    "mode": "mode", "http-reuse": "http_reuse", "source": "source", "load-server-state-from-file": "load_server_state",
}  # fmt: skip
_ON_TOP: Final = ("http-request", "http-response", "http-after-response")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a section is read with: the words of the version, the variables, and where problems go."""

    words: Words
    variables: Mapping[str, str]
    wrong: Wrong


def proxy(
    kind: Kind, name: str, origin: Origin, statements: Sequence[Statement], base: Proxy | None, around: Surroundings
) -> Proxy:
    """The section; `base` is the defaults section it inherits from. Targets are checked later, by `targets`."""
    draft = _Draft(kind, name, origin, base, around)
    for statement in statements:
        if statement.active and statement.words:
            draft.read(statement.words)
    return replace(draft.done(), statements=tuple(statements))


def _heir(kind: Kind, name: str, origin: Origin, base: Proxy | None) -> Proxy:
    """A section before its own lines: what the defaults give it."""
    if base is None:
        return Proxy(kind, name, origin)
    title = base.title

    def handed(setting: Setting[T] | None) -> Setting[T] | None:
        return Setting(setting.value, setting.origin, setting.defaults or title) if setting else None

    kept = _TIMEOUTS_OF.get(kind)
    times = {n: handed(getattr(base.timeouts, n)) for n in Timeouts.__slots__ if kept is None or n in kept}
    given: dict[str, Any] = {
        "heir_of": base.origin, "mode": handed(base.mode), "disabled": base.disabled, "timeouts": Timeouts(**times),
        "options": tuple(Option(o.name, o.on, o.arguments, o.origin, o.defaults or title) for o in base.options),
        "acls": base.acls, "rules": base.rules,
    }  # fmt: skip
    if kind != "backend":
        last = base.default_backend
        given |= {"maxconn": handed(base.maxconn), "backlog": handed(base.backlog),
                  "default_backend": replace(last, defaults=title) if last else None}  # fmt: skip
    if kind != "frontend":
        handing = ("balance", "hash_type", "hash_balance_factor", "retries", "retry_on", "fullconn",
                   "max_keep_alive_queue", "http_reuse", "cookie", "source", "load_server_state")  # fmt: skip
        given |= {name: handed(getattr(base, name)) for name in handing}
        given["default_server"] = tuple(replace(o, inherited=True) for o in base.default_server)
        given["checks"] = replace(base.checks, defaults=base.checks.defaults or title)
    return Proxy(kind, name, origin, **given)


class _Draft:
    """A section while its lines are read; `start` is what the defaults gave it."""

    def __init__(self, kind: Kind, name: str, origin: Origin, base: Proxy | None, around: Surroundings) -> None:
        self.kind, self.name, self.around, self.wrong = kind, name, around, around.wrong
        self.start = _heir(kind, name, origin, base)
        self.changes: dict[str, Any] = {}
        self.timeouts: dict[str, Setting[float]] = {}
        self.options = {option.name: option for option in self.start.options}
        self.checks = self.start.checks
        self.own_rules = {"http": False, "tcp": False}
        self.default_server = self.start.default_server
        self.binds: list[Bind] = []
        self.servers: list[ServerLine] = []
        self.routes: list[Route] = []
        self.use_servers: list[Route] = []
        self.acls: list[Rule] = list(self.start.acls)
        self.acl_names = set(rules.PREDEFINED) | {acl.action for acl in self.acls}
        self.rules: list[Rule] = list(self.start.rules)
        self.stick_rules: list[Rule] = []

    def done(self) -> Proxy:
        timeouts = replace(self.start.timeouts, **self.timeouts) if self.timeouts else self.start.timeouts
        return replace(
            self.start, **self.changes, timeouts=timeouts,
            options=tuple(self.options.values()), checks=self.checks, default_server=self.default_server,
            binds=tuple(self.binds), servers=_numbered(self.servers), use_backends=tuple(self.routes),
            use_servers=tuple(self.use_servers), acls=tuple(self.acls), rules=tuple(self.rules),
            stick_rules=tuple(self.stick_rules),
        )  # fmt: skip

    def read(self, words: tuple[Word, ...]) -> None:
        negation = words[0].text if words[0].text in ("no", "default") and len(words) > 1 else ""
        if negation:
            words = words[1:]
            if words[0].text not in _NEGATABLE:
                self.wrong.error(words[0], f"only options and log can be negated, not {shown(words[0].text)}")
        keyword, rest = words[0], words[1:]
        name = keyword.text
        if keyword.parts:
            return
        if not self._may_stand_here(keyword):
            return
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, keyword, rest, negation)
        elif name in directives.FAMILIES:
            self._family(keyword, rest)
        elif name in directives.PROXY:
            self._plain(keyword, rest)

    def _may_stand_here(self, keyword: Word) -> bool:
        """Says so, and is False, where HAProxy would not read the line; what it only ignores is read no further."""
        name, wrong = keyword.text, self.wrong
        words = self.around.words
        if name in words.removed.get("listen", ()):
            tell = wrong.warning if words.name == ANY_VERSION else wrong.error
            tell(keyword, f"{name!r} is not supported any more")
            return False
        if name not in words.of(self.kind) and name not in ("timeout",):
            elsewhere = known_elsewhere("listen", name)
            hint = f"; {elsewhere} does" if elsewhere else likely(name, words.of(self.kind))
            wrong.error(keyword, f"{words.name} does not know {shown(name)} in a {self.kind} section{hint}")
            return False
        if self.kind == "defaults":
            if name in _NOT_IN_DEFAULTS or (name in _ONLY_NAMED_DEFAULTS and not self.name):
                where = "a defaults section" if name in _NOT_IN_DEFAULTS else "a defaults section without a name"
                wrong.error(keyword, f"{name!r} cannot stand in {where}")
                return False
            return True
        side = "servers" if self.kind == "frontend" and name in _ONLY_SERVERS else ""
        side = "clients" if self.kind == "backend" and name in _ONLY_TRAFFIC else side
        if side:
            tell = wrong.error if name in _REFUSED_WITHOUT_SERVERS else wrong.warning
            tell(keyword, f"{name!r} is ignored: the {self.kind} {self.name} has no {side}")
        return not side

    def _complain(self, name: str, words: Sequence[Word], keyword: Word, pattern: str) -> bool:
        """True if the words can be used."""
        found = complaint(name, words, pattern)
        if found is None:
            return True
        tell = self.wrong.error if found.kind == "error" else self.wrong.warning
        tell(found.at or (words[-1] if words else keyword), found.sentence)
        return found.kind == "warning"

    def _plain(self, keyword: Word, rest: tuple[Word, ...]) -> None:
        name = keyword.text
        if not self._complain(name, rest, keyword, directives.PROXY[name]):
            return
        value = rest[0] if rest else None
        if value is None or value.parts:
            if name in ("disabled", "enabled"):
                self.changes["disabled"] = name == "disabled"
        elif name in _NUMBERS:
            self.changes[_NUMBERS[name]] = Setting(leading_integer(value.text), keyword.origin)
        elif name in _TEXTS:
            self.changes[_TEXTS[name]] = Setting(value.text, keyword.origin)
        elif name == "id":
            self.changes["number"] = leading_integer(value.text)

    def _family(self, keyword: Word, rest: tuple[Word, ...]) -> None:
        name = keyword.text
        known = [key.split()[1] for key in directives.PROXY if key.startswith(name + " ")]
        if not rest or not rest[0].text:
            self.wrong.error(keyword, f"{name!r} expects one of {', '.join(known)}")
        elif rest[0].text not in known:
            if not rest[0].parts:
                self.wrong.error(rest[0], f"{name!r} does not know {shown(rest[0].text)}{likely(rest[0].text, known)}")
        else:
            full = f"{name} {rest[0].text}"
            if self._complain(full, rest[1:], rest[0], directives.PROXY[full]) and name == "stick":
                self.stick_rules.append(rules.rule("stick", rest, keyword.origin))


def _numbered(found: Sequence[ServerLine]) -> tuple[ServerLine, ...]:
    """Ids as HAProxy gives them: the first that is free, counting on from the place of the server."""
    used = {s.number for s in found if s.number}
    numbered, following = [], 1
    for server in found:
        if not server.number:
            while following in used:
                following += 1
            used.add(following)
            server = replace(server, number=following)
        numbered.append(server)
        following += 1
    return tuple(numbered)


def _timeout(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    known = directives.TIMEOUTS.split()
    if not rest or not rest[0].text:
        draft.wrong.error(keyword, f"'timeout' expects one of {', '.join(known)}")
        return
    which = rest[0]
    if which.text not in known:
        if not which.parts:
            draft.wrong.error(which, f"'timeout' does not know {shown(which.text)}{likely(which.text, known)}")
        return
    if not draft._complain(f"timeout {which.text}", rest[1:], which, "TIME"):
        return
    time = duration_s(rest[1].text)
    name = which.text.replace("-", "_")
    kept = _TIMEOUTS_OF.get(draft.kind)
    if kept is not None and name not in kept:
        draft.wrong.warning(
            which, f"'timeout {which.text}' is ignored: the {draft.kind} {draft.name} has no use for it"
        )
    elif not isinstance(time, Bad):
        draft.timeouts[name] = Setting(time, keyword.origin)


def _option(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if not rest or not rest[0].text:
        draft.wrong.error(keyword, "'option' expects a name")
        return
    name = rest[0].text
    known = draft.around.words.options
    if name not in known:
        if not rest[0].parts:
            draft.wrong.error(rest[0], f"unknown option {shown(name)}{likely(name, known)}")
        return
    sides = draft.around.words.sides.get(name)
    pattern = directives.PROXY.get(f"option {name}", "" if sides is not None else "...")
    if negation == "no" and name in _CHECK_OPTIONS and name != "smtpchk":
        draft.wrong.error(rest[0], f"'option {name}' cannot be negated")
    if not draft._complain(f"option {name}", rest[1:], rest[0], pattern):
        return
    if negation == "default":
        draft.options.pop(name, None)
        return
    if (
        sides
        and draft.kind in ("frontend", "backend")
        and {"frontend": "FE", "backend": "BE"}[draft.kind] not in sides.split("+")
    ):
        draft.wrong.warning(rest[0], f"'option {name}' is ignored: {draft.kind} {draft.name} has no use for it")
        return
    on = negation != "no"
    if name in _CONNECTION_MODES and on:
        for other in _CONNECTION_MODES:
            draft.options.pop(other, None)
    if name in _CHECK_OPTIONS and draft.kind != "frontend":
        _check_type(draft, name, rest[1:], keyword.origin, on)
    draft.options[name] = Option(name, on, tuple(w.text for w in rest[1:]), keyword.origin)


def _check_type(draft: _Draft, name: str, rest: tuple[Word, ...], origin: Origin, on: bool) -> None:
    for other in _CHECK_OPTIONS:
        draft.options.pop(other, None)
    if not on:
        draft.checks = replace(draft.checks, type="tcp", origin=origin, defaults=None)
        return
    words = [w.text for w in rest]
    method, uri, version = "", "", ""
    headers: tuple[tuple[str, str], ...] = ()
    if name == "httpchk":
        method = words[0] if len(words) > 1 else "OPTIONS"
        uri = words[1] if len(words) > 1 else words[0] if words else "/"
        version, _, more = (words[2] if len(words) > 2 else "HTTP/1.0").partition("\r\n")
        headers = tuple((n, v.strip()) for n, _, v in (line.partition(":") for line in more.split("\r\n")) if n)
    draft.checks = replace(
        draft.checks, type=_CHECK_OPTIONS[name], origin=origin, method=method, uri=uri, version=version,
        headers=headers,
        defaults=None,
    )  # fmt: skip


def _check_line(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    family = keyword.text
    rules.check_step(family, rest, keyword, draft.wrong)
    if not rest:
        return
    action, checks = rest[0].text, draft.checks
    if family == "http-check" and action in ("disable-on-404", "send-state"):
        bare = replace(checks, disable_on_404=True) if action == "disable-on-404" else replace(checks, send_state=True)
        draft.checks = bare
        return
    which = "http" if family == "http-check" else "tcp"
    before = () if not draft.own_rules[which] else checks.http_rules if which == "http" else checks.tcp_rules
    draft.own_rules[which] = True
    new = (*before, Rule(family, action, tuple(w.text for w in rest[1:]), "", (), keyword.origin))
    if which == "tcp":
        draft.checks = replace(checks, tcp_rules=new)
        return
    sent = _sent(rest[1:]) if action == "send" else {}
    draft.checks = replace(checks, http_rules=new, **sent)  # type: ignore[arg-type]


def _sent(words: tuple[Word, ...]) -> dict[str, object]:
    """What an `http-check send` overrides of the request."""
    texts = [w.text for w in words]
    found: dict[str, object] = {}
    headers = []
    for at, text in enumerate(texts[:-1]):
        if text in ("meth", "uri", "ver"):
            found[{"meth": "method", "uri": "uri", "ver": "version"}[text]] = texts[at + 1]
        elif text == "hdr" and at + 2 < len(texts):
            headers.append((texts[at + 1], texts[at + 2]))
    return {**found, "headers": tuple(headers)} if headers else found


def _balance(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    found: Balance | None = rules.balance(rest, keyword, draft.wrong)
    if found is not None:
        draft.changes["balance"] = Setting(found, keyword.origin)


def _hash_type(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    found: HashType | None = rules.hash_type(rest, keyword, draft.wrong)
    if found is not None:
        draft.changes["hash_type"] = Setting(found, keyword.origin)


def _cookie(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if draft._complain("cookie", rest, keyword, directives.PROXY["cookie"]):
        words = tuple(w.text for w in rest[1:])
        for word, value in pairwise(rest[1:]):
            if word.text in ("attr", "domain") and ";" in value.text:
                draft.wrong.error(value, f"'cookie': {shown(value.text)} has a semicolon, which ends an attribute")
        draft.changes["cookie"] = Setting(Cookie(rest[0].text, words), keyword.origin)


def _retry_on(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if draft._complain("retry-on", rest, keyword, "ANY ..."):
        rules.check_retry_on(rest, draft.wrong)
        draft.changes["retry_on"] = Setting(tuple(w.text for w in rest), keyword.origin)


def _server(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    around = draft.around
    draft.servers += servers.server((keyword, *rest), around.words, draft.default_server, around.variables, draft.wrong)


def _default_server(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if not rest or not rest[0].text:
        draft.wrong.error(keyword, "'default-server' expects options of servers")
        return
    found = servers.options(rest, draft.around.words.server, "server", "default-server", draft.wrong)
    for option in found:
        if option.name == "id":
            draft.wrong.error(option.origin, f"{option.name!r} cannot stand in default-server")
    # Only the last word of each name counts, and the order of these: long files stay quick.
    kept = {o.name: o for o in draft.default_server}
    for option in found:
        kept.pop(option.name, None)
        if option.name != "id":
            kept[option.name] = replace(option, inherited=True)
    draft.default_server = tuple(kept.values())


def _bind(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    found = servers.bind((keyword, *rest), draft.around.words, draft.around.variables, draft.wrong)
    if found is not None:
        draft.binds.append(found)


def _dispatch(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if draft._complain("dispatch", rest, keyword, "ANY"):
        where = address(rest[0].text, draft.around.variables)
        if isinstance(where, Bad):
            if not rest[0].parts:
                draft.wrong.error(rest[0], f"'dispatch': {where.why}")
        else:
            draft.changes["dispatch"] = Setting(where, keyword.origin)


def _stick_table(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    table = rules.stick_table((keyword, *rest), draft.name, draft.around.variables, draft.wrong)
    if table is not None:
        draft.changes["stick_table"] = table


def _route(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    name = keyword.text
    if not draft._complain(name, rest, keyword, directives.PROXY[name]):
        return
    _, polarity, condition = rules.split_condition(rest[1:])
    dynamic = "%[" in rest[0].text or bool(rest[0].parts)
    route = Route(rest[0].text, polarity, tuple(w.text for w in condition), rest[0].origin, dynamic)
    _check_acls(draft, condition)
    if name == "default_backend":
        draft.changes["default_backend"] = route
    else:
        (draft.routes if name == "use_backend" else draft.use_servers).append(route)


def _acl(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if draft._complain("acl", rest, keyword, directives.PROXY["acl"]):
        if rest[0].text == "or" or not all(c.isalnum() or c in "-_.:" for c in rest[0].text):
            if not rest[0].parts:
                draft.wrong.error(rest[0], f"{shown(rest[0].text)} is no name for an ACL")
            return
        draft.acl_names.add(rest[0].text)
        draft.acls.append(Rule("acl", rest[0].text, tuple(w.text for w in rest[1:]), "", (), keyword.origin))


def _rule(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    family = keyword.text
    if family.startswith("tcp-"):
        if not rest or not rest[0].text:
            draft.wrong.error(keyword, f"{family!r} expects a kind of rule")
            return
        if rest[0].text == "inspect-delay":
            draft._complain(f"{family} inspect-delay", rest[1:], rest[0], "TIME")
            return
        family = f"{family} {rest[0].text}"
        if family not in directives.ACTIONS:
            if not rest[0].parts:
                draft.wrong.error(rest[0], f"{keyword.text!r} does not know {shown(rest[0].text)}")
            return
        keyword, rest = rest[0], rest[1:]
    rules.check_rule(family, rest, keyword, draft.around.words, draft.wrong)
    if rest:
        _check_acls(draft, rules.split_condition(rest)[2])
        draft.rules.append(rules.rule(family, rest, keyword.origin))


def _redirect(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if draft._complain("redirect", rest, keyword, directives.ACTIONS["http-request"]["redirect"]):
        if not any(w.text in ("location", "prefix", "scheme") for w in rest):
            draft.wrong.error(keyword, "'redirect' expects location, prefix or scheme")
        _check_acls(draft, rules.split_condition(rest)[2])
        draft.rules.append(rules.rule("redirect", rest, keyword.origin))


def _check_acls(draft: _Draft, condition: Sequence[Word]) -> None:
    known = draft.acl_names
    for word in rules.names_in_condition(condition):
        name = word.text.lstrip("!")
        if name not in known:
            draft.wrong.error(word, f"no such ACL: {shown(name)}{likely(name, known)}")


def _log(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    rules.check_log(rest, keyword, bool(negation), draft.wrong)


def _filter(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    rules.check_filter(rest, keyword, draft.wrong)


def _persist(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    name = rest[0].text if rest else ""
    if not name.startswith("rdp-cookie") or len(rest) > 1:
        draft.wrong.error(rest[-1] if rest else keyword, "'persist' expects rdp-cookie, or rdp-cookie(name)")


def _source(draft: _Draft, keyword: Word, rest: tuple[Word, ...], negation: str) -> None:
    if draft._complain("source", rest, keyword, "ANY {usesrc:ANY interface:ANY}") and rest:
        draft.changes["source"] = Setting(rest[0].text, keyword.origin)


_HANDLERS: Final[Mapping[str, Callable[[_Draft, Word, tuple[Word, ...], str], None]]] = {
    "timeout": _timeout, "option": _option, "http-check": _check_line, "tcp-check": _check_line, "balance": _balance,
    "hash-type": _hash_type, "cookie": _cookie, "retry-on": _retry_on, "server": _server, "server-template": _server,
    "default-server": _default_server, "bind": _bind, "dispatch": _dispatch, "stick-table": _stick_table,
    "use_backend": _route, "use-server": _route, "default_backend": _route, "acl": _acl, "log": _log, "filter": _filter,
    "http-request": _rule, "http-response": _rule, "http-after-response": _rule, "tcp-request": _rule,
    "tcp-response": _rule, "redirect": _redirect, "persist": _persist, "source": _source,
}  # fmt: skip
