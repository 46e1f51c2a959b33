"""Which words HAProxy knows where, by version: a generated table for 2.6 and 2.8, and what later versions added."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from levelhead.engines.haproxy import keywords_known, keywords_later

ANY_VERSION: Final = "any HAProxy"
PROXIES: Final = ("defaults", "frontend", "backend", "listen")
HEADERS: Final = frozenset({
    "global", *PROXIES, "userlist", "peers", "mailers", "resolvers", "cache", "program", "http-errors", "ring",
    "log-forward", "fcgi-app", "namespace_list", *keywords_later.HEADERS,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one version, or of several together.

    `server` and `bind` map a word to the number of its values, -1 for as many as fit. Actions that end in `*` are
    prefixes.
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


def words(version: tuple[int, int] | None) -> Words:
    """The words of the newest version we have that is not newer than this one; of all for None, and beyond 2.8."""
    if version is None or version > (2, 8):
        return _words(ANY_VERSION if version is None else f"HAProxy {version[0]}.{version[1]}", "2.6", "2.8", "3")
    known = "2.8" if version >= (2, 7) else "2.6"
    return _words(f"HAProxy {known}", known)


def known_elsewhere(section: str, word: str) -> str:
    """The first version that has the word in this section, empty if none has it."""
    for version in ("2.6", "2.8", "3"):
        table = _words(f"HAProxy {version}", version)
        if word in table.of(section):
            return table.name
    return ""


def likely(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that asks whether a similar word was meant, empty if there is none."""
    if not 1 < len(word) <= 40:
        return ""
    # Only words of about this length that begin or end alike: a long file of nonsense must not take long.
    alike = [k for k in known if abs(len(k) - len(word)) <= 2 and k and (k[0] == word[0] or k[-1] == word[-1])]
    close = difflib.get_close_matches(word, alike, 1, 0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


@lru_cache(maxsize=8)
def _words(name: str, *versions: str) -> Words:
    """What any of these versions knows; "3" is all that was learnt after 2.8."""
    later = (keywords_later.SECTIONS, keywords_later.REGISTERED) if "3" in versions else ({}, {})
    sections = _split(versions, keywords_known.SECTIONS, later[0])
    registered = _split(versions, keywords_known.REGISTERED, later[1])
    return Words(
        name,
        {section: frozenset(found) for section, found in sections.items()},
        {section: frozenset(found) for section, found in _split(versions, keywords_known.REMOVED).items()},
        frozenset(sections["option in listen"]),
        dict(_pair(entry) for entry in registered["option"]),
        {word: int(count) for word, count in map(_pair, registered["server"])},
        {word: int(count) for word, count in map(_pair, registered["bind"])},
        {kind: frozenset(found) for kind, found in registered.items() if " " in kind or kind.startswith("http-")},
    )


def _split(versions: tuple[str, ...], *tables: Mapping[str, str]) -> dict[str, list[str]]:
    """The words of these versions in each row; `@2.6` ends one that not all know."""
    found: dict[str, list[str]] = {}
    for table in tables:
        for row, text in table.items():
            entries = (entry.partition("@") for entry in text.split())
            found.setdefault(row, []).extend(word for word, _, only in entries if not only or only in versions)
    return found


def _pair(entry: str) -> tuple[str, str]:
    word, _, value = entry.partition(":")
    return word, value
