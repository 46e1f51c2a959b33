"""How fast reviews are, how often each rule fires on real configurations, and the table of that in docs/rules.

    nice -n 5 .venv/bin/python -m bench.review [--write] [--no-gixy] [--files 20]

Reads the corpus beside the repository. Speed is processor time on one core without start-up; whole commands are timed
by the clock, the middle of five. `nginx -t` and gixy-ng see the same nginx files in the same run. --write puts the
table of rules into docs/rules/README.md.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.engines.corpus import CORPUS

from levelhead.cli import YOUNG_OBJECTS
from levelhead.errors import ConfigError
from levelhead.review import EVERY, HOUSEKEEPING, judged
from levelhead.review.base import Finding, Language, Rule
from levelhead.review.languages import config_of
from levelhead.review.outlook import outlook
from levelhead.review.report import TITLES

ROOT: Final = Path(__file__).parents[1]
INDEX: Final = ROOT / "docs" / "rules" / "README.md"
LANGUAGES: Final[tuple[Language, ...]] = ("haproxy", "nginx", "envoy")
RUNS: Final = 5


@dataclass(slots=True)
class Tally:
    """What was seen in one group of files: how many there are, how many each rule fires in, errors, seconds."""

    files: int = 0
    refused: int = 0
    errors: int = 0
    reading_s: float = 0.0
    judging_s: float = 0.0
    predicting_s: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return self.files / (self.reading_s + self.judging_s + self.predicting_s)

    def rate(self, code: str) -> float:
        return self.fired[code] / self.files if self.files else 0.0


def corpus() -> Iterator[tuple[Language, str, str, bool]]:
    """Language, name, text, and whether it is a contest entry."""
    with (CORPUS / "configs" / "index.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            text = (CORPUS / "configs" / row["file"]).read_bytes().decode("utf-8", "surrogateescape")
            language = next(each for each in LANGUAGES if each == row["engine"])
            yield language, row["file"], text, "rinha" in row["file"]


def clean_entries() -> frozenset[str]:
    """Contest entries that lost no request."""
    with (CORPUS / "logs" / "rinha_outcomes.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["corpus_file"] and row["ko"]]
    lossy = {row["corpus_file"] for row in rows if int(row["ko"])}
    return frozenset(row["corpus_file"] for row in rows) - lossy


def measured() -> tuple[dict[tuple[Language, bool], Tally], Tally]:
    """By language and whether contest entries, and the clean entries by themselves."""
    groups = {(language, contest): Tally() for language in LANGUAGES for contest in (False, True)}
    clean, names = Tally(), clean_entries()
    for language, name, text, contest in corpus():
        found = one(groups[language, contest], language, name, text)
        if name in names:
            clean.files += 1
            clean.errors += sum(finding.severity == "error" for finding in found)
            clean.fired.update({finding.code for finding in found})
    return groups, clean


def one(tally: Tally, language: Language, name: str, text: str) -> Sequence[Finding]:
    began = time.process_time()
    try:
        config = config_of({name: text}, name, language)
    except ConfigError:
        tally.refused += 1
        return ()
    read = time.process_time()
    found = judged(config, EVERY).kept
    decided = time.process_time()
    outlook(config)
    tally.files += 1
    tally.reading_s += read - began
    tally.judging_s += decided - read
    tally.predicting_s += time.process_time() - decided
    tally.errors += sum(finding.severity == "error" for finding in found)
    tally.fired.update({finding.code for finding in found})
    return found


# -- whole commands ---------------------------------------------------------------------------------------------------


def clocked(command: Sequence[str], environment: dict[str, str]) -> float:
    """Seconds by the clock, the middle of some runs after one that warms up."""
    took = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=False)
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


def commands(folder: Path, count: int, with_gixy: bool) -> None:
    """Times whole commands: one file, and as many nginx files by each tool."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "cache"), "LEVELHEAD_HOME": str(folder)}
    ours = [sys.executable, "-m", "levelhead"]
    mains = [
        CORPUS / "configs" / name
        for name, context, verdict in whole_nginx()
        if context == "main" and verdict == "ok"
    ][:count]  # fmt: skip
    small = folder / "haproxy.cfg"
    small.write_text("listen www\n    bind :80\n    server a 10.0.0.1:80 check\n    server b 10.0.0.2:80 check\n")
    print(f"levelhead --help                    {clocked([*ours, '--help'], environment):.2f} s")
    print(f"levelhead review, one HAProxy file  {clocked([*ours, 'review', str(small)], environment):.2f} s")
    if not mains:
        return
    print(f"levelhead review, one nginx file    {clocked([*ours, 'review', str(mains[0])], environment):.2f} s")
    each = [str(path) for path in mains]
    print(f"{len(each)} nginx files, seconds a file: levelhead in one command "
          f"{clocked([*ours, 'review', *each], environment) / len(each):.3f}", end="")  # fmt: skip
    if nginx := shutil.which("nginx"):
        took = [clocked([nginx, "-t", "-q", "-c", path], environment) for path in each]
        print(f", nginx -t {statistics.mean(took):.3f}", end="")
    if with_gixy and (gixy := found_gixy(folder)):
        print(f", gixy-ng in one command {clocked([gixy, *each], environment) / len(each):.3f}", end="")
    print()


