"""Findings that are known already: each has a fingerprint that survives when its line moves."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from levelhead.engines.text import line_at
from levelhead.errors import ConfigError
from levelhead.review.base import Finding

SCHEMA: Final = "levelhead/baseline/1"


def written(findings: Sequence[Finding], files: Mapping[str, str]) -> str:
    """The text of a baseline that knows these findings."""
    rows = [
        {"fingerprint": mark, "code": f.code, "file": f.origin.file, "message": f.message}
        for f, mark in zip(findings, fingerprints(findings, files), strict=True)
    ]
    return json.dumps({"schema": SCHEMA, "findings": rows}, indent=2, ensure_ascii=False) + "\n"


def known(text: str, file: str) -> frozenset[str]:
    """The fingerprints in a baseline. ConfigError for what is none."""
    step = f"write it anew: levelhead review --write-baseline {file} FILE"
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"this is no baseline: {error}", file=file, next_step=step) from None
    entries = whole.get("findings") if isinstance(whole, dict) and whole.get("schema") == SCHEMA else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"this is no baseline of the form {SCHEMA}", file=file, next_step=step)
    return frozenset(str(entry.get("fingerprint")) for entry in entries)


def fresh(findings: Sequence[Finding], files: Mapping[str, str], marks: frozenset[str]) -> tuple[Finding, ...]:
    """The findings that the baseline does not know."""
    paired = zip(findings, fingerprints(findings, files), strict=True)
    return tuple(finding for finding, mark in paired if mark not in marks)


def fingerprints(findings: Sequence[Finding], files: Mapping[str, str]) -> tuple[str, ...]:
    """One per finding, by rule, file, pool, server and the words of its line; equal ones are numbered in order."""
    seen: Counter[str] = Counter()
    marks = []
    for finding in findings:
        words = " ".join(line_at(files, finding.origin).split())
        key = "\0".join((finding.code, finding.origin.file, finding.pool, finding.server, words))
        marks.append(hashlib.sha256(f"{key}\0{seen[key]}".encode("utf-8", "surrogateescape")).hexdigest()[:32])
        seen[key] += 1
    return tuple(marks)
