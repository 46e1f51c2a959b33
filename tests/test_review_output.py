"""A report in all its forms: text as in the golden files, JSON, SARIF by its schema, GitHub, JUnit, Markdown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic_sarif import model as sarif_schema  # type: ignore[import-untyped]

from levelhead.model import Origin
from levelhead.predict import Kept
from levelhead.review.base import Finding, Rule
from levelhead.review.changes import PoolChange, ShareChange
from levelhead.review.outlook import Lost, Outlook, Prospect
from levelhead.review.output import text, words
from levelhead.review.output.answer import answer
from levelhead.review.output.github import github
from levelhead.review.output.junit import junit
from levelhead.review.output.markdown import markdown
from levelhead.review.output.sarif import sarif
from levelhead.review.report import Report, Reviewed, summary

GOLDEN = Path(__file__).parent / "golden"
FILE = "etc/haproxy.cfg"
SOURCE = """\
frontend www
    bind :80
    default_backend web
backend web
    server a 10.0.0.1:80 weight 900 check   # the new one, of the third rack, whose name nobody remembers any more
    server b 10.0.0.2:80 weight 100
"""
RULES = (
    Rule("LH002", "weight-ratio-extreme", "warning", "weights far apart", "check the weight"),
    Rule("LH022", "no-health-check", "error", "servers that nothing checks", "add `check`"),
    Rule("LH020", "odd-member", "info", "one server unlike the others", "make them alike"),
)
NEVER = Kept(math.inf, math.inf, "nothing looks")
SOON = Kept(4.0, 6.0, "its check")
FINDINGS = (
    Finding("LH002", "weight-ratio-extreme", "warning", "haproxy", Origin(FILE, 5, 26),
            "a gets 90% of backend web (weight 900 of 1000)", "check the weight", "web", "a"),
    Finding("LH022", "no-health-check", "error", "haproxy", Origin(FILE, 6, 5),
            "when b dies it keeps 10% of requests for ever", "add `check`", "web", "b"),
    Finding("LH020", "odd-member", "info", "haproxy", Origin("other|one.cfg"), "50% of 100%: a, b\nand c", "look"),
)  # fmt: skip
WEB = Outlook(
    "web", "round-robin",
    (
        Prospect("a", 0.9, 0.01, Lost(1.0, "b", 0.9, ("b",)), SOON),
        Prospect("b", 0.1, 0.01, Lost(1.0, "a", 0.25), NEVER),
    ),
    "", Origin(FILE, 4, 1),
)  # fmt: skip
UNKNOWN = Outlook("far", "least-request", (), "its members come by EDS", Origin(FILE, 9, 1))
CHANGE = PoolChange(
    "web", (ShareChange("a", 0.5, 0.9), ShareChange("b", 0.25, 0.1), ShareChange("c", 0.25, None)), 0.4, ("c",), 3,
    Origin(FILE, 4, 1),
)  # fmt: skip
REPORT = Report(
    files=(
        Reviewed("gone.cfg", None, False, "there is no such file", readable=False), Reviewed(FILE, "haproxy", True),
        Reviewed("fine.conf", "nginx", True),
    ),
    findings=FINDINGS, texts={FILE: SOURCE}, rules=RULES, outlooks=(WEB, UNKNOWN), changes=(CHANGE,),
    targets=("HAProxy 2.8 (assumed)",), ignored=1, known=2, base="HEAD",
)  # fmt: skip
EMPTY = Report(files=(Reviewed("fine.conf", "nginx", True),), findings=(), texts={"fine.conf": ""}, rules=RULES)
SarifFile = sarif_schema.StaticAnalysisResultsFormatSarifVersion210JsonSchema


def plain(report: Report, paper: text.Paper) -> str:
    lines = ("".join(span.text for span in line) for line in text.text(report, paper))
    return "".join(f"{line.rstrip()}\n" for line in lines)


@pytest.mark.parametrize(
    ("name", "report", "paper"),
    [
        ("wide", REPORT, text.Paper(110)),
        ("narrow", REPORT, text.Paper(48)),
        ("ascii", REPORT, text.Paper(80, ascii_only=True)),
        ("empty", EMPTY, text.Paper(80)),
        ("markdown", REPORT, None),
    ],
)
def test_text_is_as_in_its_golden_file(name: str, report: Report, paper: text.Paper | None) -> None:
    shown = markdown(report) if paper is None else plain(report, paper)
    wanted = (GOLDEN / f"review-{name}.txt").read_text(encoding="utf-8")

    assert shown == wanted


@pytest.mark.parametrize("width", [1, 20, 40, 60, 71, 72, 100, 200])
def test_no_line_is_wider_than_the_paper(width: int) -> None:
    shown = plain(REPORT, text.Paper(width))
    longest = max(len(line) for line in shown.splitlines() if not line.startswith(("etc/", "other|")))

    assert longest <= max(width, 40)  # Places stay whole, for editors and terminals to find.


def test_a_caret_stands_under_the_word_also_where_the_line_is_cut() -> None:
    long = " " * 100 + "server  a\t10.0.0.1:80 " + "x" * 300
    finding = replace(FINDINGS[0], origin=Origin(FILE, 1, 111))
    lines = plain(replace(REPORT, findings=(finding,), texts={FILE: long}), text.Paper(60)).splitlines()
    at = next(i for i, line in enumerate(lines) if "^" in line)

    assert lines[at - 1][lines[at].index("^") :].startswith("10.0.0.1:80")
    assert lines[at].count("^") == len("10.0.0.1:80")


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    wicked = replace(FINDINGS[0], origin=Origin(FILE, 1, 1), message="\x1b]0;x\x07 boo")
    shown = plain(replace(REPORT, findings=(wicked,), texts={FILE: "\x1b[31mred\x9b0m\n"}), text.Paper(80))

    assert all(c.isprintable() or c == "\n" for c in shown)


def test_colour_is_never_alone() -> None:
    for line in text.text(REPORT, text.Paper(100)):
        for span in line:
            if span.style in ("red", "yellow", "cyan") and "^" not in span.text:
                assert any(letter.isalpha() for letter in span.text)


def test_json_is_of_the_form_that_was_promised() -> None:
    told: dict[str, Any] = json.loads(answer(REPORT))

    assert list(told) == ["schema", "files", "findings", "predicted", "summary"]
    assert told["schema"] == "levelhead/review/1"
    assert told["files"] == [
        {"path": "gone.cfg", "engine": None, "ok": False, "error": "there is no such file"},
        {"path": FILE, "engine": "haproxy", "ok": True, "error": None},
        {"path": "fine.conf", "engine": "nginx", "ok": True, "error": None},
    ]
    assert told["findings"][1] == {
        "code": "LH022", "rule": "no-health-check", "severity": "error", "engine": "haproxy", "file": FILE, "line": 6,
        "column": 5, "pool": "web", "server": "b", "message": "when b dies it keeps 10% of requests for ever",
        "fix": "add `check`", "docs": "docs/rules/LH022.md",
    }  # fmt: skip
    assert told["predicted"] == [
        {
            "file": FILE, "pool": "web", "policy": "round-robin", "shares": {"a": 0.9, "b": 0.1},
            "if_lost": {"a": {"max_share": 1.0, "moved": 0.9}, "b": {"max_share": 1.0, "moved": 0.25}},
        },
        {"file": FILE, "pool": "far", "policy": "least-request", "shares": {}, "if_lost": {}},
    ]  # fmt: skip
    assert told["summary"] == {"error": 1, "warning": 1, "info": 1}


def test_what_nobody_can_tell_is_null() -> None:
    odd = replace(WEB, servers=(Prospect("a", math.nan, math.nan, None, NEVER),))

    assert json.loads(answer(replace(REPORT, outlooks=(odd,))))["predicted"][0]["shares"] == {"a": None}


@pytest.mark.parametrize("report", [REPORT, EMPTY], ids=["full", "empty"])
def test_sarif_is_valid_by_its_schema(report: Report) -> None:
    SarifFile.model_validate_json(sarif(report, "0.1.0", {"LH002": "# LH002\n\ntext"}))


def test_the_schema_refuses_what_is_no_sarif() -> None:
    told: dict[str, Any] = json.loads(sarif(REPORT, "0.1.0", {}))
    told["runs"][0]["results"][0]["level"] = "grave"
    with pytest.raises(ValueError, match="level"):
        SarifFile.model_validate(told)


def test_sarif_has_rules_with_help_and_results_with_place_and_fingerprint() -> None:
    (run,) = json.loads(sarif(REPORT, "0.1.0", {"LH002": "the page"}))["runs"]
    rules, results = run["tool"]["driver"]["rules"], run["results"]

    assert [rule["id"] for rule in rules] == ["LH002", "LH022", "LH020"]
    assert rules[0]["help"]["markdown"] == "the page"
    assert all(rule["help"]["text"] and rule["helpUri"].endswith(f"{rule['id']}.md") for rule in rules)
    assert [(r["ruleId"], rules[r["ruleIndex"]]["id"], r["level"]) for r in results] == [
        ("LH002", "LH002", "warning"), ("LH022", "LH022", "error"), ("LH020", "LH020", "note"),
    ]  # fmt: skip
    place = results[0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": FILE}, "region": {"startLine": 5, "startColumn": 26}}
    assert results[2]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "other%7Cone.cfg"
    assert len({r["partialFingerprints"]["levelhead/v1"] for r in results}) == 3
    assert not run["invocations"][0]["executionSuccessful"]


def test_github_gets_one_command_a_line_with_everything_escaped() -> None:
    lines = github(REPORT).splitlines()

    assert lines[0] == "::error file=gone.cfg,title=levelhead::there is no such file"
    assert lines[1].startswith(f"::warning file={FILE},line=5,col=26,title=LH002 weight-ratio-extreme::a gets 90%25 of")
    assert lines[2].startswith(f"::error file={FILE},line=6,col=5,title=LH022 no-health-check::")
    assert lines[3].startswith("::notice file=other|one.cfg,line=1,col=1,")
    assert "50%25 of 100%25: a, b%0Aand c%0Afix: look" in lines[3]
    assert len(lines) == 4


def test_github_escapes_what_would_end_a_property() -> None:
    odd = replace(FINDINGS[0], origin=Origin("a,b:c%.cfg", 1, 1))
    assert "file=a%2Cb%3Ac%25.cfg,line=1" in github(replace(REPORT, findings=(odd,)))


def test_junit_counts_failures_and_lets_files_without_findings_pass() -> None:
    root = ElementTree.fromstring(junit(REPORT))
    counts = {s.get("name"): tuple(s.get(k) for k in ("tests", "failures", "errors")) for s in root}

    assert counts == {
        "gone.cfg": ("1", "0", "1"), FILE: ("2", "2", "0"), "fine.conf": ("1", "0", "0"),
        "other|one.cfg": ("1", "0", "0"),
    }  # fmt: skip
    assert [f.get("type") for f in root.iter("failure")] == ["warning", "error"]
    assert [len(s.findall("testcase")) for s in root] == [1, 2, 1, 1]


def test_junit_holds_only_what_xml_can() -> None:
    wicked = replace(FINDINGS[0], message="\x00 \x0b \ud800 \uffff <&>\"'")
    ElementTree.fromstring(junit(replace(REPORT, findings=(wicked,))))


def test_markdown_is_text_and_never_markup_of_the_file() -> None:
    wicked = replace(FINDINGS[0], message="a | b `c` <script> [x](y) @everyone\n# no")
    line = next(line for line in markdown(replace(REPORT, findings=(wicked,))).splitlines() if "LH002" in line)

    assert "a \\| b \\`c\\` \\<script\\> \\[x\\](y) @\u200beveryone # no" in line


def test_exit_codes() -> None:
    read = replace(REPORT, files=REPORT.files[1:])

    assert [REPORT.exit_code(False), read.exit_code(False), EMPTY.exit_code(True)] == [2, 1, 0]
    warned = replace(read, findings=FINDINGS[:1])
    assert [warned.exit_code(False), warned.exit_code(True)] == [0, 1]


def test_the_summary_counts_everything() -> None:
    assert summary(REPORT) == (
        "1 error, 1 warning, 1 info in 3 files; 1 cannot be read; 1 ignored in place; 2 known from the baseline"
    )
    assert summary(EMPTY) == "nothing found in 1 file"


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (NEVER, "for ever"),
        (SOON, "up to 6.0 s"),
        (Kept(0.0, 0.0, "", requests=1), "until 1 request fails"),
        (Kept(0.0, 200.0, "", requests=3), "until 3 requests fail, up to 3 min"),
        (Kept(math.nan, math.nan, ""), "?"),
        (Kept(0.0, 0.0, ""), "at once"),
    ],
)
def test_how_long_a_dead_server_keeps_its_share_in_words(kept: Kept, said: str) -> None:
    assert words.kept(Prospect("a", 0.5, 0.0, None, kept)) == said
    assert words.kept(Prospect("a", 0.0, 0.0, None, kept)) == "-"


@pytest.mark.parametrize(
    ("share", "said"), [(None, "-"), (math.nan, "?"), (0.0, "0%"), (0.048, "4.8%"), (0.0996, "10%"), (1.0, "100%")]
)
def test_shares_in_words(share: float | None, said: str) -> None:
    assert words.share(share) == said
