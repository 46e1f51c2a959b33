"""What can be told of HAProxy's conditions: which is contained in which, and how often a random one holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from levelhead.engines.haproxy import picture as haproxy

_RAND: Final = re.compile(r"rand(?:\((\d*)\))?")
_RAND_RANGE: Final = 2**32
# These give another value each time they are asked, or change what they count.
_FICKLE: Final = re.compile(r"\brand\b|\brand\(|sc\d*_inc|sc\d*_clr|\buuid\b|\bdate\b|\bvar\(")
_BEGINNINGS: Final = (("path_beg",), ("path", "-m", "beg"))


@dataclass(frozen=True, slots=True)
class Test:
    """One acl line or braced test: what is looked at, with its flags, and the patterns of which one must match."""

    looks: tuple[str, ...]
    patterns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Term:
    """A name or a braced test of a condition; any of its `tests` makes it true.

    `steady` says that asking twice gives the same answer.
    """

    text: str
    negated: bool
    tests: tuple[Test, ...]
    steady: bool

    def opposite(self, other: Term) -> bool:
        return self.text == other.text and self.negated != other.negated and self.steady


Clause = tuple[Term, ...]
Named = Mapping[str, tuple[Test, ...]]


def understood(
    proxy: haproxy.Proxy, routes: Iterable[haproxy.Route]
) -> tuple[tuple[haproxy.Route, tuple[Clause, ...] | None], ...]:
    """Each route with its condition as alternatives of which each needs all of its terms; None where it is not clear.

    Without a condition there is one alternative that needs nothing.
    """
    named = _named(proxy.acls)
    return tuple((route, _clauses(route, named)) for route in routes)


def _clauses(route: haproxy.Route, named: Named) -> tuple[Clause, ...] | None:
    if not route.polarity:
        return ((),)
    found = _alternatives(route.condition, named)
    if found is None or route.polarity == "if":
        return found
    if len(found) != 1:
        return None
    # What is not (a and b) is not a, or not b.
    return tuple((replace(t, negated=not t.negated),) for t in found[0])


def _named(acls: Iterable[haproxy.Rule]) -> Named:
    """Every acl by its name; lines of the same name are alternatives."""
    found: dict[str, tuple[Test, ...]] = {}
    for acl in acls:
        if acl.arguments:
            found[acl.action] = (*found.get(acl.action, ()), _test(acl.arguments))
    return found


def _test(words: Sequence[str]) -> Test:
    """What is looked at, with flags, before the patterns; `-m beg` is part of the look."""
    looks, rest = [words[0]], list(words[1:])
    while rest and (rest[0].startswith("-") and len(rest[0]) == 2):
        flag = rest.pop(0)
        if flag == "--":
            break
        looks.append(flag)
        if flag in ("-m", "-f", "-M", "-u") and rest:
            looks.append(rest.pop(0))
    operator = rest[:1] if rest and rest[0] in ("eq", "ge", "gt", "le", "lt") else []
    return Test((*looks, *operator), frozenset(rest[len(operator) :]))


def _alternatives(words: Sequence[str], named: Named) -> tuple[Clause, ...] | None:
    done: list[Clause] = []
    clause: list[Term] = []
    rest = list(words)
    negated = False
    while rest:
        word = rest.pop(0)
        if word in ("||", "or"):
            done.append(tuple(clause))
            clause, negated = [], False
            continue
        while word.startswith("!"):
            word, negated = word[1:], not negated
        if word == "{":
            if "}" not in rest:
                return None
            end = rest.index("}")
            inside, rest = rest[:end], rest[end + 1 :]
            if not inside:
                return None
            clause.append(_term(" ".join(inside), negated, (_test(inside),)))
            negated = False
        elif word:
            clause.append(_term(word, negated, named.get(word, ())))
            negated = False
    return (*done, tuple(clause))


def _term(text: str, negated: bool, tests: tuple[Test, ...]) -> Term:
    steady = not any(_FICKLE.search(" ".join((*t.looks, *t.patterns))) for t in tests)
    return Term(text, negated, tests, steady)


def covers(earlier: tuple[Clause, ...], later: tuple[Clause, ...]) -> bool:
    """Whether whatever the later condition takes, the earlier one has taken before."""
    return all(any(_within(wide, narrow) for wide in earlier) for narrow in later)


ANYTHING: Final = ("", "")


def handles(condition: tuple[Clause, ...]) -> frozenset[tuple[str, ...]]:
    """What two conditions must share, or else neither covers the other; `ANYTHING` is shared with all."""
    found: set[tuple[str, ...]] = set()
    for clause in condition:
        for term in clause:
            found.add(("term", term.text))
            found |= {(*test.looks, pattern) for test in term.tests for pattern in test.patterns or ("",)}
        if not clause or any(t.text == "TRUE" or any(x.looks in _BEGINNINGS for x in t.tests) for t in clause):
            found.add(ANYTHING)
    return frozenset(found)


def _within(wide: Clause, narrow: Clause) -> bool:
    """Whether each term that the wide clause needs holds wherever the narrow clause does."""
    return all(any(_implies(has, needed) for has in narrow) for needed in wide)


def _implies(has: Term, needed: Term) -> bool:
    if needed.text == "TRUE" and not needed.negated:
        return True
    if not has.steady or not needed.steady:
        return False
    if has.negated or needed.negated or not has.tests or not needed.tests:
        return has.text == needed.text and has.negated == needed.negated
    return all(any(_narrower(one, other) for other in needed.tests) for one in has.tests)


def _narrower(one: Test, other: Test) -> bool:
    """Whether what matches the one test matches the other."""
    if one.looks == other.looks and (
        one.patterns == other.patterns or (one.patterns and one.patterns <= other.patterns)
    ):
        return True
    exact = one.looks in _BEGINNINGS or one.looks == ("path",)
    return (
        other.looks in _BEGINNINGS
        and exact
        and bool(one.patterns)
        and all(_begins(p, other.patterns) for p in one.patterns)
    )


def _begins(pattern: str, prefixes: frozenset[str]) -> bool:
    return any(pattern.startswith(prefix) for prefix in prefixes)


def exhaustive(conditions: Iterable[tuple[Clause, ...] | None]) -> bool:
    """Whether some condition among these always holds: one without terms, or one of two opposites."""
    single: list[Term] = []
    for condition in conditions:
        for clause in condition or ():
            if not clause or all(t.text == "TRUE" and not t.negated for t in clause):
                return True
            if len(clause) == 1:
                single.append(clause[0])
    return any(a.opposite(b) for a in single for b in single)


def chance(condition: tuple[Clause, ...] | None) -> tuple[int, int] | None:
    """`{ rand(100) lt 5 }` as (5, 100); None where the condition is anything else, or holds more."""
    if condition is None or len(condition) != 1 or len(condition[0]) != 1:
        return None
    term = condition[0][0]
    if term.negated or len(term.tests) != 1 or len(term.tests[0].patterns) != 1:
        return None
    test = term.tests[0]
    found = _RAND.fullmatch(test.looks[0])
    pattern = next(iter(test.patterns))
    if not found or test.looks[1:] not in (("lt",), ("le",)) or not pattern.isdigit():
        return None
    below = int(pattern) + (test.looks[1] == "le")
    return below, int(found[1]) if found[1] else _RAND_RANGE
