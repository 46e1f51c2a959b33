"""The corpus of real HAProxy material beside the repository: its files, and its lines with their verdicts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from levelhead.engines.haproxy import keywords, rules, syntax
from levelhead.engines.haproxy.reading import read
from levelhead.engines.text import Problem

CONFIGS: Final = Path(__file__).parents[3].parent / "shared/corpus/configs"
needs_corpus = pytest.mark.skipif(not CONFIGS.exists(), reason="no ../shared/corpus beside the repository")

# A line may stand in any of these sections; those that do not know its first word are left out.
HOSTS: Final = [
    "global", "defaults d", "frontend f", "backend b", "listen l", "userlist u", "peers p", "mailers m", "resolvers r",
    "cache c", "program g", "http-errors e", "ring g", "log-forward o", "fcgi-app a", "crt-store", "log-profile q",
    "healthcheck h",
]  # fmt: skip
# What lines refer to.
BEFORE: Final = (
    "resolvers mydns\n nameserver a 127.0.0.1:53\npeers aaaaa\ncache cache-name\n total-max-size 4\n"
)
POOLS: Final = ("http", "test", "a_table", "tr", "foo", "pop", "st_src_global", "t2")


@dataclass(frozen=True)
class Sample:
    """A line with the verdict of another parser's tests; `sections` empty: any that knows the word."""

    line: str
    valid: bool
    directive: str
    sections: tuple[str, ...]


def files() -> Iterator[tuple[dict[str, str], str]]:
    """Each file's row of the index and its text."""
    with (CONFIGS / "index.csv").open() as index:
        for row in csv.DictReader(index):
            if row["engine"] == "haproxy":
                yield row, (CONFIGS / row["file"]).read_bytes().decode("utf-8", "surrogateescape")


def samples() -> Iterator[Sample]:
    """The single lines. Some kept the escapes of the source code they come from; those of SPOE are another language."""
    with (CONFIGS / "haproxy_directives.csv").open() as index:
        for row in csv.DictReader(index):
            line = row["line"]
            if "spoe/" in row["path"] or row["directive"] == "config-snippet":
                continue
            if "\\\\" in line or '\\"' in line:
                line = line.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")
            sections = tuple(row["sections"].split(",")) if row["sections"] else ()
            yield Sample(line, row["expect"] == "ok", row["directive"], sections)


def hosted(sample: Sample) -> dict[str, str]:
    """The line in every section where it may stand, with what it refers to; by the kind of section."""
    words = sample.line.split()
    keyword = words[1] if len(words) > 1 and words[0] == "no" else words[0] if words else ""
    found = {}
    for header in HOSTS:
        kind = header.split()[0]
        known = keyword in keywords.words(None).of(kind)
        if not known or (sample.sections and kind not in sample.sections):
            continue
        if kind == "global":
            found[kind] = f"global\n {sample.line}\n"
            continue
        proxy = kind in keywords.PROXIES
        names = "".join(f" acl {name} always_true\n" for name in _acls(sample.line)) if proxy else ""
        servers = " server www 127.0.0.1:80\n server srvx 127.0.0.1:80\n" if kind in ("backend", "listen") else ""
        after = "".join(f"backend {pool}\n stick-table type ip size 1k\n" for pool in POOLS if pool in words)
        found[kind] = f"{BEFORE}{header}\n{names}{servers} {sample.line}\n{after}"
    return found


def _acls(line: str) -> list[str]:
    cut = syntax.parse(line + "\n").lines
    if not cut or not cut[0].words:
        return []
    condition = rules.split_condition(cut[0].words)[2]
    names = dict.fromkeys(word.text.lstrip("!") for word in rules.names_in_condition(condition))
    return [n for n in names if n not in rules.PREDEFINED and n.replace("-", "").replace("_", "").replace(".",
    "").isalnum()]


def problems_of(sample: Sample) -> dict[str, list[Problem]]:
    """What the reader says of the line itself, by the kind of section."""
    found = {}
    for kind, text in hosted(sample).items():
        line = next(n for n, part in enumerate(text.split("\n"), 1) if part == f" {sample.line}")
        found[kind] = [p for p in read({"x": text}).problems if p.origin.line == line]
    return found
