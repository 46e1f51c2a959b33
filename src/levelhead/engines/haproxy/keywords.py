"""Which words HAProxy knows where, by version: generated tables for 2.6 and 2.8, and what later versions added."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from levelhead.engines.haproxy import keywords_2_6, keywords_2_8, keywords_later

ANY_VERSION: Final = "any HAProxy"
PROXIES: Final = ("defaults", "frontend", "backend", "listen")
HEADERS: Final = frozenset({
    "global", *PROXIES, "userlist", "peers", "mailers", "resolvers", "cache", "program", "http-errors", "ring",
    "log-forward", "fcgi-app", "namespace_list", *keywords_later.HEADERS,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """One version's words. `server` and `bind` map a word to the number of its values, -1 for as many as fit.

    Actions that end in `*` are prefixes.
    """

    name: str
    sections: Mapping[str, frozenset[str]]
    removed: Mapping[str, frozenset[str]]
    options: frozenset[str]
    sides: Mapping[str, str]
    server: Mapping[str, int]
    bind: Mapping[str, int]
    actions: Mapping[str, frozenset[str]]

    def of(self, section: str) -> frozenset[str]:
        return self.sections.get("listen" if section in PROXIES else section, frozenset())


@lru_cache(maxsize=8)
def words(version: tuple[int, int] | None) -> Words:
    """The words of the newest table that is not newer than the version; of all tables for None."""
    if version is None or version > (2, 8):
        return _merged(
            ANY_VERSION if version is None else f"HAProxy {version[0]}.{version[1]}", _old(), _new(), _later()
        )
    return _new() if version >= (2, 7) else _old()


def known_elsewhere(section: str, word: str) -> str:
    """The first version whose table has the word in this section, empty if none has it."""
    for table in (_old(), _new()):
        if word in table.of(section):
            return table.name
    return "HAProxy 3" if word in _later().of(section) else ""


def likely(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that asks whether a similar word was meant, empty if there is none."""
    if not 1 < len(word) <= 40:
        return ""
    # Only words of about this length that begin or end alike: a long file of nonsense must not take long.
    alike = [k for k in known if abs(len(k) - len(word)) <= 2 and k and (k[0] == word[0] or k[-1] == word[-1])]
    close = difflib.get_close_matches(word, alike, 1, 0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


@lru_cache(maxsize=1)
def _old() -> Words:
    return _table("HAProxy 2.6", keywords_2_6.SECTIONS, keywords_2_6.REMOVED, keywords_2_6.REGISTERED)


@lru_cache(maxsize=1)
def _new() -> Words:
    return _table("HAProxy 2.8", keywords_2_8.SECTIONS, keywords_2_8.REMOVED, keywords_2_8.REGISTERED)


@lru_cache(maxsize=1)
def _later() -> Words:
    return _table("HAProxy 3", keywords_later.SECTIONS, {}, keywords_later.REGISTERED)


def _table(name: str, sections: Mapping[str, str], removed: Mapping[str, str], registered: Mapping[str, str]) -> Words:
    by_section = {section: frozenset(text.split()) for section, text in sections.items()}
    options = [word.partition(":") for word in registered.get("option", "").split()]
    return Words(
        name,
        by_section,
        {section: frozenset(text.split()) for section, text in removed.items()},
        by_section.get("option in listen", frozenset()),
        {option: sides for option, _, sides in options},
        _counts(registered.get("server", "")),
        _counts(registered.get("bind", "")),
        {kind: frozenset(text.split()) for kind, text in registered.items() if " " in kind or kind.startswith("http-")},
    )


def _counts(text: str) -> dict[str, int]:
    return {word: int(count or 0) for word, _, count in (entry.partition(":") for entry in text.split())}


def _merged(name: str, *tables: Words) -> Words:
    sections: dict[str, frozenset[str]] = {}
    actions: dict[str, frozenset[str]] = {}
    for table in tables:
        for section, found in table.sections.items():
            sections[section] = sections.get(section, frozenset()) | found
        for family, more in table.actions.items():
            actions[family] = actions.get(family, frozenset()) | more
    return Words(
        name,
        sections,
        tables[-2].removed,
        frozenset().union(*(t.options for t in tables)),
        {k: v for t in tables for k, v in t.sides.items()},
        {k: v for t in tables for k, v in t.server.items()},
        {k: v for t in tables for k, v in t.bind.items()},
        actions,
    )
