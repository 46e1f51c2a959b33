"""nginx configuration text to a tree of directives, split as nginx splits it; every word knows its line and column.

What makes nginx refuse a text as such (a brace or a quote that does not close, a `;` with nothing before it) raises
ConfigError at its place. What a directive means is not known here, but for the `*_by_lua_block`s, whose content is
another language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from levelhead.errors import ConfigError
from levelhead.model import Origin

MAX_DEPTH: Final = 100

# nginx reads through a buffer of 4096 bytes, which a word with its quotes must fit into.
_LONGEST_WORD: Final = 4096

# One word, mark or comment with the blanks before it. A `{` ends a bare word, but not behind a `$`; a `}` or a `#`
# inside a word is part of it.
_TOKEN: Final = re.compile(
    r"""[ \t\r]*+ (?:
        (?P<bare> (?![\n"'\#}]) (?:[^ \t\r\n;{\\$]++|\\.|\$\{*+)++ )
      | (?P<mark> [;{}] )
      | (?P<line> \n [ \t\r\n]*+ )
      | (?P<comment> \# [^\n]*+ )
      | " (?P<double> (?:[^"\\]++|\\.)*+ ) "
      | ' (?P<single> (?:[^'\\]++|\\.)*+ ) '
      | (?P<end> \Z )
    )""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"""\\(["'\\trn])""")
_ESCAPED: Final = {"t": "\t", "r": "\r", "n": "\n"}
_AFTER_QUOTE: Final = " \t\r\n;{)"

