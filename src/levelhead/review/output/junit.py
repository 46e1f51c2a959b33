"""A report as JUnit XML: one test suite a file, one failed case a finding; a file without findings passes."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from levelhead.review.base import Finding
from levelhead.review.report import Report, Reviewed


def junit(report: Report) -> str:
    """Findings of severity info are not failures: they stand in the output of a case that passes."""
    root = Element("testsuites", name="levelhead review")
    for file in report.files:
        _suite(root, file, [f for f in report.findings if f.origin.file == file.path])
    listed = {file.path for file in report.files}
    for path in dict.fromkeys(f.origin.file for f in report.findings if f.origin.file not in listed):
        _suite(root, Reviewed(path, None, True), [f for f in report.findings if f.origin.file == path])
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _suite(root: Element, file: Reviewed, findings: list[Finding]) -> None:
    failures = sum(finding.severity != "info" for finding in findings)
    errors = int(not file.readable)
    suite = SubElement(
        root, "testsuite", name=_legal(file.path), tests=str(max(len(findings) + errors, 1)),
        failures=str(failures), errors=str(errors), skipped="0", time="0",
    )  # fmt: skip
    if errors:
        case = SubElement(suite, "testcase", classname=_legal(file.path), name="read", time="0")
        SubElement(case, "error", message=_legal(file.error))
    for finding in findings:
        where = finding.origin
        name = f"{finding.code} {finding.rule} {where.line}:{where.column}"
        case = SubElement(suite, "testcase", classname=_legal(file.path), name=name, time="0")
        text = _legal(f"{where}: {finding.message}\nfix: {finding.fix}")
        if finding.severity == "info":
            SubElement(case, "system-out").text = text
        else:
            SubElement(case, "failure", type=finding.severity, message=_legal(finding.message)).text = text
    if not errors and not findings:
        SubElement(suite, "testcase", classname=_legal(file.path), name="review", time="0")


def _legal(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(
        c if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" else "\ufffd"
        for c in text
    )
