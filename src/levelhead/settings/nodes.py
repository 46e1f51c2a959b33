"""The text of a levelhead.yaml to a tree of nodes that know their line and column, every fault of form as a problem.

What a value means is decided by the setting it is for, so `off`, `no`, `010` and `1e3` are never guessed at. Tags,
merge keys and second documents are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import yaml

from levelhead.errors import ConfigError
from levelhead.model import Origin
from levelhead.nodes import Composer, Entry, Mapping, Node, Scalar, Sequence, forbidden, slip, stop

MAX_DEPTH: Final = 20

Plain = str | list["Plain"] | dict[str, "Plain"] | None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place, as a sentence without its full stop; `setting` is its path, where it has one."""

    where: Origin
    what: str
    setting: str = ""

    def __str__(self) -> str:
        # A flag is its own place; the path of the setting it stands for would only puzzle.
        return f"{self.setting}: {self.what}" if self.setting and self.where.line else self.what


def compose(text: str, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The root node, and the faults found on the way; no root where the text is empty or is not YAML at all."""
    try:
        composer = _Composer(text, file)
    except (yaml.reader.ReaderError, UnicodeEncodeError):
        return None, (_unreadable(text, file),)
    try:
        return composer.document(), tuple(composer.problems)
    except ConfigError as stop:
        return None, (*composer.problems, Problem(Origin(file, stop.line, stop.column), stop.what))
    except yaml.MarkedYAMLError as error:
        return None, (*composer.problems, _syntax(error, text, file))
    except (yaml.reader.ReaderError, UnicodeEncodeError):
        return None, (*composer.problems, _unreadable(text, file))


def plain(node: Node) -> Plain:
    """The tree as Python values without places: text, None, lists and dictionaries."""
    match node:
        case Scalar():
            return None if node.null else node.text
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def place(node: Node, path: tuple[str | int, ...], *, key: bool = False) -> Origin:
    """Where the value at `path` was written, or its key; the nearest enclosing value where it was not written."""
    where = node.where
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            entry = node.entries[str(step)]
            node, where = entry.value, entry.where if key else entry.value.where
        elif isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            where = node.where
    return where


class _Composer(Composer):
    """Our way: what YAML allows and nobody expects is a problem."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file, MAX_DEPTH)
        self.problems: list[Problem] = []

    def another(self, where: Origin) -> None:
        raise stop(where, "a second YAML document begins here; one file holds one")

    def enter(self, entries: dict[str, Entry], key: Node, tag: str | None, where: Origin, value: Node) -> None:
        if not isinstance(key, Scalar):
            self.problems.append(Problem(where, "a key must be one word, not a list or a mapping"))
        elif key.text == "<<":
            self.problems.append(Problem(where, "merge keys (<<) are not supported; alias a whole value instead"))
        elif key.text in entries:
            first = entries[key.text].where
            self.problems.append(Problem(where, f"{key.text!r} is written twice; the first is in line {first.line}"))
        else:
            entries[key.text] = Entry(key.text, where, value)

    def tagged(self, tag: str, where: Origin) -> None:
        if tag not in ("!", "tag:yaml.org,2002:str"):
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.append(Problem(where, f"the YAML tag {tag} is not supported; leave it out"))


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark, said, hint = slip(error)
    if mark is None:
        return Problem(Origin(file), f"this is not YAML: {said}")
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: mark.column + 1]:
        hint = " (indent with spaces, not with tabs)"
    return Problem(Origin(file, mark.line + 1, mark.column + 1), f"this is not YAML: {said}{hint}")


def _unreadable(text: str, file: str) -> Problem:
    found = forbidden(text)
    if found is None:
        return Problem(Origin(file), "this is not text that YAML can hold")
    line, column, character = found
    return Problem(Origin(file, line, column), f"a control character ({character!r}) is not allowed here")
