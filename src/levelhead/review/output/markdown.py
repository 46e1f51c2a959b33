"""A report as Markdown, for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from levelhead.review.base import Finding, Severity
from levelhead.review.changes import PoolChange
from levelhead.review.outlook import Outlook
from levelhead.review.output import words
from levelhead.review.report import SEVERITIES, Report, counted, page, summary

# A comment on a pull request ends at 65,536 characters.
MOST_ROWS: Final = 100
_SIGNS: Final[dict[Severity, str]] = {"error": "❌ error", "warning": "⚠️ warning", "info": "ℹ️ info"}


def markdown(report: Report) -> str:
    """Findings first, the gravest on top; then what a change moves, and what is to be expected."""
    lines = [f"### Levelhead: {summary(report)}", ""]
    for file in report.files:
        if not file.readable:
            lines += [f"❌ {_code(file.path)} could not be read: {_cell(file.error)}", ""]
    lines += _findings(report)
    for change in report.changes:
        lines += _change(change)
    lines += _outlooks(report.outlooks)
    return "\n".join(lines).rstrip() + "\n"


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    ranked = sorted(report.findings, key=lambda finding: SEVERITIES.index(finding.severity))
    yield from ("| | where | rule | what, and what to do |", "|---|---|---|---|")
    for finding in ranked[:MOST_ROWS]:
        yield _row(finding)
    if len(ranked) > MOST_ROWS:
        yield f"\nand {len(ranked) - MOST_ROWS} more"
    yield ""


def _row(finding: Finding) -> str:
    where = f"{finding.origin.file}:{finding.origin.line}" if finding.origin.line else finding.origin.file
    rule = f"[{finding.code}]({page(finding.code)}) {finding.rule}"
    text = f"{_cell(finding.message)}. *{_cell(finding.fix)}*"
    return f"| {_SIGNS[finding.severity]} | {_code(where)} | {rule} | {text} |"


def _change(change: PoolChange) -> Iterator[str]:
    yield f"**pool {_cell(change.pool)}**: {_cell(words.headline(change))}"
    yield ""
    yield from ("| server | before | after |", "|---|--:|--:|")
    for server in change.shares[:MOST_ROWS]:
        yield f"| {_cell(server.server)} | {words.share(server.before)} | {words.share(server.after)} |"
    yield ""


def _outlooks(outlooks: tuple[Outlook, ...]) -> Iterator[str]:
    shown = [outlook for outlook in outlooks if outlook.servers]
    if not shown:
        return
    yield f"<details><summary>Predicted shares of {counted(len(shown), 'pool')}</summary>\n"
    yield from ("| pool | server | share | without it | dead, it keeps its share |", "|---|---|--:|---|---|")
    rows = [(outlook, server) for outlook in shown for server in outlook.servers]
    for outlook, server in rows[:MOST_ROWS]:
        yield (f"| {_cell(outlook.pool)} | {_cell(server.server)} | {words.share(server.share)} "
               f"| {_cell(words.without(server))} | {words.kept(server)} |")  # fmt: skip
    if len(rows) > MOST_ROWS:
        yield f"\nand {len(rows) - MOST_ROWS} more servers"
    yield "\n</details>"


def _cell(text: str) -> str:
    """Text that stays in its cell and is nothing but text."""
    escaped = "".join(f"\\{c}" if c in "\\`*_|[]<>~" else c for c in text)
    return " ".join(escaped.split()).replace("@", "@\u200b")


def _code(text: str) -> str:
    return f"`{text.replace('`', ' ').replace('|', ' ')}`"
