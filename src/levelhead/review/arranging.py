"""Texts to configurations: which files belong together, and where the reading of each begins."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from levelhead.engines.nginx import includes
from levelhead.errors import ConfigError
from levelhead.review.base import Language
from levelhead.review.recognise import starts_haproxy


@dataclass(frozen=True, slots=True)
class Configuration:
    """Files that one engine reads together; nginx and Envoy begin with `main`, HAProxy reads them in order."""

    language: Language
    files: Mapping[str, str]
    main: str


def arranged(files: Mapping[str, tuple[Language, str]], found: Mapping[str, str]) -> tuple[Configuration, ...]:
    """The configurations that these files make. `found` are further texts that they may include."""
    made: list[Configuration] = []
    texts: dict[Language, dict[str, str]] = {"haproxy": {}, "nginx": {}, "envoy": {}, "levelhead": {}}
    for name, (language, text) in files.items():
        texts[language][name] = text
    made += [Configuration("haproxy", group, next(iter(group))) for group in _haproxy(texts["haproxy"])]
    made += _nginx(texts["nginx"], {**texts["nginx"], **found})
    made += [Configuration("envoy", _near(texts["envoy"], found, name), name) for name in _bootstraps_first(texts)]
    made += [Configuration("levelhead", {name: text}, name) for name, text in texts["levelhead"].items()]
    return tuple(made)


def _haproxy(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """One HAProxy reads all files, unless several begin a configuration of their own, with a `global` section.

    Then a file without one adds to the one that begins in its folder, or the nearest above, if that is only one.
    """
    heads = [name for name, text in texts.items() if starts_haproxy(text)]
    if len(heads) <= 1:
        return [dict(texts)] if texts else []
    groups = {name: [name] for name in heads}
    for name in texts:
        if name not in groups:
            head = _head_of(name, heads)
            groups.setdefault(head, [head] if head != name else []).append(name)
    return [{name: texts[name] for name in texts if name in group} for group in groups.values()]


def _head_of(name: str, heads: list[str]) -> str:
    folder = posixpath.dirname(name)
    while True:
        here = [head for head in heads if posixpath.dirname(head) == folder]
        if here:
            return here[0] if len(here) == 1 else name
        above = posixpath.dirname(folder)
        if above == folder:
            return name
        folder = above


def _nginx(given: Mapping[str, str], whole: Mapping[str, str]) -> Iterator[Configuration]:
    """Of the given files those that no other one includes, each with what it takes in; a broken one is told later."""
    reached = includes.reach({name: _patterns(name, text) for name, text in whole.items()})
    begin = set(includes.begins(reached))
    for name in given:
        if name in begin:
            yield Configuration("nginx", {each: whole[each] for each in reached[name]}, name)


def _patterns(name: str, text: str) -> tuple[str, ...]:
    try:
        return includes.wanted(text, name)
    except ConfigError:
        return ()


def _bootstraps_first(texts: Mapping[Language, Mapping[str, str]]) -> list[str]:
    """What a bootstrap takes from other files is read with it, and need not be read again."""
    bootstrap = re.compile(r"(static|dynamic)_?[rR]esources")
    return sorted(texts["envoy"], key=lambda name: not bootstrap.search(texts["envoy"][name]))


def _near(texts: Mapping[str, str], found: Mapping[str, str], main: str) -> dict[str, str]:
    """An Envoy file first, with those in its folder or below: it may take resources from them."""
    folder = posixpath.dirname(main)
    near = {name: text for name, text in texts.items() if posixpath.dirname(name).startswith(folder)}
    return {main: texts[main], **near, **found}
