"""The text of an HAProxy configuration as lines and words, without loss: every word knows its place and its quotes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from levelhead.errors import ConfigError
from levelhead.model import Origin

MOST_WORDS: Final = 64  # HAProxy refuses a line that has more


@dataclass(frozen=True, slots=True)
class Variable:
    """`$NAME` between double quotes. `spread` is the form "${NAME[*]}", which becomes one word per value."""

    name: str
    raw: str
    default: str | None = None
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One word: `text` as HAProxy understands it (variables still in their raw form), `raw` as it is written.

    `parts` is empty unless the word holds variables; then it is the text in pieces.
    """

    text: str
    raw: str
    origin: Origin
    parts: tuple[str | Variable, ...] = ()

    @property
    def quoted(self) -> bool:
        return self.text != self.raw


@dataclass(frozen=True, slots=True)
class Fault:
    """Why HAProxy cannot cut a line into words, and at which column."""

    column: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `gaps[i]` stands before `words[i]`, `tail` is the rest with comment and end of line.

    A line with a `fault` has no words; all of it is in its tail.
    """

    origin: Origin
    words: tuple[Word, ...]
    gaps: tuple[str, ...]
    tail: str
    fault: Fault | None = None

    @property
    def text(self) -> str:
        return "".join(g + w.raw for g, w in zip(self.gaps, self.words, strict=True)) + self.tail

    @property
    def comment(self) -> str:
        """The comment with its `#`, empty if there is none."""
        stripped = self.tail.strip(_BLANKS)
        return stripped if stripped.startswith("#") else ""

    @property
    def keyword(self) -> str:
        return self.words[0].text if self.words else ""


@dataclass(frozen=True, slots=True)
class Tree:
    """One file. `complete` says that its last line ends with a line feed, without which HAProxy refuses the file."""

    file: str
    lines: tuple[Line, ...]

    @property
    def complete(self) -> bool:
        return not self.lines or self.lines[-1].tail.endswith("\n")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines from one section's header to the next, as they stand in the file; the first block may have no header."""

    header: Line | None
    lines: tuple[Line, ...]


def parse(text: str, file: str = "haproxy.cfg") -> Tree:
    """The lines of a file. Raises ConfigError, with the place, only for a text with NUL characters: that is no text."""
    zero = text.find("\0")
    if zero >= 0:
        line, column = text.count("\n", 0, zero) + 1, zero - text.rfind("\n", 0, zero)
        raise ConfigError(
            "a NUL character: this is not a text file", file=file, line=line, column=column,
            next_step="give the path of a configuration file",
        )  # fmt: skip
    pieces = text.split("\n")
    ends = ["\n"] * (len(pieces) - 1) + [""]
    if not pieces[-1]:
        pieces.pop()
    return Tree(file, tuple(_line(piece, end, file, n) for n, (piece, end) in enumerate(zip(pieces, ends), start=1)))  # noqa: B905


def render(tree: Tree) -> str:
    """The text again, byte for byte."""
    return "".join(line.text for line in tree.lines)


def blocks(tree: Tree, headers: frozenset[str]) -> tuple[Block, ...]:
    """The file by sections; `headers` are the words that begin one."""
    found: list[tuple[Line | None, list[Line]]] = [(None, [])]
    for line in tree.lines:
        if line.keyword in headers:
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return tuple(Block(header, tuple(lines)) for header, lines in found if header is not None or lines)


_BLANKS: Final = " \t\v\f\r\n"  # what C calls space
_BLANK_RUN: Final = re.compile(r"[ \t\v\f\r\n]*")
_PLAIN_WORD: Final = re.compile(r"[^ \t\v\f\r\n]+")
_PLAIN_PART: Final = re.compile(r"""[^ \t\v\f\r\n"'\\#$]+""")
_SPECIAL: Final = re.compile(r"""["'\\#\r]""")
_NAME: Final = re.compile(r"(?:\.(?:LINE|FILE|SECTION)(?![A-Za-z0-9_])|[A-Za-z_][A-Za-z0-9_]*)")
_HEX: Final = re.compile(r"[0-9a-fA-F]{2}")
_LETTERS: Final = {"t": "\t", "n": "\n", "r": "\r"}
_ESCAPED: Final = " \\#'\""


