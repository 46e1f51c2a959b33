"""What every reader of configuration text gives back: a problem at a place, and a value that knows where it was set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from levelhead.model import NOWHERE, Origin

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the engine would refuse or not do as written, as a sentence without its full stop.

    An error stops the engine from starting, or leaves the thing undone; a warning does not. What is unknown depends on
    what no text says, such as the environment.
    """

    origin: Origin
    sentence: str
    kind: Literal["error", "warning", "unknown"] = "error"

    def __str__(self) -> str:
        return f"{self.origin}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Value(Generic[T]):
    """A value in force and where it was written; written NOWHERE, it is the engine's own default."""

    value: T
    origin: Origin = NOWHERE

    @property
    def is_default(self) -> bool:
        return self.origin == NOWHERE


def line_at(files: Mapping[str, str], origin: Origin) -> str:
    """The line of a place as it was written; empty where the place is no line of these files."""
    lines = files.get(origin.file, "").split("\n")
    return lines[origin.line - 1].removesuffix("\r") if 0 < origin.line <= len(lines) else ""
