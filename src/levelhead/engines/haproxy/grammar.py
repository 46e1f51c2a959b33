"""Checks the words after a keyword against a small pattern, and says what is missing, wrong or too much.

A pattern is a row of elements: `INT` (a whole number), `NAT` (not below 0), `NUM` (HAProxy takes anything and reads 0),
`TIME`, `SIZE`, `BAND` (a number or an expression), `CODE` (an HTTP status), `ERROR` (one whose page can be changed),
`CODES` (a list of them), `PROCS` (a set of processes), `ANY` (one word), `WORD` (one word, not if or unless),
`a|b` (one of these words), `{a b:INT}` (these options, in any order), `...` (whatever follows), `IF` (a condition or
nothing), `IF!` (a condition). `?` makes an element optional, `*` repeats it. What is left at the end is too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from levelhead.engines.haproxy.syntax import Word
from levelhead.engines.haproxy.values import Bad, duration_s, integer, leading_integer, shown, size

_ELEMENT: Final = re.compile(r"\{[^}]*\}|\S+")
_CONDITION: Final = ("if", "unless")
_NAMES: Final = {
    "INT": "a number", "NUM": "a number", "TIME": "a time", "SIZE": "a size", "CODE": "an HTTP status",
    "ANY": "an argument", "WORD": "an argument", "IF!": "if or unless and a condition", "NAT": "a number",
    "ERROR": "an HTTP status", "BAND": "a number or an expression",
    "CODES": "HTTP statuses", "PROCS": "a set of processes",
}  # fmt: skip
_PAGES: Final = "200 400 401 403 404 405 407 408 410 413 414 421 422 425 429 431 500 501 502 503 504"
_BAND: Final = re.compile(r"\d+[a-zA-Z]{0,2}|.*[(,._].*|[a-z_]+")
_PROCS: Final = re.compile(r"(all|odd|even|\d+(-\d+)?)(/(all|odd|even|\d+(-\d+)?))?")
_CODES: Final = re.compile(r"[+-]?\d{3}(-\d{3})?(,[+-]?\d{3}(-\d{3})?)*")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with the words; `at` is None where something is missing at their end."""

    sentence: str
    at: Word | None
    kind: Literal["error", "warning"] = "error"


def complaint(name: str, words: Sequence[Word], pattern: str) -> Complaint | None:
    """The first thing that is wrong with the words after `name`, None if they fit."""
    match = _Match(name, words)
    for element in _ELEMENT.findall(pattern):
        if element == "...":
            return match.found
        match.element(element)
        if match.found and match.found.kind == "error":
            return match.found
    if match.at < len(words) and match.found is None:
        word = words[match.at]
        return Complaint(f"'{name}' cannot handle the argument {shown(word.text)}", word)
    return match.found


def unfit(word: Word, kind: str) -> str:
    """Why a word is not of this kind, empty if it is. Words with unknown variables fit everything."""
    if word.parts or kind in ("ANY", "NUM"):
        return ""
    read = _READERS.get(kind)
    if read is not None:
        found = read(word.text)
        return found.why if isinstance(found, Bad) else ""
    return "" if word.text in kind.split("|") else f"{shown(word.text)} is not one of {', '.join(kind.split('|'))}"


def _natural(text: str) -> int | Bad:
    number = integer(text)
    return number if isinstance(number, Bad) or number >= 0 else Bad(f"{text} is negative")


def _fitting(form: re.Pattern[str], what: str) -> Callable[[str], str | Bad]:
    return lambda text: text if form.fullmatch(text) else Bad(f"{shown(text)} is {what}")


def _page(text: str) -> str | Bad:
    return text if text in _PAGES.split() else Bad(f"there is no page to change for the status {shown(text)}")


def _word(text: str) -> str | Bad:
    return Bad("the argument is missing") if text in _CONDITION else text


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "INT": integer, "NAT": _natural, "TIME": duration_s, "SIZE": size, "ERROR": _page, "WORD": _word,
    "CODE": _fitting(re.compile(r"[0-9]{3}"), "no HTTP status"),
    "CODES": _fitting(_CODES, "no list of HTTP statuses"),
    "PROCS": _fitting(_PROCS, "no set of processes or threads"),
    "BAND": _fitting(_BAND, "neither a number nor an expression"),
}  # fmt: skip


class _Match:
    def __init__(self, name: str, words: Sequence[Word]) -> None:
        self.name, self.words, self.at = name, words, 0
        self.found: Complaint | None = None

    @property
    def word(self) -> Word | None:
        return self.words[self.at] if self.at < len(self.words) and self.words[self.at].text else None

    def element(self, element: str) -> None:
        if element in ("IF", "IF!"):
            self._condition(needed=element == "IF!")
        elif element.startswith("{"):
            self._options(element[1:-1].split())
        elif element[-1] == "*":
            while self.word and self.word.text not in _CONDITION and not unfit(self.word, element[:-1]):
                self.at += 1
        elif element[-1] == "?":
            if self.word and self.word.text not in _CONDITION and not unfit(self.word, element[:-1]):
                self._number(self.word, element[:-1])
                self.at += 1
        else:
            self._needed(element, self.name)

    def _needed(self, kind: str, of: str) -> None:
        word = self.word
        if word is None:
            what = _NAMES.get(kind, "one of " + kind.replace("|", ", ") if "|" in kind else repr(kind))
            self.found = Complaint(f"'{of}' expects {what}", None)
            return
        why = unfit(word, kind)
        if why:
            self.found = Complaint(f"'{of}': {why}", word)
            return
        self._number(word, kind)
        self.at += 1

    def _number(self, word: Word, kind: str) -> None:
        if kind == "NUM" and not word.parts and isinstance(integer(word.text), Bad):
            number = leading_integer(word.text)
            self.found = Complaint(f"'{self.name}': HAProxy reads {shown(word.text)} as {number}", word, "warning")

    def _condition(self, needed: bool) -> None:
        word = self.word
        if word is not None and word.text in _CONDITION:
            if self.at + 1 >= len(self.words):
                self.found = Complaint(f"'{word.text}' has no condition", None)
            self.at = len(self.words)
        elif needed and word is None:
            self.found = Complaint(f"'{self.name}' expects if or unless and a condition", None)
        elif word is not None and (needed or not word.parts):
            self.found = Complaint(f"'{self.name}' cannot handle the argument {shown(word.text)}", word)

    def _options(self, options: list[str]) -> None:
        names = {option.split(":")[0]: option.split(":")[1:] for option in options}
        while (word := self.word) is not None and word.text in names:
            self.at += 1
            for kind in names[word.text]:
                if kind[-1] in "?*":
                    self.element(kind)
                else:
                    self._needed(kind, word.text)
                if self.found and self.found.kind == "error":
                    return
