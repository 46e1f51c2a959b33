"""A report as workflow commands of GitHub Actions, which become annotations on the changed lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from levelhead.review.base import Severity
from levelhead.review.report import Report

_COMMANDS: Final[Mapping[Severity, str]] = {"error": "error", "warning": "warning", "info": "notice"}


def github(report: Report) -> str:
    """One line for every finding, and for every file that could not be read."""
    lines = [
        f"::error file={_property(file.path)},title=levelhead::{_data(file.error)}"
        for file in report.files
        if not file.readable
    ]
    for finding in report.findings:
        where = finding.origin
        place = {"file": where.file, "line": where.line or 1, "col": where.column or 1}
        given = ",".join(f"{key}={_property(str(value))}" for key, value in place.items())
        title = _property(f"{finding.code} {finding.rule}")
        text = _data(f"{finding.message}\nfix: {finding.fix}\nlevelhead explain {finding.code}")
        lines.append(f"::{_COMMANDS[finding.severity]} {given},title={title}::{text}")
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
