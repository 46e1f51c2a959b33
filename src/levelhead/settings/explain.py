"""What pydantic found wrong with a file, as problems at a place, in plain words, with what is allowed."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from levelhead.nodes import Node
from levelhead.settings.nodes import Problem, place
from levelhead.settings.schema import SettingRow, table

# A file with more faults than this is not the file it was meant to be; the rest are only counted.
MAX_EXPLAINED: Final = 100


def problems(error: ValidationError, root: Node) -> tuple[Problem, ...]:
    """Every fault (up to a bound), in pydantic's order."""
    details = error.errors(include_url=False)[:MAX_EXPLAINED]
    return tuple(_problem(detail, root) for detail in details)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'web'?`, or nothing where no known word is near."""
    close = difflib.get_close_matches(word, tuple(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def label(path: tuple[str | int, ...]) -> str:
    """`pools.web.servers`, `notify[0].slack`: a place in the file as a person would write it."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _problem(detail: ErrorDetails, root: Node) -> Problem:
    path = tuple(step for step in detail["loc"] if not (isinstance(step, str) and step.startswith("@")))
    if path and path[-1] == "[key]":
        return Problem(place(root, path[:-1], key=True), _said(detail), label(path[:-2]))
    if detail["type"] == "extra_forbidden":
        return Problem(place(root, path, key=True), _unknown_key(path))
    if detail["type"] == "missing":
        what = f"{path[-1]} is missing; it must be {_expected(path)}"
        return Problem(place(root, path[:-1]), what, label(path[:-1]))
    where = place(root, path)
    if detail["type"] == "value_error":
        return Problem(where, _said(detail), label(path))
    if detail["input"] is None:
        return Problem(where, f"needs a value: {_expected(path)}", label(path))
    if detail["type"] == "too_short":
        return Problem(where, f"must not be empty; it is {_expected(path)}", label(path))
    return Problem(where, f"must be {_expected(path)}{_not_this(detail, path)}", label(path))


def _said(detail: ErrorDetails) -> str:
    """The sentence of one of our own validators."""
    return str(detail.get("ctx", {}).get("error", detail["msg"]))


def _not_this(detail: ErrorDetails, path: tuple[str | int, ...]) -> str:
    given = detail["input"]
    if isinstance(given, list):
        return ", not a list"
    if not isinstance(given, str):
        return ", not a mapping"
    guess = did_you_mean(given, re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", ""))))
    # What stands under notify may be a secret.
    return guess if path[0] == "notify" else f", not {_shortened(given)!r}{guess}"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown_key(path: tuple[str | int, ...]) -> str:
    key = str(path[-1])
    parent = _row_path(path[:-1])
    known = [row.path[len(parent) :].lstrip(".") for row in _by_path().values() if _is_child(row.path, parent)]
    where = f" in {label(path[:-1])}" if path[:-1] else ""
    said = f"unknown key {_shortened(key)!r}{where}"
    if guess := did_you_mean(key, known):
        return said + guess
    elsewhere = [row.path for row in _by_path().values() if row.path.endswith(f".{key}")]
    if elsewhere:
        return f"{said}; it belongs at {elsewhere[-1]}"
    return f"{said}; known here: {', '.join(known)}"


def _is_child(path: str, parent: str) -> bool:
    head, _, tail = path.rpartition(".")
    return head == parent and not tail.startswith("<") and not tail.endswith("[]")


def _expected(path: tuple[str | int, ...]) -> str:
    row = _by_path().get(_row_path(path))
    return row.type if row else "something else"


def _row_path(path: tuple[str | int, ...]) -> str:
    """The path of the table's row for a place: `pools.web.check` becomes `pools.<pool>.check`."""
    here = ""
    for step in path:
        if isinstance(step, int):
            here += "[]"
            continue
        exact = f"{here}.{step}" if here else step
        here = exact if exact in _by_path() else _placeholders().get(here, exact)
    return here


@functools.cache
def _by_path() -> dict[str, SettingRow]:
    return {row.path: row for row in table()}


@functools.cache
def _placeholders() -> dict[str, str]:
    return {path.rpartition(".")[0]: path for path in _by_path() if path.endswith(">")}