def whole_nginx() -> Iterator[tuple[str, str, str]]:
    with (CORPUS / "configs" / "index.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["engine"] == "nginx":
                yield row["file"], row["nginx_context"], row["engine_check"]


def found_gixy(folder: Path) -> str:
    """gixy on PATH, else one in a fresh environment below the folder; empty where neither can be had."""
    if found := shutil.which("gixy"):
        return found
    tool = ROOT / ".uv" / "bin" / "uv"
    place = folder / "gixy"
    steps = [
        [str(tool), "venv", "--quiet", str(place)],
        [str(tool), "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "gixy-ng"],
    ]
    if not tool.exists() or any(subprocess.run(step, capture_output=True, check=False).returncode for step in steps):
        return ""
    return str(place / "bin" / "gixy")


# -- the table --------------------------------------------------------------------------------------------------------


def languages(rule: Rule) -> str:
    names = [TITLES[language] for language in (*LANGUAGES, "levelhead") if getattr(rule, language) is not None]
    return ", ".join(names) or "all"


def index(groups: dict[tuple[Language, bool], Tally]) -> str:
    """The page of all rules. A rate is of the files that are no contest entries, which are copies of few templates."""
    sizes = ", ".join(f"{groups[language, False].files} of {TITLES[language]}" for language in LANGUAGES)
    entries = sum(groups[language, True].files for language in LANGUAGES)
    head = f"""\
# Rules

What `levelhead review` finds. Each rule has its page, whose configurations are its tests; `levelhead explain LH033`
prints it. How often a rule fires on real configurations is in the last columns: the part of {sizes} configurations
collected from public repositories, demo and test files among them, and of {entries} entries of a contest, which are
near copies of few templates. `make bench-review ARGS=--write` writes this page.

| rule | severity | finds | languages | HAProxy | nginx | Envoy | contest |
|---|---|---|---|--:|--:|--:|--:|
"""
    return head + "".join(f"{row(rule, groups)}\n" for rule in EVERY)


def row(rule: Rule, groups: dict[tuple[Language, bool], Tally]) -> str:
    def rate(language: Language, contest: bool) -> str:
        judged_here = rule in HOUSEKEEPING or getattr(rule, language) is not None
        return percent(groups[language, contest].rate(rule.code)) if judged_here else ""

    contest = [groups[language, True] for language in LANGUAGES]
    entries = sum(tally.fired[rule.code] for tally in contest) / max(sum(tally.files for tally in contest), 1)
    rates = " | ".join(rate(language, False) for language in LANGUAGES)
    name = f"[{rule.code}]({rule.code}.md) {rule.name}"
    return f"| {name} | {rule.severity} | {rule.summary} | {languages(rule)} | {rates} | {percent(entries)} |"


def percent(part: float) -> str:
    return "0" if part == 0 else f"{part:.1%}" if part < 0.0995 else f"{part:.0%}"


def told(groups: dict[tuple[Language, bool], Tally], clean: Tally) -> None:
    for language in LANGUAGES:
        both = [groups[language, contest] for contest in (False, True)]
        files = sum(tally.files for tally in both)
        parts = [sum(getattr(t, part) for t in both) for part in ("reading_s", "judging_s", "predicting_s")]
        print(f"{TITLES[language]:<8} {files} files, {files / sum(parts[:2]):.0f} read and judged a second "
              f"on one core, {files / sum(parts):.0f} with the table of predictions: reading "
              f"{parts[0]:.2f} s, rules {parts[1]:.2f} s, predictions {parts[2]:.2f} s")  # fmt: skip
        print(f"         {sum(t.refused for t in both)} are no configuration; errors a file without contest entries: "
              f"{both[0].errors / max(both[0].files, 1):.2f}")  # fmt: skip
    print(f"clean contest entries: {clean.files}, errors a file {clean.errors / max(clean.files, 1):.2f}: "
          + ", ".join(f"{code} {n}" for code, n in clean.fired.most_common(12)))  # fmt: skip
    print("\nrule                                     severity  HAProxy  nginx    Envoy    with contest entries")
    for rule in EVERY:
        with_contest = [percent(whole(groups, language).rate(rule.code)) for language in LANGUAGES]
        without = [percent(groups[language, False].rate(rule.code)) for language in LANGUAGES]
        print(f"{rule.code} {rule.name:<34} {rule.severity:<9} {' '.join(f'{r:<8}' for r in without)} "
              f"{' '.join(with_contest)}")  # fmt: skip


def whole(groups: dict[tuple[Language, bool], Tally], language: Language) -> Tally:
    both = [groups[language, contest] for contest in (False, True)]
    return Tally(files=sum(t.files for t in both), fired=both[0].fired + both[1].fired)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="write docs/rules/README.md")
    options.add_argument("--no-gixy", action="store_true", help="do without gixy-ng, which may have to be installed")
    options.add_argument("--files", type=int, default=20, help="nginx files for the other tools")
    chosen = options.parse_args()
    if not (CORPUS / "configs" / "index.csv").exists():
        raise SystemExit(f"no corpus of real configurations at {CORPUS}")
    gc.freeze()  # both as the command does when it has loaded what it needs
    gc.set_threshold(YOUNG_OBJECTS)
    groups, clean = measured()
    told(groups, clean)
    if chosen.write:
        INDEX.write_text(index(groups), encoding="utf-8")
        print(f"written: {INDEX}")
    print()
    with tempfile.TemporaryDirectory() as folder:
        commands(Path(folder), chosen.files, not chosen.no_gixy)


if __name__ == "__main__":
    main()
