"""A report as SARIF 2.1.0, for code scanning: rules with their pages, results with fingerprints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from levelhead.review.base import Finding, Rule, Severity
from levelhead.review.baseline import fingerprints
from levelhead.review.report import Report, page

_LEVELS: Final[Mapping[Severity, str]] = {"error": "error", "warning": "warning", "info": "note"}
# What a path may hold in a URI as it is.
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(report: Report, version: str, pages: Mapping[str, str]) -> str:
    """One run. `pages` are the Markdown pages of rules by code; a rule without one is helped by its summary."""
    at = {rule.code: number for number, rule in enumerate(report.rules)}
    marks = fingerprints(report.findings, report.texts)
    driver = {
        "name": "Levelhead", "version": version, "semanticVersion": version,
        "informationUri": "urn:levelhead", "rules": [_rule(rule, pages) for rule in report.rules],
    }  # fmt: skip
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{
            "executionSuccessful": all(file.readable for file in report.files),
            "toolExecutionNotifications": [_notice(f.path, f.error) for f in report.files if not f.readable],
        }],
        "artifacts": [{"location": {"uri": _uri(file.path)}} for file in report.files],
        "results": [_result(f, mark, at) for f, mark in zip(report.findings, marks, strict=True)],
    }  # fmt: skip
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(rule: Rule, pages: Mapping[str, str]) -> dict[str, object]:
    text = f"Finds {rule.summary}. What to do: {rule.fix}."
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": text},
        "help": {"text": text, "markdown": pages.get(rule.code, text)},
        "helpUri": f"urn:levelhead:{page(rule.code)}",
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, mark: str, at: Mapping[str, int]) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": finding.code,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}. {finding.fix[:1].upper()}{finding.fix[1:]}."},
        "locations": [{"physicalLocation": _place(finding)}],
        "partialFingerprints": {"levelhead/v1": mark},
    }
    return result | ({"ruleIndex": at[finding.code]} if finding.code in at else {})


def _place(finding: Finding) -> dict[str, object]:
    where = finding.origin
    region = {"startLine": max(where.line, 1), "startColumn": max(where.column, 1)}
    return {"artifactLocation": {"uri": _uri(where.file)}, "region": region}


def _notice(path: str, error: str) -> dict[str, object]:
    where = {"physicalLocation": {"artifactLocation": {"uri": _uri(path)}}}
    return {"level": "error", "message": {"text": error}, "locations": [where]}


def _uri(path: str) -> str:
    quoted = "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02X}" for b in path.encode("utf-8", "surrogateescape"))
    return f"file://{quoted}" if path.startswith("/") else quoted
