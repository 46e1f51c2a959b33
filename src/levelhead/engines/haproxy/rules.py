"""Rules, conditions, check steps and the directives with a grammar of their own: what they say, what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

from levelhead.engines.haproxy import directives
from levelhead.engines.haproxy.grammar import complaint
from levelhead.engines.haproxy.keywords import Words, likely
from levelhead.engines.haproxy.picture import Balance, HashType, Rule, StickTable
from levelhead.engines.haproxy.servers import Wrong
from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.haproxy.values import Bad, address, duration_s, integer, shown, size
from levelhead.model import Origin

FACILITIES: Final = (
    "kern user mail daemon auth syslog lpr news uucp cron auth2 ftp ntp audit alert cron2 local0 local1 local2 local3"
    " local4 local5 local6 local7"
)
LEVELS: Final = "emerg alert crit err warning notice info debug"
PREDEFINED: Final = frozenset({
    "FALSE", "HTTP", "HTTP_1.0", "HTTP_1.1", "HTTP_2.0", "HTTP_3.0", "HTTP_CONTENT", "HTTP_URL_ABS", "HTTP_URL_SLASH",
    "HTTP_URL_STAR", "LOCALHOST", "METH_CONNECT", "METH_DELETE", "METH_GET", "METH_HEAD", "METH_OPTIONS", "METH_POST",
    "METH_PUT", "METH_TRACE", "RDP_COOKIE", "REQ_CONTENT", "TRUE", "WAIT_END",
})  # fmt: skip
_RETRY: Final = frozenset({
    "none", "conn-failure", "empty-response", "response-timeout", "junk-response", "0rtt-rejected",
    "all-retryable-errors", "receiver",
})  # fmt: skip
_RETRY_CODES: Final = frozenset("401 403 404 408 421 425 429 500 501 502 503 504".split())  # noqa: SIM905
_TRACK: Final = re.compile(r"track-sc(\d+)")
_HASH_WORDS: Final = ("consistent", "map-based", "avalanche", "sdbm", "djb2", "wt6", "crc32", "none")
_BALANCES: Final = (
    "roundrobin static-rr leastconn first source random uri url_param hdr rdp-cookie hash log-hash log-sticky sticky"
)


def split_condition(words: Sequence[Word]) -> tuple[tuple[Word, ...], Literal["", "if", "unless"], tuple[Word, ...]]:
    """The words before if or unless, which of the two, and the words after."""
    for at, word in enumerate(words):
        if word.text == "if":
            return tuple(words[:at]), "if", tuple(words[at + 1 :])
        if word.text == "unless":
            return tuple(words[:at]), "unless", tuple(words[at + 1 :])
    return tuple(words), "", ()


def rule(family: str, words: Sequence[Word], origin: Origin) -> Rule:
    """A line of a rule set; the first of `words` is the action."""
    before, polarity, condition = split_condition(words)
    arguments = tuple(w.text for w in before[1:])
    return Rule(family, before[0].text if before else "", arguments, polarity, _texts(condition), origin)


def _texts(words: Sequence[Word]) -> tuple[str, ...]:
    return tuple(w.text for w in words)


def check_rule(family: str, words: Sequence[Word], keyword: Word, table: Words, wrong: Wrong) -> None:
    """Says what is wrong with the action of a rule and its arguments. `family` is http-request and so on."""
    known = directives.ACTIONS[family]
    if not words or not words[0].text:
        wrong.error(keyword, f"{family!r} expects an action")
        return
    word = words[0]
    if word.parts:
        return
    action, opened, argument = word.text.partition("(")
    track = _TRACK.fullmatch(action)
    name = "track-sc" if track else "lua." if action.startswith("lua.") else action
    pattern = known.get(name)
    registered = table.actions.get(family, frozenset())
    if name == "normalize-uri" and len(words) > 1 and words[1].text in ("if", "unless"):
        wrong.error(words[1], f"{family!r}: 'normalize-uri' expects a normalizer")
    if action == "track-sc":
        wrong.error(word, f"{family!r}: the number of the counter is missing, as in track-sc0")
        return
    if name == "lua.":
        if len(action) == 4:
            wrong.error(word, f"{family!r}: the name of the Lua function is missing")
        return
    if pattern is None and name not in registered and name + "*" not in registered:
        wrong.error(word, f"{family!r} does not know the action {shown(action)}{likely(action, known)}")
        return
    if name in directives.IN_PARENTHESES and not (opened and argument.rstrip(")")):
        wrong.error(word, f"{family!r}: {name!r} expects an argument in parentheses")
        return
    if name in ("unset-var", "set-var", "set-var-fmt") and "." not in argument.rstrip(")").rstrip("."):
        wrong.error(word, f"{family!r}: {shown(word.text)}: a variable is <scope>.<name>")
    if name == "do-resolve" and "," not in argument:
        wrong.error(word, f"{family!r}: 'do-resolve' expects a variable and the name of a resolvers section")
    _complain(f"{family} {name}", words[1:], word, pattern or "...", wrong)


def _complain(name: str, words: Sequence[Word], keyword: Word, pattern: str, wrong: Wrong) -> None:
    found = complaint(name, words, pattern)
    if found is not None:
        tell = wrong.error if found.kind == "error" else wrong.warning
        tell(found.at or (words[-1] if words else keyword), found.sentence)


def names_in_condition(words: Sequence[Word]) -> list[Word]:
    """The named ACLs of a condition, with what is wrong left aside: anonymous ones in braces are skipped."""
    found: list[Word] = []
    depth = 0
    for word in words:
        text = word.text
        if (depth == 0 and text in ("||", "or", "!", "&&")) or word.parts:
            continue
        bare = text.lstrip("!")
        if bare == "{":
            depth += 1
        elif text == "}":
            depth = max(depth - 1, 0)
        elif depth == 0 and bare and not bare.startswith("{"):
            found.append(word)
    return found


def check_step(family: str, words: Sequence[Word], keyword: Word, wrong: Wrong) -> None:
    """Says what is wrong with an http-check or tcp-check line."""
    known = directives.HTTP_CHECK if family == "http-check" else directives.TCP_CHECK
    if not words or not words[0].text:
        wrong.error(keyword, f"{family!r} expects one of {', '.join(known)}")
        return
    action, opened, argument = words[0].text.partition("(")
    if action not in known:
        if not words[0].parts:
            wrong.error(words[0], f"{family!r} does not know {shown(action)}{likely(action, known)}")
        return
    if action.endswith(("set-var", "set-var-fmt")) and not (opened and argument.rstrip(")")):
        wrong.error(words[0], f"{family!r}: {action!r} expects a variable in parentheses")
    elif action == "expect":
        _check_expect(family, words[1:], words[0], wrong)
    else:
        if action.startswith(("set-var", "unset-var")):
            _no_condition(family, words[1:], wrong)
        _complain(f"{family} {action}", words[1:], words[0], known[action], wrong)


def _no_condition(family: str, words: Sequence[Word], wrong: Wrong) -> None:
    for word in words:
        if word.text in ("if", "unless"):
            wrong.error(word, f"{family!r} takes no condition")


_EXPECT_OPTIONS: Final = frozenset({
    "min-recv", "comment", "ok-status", "error-status", "tout-status", "on-success", "on-error", "status-code",
})  # fmt: skip
_EXPECTED: Final = {
    "http-check": frozenset({"status", "rstatus", "string", "rstring", "hdr", "fhdr", "string-lf"}),
    "tcp-check": frozenset({"string", "rstring", "binary", "rbinary", "string-lf", "binary-lf", "custom"}),
}


def _check_expect(family: str, words: Sequence[Word], keyword: Word, wrong: Wrong) -> None:
    at, seen = 0, False
    while at < len(words) and words[at].text:
        text = words[at].text
        if text in _EXPECT_OPTIONS or text.lstrip("!") in _EXPECTED[family]:
            seen = seen or text not in _EXPECT_OPTIONS
            if at + 1 >= len(words):
                wrong.error(words[at], f"'{family} expect': {text!r} expects a value")
                return
            if text in ("hdr", "fhdr"):
                return
            at += 2
        elif text == "!" or words[at].parts:
            at += 1
        else:
            wrong.error(words[at], f"'{family} expect' cannot handle the argument {shown(text)}")
            return
    if not seen and not any(w.parts for w in words):
        wrong.error(keyword, f"'{family} expect' expects one of {', '.join(sorted(_EXPECTED[family]))}")


def balance(words: Sequence[Word], keyword: Word, wrong: Wrong) -> Balance | None:
    """`balance ALGORITHM[(ARGUMENT)] ...`; None, with a problem, for what HAProxy refuses."""
    if not words or not words[0].text:
        wrong.warning(keyword, "'balance' names no algorithm; HAProxy takes roundrobin")
        return Balance("roundrobin")
    name, opened, argument = words[0].text.partition("(")
    rest = words[1:]
    argument = argument.rstrip(")")
    known = name in _BALANCES.split() and not (name == "hdr" and not opened)
    if not known and not words[0].parts:
        wrong.error(words[0], f"'balance' does not know {shown(words[0].text)}{likely(name, _BALANCES.split())}")
        return None
    if name == "random" and opened and isinstance(integer(argument), Bad) and argument:
        wrong.error(words[0], f"'balance random': {shown(argument)} is not a number of draws")
    patterns = {
        "uri": "{len:INT depth:INT whole path-only}",
        "hdr": "use_domain_only?", "hash": "ANY ...", "log-hash": "ANY ...", "rdp-cookie": "",
    }  # fmt: skip
    if name == "url_param":
        _check_url_param(rest, wrong)
    else:
        _complain(f"balance {name}", rest, words[0], patterns.get(name, "..."), wrong)
    return Balance(name, argument, _texts(rest))


def _check_url_param(rest: Sequence[Word], wrong: Wrong) -> None:
    """HAProxy takes any word where a number should be, or none."""
    named = rest[1:] if rest and rest[0].text not in ("check_post", "max_wait") else rest
    for at, word in enumerate(named):
        if word.text in ("check_post", "max_wait"):
            value = named[at + 1] if at + 1 < len(named) else None
            if value is None or (isinstance(integer(value.text), Bad) and not value.parts):
                wrong.warning(word, f"'balance url_param': {word.text!r} has no number")
        elif not (at and named[at - 1].text in ("check_post", "max_wait")) and not word.parts:
            wrong.error(word, f"'balance url_param' cannot handle the argument {shown(word.text)}")


def hash_type(words: Sequence[Word], keyword: Word, wrong: Wrong) -> HashType | None:
    if not words:
        wrong.error(keyword, "'hash-type' expects consistent or map-based")
        return None
    found = HashType()
    texts = list(_texts(words))
    method, function, modifier = found.method, found.function, found.modifier
    for word, text in zip(words, texts, strict=True):
        if text == "consistent" or text == "map-based":
            method = "consistent" if text == "consistent" else "map-based"
        elif text in ("sdbm", "djb2", "wt6", "crc32", "none"):
            function = text
        elif text == "avalanche":
            modifier = text
        elif not word.parts:
            wrong.error(word, f"'hash-type' does not know {shown(text)}{likely(text, _HASH_WORDS)}")
            return None
    return HashType(method, function, modifier)


def stick_table(words: Sequence[Word], owner: str, variables: Mapping[str, str], wrong: Wrong) -> StickTable | None:
    keyword, rest = words[0], words[1:]
    _complain("stick-table", rest, keyword, directives.PROXY["stick-table"], wrong)
    texts = _texts(rest)
    if not texts:
        wrong.error(keyword, "'stick-table' expects a type and a size")
        return None
    values = dict(pairwise(texts))
    kind = values.get("type", "")
    known = ("ip", "ipv4", "ipv6", "integer", "string", "binary")
    if kind not in known and not any(w.parts for w in rest):
        wrong.error(keyword, f"'stick-table' does not know the type {shown(kind)}{likely(kind, known)}")
    many, time = size(values.get("size", "")), duration_s(values.get("expire", ""))
    if "size" not in values and not any(w.parts for w in rest):
        wrong.error(keyword, "'stick-table' has no size")
    stores = tuple(t for a, b in pairwise(texts) if a == "store" for t in _top_commas(b))
    return StickTable(
        owner, kind, many if not isinstance(many, Bad) else None, time if not isinstance(time, Bad) else None,
        values.get("peers", ""), stores, texts, keyword.origin,
    )  # fmt: skip


def _top_commas(text: str) -> list[str]:
    return re.findall(r"[^,(]+(?:\([^)]*\))?", text)


def check_retry_on(words: Sequence[Word], wrong: Wrong) -> None:
    for word in words:
        if word.text not in _RETRY and word.text not in _RETRY_CODES and not word.parts:
            wrong.error(word, f"'retry-on' does not know {shown(word.text)}{likely(word.text, _RETRY)}")


def check_log(words: Sequence[Word], keyword: Word, negated: bool, wrong: Wrong) -> None:
    """`log global`, or an address with options, a facility and levels."""
    if negated or (len(words) == 1 and words[0].text == "global"):
        return
    if not words or not words[0].text or words[0].text in ("sample", "format", "len"):
        wrong.error(keyword, "'log' expects an address and a facility, or global")
        return
    target = address(words[0].text)
    if isinstance(target, Bad) and not words[0].parts:
        wrong.error(words[0], f"'log': {target.why}")
    rest = list(words[1:])
    while rest and rest[0].text in ("len", "format", "sample", "profile"):
        if len(rest) < 2:
            wrong.error(rest[0], f"'log': {rest[0].text!r} expects a value")
            return
        why = _LOG_VALUES[rest[0].text](rest[1].text)
        if why and not rest[1].parts:
            wrong.error(rest[1], f"'log': {why}")
            return
        rest = rest[2:]
    if not rest:
        wrong.error(words[-1], "'log' expects a facility after the address")
        return
    if rest[0].text not in FACILITIES.split() and not rest[0].parts:
        wrong.error(rest[0], f"'log': unknown facility {shown(rest[0].text)}{likely(rest[0].text, FACILITIES.split())}")
    for word in rest[1:3]:
        if word.text not in LEVELS.split() and not word.parts:
            wrong.error(word, f"'log': unknown level {shown(word.text)}{likely(word.text, LEVELS.split())}")


def _log_length(text: str) -> str:
    number = integer(text)
    return number.why if isinstance(number, Bad) else "" if number >= 80 else f"a length of {text} is below 80"


def _log_format(text: str) -> str:
    known = ("local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw")
    return "" if text in known else f"unknown format {shown(text)}{likely(text, known)}"


def _log_sample(text: str) -> str:
    fits = re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*:\d+", text)
    return "" if fits else f"{shown(text)} is no sampling range such as 1:20"


_LOG_VALUES: Final[Mapping[str, Callable[[str], str]]] = {
    "len": _log_length, "format": _log_format, "sample": _log_sample, "profile": lambda text: "",
}  # fmt: skip

_FILTERS: Final = {
    "trace": "{name:ANY random-parsing random-forwarding max-fwd:INT hexdump quiet min-fwd:INT}", "compression": "",
    "comp-req": "",
    "comp-res": "", "cache": "ANY", "fcgi-app": "ANY",
    "spoe": "{engine:ANY config:ANY}", "opentracing": "{id:ANY config:ANY}",
}  # fmt: skip
_BANDWIDTH: Final = re.compile(r"\d+[kKmMgG]?")


def check_filter(words: Sequence[Word], keyword: Word, wrong: Wrong) -> None:
    if not words or not words[0].text:
        wrong.error(keyword, "'filter' expects a name")
        return
    name, rest = words[0], words[1:]
    texts = _texts(rest)
    if name.text in ("bwlim-in", "bwlim-out"):
        _check_limit(texts, name, rest, wrong)
    elif name.text.startswith("lua.") or name.parts:
        return
    elif name.text not in _FILTERS:
        wrong.error(name, f"'filter' does not know {shown(name.text)}{likely(name.text, _FILTERS)}")
    else:
        _complain(f"filter {name.text}", rest, name, _FILTERS[name.text], wrong)
        if name.text in ("spoe", "opentracing") and "config" not in texts[:-1]:
            wrong.error(name, f"'filter {name.text}' expects the path of its configuration")


def _check_limit(texts: tuple[str, ...], name: Word, rest: Sequence[Word], wrong: Wrong) -> None:
    pattern = "WORD {default-limit:SIZE default-period:TIME limit:SIZE key:ANY table:ANY min-size:SIZE}"
    _complain(f"filter {name.text}", rest, name, pattern, wrong)
    fixed = "default-limit" in texts and "default-period" in texts
    keyed = "limit" in texts and "key" in texts
    if (not fixed and not keyed) or ("limit" in texts and "default-period" in texts) or ("key" in texts and not keyed):
        wrong.error(name, f"'filter {name.text}' expects default-limit and default-period, or limit and key")
