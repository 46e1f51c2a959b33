"""Which version of an engine a review is for: as the command line says, else that of the binary on PATH, else usual."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from levelhead.errors import UsageError
from levelhead.review.base import Language, Version
from levelhead.review.languages import USUAL
from levelhead.review.report import TITLES

_ASK: Final[Mapping[Language, tuple[str, str]]] = {
    "haproxy": ("haproxy", "-v"), "nginx": ("nginx", "-v"), "envoy": ("envoy", "--version"),
}  # fmt: skip
_ASK_S: Final = 5.0
_STEP: Final = "write --target nginx=1.29.7; engines are haproxy, nginx and envoy"


@dataclass(frozen=True, slots=True)
class Target:
    """An engine's version, and how it is known."""

    language: Language
    version: Version
    known_by: str

    def __str__(self) -> str:
        return f"{TITLES[self.language]} {'.'.join(map(str, self.version))} ({self.known_by})"


def wanted(words: Sequence[str]) -> dict[Language, Version]:
    """`nginx=1.29.7` as versions. UsageError for what is no such word."""
    versions: dict[Language, Version] = {}
    for word in words:
        engine, _, number = word.partition("=")
        language = next((language for language in _ASK if language == engine), None)
        if language is None or not re.fullmatch(r"v?\d+(\.\d+){1,3}", number):
            raise UsageError(f"--target {word}: that is no engine and version", next_step=_STEP)
        versions[language] = tuple(int(part) for part in number.removeprefix("v").split("."))
    return versions


def target(language: Language, asked: Mapping[Language, Version]) -> Target:
    """The version to review for."""
    if language in asked:
        return Target(language, asked[language], "--target")
    found = _on_path(language)
    if found:
        return Target(language, found, f"{_ASK[language][0]} on PATH")
    return Target(language, USUAL[language], "assumed; --target says otherwise")


def _on_path(language: Language) -> Version:
    """The version of the binary on PATH, empty where there is none that says so."""
    command, flag = _ASK.get(language, ("", ""))
    path = shutil.which(command) if command else None
    if path is None:
        return ()
    try:
        done = subprocess.run([path, flag], capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"(?:version:?\s+|nginx/|[0-9a-f]{40}/)(\d+(?:\.\d+){1,3})", done.stdout + done.stderr)
    return tuple(int(part) for part in found[1].split(".")) if found else ()
