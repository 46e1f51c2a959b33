"""Watches levelhead.yaml while the plane runs: says when its text changed, who owns it, and what is wrong with it."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from pathlib import Path

from levelhead import settings
from levelhead.errors import ConfigError
from levelhead.settings import Settings


@dataclass(frozen=True, slots=True)
class Edited:
    """The file has a new text that is valid."""

    settings: Settings
    source: str
    author: str


@dataclass(frozen=True, slots=True)
class Faulty:
    """The file has a new text that cannot be used, or cannot be read any more."""

    why: str


class FileWatch:
    """Compares the file with the text last seen; the same text is never reported twice."""

    def __init__(self, path: Path, seen: str) -> None:
        self._path, self._seen = path, seen
        self._stamp: tuple[int, int] | None = None
        self._missing = False

    def look(self) -> Edited | Faulty | None:
        """What changed since the last look, None when nothing did. Reads the file only when its stamp moved."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return None
            # What is no text is told by `load`, with its line.
            text = self._path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            self._stamp = None
            return self._gone(f"{self._path} cannot be read: {error.strerror}")
        self._missing = False
        self._stamp = stamp
        if text == self._seen:
            return None
        self._seen = text
        try:
            loaded = settings.load(self._path)
        except ConfigError as error:
            return Faulty(str(error))
        return Edited(loaded, text, _owner(stat.st_uid))

    def _gone(self, why: str) -> Faulty | None:
        if self._missing:
            return None
        self._missing = True
        return Faulty(why)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