def _line(piece: str, end: str, file: str, number: int) -> Line:
    while piece.endswith("\r"):
        piece, end = piece[:-1], "\r" + end
    special = _SPECIAL.search(piece)
    if special is None or special.group() == "#":
        origin = Origin(file, number, 1)
        if not piece or piece[0] == "#":
            return Line(origin, (), (), piece + end)
        words, gaps, last = [], [], 0
        for match in _PLAIN_WORD.finditer(piece, 0, special.start() if special else len(piece)):
            start = match.start()
            text = match.group()
            gaps.append(piece[last:start])
            words.append(Word(text, text, Origin(file, number, start + 1)))
            last = match.end()
        if len(words) <= MOST_WORDS:
            return Line(origin, tuple(words), tuple(gaps), piece[last:] + end)
    return _Cutter(piece, end, file, number).line()


class _Cutter:
    """Cuts a line that has quotes, escapes or variables, as HAProxy does: character by character."""

    def __init__(self, piece: str, end: str, file: str, number: int) -> None:
        self.piece, self.end, self.file, self.number = piece, end, file, number
        self.at = 0

    def line(self) -> Line:
        origin = Origin(self.file, self.number, 1)
        piece = self.piece
        words: list[Word] = []
        gaps: list[str] = []
        try:
            last = 0
            while True:
                # Blanks, and carriage returns among them, are skipped; a return that ends a word ends the line.
                blank = _BLANK_RUN.match(piece, last)
                self.at = blank.end() if blank else last
                if self.at >= len(piece) or piece[self.at] == "#":
                    break
                start = self.at
                word = self._word()
                gaps.append(piece[last:start])
                words.append(word)
                last = self.at
                if last < len(piece) and piece[last] in "\r#":
                    break
            if len(words) > MOST_WORDS:
                column = words[MOST_WORDS].origin.column
                raise self._cut(
                    column, f"too many words: HAProxy takes {MOST_WORDS} on a line, this one has {len(words)}"
                )
        except ConfigError as cut:
            return Line(origin, (), (), piece + self.end, Fault(cut.column, cut.what))
        return Line(origin, tuple(words), tuple(gaps), piece[last:] + self.end)

    def _cut(self, column: int, what: str) -> ConfigError:
        return ConfigError(what, file=self.file, line=self.number, column=column)

    def _word(self) -> Word:
        start, text = self.at, ""
        parts: list[str | Variable] = []
        quote, opened = "", 0
        piece = self.piece
        while self.at < len(piece):
            char = piece[self.at]
            plain = _PLAIN_PART.match(piece, self.at)
            if plain:
                text += plain.group()
                self.at = plain.end()
            elif char == "\r" or (not quote and char in " \t\v\f#"):
                break
            elif char in "\"'" and quote in ("", char):
                quote, opened = ("", 0) if quote else (char, self.at)
                self.at += 1
            elif char == "\\" and quote != "'":
                text += self._escape(quote)
            elif char == "$" and quote == '"':
                if text:
                    parts.append(text)
                text = ""
                parts.append(self._variable())
            else:
                text += char
                self.at += 1
        if quote:
            raise self._cut(opened + 1, "unmatched quote")
        if parts and text:
            parts.append(text)
        whole = "".join(p if isinstance(p, str) else p.raw for p in parts) if parts else text
        return Word(whole, piece[start : self.at], Origin(self.file, self.number, start + 1), tuple(parts))

    def _escape(self, quote: str) -> str:
        following = self.piece[self.at + 1 : self.at + 2]
        if following in _LETTERS or (following and following in _ESCAPED) or (following == "$" and quote):
            self.at += 2
            return _LETTERS.get(following, following)
        if following == "x":
            digits = _HEX.match(self.piece, self.at + 2)
            if not digits:
                raise self._cut(self.at + 1, "truncated or invalid hexadecimal sequence after \\x")
            self.at = digits.end()
            return chr(int(digits.group(), 16))
        self.at += 1
        return "\\"

    def _variable(self) -> Variable:
        piece, start = self.piece, self.at
        brace = piece[start + 1 : start + 2] == "{"
        name = _NAME.match(piece, start + (2 if brace else 1))
        if not name:
            raise self._cut(
                start + (3 if brace else 2), "forbidden first character in the name of an environment variable"
            )
        at, spread, default = name.end(), False, None
        if brace and piece[at : at + 1] == "[":
            if piece[at : at + 3] != "[*]":
                raise self._cut(at + 1, "truncated or invalid word expansion sequence; write [*]")
            spread, at = True, at + 3
        if brace and piece[at : at + 1] == "-":
            close = piece.find("}", at)
            default, at = piece[at + 1 : close if close >= 0 else len(piece)], close
        if brace and (at < 0 or piece[at : at + 1] != "}"):
            raise self._cut(start + 2, "unmatched brace in the name of an environment variable")
        self.at = at + 1 if brace else at
        return Variable(name.group(), piece[start : self.at], default, spread)
