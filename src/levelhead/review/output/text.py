"""A report as lines for a terminal: each finding with its line and a caret, then what the configuration will do."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from levelhead.engines.text import line_at
from levelhead.review.base import Finding, Severity
from levelhead.review.changes import PoolChange
from levelhead.review.outlook import Outlook, Prospect
from levelhead.review.output import words
from levelhead.review.report import TITLES, Report, counted, summary

Style = Literal["", "bold", "dim", "red", "yellow", "cyan"]
MOST_POOLS: Final = 20
MOST_SERVERS: Final = 16
MOST_UNKNOWN: Final = 5
_NARROWEST: Final = 40
_STYLES: Final[Mapping[Severity, Style]] = {"error": "red", "warning": "yellow", "info": "cyan"}
_BAR_CELLS: Final = 16


class Span(NamedTuple):
    """A piece of a line, and how it looks; never what it means: words say that too."""

    text: str
    style: Style = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Paper:
    """What is written to: its width in columns, and whether it can only show ASCII."""

    width: int = 100
    ascii_only: bool = False


def text(report: Report, paper: Paper) -> tuple[Line, ...]:
    """The whole report; lines of source keep within the width too."""
    paper = Paper(max(paper.width, _NARROWEST), paper.ascii_only)
    lines: list[Line] = []
    for file in report.files:
        if not file.readable:
            lines += [(Span(file.path, "bold"),), *_wrapped(f"cannot be read: {file.error}", 2, paper, "red"), ()]
    titles = {file.path: f" ({TITLES[file.language]})" if file.language else "" for file in report.files}
    for name in dict.fromkeys(finding.origin.file for finding in report.findings):
        lines += [(Span(name, "bold"), Span(titles.get(name, ""), "dim")), ()]
        for finding in report.findings:
            if finding.origin.file == name:
                lines += [*_finding(finding, report.texts, paper), ()]
    for change in report.changes:
        lines += [*_change(change, report.base, paper), ()]
    lines += _outlooks(report, paper)
    lines += _footer(report, paper)
    return tuple(lines)


def _footer(report: Report, paper: Paper) -> Iterator[Line]:
    style: Style = "red" if report.count("error") else "yellow" if report.count("warning") else ""
    yield from _wrapped(summary(report), 0, paper, style)
    if report.targets:
        yield from _wrapped(f"for {', '.join(report.targets)}", 0, paper, "dim")


def _finding(finding: Finding, texts: Mapping[str, str], paper: Paper) -> Iterator[Line]:
    style = _STYLES[finding.severity]
    yield (Span(words.place(finding), "bold"), Span(": "), Span(finding.severity, style),
           Span(f" {finding.code} {finding.rule}"))  # fmt: skip
    yield from _source(finding, texts, paper)
    yield from _wrapped(finding.message, 4, paper)
    yield from _wrapped(f"fix: {finding.fix}", 4, paper)
    yield (Span(f"    more: levelhead explain {finding.code}", "dim"),)


def _source(finding: Finding, texts: Mapping[str, str], paper: Paper) -> Iterator[Line]:
    """The line and a caret under the word it is about; only the part around that word of a long line."""
    where = finding.origin
    raw = line_at(texts, where)
    if not raw.strip():
        return
    source = "".join(c if c.isprintable() else " " for c in raw)
    at = min(max(where.column - 1, 0), len(source))
    found = re.compile(r"\S+").match(source, at)
    length = len(found[0].rstrip(";{:")) or 1 if found else 1
    margin = f"{where.line:>6} {'|' if paper.ascii_only else '│'} "
    room = paper.width - len(margin)
    start = 0 if at + length <= room else max(0, min(at - room // 3, len(source) - room))
    shown = source[start : start + room].rstrip()
    yield Span(margin, "dim"), Span(shown)
    if where.column:
        caret = "^" * max(1, min(length, room - (at - start)))
        yield Span(f"{'':>6} {margin[7]} ", "dim"), Span(" " * (at - start) + caret, _STYLES[finding.severity])


def _change(change: PoolChange, base: str, paper: Paper) -> Iterator[Line]:
    since = f" since {base}" if base else ""
    headline = f"pool {change.pool}{since}: {words.headline(change)}"
    yield from _wrapped(headline, 0, paper, "red" if change.risky else "bold")
    differing = [s for s in change.shares if s.before != s.after]
    rows = [(s.server, words.share(s.before), words.share(s.after)) for s in differing[:MOST_SERVERS]]
    yield from _table(("server", "before", "after"), rows, (1, 2), paper)
    if len(differing) > MOST_SERVERS:
        yield (Span(f"  and {counted(len(differing) - MOST_SERVERS, 'more server')}", "dim"),)


def _outlooks(report: Report, paper: Paper) -> Iterator[Line]:
    shown = [outlook for outlook in report.outlooks if outlook.servers]
    for outlook in shown[:MOST_POOLS]:
        title, where = f"pool {outlook.pool}, {outlook.policy}", str(outlook.origin) if outlook.origin.file else ""
        fits = len(title) + 2 + len(where) <= paper.width
        yield (Span(title, "bold"), Span(f"  {where}", "dim")) if fits else (Span(title[: paper.width], "bold"),)
        yield from _servers(outlook, paper)
        yield ()
    notes = [f"and {counted(len(shown) - MOST_POOLS, 'more pool')}: --json has them all"] if shown[MOST_POOLS:] else []
    unknown = [outlook for outlook in report.outlooks if not outlook.servers]
    notes += [f"pool {outlook.pool}: {outlook.unknown or 'it has no servers'}" for outlook in unknown[:MOST_UNKNOWN]]
    if unknown[MOST_UNKNOWN:]:
        notes.append(f"and {counted(len(unknown) - MOST_UNKNOWN, 'more pool')} whose servers the files do not name")
    for note in notes:
        yield from _wrapped(note, 0, paper, "dim")
    if notes:
        yield ()


def _servers(outlook: Outlook, paper: Paper) -> Iterator[Line]:
    """One row a server; where the page is too narrow the bars go first, then what is left without the server."""
    servers = outlook.servers[:MOST_SERVERS]
    largest = max((s.share for s in outlook.servers if s.share == s.share), default=0.0)
    columns = [
        ("server", *(s.server for s in servers)),
        ("share", *(words.share(s.share) for s in servers)),
        ("", *(_bar(s, largest, paper) for s in servers)),
        ("without it", *(words.without(s) for s in servers)),
        ("dead, it keeps its share", *(words.kept(s) for s in servers)),
    ]
    for dropped in (2, 2):
        if sum(max(map(len, column)) + 2 for column in columns) > paper.width:
            del columns[dropped]
    headings, *rows = zip(*columns, strict=True)
    yield from _table(headings, rows, (1,), paper)
    if len(outlook.servers) > MOST_SERVERS:
        yield (Span(f"  and {counted(len(outlook.servers) - MOST_SERVERS, 'more server')}", "dim"),)


def _bar(server: Prospect, largest: float, paper: Paper) -> str:
    part = server.share / largest if largest > 0 and server.share == server.share else 0.0
    eighths = round(min(max(part, 0.0), 1.0) * _BAR_CELLS * 8)
    if paper.ascii_only:
        return "#" * round(eighths / 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], paper: Paper
) -> Iterator[Line]:
    """Columns as wide as what is in them; the first gives way where the paper is too narrow."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    over = sum(widths) + 2 * len(widths) - paper.width
    widths[0] = max(min(widths[0], 8), widths[0] - max(over, 0))
    for number, row in enumerate((headings, *rows)):
        cells = [
            _fitted(cell, width).rjust(width) if at in right else _fitted(cell, width).ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (Span(f"  {'  '.join(cells)}".rstrip()[: paper.width], "dim" if number == 0 else ""),)


def _fitted(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 2]}.."


def _wrapped(sentence: str, indent: int, paper: Paper, style: Style = "") -> Iterator[Line]:
    room = " " * indent
    clean = "".join(c if c.isprintable() else " " for c in sentence.replace("\n", "; "))
    for line in textwrap.wrap(clean, paper.width, initial_indent=room, subsequent_indent=room) or [""]:
        yield (Span(line, style),)
