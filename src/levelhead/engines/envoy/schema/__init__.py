"""Which fields Envoy's messages have, by name and kind: those of clusters, routes, listeners and what they are made of.

Asked of Envoy 1.40 itself, from the descriptions it carries; the test beside the real Envoy asks again. Messages are
named without the parts that say nothing: `cluster.Cluster` is envoy.config.cluster.v3.Cluster. A kind is one of text,
int, number, bool, duration, any (it says itself what it is), ? (not looked into), an enum or another message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from levelhead.engines.envoy.schema import clusters, core, listeners, routes

ENVOY: Final = "1.40"
PLAIN: Final = frozenset({"text", "int", "number", "bool", "duration", "any", "?"})

_TABLES: Final = (clusters, core, listeners, routes)
_PREFIXES: Final = ("envoy.config.", "envoy.extensions.", "envoy.type.", "envoy.")


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what its value is, whether there may be several, whether they are values by a free key."""

    name: str
    kind: str
    repeated: bool
    keyed: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its fields by name, in either spelling (connect_timeout, connectTimeout)."""

    name: str
    fields: Mapping[str, Field]

    @property
    def title(self) -> str:
        return self.name.rpartition(".")[2]


def message(name: str) -> Message | None:
    """The message of this short name; None where it is not one of those known here."""
    return _messages().get(name)


def names() -> tuple[str, ...]:
    """The short names of all messages known here."""
    return tuple(_messages())


def enum(name: str) -> tuple[str, ...]:
    """The values of an enum; none where there is no such enum."""
    return _enums().get(name, ())


def named(type_url: str) -> str:
    """The short name of a message, from its @type."""
    full = type_url.rpartition("/")[2]
    for prefix in _PREFIXES:
        if full.startswith(prefix):
            full = full.removeprefix(prefix)
            break
    return full.replace(".v3.", ".")


def camel(name: str) -> str:
    """The other spelling of a field's name: connectTimeout for connect_timeout."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


@cache
def _messages() -> Mapping[str, Message]:
    return {m.name: m for table in _TABLES for m in _parsed(table.MESSAGES)}


def _parsed(text: str) -> list[Message]:
    names: list[str] = []
    written: list[list[str]] = []
    for line in text.strip("\n").split("\n"):
        if line.endswith(":"):
            names.append(line[:-1])
            written.append([])
        else:
            written[-1].append(line)
    return [_message(name, " ".join(lines)) for name, lines in zip(names, written, strict=True)]


def _message(name: str, written: str) -> Message:
    fields: dict[str, Field] = {}
    for part in written.split("; "):
        kind, *field_names = part.split(" ")
        keyed = kind.startswith("map<")
        bare = kind.removeprefix("map<").rstrip(">*")
        full = name + bare if bare.startswith(".") else bare
        for field_name in field_names:
            field = Field(field_name, full, kind.endswith("*"), keyed)
            fields[field_name] = fields[camel(field_name)] = field
    return Message(name, fields)


@cache
def _enums() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in " ".join(table.ENUMS for table in _TABLES).split():
        if word.endswith(":"):
            name = word[:-1]
            found[name] = ()
        else:
            found[name] = (*found[name], word)
    return found
