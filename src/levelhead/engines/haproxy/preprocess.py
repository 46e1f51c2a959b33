"""What HAProxy does before it reads a line: `.if` and its kin, and the values of environment variables.

Both branches of a condition are kept; a statement says whether it is read (`active`) and whether that is `certain`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from levelhead.engines.haproxy.syntax import Line, Tree, Variable, Word
from levelhead.engines.text import Problem
from levelhead.model import Origin

DEEPEST: Final = 16  # HAProxy refuses more nested conditions


@dataclass(frozen=True, slots=True)
class Statement:
    """A line that says something: its words after expansion. A word that still has `parts` has unknown variables."""

    line: Line
    words: tuple[Word, ...]
    active: bool = True
    certain: bool = True

    @property
    def origin(self) -> Origin:
        return self.words[0].origin

    @property
    def keyword(self) -> str:
        return self.words[0].text


@dataclass(frozen=True, slots=True)
class Setup:
    """What the reader is told about the world of the file.

    `version` None is any version; `features` (of `haproxy -vv`) None is unknown. A variable that `variables` does not
    name is unknown, not empty.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    version: tuple[int, int] | None = None
    features: frozenset[str] | None = None


class Truth(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Level:
    """One `.if`: what has been decided of its branches so far, and whether its surroundings are read at all."""

    origin: Origin
    outer_active: bool
    outer_certain: bool
    active: bool = True
    certain: bool = True
    taken: bool = False
    otherwise: bool = False


def run(trees: tuple[Tree, ...], setup: Setup, sections: frozenset[str]) -> tuple[tuple[Statement, ...], list[Problem]]:
    """The statements of all files in order; `sections` are the words that begin one.

    `setenv`, `presetenv`, `unsetenv` and `resetenv` of the global section act on the lines after them.
    """
    work = _Run(setup, sections)
    for tree in trees:
        work.file(tree)
    return tuple(work.statements), work.problems


def expanded(words: tuple[Word, ...], variables: Mapping[str, str], origin: Origin, section: str) -> tuple[Word, ...]:
    """The words with the values of their variables; a variable that is not there stays, and its word keeps `parts`."""
    for word in words:
        if word.parts:
            break
    else:
        return words
    known = {**variables, ".LINE": str(origin.line), ".FILE": origin.file, ".SECTION": section}
    return tuple(new for word in words for new in (_expand(word, known) if word.parts else (word,)))


def unknown_variables(word: Word) -> tuple[str, ...]:
    return tuple(part.name for part in word.parts if isinstance(part, Variable))


def _expand(word: Word, known: Mapping[str, str]) -> Iterator[Word]:
    pieces: list[list[str | Variable]] = [[]]
    for part in word.parts:
        if isinstance(part, str):
            pieces[-1].append(part)
            continue
        value = known.get(part.name, part.default)
        if value is None:
            pieces[-1].append(part)
        elif not part.spread:
            pieces[-1].append(value)
        else:
            first, *rest = re.split(r"[ \t\v\f\r\n]+", value)
            pieces[-1].append(first)
            pieces += [[more] for more in rest]
    for piece in pieces:
        text = "".join(p if isinstance(p, str) else p.raw for p in piece)
        left = tuple(piece) if any(isinstance(p, Variable) for p in piece) else ()
        yield Word(text, word.raw, word.origin, left)


class _Run:
    """The state of reading: conditions that are open, the section, the variables."""

    def __init__(self, setup: Setup, sections: frozenset[str]) -> None:
        self.setup, self.sections = setup, sections
        self.variables = dict(setup.variables)
        self.statements: list[Statement] = []
        self.problems: list[Problem] = []
        self.levels: list[_Level] = []
        self.section = self.kind = ""
        self.told: set[str] = set()

    def file(self, tree: Tree) -> None:
        self.levels, self.section, self.kind = [], "", ""
        for line in tree.lines:
            if line.fault is not None:
                place = Origin(line.origin.file, line.origin.line, line.fault.column)
                self.problems.append(Problem(place, line.fault.sentence))
            elif line.words:
                self._line(line)
        if not tree.complete:
            last = tree.lines[-1].origin
            place = Origin(last.file, last.line, len(tree.lines[-1].text) + 1)
            self.problems.append(Problem(place, "no line feed at the end of the last line: is the file cut off?"))
        for level in self.levels:
            self.problems.append(Problem(level.origin, "this .if has no .endif"))

    @property
    def active(self) -> bool:
        return not self.levels or self.levels[-1].active

    @property
    def certain(self) -> bool:
        return not self.levels or self.levels[-1].certain

    def _line(self, line: Line) -> None:
        words = expanded(line.words, self.variables, line.origin, self.section)
        if not words[0].text:
            return
        keyword = words[0].text
        if keyword.startswith("."):
            self._directive(line, words)
            return
        self.statements.append(Statement(line, words, self.active, self.certain))
        if not self.active:
            return
        self._note_unknown(words)
        if keyword in self.sections:
            self.kind, self.section = keyword, words[1].text if len(words) > 1 else keyword
        elif self.kind == "global" and keyword.endswith("env"):
            self._environment(keyword, [w.text for w in words[1:]])

    def _note_unknown(self, words: tuple[Word, ...]) -> None:
        for word in words:
            for name in unknown_variables(word) if word.parts else ():
                if name not in self.told:
                    self.told.add(name)
                    what = f"the environment variable {name} is not known here; HAProxy would put its value"
                    self.problems.append(Problem(word.origin, what, "unknown"))

    def _environment(self, keyword: str, arguments: list[str]) -> None:
        if keyword in ("setenv", "presetenv") and len(arguments) >= 2:
            if keyword == "setenv" or arguments[0] not in self.variables:
                self.variables[arguments[0]] = arguments[1]
        elif keyword == "unsetenv":
            for name in arguments:
                self.variables.pop(name, None)
        elif keyword == "resetenv":
            self.variables = {n: v for n, v in self.variables.items() if n in arguments}

    def _directive(self, line: Line, words: tuple[Word, ...]) -> None:
        origin, rest = words[0].origin, words[1:]
        match words[0].text:
            case ".if":
                self._open(origin, rest)
            case ".elif" | ".else" as name:
                self._next(name, origin, rest)
            case ".endif":
                if not self.levels:
                    self.problems.append(Problem(origin, ".endif without .if"))
                else:
                    self.levels.pop()
            case ".notice" | ".warning" | ".alert" | ".diag" as name:
                self._say(name, origin, rest)
            case other:
                self.problems.append(Problem(origin, f"unknown directive {other}"))
        self.statements.append(Statement(line, words, self.active, self.certain))

    def _say(self, name: str, origin: Origin, rest: tuple[Word, ...]) -> None:
        if not rest:
            self.problems.append(Problem(origin, f"{name} expects a message"))
        elif self.active and name in (".alert", ".warning"):
            text = f"the file says: {rest[0].text}"
            self.problems.append(Problem(origin, text, "error" if name == ".alert" else "warning"))

    def _open(self, origin: Origin, rest: tuple[Word, ...]) -> None:
        if len(self.levels) >= DEEPEST:
            self.problems.append(Problem(origin, f"too many nested .if: HAProxy takes {DEEPEST}"))
        level = _Level(origin, self.active, self.certain)
        self.levels.append(level)
        self._decide(level, origin, rest)

    def _next(self, name: str, origin: Origin, rest: tuple[Word, ...]) -> None:
        if not self.levels:
            self.problems.append(Problem(origin, f"{name} without .if"))
            return
        level = self.levels[-1]
        if level.otherwise:
            self.problems.append(Problem(origin, f"{name} after .else"))
        if name == ".else":
            level.otherwise = True
            level.active = level.outer_active and not level.taken
            if rest:
                self.problems.append(Problem(rest[0].origin, f"unexpected argument {rest[0].text!r} after .else"))
        else:
            self._decide(level, origin, rest)

    def _decide(self, level: _Level, origin: Origin, rest: tuple[Word, ...]) -> None:
        """An unknown condition is taken as true, and what depends on it is no longer certain."""
        if not level.outer_active or level.taken:
            level.active = False
            return
        condition = Condition(" ".join(w.text for w in rest), self.variables, self.setup)
        truth = condition.truth() if not any(w.parts for w in rest) else Truth.UNKNOWN
        if condition.complaint:
            self.problems.append(Problem(rest[0].origin if rest else origin, condition.complaint))
        if truth is Truth.UNKNOWN:
            level.certain = False
            what = "it cannot be told from here whether this condition holds; this branch is read"
            self.problems.append(Problem(origin, what, "unknown"))
        level.certain = level.certain and level.outer_certain
        level.active = level.taken = truth is not Truth.NO


_TOKEN: Final = re.compile(r"\s*(\|\||&&|!|\(|\)|[A-Za-z_][A-Za-z0-9_]*|-?\d+)")
_ARITY: Final = {"defined": 1, "feature": 1, "streq": 2, "strneq": 2, "strstr": 2, "version_atleast": 1,
                 "version_before": 1, "enabled": 1, "openssl_version_atleast": 1, "openssl_version_before": 1,
                 "ssllib_name_startswith": 1, "awslc_api_atleast": 1, "awslc_api_before": 1}  # fmt: skip


class Condition:
    """The expression of an `.if`: numbers, predicates, `!`, `&&` before `||`, parentheses."""

    def __init__(self, text: str, variables: Mapping[str, str], setup: Setup) -> None:
        self.text, self.variables, self.setup = text, variables, setup
        self.at = self.depth = 0
        self.complaint = ""

    def truth(self) -> Truth:
        """Unknown, with a `complaint`, for what is no expression; false for the empty one."""
        if not self.text.strip():
            return Truth.NO
        value = self._either()
        if not self.complaint and self.text[self.at :].strip():
            self._complain(f"unexpected {self.text[self.at :].strip()!r} in a condition")
        return Truth.UNKNOWN if self.complaint else value

    def _complain(self, sentence: str) -> Truth:
        self.complaint = self.complaint or sentence
        self.at = len(self.text)
        return Truth.UNKNOWN

    def _peek(self) -> str:
        match = _TOKEN.match(self.text, self.at)
        return match.group(1) if match else ""

    def _take(self) -> str:
        match = _TOKEN.match(self.text, self.at)
        if not match:
            return ""
        self.at = match.end()
        return match.group(1)

    def _either(self) -> Truth:
        value = self._both()
        while self._peek() == "||":
            self._take()
            other = self._both()
            yes, unknown = Truth.YES in (value, other), Truth.UNKNOWN in (value, other)
            value = Truth.YES if yes else Truth.UNKNOWN if unknown else Truth.NO
        return value

    def _both(self) -> Truth:
        value = self._term()
        while self._peek() == "&&":
            self._take()
            other = self._term()
            no, unknown = Truth.NO in (value, other), Truth.UNKNOWN in (value, other)
            value = Truth.NO if no else Truth.UNKNOWN if unknown else Truth.YES
        return value

    def _term(self) -> Truth:
        token = self._take()
        if token == "!":
            return _opposite(self._term()) if self._peek() != "!" else self._complain("two ! in a row")
        if token == "(":
            self.depth += 1
            if self.depth > 50:
                return self._complain("too many nested parentheses in a condition")
            value = self._either()
            return value if self._take() == ")" else self._complain("a parenthesis is not closed in a condition")
        if token.lstrip("-").isdigit():
            return Truth.YES if token.strip("-0") else Truth.NO
        if token not in _ARITY:
            return self._complain(f"unparsable condition {self.text!r}")
        return self._predicate(token)

    def _predicate(self, name: str) -> Truth:
        close = self.text.find(")", self.at)
        if self.text[self.at : self.at + 1] != "(" or close < 0:
            return self._complain(f"{name} expects its arguments in parentheses")
        arguments = [a.strip("\"'") for a in self.text[self.at + 1 : close].split(",")]
        self.at = close + 1
        if len(arguments) != _ARITY[name]:
            return self._complain(f"{name} expects {_ARITY[name]} argument{'s' if _ARITY[name] > 1 else ''}")
        match name:
            case "defined":
                return Truth.YES if arguments[0] in self.variables else Truth.UNKNOWN
            case "streq" | "strneq":
                return _truth((arguments[0] == arguments[1]) == (name == "streq"))
            case "strstr":
                return _truth(arguments[1] in arguments[0])
            case "feature" if self.setup.features is not None:
                return _truth(arguments[0] in self.setup.features)
            case "version_atleast" | "version_before" if self.setup.version is not None:
                numbers = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", arguments[0])
                asked = (int(numbers[1]), int(numbers[2] or 0)) if numbers else (0, 0)
                return _truth((self.setup.version >= asked) == (name == "version_atleast"))
            case _:
                return Truth.UNKNOWN


def _truth(fact: bool) -> Truth:
    return Truth.YES if fact else Truth.NO


def _opposite(truth: Truth) -> Truth:
    return {Truth.YES: Truth.NO, Truth.NO: Truth.YES, Truth.UNKNOWN: Truth.UNKNOWN}[truth]
