"""The global section, and the sections that are kept as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from levelhead.engines.haproxy import directives, rules, servers
from levelhead.engines.haproxy.grammar import complaint
from levelhead.engines.haproxy.keywords import ANY_VERSION, Words, known_elsewhere, likely
from levelhead.engines.haproxy.picture import Global, Opaque, Setting, StatsSocket
from levelhead.engines.haproxy.preprocess import Statement
from levelhead.engines.haproxy.servers import Wrong
from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.haproxy.values import Bad, address, duration_s, leading_integer, shown

_NUMBERS: Final = {"maxconn": "maxconn", "nbthread": "nbthread", "spread-checks": "spread_checks"}
_TEXTS: Final = {"server-state-base": "server_state_base", "server-state-file": "server_state_file"}
_NEGATABLE: Final = frozenset({
    "log", "busy-polling", "set-dumpable", "strict-limits", "insecure-fork-wanted", "numa-cpu-mapping", "option",
    "quic",
})  # fmt: skip
# Names of these sections, whose words are read by nobody here.
_FREE: Final = frozenset({"namespace_list", "acme"})


def read_global(
    before: Global, statements: Sequence[Statement], table: Words, variables: Mapping[str, str], wrong: Wrong
) -> Global:
    """The global settings after one more global section."""
    kept: list[tuple[Word, ...]] = []
    for statement in statements:
        words = statement.words
        if not statement.active or not words or words[0].parts:
            continue
        if words[0].text in ("no", "default") and len(words) > 1:
            if words[1].text not in _NEGATABLE:
                wrong.error(words[1], f"{shown(words[1].text)} cannot be negated")
            words = words[1:]
        if not _known(words[0], "global", table, wrong):
            continue
        kept.append(words)
        before = _setting(before, words, variables, wrong, table)
    return replace(before, settings=(*before.settings, *kept))


def _known(word: Word, section: str, table: Words, wrong: Wrong) -> bool:
    name = word.text
    if name in table.removed.get(section, ()):
        tell = wrong.warning if table.name == ANY_VERSION else wrong.error
        tell(word, f"{name!r} is not supported any more")
        return False
    if name in table.of(section):
        return True
    elsewhere = known_elsewhere(section, name)
    if not elsewhere and name.startswith("tune.") and table.name == ANY_VERSION:
        wrong.warning(word, f"{shown(name)} is not known here{likely(name, table.of(section))}")
        return False
    hint = f"; {elsewhere} does" if elsewhere else likely(name, table.of(section))
    wrong.error(word, f"{table.name} does not know {shown(name)} in a {section} section{hint}")
    return False


def _setting(
    before: Global, words: tuple[Word, ...], variables: Mapping[str, str], wrong: Wrong, table: Words
) -> Global:
    name, rest = words[0].text, words[1:]
    if name == "log":
        rules.check_log(rest, words[0], False, wrong)
        return before
    if name == "stats" and rest and rest[0].text == "socket":
        return _stats_socket(before, words, table, variables, wrong)
    if name == "option":
        _check_option("global", rest, words[0], directives.GLOBAL, wrong)
        return before
    full = f"{name} {rest[0].text}" if name == "stats" and rest else name
    if name == "stats" and full not in directives.GLOBAL:
        if not (rest and rest[0].parts):
            wrong.error(words[-1], "'stats' expects socket, maxconn or timeout")
        return before
    pattern = directives.GLOBAL.get(full, "...")
    if not _fits(full, rest[1:] if name == "stats" else rest, words[0], pattern, wrong) or not rest or rest[0].parts:
        return before
    value, origin = rest[0].text, words[0].origin
    if name in _NUMBERS:
        return replace(before, **{_NUMBERS[name]: Setting(leading_integer(value), origin)})  # type: ignore[arg-type]
    if name in _TEXTS:
        return replace(before, **{_TEXTS[name]: Setting(value, origin)})  # type: ignore[arg-type]
    time = duration_s(value) if name == "hard-stop-after" else Bad("")
    return before if isinstance(time, Bad) else replace(before, hard_stop_after_s=Setting(time, origin))


def _fits(name: str, words: Sequence[Word], keyword: Word, pattern: str, wrong: Wrong) -> bool:
    found = complaint(name, words, pattern)
    if found is None:
        return True
    tell = wrong.error if found.kind == "error" else wrong.warning
    tell(found.at or (words[-1] if words else keyword), found.sentence)
    return found.kind == "warning"


def _stats_socket(
    before: Global, words: tuple[Word, ...], table: Words, variables: Mapping[str, str], wrong: Wrong
) -> Global:
    if len(words) < 3 or not words[2].text:
        wrong.error(words[1], "'stats socket' expects a path or an address")
        return before
    where = address(words[2].text, variables)
    if isinstance(where, Bad):
        if not words[2].parts:
            wrong.error(words[2], f"'stats socket': {where.why}")
        return before
    given = {o.name: o.values for o in servers.options(words[3:], table.bind, "bind", "stats socket", wrong)}

    def value(name: str, otherwise: str = "") -> str:
        return next(iter(given.get(name, ())), otherwise)

    socket = StatsSocket(
        where, value("level", "operator"), value("mode"), value("user", value("uid")), value("group", value("gid")),
        value("expose-fd") == "listeners", words[0].origin,
    )  # fmt: skip
    return replace(before, stats_sockets=(*before.stats_sockets, socket))


def check_opaque(section: Opaque, table: Words, variables: Mapping[str, str], wrong: Wrong) -> None:
    """Says what is wrong with the lines of a section that is otherwise kept as it is."""
    if section.kind in _FREE:
        return
    for statement in section.statements:
        words = statement.words
        if not statement.active or not words or words[0].parts:
            continue
        if words[0].text in ("no", "default") and len(words) > 1:
            words = words[1:]
        if _known(words[0], section.kind, table, wrong):
            _check_line(section.kind, words, table, variables, wrong)


def _check_line(kind: str, words: tuple[Word, ...], table: Words, variables: Mapping[str, str], wrong: Wrong) -> None:
    name, rest = words[0].text, words[1:]
    patterns = directives.OTHERS.get(kind, {})
    if kind == "healthcheck":
        _check_health(words, wrong)
    elif name == "option":
        _check_option(kind, rest, words[0], patterns, wrong)
    elif name in ("log", "log-stderr"):
        rules.check_log(rest, words[0], False, wrong)
    elif kind == "log-profile" and name == "on":
        _check_step(rest, words[0], wrong)
    elif name in patterns and _fits(f"{kind} {name}", rest, words[0], patterns[name], wrong):
        _check_options(kind, words, table, variables, wrong)
        _check_address(kind, words, wrong)


def _check_health(words: tuple[Word, ...], wrong: Wrong) -> None:
    if words[0].text in ("http-check", "tcp-check"):
        rules.check_step(words[0].text, words[1:], words[0], wrong)
    elif len(words) < 2:
        wrong.error(words[0], "'type' expects the kind of check")
    else:
        full = f"option {words[1].text}"
        _fits(f"type {words[1].text}", words[2:], words[1], directives.PROXY.get(full, "..."), wrong)


def _check_option(kind: str, rest: Sequence[Word], keyword: Word, patterns: Mapping[str, str], wrong: Wrong) -> None:
    known = [key.split()[1] for key in patterns if key.startswith("option ")]
    if not rest or rest[0].text not in known:
        got = f" {shown(rest[0].text)}{likely(rest[0].text, known)}" if rest else " of no name"
        wrong.error(rest[0] if rest else keyword, f"a {kind} section knows no option{got}")
    else:
        _fits(f"option {rest[0].text}", rest[1:], rest[0], patterns[f"option {rest[0].text}"], wrong)


_STEPS: Final = (
    "accept request connect response close error any http-req http-res http-after-res tcp-req-conn tcp-req-sess"
    " tcp-req-cont tcp-res-cont quic-init"
)


def _check_step(rest: Sequence[Word], keyword: Word, wrong: Wrong) -> None:
    """`on STEP drop`, or `on STEP [format FORMAT] [sd FORMAT]`."""
    if not rest or rest[0].text not in _STEPS.split():
        got = f"{shown(rest[0].text)} is not one" if rest else "it is missing"
        wrong.error(rest[0] if rest else keyword, f"'on' expects a step of logging; {got}")
    elif len(rest) == 1:
        wrong.error(rest[0], "'on' expects drop, format or sd after the step")
    else:
        _fits("on", rest[1:], rest[0], "drop" if rest[1].text == "drop" else "{format:ANY sd:ANY}", wrong)


def _check_options(
    kind: str, words: tuple[Word, ...], table: Words, variables: Mapping[str, str], wrong: Wrong
) -> None:
    """Lines of other sections that look like server and bind lines, and are read like them."""
    match words[0].text:
        case "default-server":
            servers.options(words[1:], table.server, "server", "default-server", wrong)
        case "server" if kind == "ring" or len(words) > 2:
            servers.server(words, table, (), variables, wrong)
        case "default-bind":
            servers.options(words[1:], table.bind, "bind", "default-bind", wrong)
        case "bind" | "dgram-bind":
            servers.bind(words, table, variables, wrong)
        case _:
            pass


def _check_address(kind: str, words: tuple[Word, ...], wrong: Wrong) -> None:
    """Peers and mailers are reached at an address with a port."""
    if (kind, words[0].text) not in (("peers", "peer"), ("mailers", "mailer")):
        return
    if len(words) < 3:
        # The local peer may stand without an address, where a bind line gives it; its name is then a host's.
        if words[1].text.isdigit():
            wrong.error(words[1], f"{words[0].text!r} expects a name and an address")
        return
    where = address(words[2].text)
    if isinstance(where, Bad):
        if not words[2].parts:
            wrong.error(words[2], f"{words[0].text!r}: {where.why}")
    elif where.family in ("ip4", "ip6", "name", "any") and (
        where.port is None or (kind == "peers" and where.family == "any")
    ):
        wrong.error(words[2], f"{words[0].text!r}: {shown(words[2].text)} is not <address>:<port>")
