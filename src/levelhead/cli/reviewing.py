"""One review: files to configurations, each read for its version, judged, and compared with what it was before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from levelhead.cli.ages import ages
from levelhead.cli.gathering import Disk, Gathered, base_files, gathered
from levelhead.cli.targets import Target, target
from levelhead.errors import ConfigError, UsageError
from levelhead.review import judged
from levelhead.review.arranging import Configuration
from levelhead.review.base import Config, Facts, Finding, Language, Rule, Version
from levelhead.review.changes import PoolChange, changes
from levelhead.review.facts import declared, facts_of
from levelhead.review.languages import AnyConfig, config_of
from levelhead.review.outlook import Outlook, outlook
from levelhead.review.refusals import absent, files_read, problems
from levelhead.review.report import Report, Reviewed

HERE: Final = Path("levelhead.yaml")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. `base` is what to compare with, "" for nothing."""

    paths: tuple[str, ...]
    rules: tuple[Rule, ...]
    language: Language | None = None
    versions: Mapping[Language, Version] = field(default_factory=dict)
    facts: Path | None = None
    base: str = ""


def reviewed(asked: Asked) -> tuple[Report, tuple[str, ...]]:
    """The report, and what is to be said beside it. UsageError and ConfigError for what cannot be begun."""
    found = gathered(Disk(), asked.paths, asked.language)
    work = _Work(asked, _facts(asked, found))
    for configuration in found.configurations:
        work.take(configuration)
    return work.report(found.failed), tuple(dict.fromkeys(work.notes))


def _facts(asked: Asked, found: Gathered) -> Facts:
    """From --facts, else from the levelhead.yaml under review, else from the one here."""
    if asked.facts is not None:
        return facts_of(_settings().load_facts(asked.facts))
    for configuration in found.configurations:
        if configuration.language == "levelhead":
            return _facts_in(configuration.files[configuration.main], configuration.main)
    return facts_of(_settings().load(HERE).facts) if HERE.is_file() else Facts()


def _facts_in(text: str, name: str) -> Facts:
    try:
        return facts_of(_settings().parse(text, name).facts)
    except ConfigError:
        return Facts()  # The review of the file itself says what is wrong with it.


def _settings() -> ModuleType:
    """By name: it takes long to load, and most reviews do without a levelhead.yaml."""
    return importlib.import_module("levelhead.settings")


class _Work:
    """What was found so far."""

    def __init__(self, asked: Asked, facts: Facts) -> None:
        self.asked, self.facts = asked, facts
        self.codes = frozenset(rule.code for rule in asked.rules)
        self.notes: list[str] = []
        self.files: dict[str, Reviewed] = {}
        self.texts: dict[str, str] = {}
        self.findings: dict[tuple[object, ...], Finding] = {}
        self.ignored: set[Finding] = set()
        self.outlooks: list[Outlook] = []
        self.changes: list[PoolChange] = []
        self.targets: dict[Language, Target] = {}
        self.aged: dict[str, Mapping[str, float]] = {}
        self.before = self._before() if asked.base else {}

    def take(self, configuration: Configuration) -> None:
        """Read and judge one configuration. A file of Envoy's that was read with another one is done already."""
        if configuration.language == "envoy" and configuration.main in self.files:
            return
        try:
            config = self._read(configuration)
        except ConfigError as error:
            self.texts[error.file] = configuration.files.get(error.file, "")
            place = ":".join(str(n) for n in (error.line, error.column) if n)
            said = f"{place}: {error.what}" if place else error.what
            self.files[error.file] = Reviewed(error.file, configuration.language, False, said, readable=False)
            return
        base = self._base(configuration)
        if base is not None:
            self.changes += changes(base.fleet, config.fleet)
            config = replace(cast(Config[Any], config), base=base)
        self._judge(config)
        self.notes += absent(config)

    def report(self, failed: Sequence[Reviewed]) -> Report:
        return Report(
            files=(*failed, *self.files.values()), findings=tuple(self.findings.values()), texts=self.texts,
            rules=self.asked.rules, outlooks=tuple(self.outlooks), changes=tuple(self.changes),
            targets=tuple(str(t) for t in self.targets.values() if t.language != "levelhead"),
            ignored=len(self.ignored), base=self.asked.base,
        )  # fmt: skip

    def _read(self, configuration: Configuration) -> AnyConfig:
        language = configuration.language
        aim = self.targets.setdefault(language, target(language, self.asked.versions))
        files, main = configuration.files, configuration.main
        facts = replace(self.facts, age_days=self._ages(files)) if "LH074" in self.codes else self.facts
        config = config_of(files, main, language, version=aim.version, facts=facts)
        if language != "levelhead":
            return config
        own = self.facts if self.asked.facts is not None else _facts_in(files[main], main)
        return config_of(files, main, language, facts=replace(declared(own, config.fleet), age_days=facts.age_days))

    def _ages(self, files: Mapping[str, str]) -> Mapping[str, float]:
        """Each file is asked for once, however many configurations it is part of."""
        for name, text in files.items():
            if name not in self.aged:
                self.aged[name] = ages(name, text)
        return {place: days for name in files for place, days in self.aged[name].items()}

    def _judge(self, config: AnyConfig) -> None:
        self.texts.update(files_read(config))
        wrong = {problem.origin.file: str(problem) for problem in reversed(problems(config)) if problem.kind == "error"}
        for name in files_read(config):
            error = wrong.get(name, "").removeprefix(f"{name}:")
            self.files.setdefault(name, Reviewed(name, config.language, not error, error))
        sifted = judged(config, self.asked.rules)
        for finding in sifted.kept:
            self.findings.setdefault((finding.code, finding.origin, finding.message), finding)
        self.ignored |= set(sifted.ignored)
        self.outlooks += outlook(config)

    def _before(self) -> dict[tuple[Language, str], Configuration]:
        """The configurations of the base, by language and main file."""
        files = base_files(self.asked.base, self.asked.paths)
        try:
            found = gathered(files, self.asked.paths, self.asked.language)
        except UsageError:
            return {}  # All of it is new.
        return {(each.language, each.main): each for each in found.configurations}

    def _base(self, configuration: Configuration) -> AnyConfig | None:
        """What a configuration was before. One that cannot be read is said, and compared with nothing."""
        before = self.before.get((configuration.language, configuration.main)) or self._only(configuration.language)
        if before is None:
            return None
        try:
            return self._read(before)
        except ConfigError as error:
            self.notes.append(f"{self.asked.base} cannot be compared with: {error}")
            return None

    def _only(self, language: Language) -> Configuration | None:
        alike = [each for (its, _), each in self.before.items() if its == language]
        return alike[0] if len(alike) == 1 and len(self.asked.paths) == 1 else None


def commas(words: Sequence[str]) -> Iterator[str]:
    """`LH01,LH02` and repeated options alike."""
    return (part.strip() for word in words for part in word.split(",") if part.strip())
