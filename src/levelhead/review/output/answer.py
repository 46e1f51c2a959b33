"""A report as JSON of the form levelhead/review/1."""

from __future__ import annotations

import json
import math

from levelhead.review.base import Finding
from levelhead.review.outlook import Lost, Outlook
from levelhead.review.report import SEVERITIES, Report, page


def answer(report: Report) -> str:
    """What nobody knows is null; lines and columns count from 1, and 0 is the whole file."""
    whole = {
        "schema": "levelhead/review/1",
        "files": [{"path": f.path, "engine": f.language, "ok": f.ok, "error": f.error or None} for f in report.files],
        "findings": [_finding(finding) for finding in report.findings],
        "predicted": [_outlook(outlook) for outlook in report.outlooks],
        "summary": {severity: report.count(severity) for severity in SEVERITIES},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _finding(finding: Finding) -> dict[str, object]:
    where = finding.origin
    return {
        "code": finding.code, "rule": finding.rule, "severity": finding.severity, "engine": finding.language,
        "file": where.file, "line": where.line, "column": where.column, "pool": finding.pool or None,
        "server": finding.server or None, "message": finding.message, "fix": finding.fix, "docs": page(finding.code),
    }  # fmt: skip


def _outlook(outlook: Outlook) -> dict[str, object]:
    return {
        "file": outlook.origin.file, "pool": outlook.pool, "policy": outlook.policy,
        "shares": {s.server: _number(s.share) for s in outlook.servers},
        "if_lost": {s.server: _lost(s.lost) for s in outlook.servers if s.lost is not None},
    }  # fmt: skip


def _lost(lost: Lost) -> dict[str, object]:
    return {"max_share": _number(lost.max_share), "moved": _number(lost.moved)}


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