# What a brace in Lua may hide in: strings, long brackets of any level, comments.
_LUA: Final = re.compile(
    r"""--\[(?P<deep>=*)\[.*?\](?P=deep)\] | --[^\n]*+ | \[(?P<level>=*)\[.*?\](?P=level)\]
    | "(?:[^"\\\n]++|\\.)*+" | '(?:[^'\\\n]++|\\.)*+' | [{}]""",
    re.DOTALL | re.VERBOSE,
)
_LUA_BLOCK: Final = "_by_lua_block"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a directive as nginx understands it: without its quotes, with its escapes undone.

    `quote` is the quote it was written in, empty for none, `{` for the content of a Lua block.
    """

    text: str
    origin: Origin
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive: its name, its arguments, and its block where it has one. `end` is where its `;` or `}` stands."""

    head: Word
    args: tuple[Word, ...]
    block: tuple[Directive, ...] | None
    end: Origin

    @property
    def name(self) -> str:
        return self.head.text

    @property
    def origin(self) -> Origin:
        return self.head.origin

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.args)

    def text(self, position: int) -> str:
        """The argument at this position, counted from 0; empty where there is none."""
        return self.args[position].text if position < len(self.args) else ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment without its `#`; `alone` where nothing stands before it on its line."""

    text: str
    origin: Origin
    alone: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """One file: its directives in order, and its comments."""

    file: str
    directives: tuple[Directive, ...]
    comments: tuple[Comment, ...]


def parse(text: str, file: str) -> Tree:
    """The tree of a file. Raises ConfigError at the place where nginx would stop reading."""
    return _Parser(text, file).tree()


class _Open:
    """A block that is not closed yet; the outermost one has no head."""

    __slots__ = ("args", "children", "head")

    def __init__(self, head: Word | None, args: tuple[Word, ...]) -> None:
        self.head, self.args = head, args
        self.children: list[Directive] = []


class _Parser:
    """One pass over a text, with the line kept in step."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.at, self.line, self.line_start = 0, 1, 0
        self.words: list[Word] = []
        self.blocks = [_Open(None, ())]
        self.comments: list[Comment] = []

    def tree(self) -> Tree:
        match = _TOKEN.match
        while (found := match(self.text, self.at)) is not None:
            kind = found.lastgroup or "end"
            self.at = found.start(kind)
            if kind == "bare":
                self._word(found[kind], "", self._origin(), found.end())
            elif kind == "line":
                self._pass(found.end())
            elif kind == "mark":
                self._mark(found[kind])
            elif kind == "comment":
                self._comment(found[kind], found.end())
            elif kind == "end":
                self._nothing_open()
                return Tree(self.file, tuple(self.blocks[0].children), tuple(self.comments))
            else:
                self.at -= 1
                self._word(found[kind], self.text[self.at], self._origin(), found.end())
        raise self._unclosed()

    def _origin(self) -> Origin:
        return Origin(self.file, self.line, self.at - self.line_start + 1)

    def _pass(self, end: int) -> None:
        """Go on to `end`, counting the lines on the way."""
        lines = self.text.count("\n", self.at, end)
        if lines:
            self.line += lines
            self.line_start = self.text.rfind("\n", self.at, end) + 1
        self.at = end

    def _comment(self, text: str, end: int) -> None:
        alone = not self.text[self.line_start : self.at].strip()
        self.comments.append(Comment(text[1:], self._origin(), alone))
        self.at = end

    def _word(self, word: str, quote: str, origin: Origin, end: int) -> None:
        # A character takes at most four bytes, so most words need no counting.
        if len(word) * 4 >= _LONGEST_WORD and len(word.encode(errors="replace")) >= _LONGEST_WORD:
            raise self._stop(f"this word is longer than nginx's {_LONGEST_WORD} bytes", origin)
        if "\n" in word:
            self._pass(end)
        self.at = end
        if quote:
            after = self.text[end : end + 1]
            if after and after not in _AFTER_QUOTE:
                raise self._stop(f'unexpected "{after}" right after a closing quote', self._origin())
        if "\\" in word:
            word = _ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[1]), word)
        self.words.append(Word(word, origin, quote))

    def _unclosed(self) -> ConfigError:
        """At a quote that has no end, or at a backslash with nothing behind it."""
        while self.text[self.at] in " \t\r":
            self.at += 1
        character = self.text[self.at]
        said = "a backslash ends the file" if character == "\\" else f"this {character} is never closed"
        return self._stop(said, self._origin())

    def _mark(self, character: str) -> None:
        origin = self._origin()
        if character == "}":
            self._close(origin)
        elif not self.words:
            raise self._stop(f'unexpected "{character}"', origin)
        elif character == "{":
            self._begin(origin)
        else:
            head, *args = self.words
            self.blocks[-1].children.append(Directive(head, tuple(args), None, origin))
            self.words.clear()
            self.at += 1

    def _begin(self, origin: Origin) -> None:
        head, *args = self.words
        self.words.clear()
        if head.text.endswith(_LUA_BLOCK):
            self._lua(head, args, origin)
            return
        if len(self.blocks) > MAX_DEPTH:
            raise self._stop(f"blocks are nested more than {MAX_DEPTH} deep", origin)
        self.blocks.append(_Open(head, tuple(args)))
        self.at += 1

    def _lua(self, head: Word, args: list[Word], origin: Origin) -> None:
        start, depth = self.at + 1, 0
        for found in _LUA.finditer(self.text, self.at):
            depth += {"{": 1, "}": -1}.get(found[0], 0)
            if not depth:
                code = Word(self.text[start : found.start()], origin, "{")
                self._pass(found.start())
                self.blocks[-1].children.append(Directive(head, (*args, code), (), self._origin()))
                self.at += 1
                return
        raise self._stop(f'the block of "{head.text}" is never closed', head.origin)

    def _close(self, origin: Origin) -> None:
        if self.words:
            said = f'unexpected "}}": a ";" is missing after "{self.words[-1].text[:40]}"'
            raise self._stop(said, origin)
        block = self.blocks[-1]
        if block.head is None:
            raise self._stop('unexpected "}": no block is open', origin)
        self.blocks.pop()
        self.blocks[-1].children.append(Directive(block.head, block.args, tuple(block.children), origin))
        self.at += 1

    def _nothing_open(self) -> None:
        if self.words:
            raise self._stop('the file ends within a directive, before its ";"', self.words[0].origin)
        block = self.blocks[-1]
        if block.head is not None:
            raise self._stop(f'the block of "{block.head.text}" is never closed', block.head.origin)

    def _stop(self, said: str, origin: Origin) -> ConfigError:
        """Reading cannot go on; a template says so by the brace that it stops at."""
        around = self.text[max(self.at - 1, 0) : self.at + 2]
        if "{{" in around or "{%" in around:
            return ConfigError(
                "this is a template, not nginx configuration yet", file=origin.file, line=origin.line,
                column=origin.column, next_step="render it first, then give the result",
            )  # fmt: skip
        return ConfigError(said, file=origin.file, line=origin.line, column=origin.column)
