"""Everything that one call of review found out, as data: the renderers in `output` make text of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from levelhead.review.base import Finding, Language, Rule, Severity
from levelhead.review.changes import PoolChange
from levelhead.review.outlook import Outlook

TITLES: Final[Mapping[Language, str]] = {
    "haproxy": "HAProxy", "nginx": "nginx", "envoy": "Envoy", "levelhead": "levelhead.yaml",
}  # fmt: skip
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One file: `ok` if the engine would take it; `error` is why not, or why it could not be read at all."""

    path: str
    language: Language | None
    ok: bool
    error: str = ""
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `texts` are the files by name, `rules` those that were asked, `known` and `ignored` how many
    findings are not shown because of a baseline or of comments; `base` is what the change was compared with.
    """

    files: tuple[Reviewed, ...]
    findings: tuple[Finding, ...]
    texts: Mapping[str, str]
    rules: tuple[Rule, ...]
    outlooks: tuple[Outlook, ...] = ()
    changes: tuple[PoolChange, ...] = ()
    targets: tuple[str, ...] = ()
    ignored: int = 0
    known: int = 0
    base: str = ""

    def count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    def exit_code(self, strict: bool) -> int:
        """2 where a file could not be read, 1 for errors (`strict`: warnings too), else 0."""
        if not all(file.readable for file in self.files):
            return 2
        return int(bool(self.count("error") or (strict and self.count("warning"))))


def page(code: str) -> str:
    """Where the page of a rule stands in the project."""
    return f"docs/rules/{code}.md"


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def summary(report: Report) -> str:
    """`2 errors, 1 warning in 3 files; 1 ignored in place`."""
    parts = [counted(report.count(s), s) for s in ("error", "warning") if report.count(s)]
    parts += [f"{report.count('info')} info"] if report.count("info") else []
    text = f"{', '.join(parts) or 'nothing found'} in {counted(len(report.files), 'file')}"
    unread = sum(not file.readable for file in report.files)
    aside = [
        (unread, "cannot be read"), (report.ignored, "ignored in place"), (report.known, "known from the baseline")
    ]  # fmt: skip
    return "; ".join([text, *(f"{number} {said}" for number, said in aside if number)])
