"""A server or bind line from its words: what `default-server` gives, what the line says, what `no-` takes away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from levelhead.engines.haproxy.keywords import Words, likely
from levelhead.engines.haproxy.picture import Bind, ServerCheck, ServerLine, ServerOption, Template
from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.haproxy.values import Address, Bad, address, duration_s, integer, leading_integer, shown
from levelhead.engines.text import Problem
from levelhead.model import Origin

HEAVIEST: Final = 256
MOST_FROM_TEMPLATE: Final = 5_000  # more is a slip of the pen; it would only cost memory
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]+")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]+")
_TIMES: Final = frozenset({"inter", "fastinter", "downinter", "agent-inter", "slowstart", "tcp-ut", "idle-ping",
                           "pool-purge-delay"})  # fmt: skip
_NUMBERS: Final = frozenset({"weight", "maxconn", "minconn", "maxqueue", "port", "agent-port", "fall", "rise", "id",
                             "error-limit", "max-reuse", "pool-max-conn", "pool-low-conn", "backlog", "nice",
                             "mss"})  # fmt: skip
_STRICT: Final = frozenset({"max-reuse", "pool-max-conn", "pool-low-conn"})
_ABOVE_ZERO: Final = frozenset({"fall", "rise", "id", "error-limit"})
_CHOICES: Final = {
    "observe": "none layer4 layer7", "on-error": "fastinter fail-check sudden-death mark-down",
    "on-marked-down": "shutdown-sessions", "on-marked-up": "shutdown-backup-sessions",
    "ws": "auto h1 h2", "log-proto": "legacy octet-count", "resolve-prefer": "ipv4 ipv6",
    "init-state": "fully-up up down fully-down",
    "ktls": "on off", "ocsp-update": "on off", "level": "user operator admin", "severity-output": "none number string",
    "quic-socket": "connection listener",
    "ssl-min-ver": "SSLv3 TLSv1.0 TLSv1.1 TLSv1.2 TLSv1.3", "ssl-max-ver": "SSLv3 TLSv1.0 TLSv1.1 TLSv1.2 TLSv1.3",
}  # fmt: skip
_VERIFY: Final = {"server": ("none", "required"), "bind": ("none", "optional", "required")}
_QUIC_ALGORITHM: Final = re.compile(r"(cubic|newreno|bbr|nocc)(\([^)]+\))?")


@dataclass(frozen=True, slots=True)
class Wrong:
    """Collects what is wrong with a line."""

    problems: list[Problem]

    def error(self, at: Word | Origin, sentence: str) -> None:
        self.problems.append(Problem(at.origin if isinstance(at, Word) else at, sentence))

    def warning(self, at: Word | Origin, sentence: str) -> None:
        self.problems.append(Problem(at.origin if isinstance(at, Word) else at, sentence, "warning"))


def options(
    given: Sequence[Word], counts: Mapping[str, int], kind: str, what: str, wrong: Wrong
) -> tuple[ServerOption, ...]:
    """The words of a line as options with values. `kind` is server or bind, `what` names the line in sentences."""
    found: list[ServerOption] = []
    at = 0
    while at < len(given) and given[at].text:
        word = given[at]
        count = counts.get(word.text)
        if count is None and word.text.startswith("set-proxy-v2-tlv-fmt("):
            count = 1
        if count is None:
            if not word.parts:
                wrong.error(word, f"{what}: unknown word {shown(word.text)}{likely(word.text, counts)}")
            at += 1
            continue
        if count < 0:
            count = _source_words(given, at)
        values = tuple(w for w in given[at + 1 : at + 1 + count] if w.text)
        at += 1 + len(values)
        if len(values) < count:
            _missing(word, kind, what, wrong)
        else:
            _check_values(word, values, kind, what, wrong)
        found.append(ServerOption(word.text, tuple(v.text for v in values), word.origin))
    return tuple(found)


def _source_words(given: Sequence[Word], at: int) -> int:
    """`source ADDR [usesrc ADDR | interface NAME]...`"""
    count = 1
    while at + count + 1 < len(given) and given[at + count + 1].text in ("usesrc", "interface"):
        count += 2
    return count


def _missing(word: Word, kind: str, what: str, wrong: Wrong) -> None:
    # HAProxy reads the missing number as 0 and says nothing.
    if kind == "server" and word.text in _NUMBERS - _STRICT - _ABOVE_ZERO:
        wrong.warning(word, f"{what}: {word.text!r} has no value; HAProxy reads 0")
    else:
        wrong.error(word, f"{what}: {word.text!r} expects a value")


def _check_values(word: Word, values: tuple[Word, ...], kind: str, what: str, wrong: Wrong) -> None:
    if not values or values[0].parts:
        return
    name, value = word.text, values[0]
    why = ""
    if name in _TIMES:
        time = duration_s(value.text)
        why = time.why if isinstance(time, Bad) else "0 is no interval" if _zero(name, time) else ""
    elif name in _NUMBERS:
        why = _wrong_number(name, value, kind, what, wrong)
    elif name in _CHOICES and value.text not in (choices := _CHOICES[name].split()):
        why = f"{shown(value.text)} is not one of {', '.join(choices)}{likely(value.text, choices)}"
    elif name == "verify" and value.text not in _VERIFY[kind]:
        why = f"{shown(value.text)} is not one of {', '.join(_VERIFY[kind])}"
    elif name == "quic-cc-algo" and not _QUIC_ALGORITHM.fullmatch(value.text):
        why = f"{shown(value.text)} is no congestion control"
    elif name in ("addr", "agent-addr") or (kind == "bind" and name in ("user", "group") and value.text == "mode"):
        found = address(value.text) if name in ("addr", "agent-addr") else Bad("the name is missing")
        why = found.why if isinstance(found, Bad) else ""
    if why:
        wrong.error(value, f"{what}: {name!r}: {why}")


def _zero(name: str, time: float) -> bool:
    return time <= 0 and name in ("inter", "fastinter", "downinter", "agent-inter")


def _wrong_number(name: str, value: Word, kind: str, what: str, wrong: Wrong) -> str:
    exact = integer(value.text)
    number = leading_integer(value.text)
    if isinstance(exact, Bad):
        if name in _STRICT or name in _ABOVE_ZERO or kind == "bind":
            return exact.why if name not in _ABOVE_ZERO or number <= 0 else ""
        wrong.warning(value, f"{what}: HAProxy reads {shown(value.text)} as {number}")
    if name == "weight" and not 0 <= number <= HEAVIEST:
        return f"{number} is not within 0 and {HEAVIEST}"
    if name in _ABOVE_ZERO and number <= 0 and kind == "server":
        return f"{shown(value.text)} is not above 0"
    if name in ("port", "agent-port") and not 0 <= number <= 65535:
        wrong.warning(value, f"{what}: port {number} is out of range; HAProxy keeps its last 16 bits")
    return ""


def server(
    words: Sequence[Word], table: Words, inherited: tuple[ServerOption, ...], variables: Mapping[str, str], wrong: Wrong
) -> tuple[ServerLine, ...]:
    """The servers of a `server` (one) or `server-template` (many) line; none if it cannot be understood."""
    template = words[0].text == "server-template"
    needed = 4 if template else 3
    if len(words) < needed or not all(w.text for w in words[:needed]):
        form = "<prefix> <how many> <address>[:<port>]" if template else "<name> and <address>[:<port>]"
        wrong.error(words[0], f"{words[0].text!r} expects {form}")
        return ()
    name = words[1]
    if not (_PREFIX if template else _NAME).fullmatch(name.text) and not name.parts:
        more = "- _ and ." if template else "- _ . and :"
        wrong.error(name, f"{shown(name.text)} is no server name: HAProxy takes letters, digits, {more}")
    numbers = _range(words[2], wrong) if template else None
    where = address(words[needed - 1].text, variables)
    if isinstance(where, Bad) and words[needed - 1].parts:
        where = Address(words[needed - 1].text, "unknown", words[needed - 1].text)
    if isinstance(where, Bad):
        wrong.error(words[needed - 1], f"server {name.text}: {where.why}")
        return ()
    if where.last_port is not None:
        wrong.error(words[needed - 1], f"server {name.text}: a server has one port, not a range")
    own = options(words[needed:], table.server, "server", f"server {name.text}", wrong)
    # Without a port HAProxy connects to the one that the client reached: an offset of 0.
    mapped = where.offset or (where.port is None and where.family in ("ip4", "ip6", "name", "any"))
    bare = ServerLine(name.text, where, words[0].origin, port=where.port or 0, port_offset=mapped)
    line = folded(bare, (*inherited, *own))
    if line.check.enabled and line.track:
        wrong.error(words[0], f"server {line.name} cannot have a check and track {shown(line.track)}")
    if not template:
        return (line,)
    if numbers is None:
        return ()
    first, last = numbers
    return tuple(
        replace(line, name=f"{name.text}{n}", template=Template(name.text, n, first, last))
        for n in range(first, last + 1)
    )


def _range(word: Word, wrong: Wrong) -> tuple[int, int] | None:
    first, dash, last = word.text.partition("-")
    low, high = (integer(first), integer(last)) if dash else (1, integer(first))
    if isinstance(low, Bad) or isinstance(high, Bad) or high < low or not (first + last).isdigit():
        if not word.parts:
            wrong.error(word, f"{shown(word.text)} is no number of servers, nor a range such as 1-3")
        return None
    if high - low >= MOST_FROM_TEMPLATE:
        wrong.warning(word, f"{high - low + 1} servers from one template: only the first {MOST_FROM_TEMPLATE} are read")
        high = low + MOST_FROM_TEMPLATE - 1
    return low, high


def bind(words: Sequence[Word], table: Words, variables: Mapping[str, str], wrong: Wrong) -> Bind | None:
    """A `bind` line; None, with a problem, if it has no usable address."""
    if len(words) < 2 or not words[1].text:
        wrong.error(words[0], f"{words[0].text!r} expects an address, a port or a path")
        return None
    found: list[Address] = []
    for part in words[1].text.split(","):
        where = address(part, variables)
        if isinstance(where, Bad) and not words[1].parts:
            wrong.error(words[1], f"bind {words[1].text}: {where.why}")
        elif isinstance(where, Address):
            if where.family in ("ip4", "ip6", "any", "name") and not where.port and not words[1].parts:
                wrong.error(words[1], f"bind {words[1].text}: a port is needed")
            found.append(where)
    given = options(words[2:], table.bind, "bind", f"bind {words[1].text}", wrong)
    names = {option.name for option in given}
    certificates = tuple(v for o in given if o.name in ("crt", "crt-list", "default-crt") for v in o.values)
    name = next((o.values[0] for o in reversed(given) if o.name == "name" and o.values), "")
    return Bind(tuple(found), "ssl" in names, certificates, "accept-proxy" in names, name, given, words[0].origin)


def folded(line: ServerLine, given: Sequence[ServerOption]) -> ServerLine:
    """The server after these options in order; later ones win."""
    draft = _Draft({}, {}, {})
    for option in given:
        flag = _FLAGS.get(option.name)
        if flag is not None:
            where, name, fact = flag
            draft.of(where)[name] = fact
            continue
        value = option.values[0] if option.values else ""
        field = _VALUES.get(option.name)
        if field is not None:
            where, name, read = field
            draft.of(where)[name] = read(value)
        elif option.name in _BOTH:
            _BOTH[option.name](draft, value)
    check = replace(line.check, **draft.check) if draft.check else line.check
    agent = replace(line.agent, **draft.agent) if draft.agent else line.agent
    return replace(line, check=check, agent=agent, options=tuple(given), **draft.line)


@dataclass(frozen=True, slots=True)
class _Draft:
    """Fields that options set, of the line, its check and its agent; typed by the tables below."""

    line: dict[str, Any]
    check: dict[str, Any]
    agent: dict[str, Any]

    def of(self, where: str) -> dict[str, Any]:
        return self.line if where == "line" else self.check if where == "check" else self.agent


_FLAGS: Final[Mapping[str, tuple[str, str, bool | str]]] = {
    "check": ("check", "enabled", True), "no-check": ("check", "enabled", False),
    "check-ssl": ("check", "ssl", True), "no-check-ssl": ("check", "ssl", False),
    "check-send-proxy": ("check", "send_proxy", True), "no-check-send-proxy": ("check", "send_proxy", False),
    "agent-check": ("agent", "enabled", True), "no-agent-check": ("agent", "enabled", False),
    "backup": ("line", "backup", True), "no-backup": ("line", "backup", False),
    "disabled": ("line", "disabled", True), "enabled": ("line", "disabled", False),
    "ssl": ("line", "ssl", True), "no-ssl": ("line", "ssl", False),
    "stick": ("line", "stick", True), "non-stick": ("line", "stick", False),
    "send-proxy": ("line", "send_proxy", "v1"), "send-proxy-v2": ("line", "send_proxy", "v2"),
    "send-proxy-v2-ssl": ("line", "send_proxy", "v2-ssl"), "send-proxy-v2-ssl-cn": ("line", "send_proxy", "v2-ssl-cn"),
    "no-send-proxy": ("line", "send_proxy", ""), "no-send-proxy-v2": ("line", "send_proxy", ""),
    "no-send-proxy-v2-ssl": ("line", "send_proxy", ""), "no-send-proxy-v2-ssl-cn": ("line", "send_proxy", ""),
}  # fmt: skip


def _seconds(value: str) -> float:
    """What is no time has been reported; the default of HAProxy stands in for it."""
    time = duration_s(value)
    return ServerCheck().inter_s if isinstance(time, Bad) else time


def _bound(value: str) -> int | None:
    """0 is no bound."""
    return leading_integer(value) or None


def _host(value: str) -> str:
    """The address of `addr` without its port."""
    where = address(value)
    return value if isinstance(where, Bad) else where.host


def _port_number(value: str) -> int:
    return leading_integer(value) & 0xFFFF


def _names(value: str) -> tuple[str, ...]:
    return tuple(value.split(","))


_VALUES: Final[Mapping[str, tuple[str, str, Callable[[str], object]]]] = {
    "weight": ("line", "weight", leading_integer), "maxconn": ("line", "maxconn", _bound),
    "minconn": ("line", "minconn", _bound), "maxqueue": ("line", "maxqueue", _bound),
    "error-limit": ("line", "error_limit", leading_integer), "id": ("line", "number", leading_integer),
    "max-reuse": ("line", "max_reuse", leading_integer), "pool-max-conn": ("line", "pool_max_conn", leading_integer),
    "cookie": ("line", "cookie", str), "track": ("line", "track", str), "observe": ("line", "observe", str),
    "on-error": ("line", "on_error", str), "on-marked-down": ("line", "on_marked_down", str),
    "on-marked-up": ("line", "on_marked_up", str), "verify": ("line", "verify", str), "sni": ("line", "sni", str),
    "alpn": ("line", "alpn", str), "proto": ("line", "proto", str), "resolvers": ("line", "resolvers", str),
    "source": ("line", "source", str), "redir": ("line", "redir", str), "init-addr": ("line", "init_addr", _names),
    "slowstart": ("line", "slowstart_s", _seconds),
    "inter": ("check", "inter_s", _seconds), "fastinter": ("check", "fastinter_s", _seconds),
    "downinter": ("check", "downinter_s", _seconds), "fall": ("check", "fall", leading_integer),
    "rise": ("check", "rise", leading_integer), "check-sni": ("check", "sni", str), "check-alpn": ("check", "alpn",
    str),
    "check-proto": ("check", "proto", str),
    "agent-inter": ("agent", "inter_s", _seconds), "agent-send": ("agent", "send", str),
}  # fmt: skip


def _check_port(draft: _Draft, value: str) -> None:
    """The agent is asked there too, unless it has a port of its own."""
    draft.check["port"] = _port_number(value)
    if not draft.agent.get("own_port"):
        draft.agent["port"] = draft.check["port"]


def _check_host(draft: _Draft, value: str) -> None:
    where = address(value)
    draft.check["host"] = _host(value)
    draft.check["host_port"] = 0 if isinstance(where, Bad) else where.port or 0
    if not draft.agent.get("own_host"):
        draft.agent["host"] = draft.check["host"]


def _agent_port(draft: _Draft, value: str) -> None:
    draft.agent.update(port=leading_integer(value), own_port=True)


def _agent_host(draft: _Draft, value: str) -> None:
    draft.agent.update(host=_host(value), own_host=True)


_BOTH: Final[Mapping[str, Callable[[_Draft, str], None]]] = {
    "port": _check_port, "addr": _check_host, "agent-port": _agent_port, "agent-addr": _agent_host,
}  # fmt: skip
