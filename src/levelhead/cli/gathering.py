"""The files of a review from disk, from a folder or from a git revision: arguments to configurations."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from levelhead.engines.nginx import includes
from levelhead.errors import ConfigError, UsageError
from levelhead.review.arranging import Configuration, arranged
from levelhead.review.base import Language
from levelhead.review.recognise import Unrecognised, recognised
from levelhead.review.report import Reviewed

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_FILES: Final = 20_000
_GIT_S: Final = 30.0
# In a folder, what may be a configuration; of a file that is named, its text decides.
_SUFFIXES: Final = (".cfg", ".conf", ".yaml", ".yml", ".json")
_SITES: Final = ("sites-enabled", "sites-available")
_SUBSCRIPTION: Final = re.compile(r"\b(?:path|filename)[\"']?\s*:\s*[\"']?([^\s\"'*?\[]+\.(?:ya?ml|json))")
_NEXT: Final = "name a configuration of HAProxy, nginx or Envoy, or a levelhead.yaml; --as LANGUAGE says what it is"


class Files(Protocol):
    """Where texts come from. Names are paths with slashes, as the person gave them."""

    def is_folder(self, name: str) -> bool: ...

    def under(self, folder: str) -> list[str]:
        """All files below a folder, sorted."""

    def matching(self, pattern: str) -> list[str]:
        """The files of an include, which may have wildcards."""

    def text(self, name: str) -> str:
        """ConfigError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The configurations, and the files that could not be read or are in no language of ours."""

    configurations: tuple[Configuration, ...]
    failed: tuple[Reviewed, ...]


def gathered(files: Files, paths: Sequence[str], language: Language | None) -> Gathered:
    """What these files and folders hold. UsageError where that is nothing at all."""
    texts: dict[str, tuple[Language, str]] = {}
    failed: list[Reviewed] = []
    for name, named in _named(files, paths):
        try:
            text = files.text(name)
        except ConfigError as error:
            failed.append(Reviewed(name, None, False, error.what, readable=False))
            continue
        found = language or recognised(name, text)
        if not isinstance(found, Unrecognised):
            texts[name] = found, text
        elif named:
            failed.append(Reviewed(name, None, False, f"{found.why}; {_NEXT}", readable=False))
    if not texts and not failed:
        raise UsageError(f"there is nothing to review in {', '.join(paths)}", next_step=_NEXT)
    return Gathered(arranged(texts, {**_included(files, texts), **_subscribed(files, texts)}), tuple(failed))


def _named(files: Files, paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Every file once, and whether it was named itself rather than found in a folder."""
    seen: set[str] = set()
    for path in paths:
        folder = files.is_folder(path)
        for name in files.under(path) if folder else [path]:
            if name not in seen and (not folder or _may_be_one(name)):
                seen.add(name)
                yield name, not folder
    if len(seen) > MAX_FILES:
        raise UsageError(f"more than {MAX_FILES} files", next_step="name the folder that holds the configuration")


def _may_be_one(name: str) -> bool:
    return name.endswith(_SUFFIXES) or posixpath.basename(posixpath.dirname(name)) in _SITES


def _included(files: Files, texts: Mapping[str, tuple[Language, str]]) -> dict[str, str]:
    """What the nginx files among these include, and what that includes in turn, as far as it is there."""
    found: dict[str, str] = {}
    for main, (language, text) in texts.items():
        waiting = [(main, text)] if language == "nginx" else []
        while waiting and len(found) < MAX_FILES:
            for name in _wanted(files, waiting.pop(), main):
                if name in found or name in texts:
                    continue
                try:
                    found[name] = files.text(name)
                except ConfigError:
                    continue  # It stays absent, and is said to be.
                waiting.append((name, found[name]))
    return found


def _subscribed(files: Files, texts: Mapping[str, tuple[Language, str]]) -> dict[str, str]:
    """Files beside an Envoy bootstrap that it takes clusters, listeners or endpoints from."""
    found: dict[str, str] = {}
    for main, (language, text) in texts.items():
        for path in _SUBSCRIPTION.findall(text) if language == "envoy" else ():
            for name in files.matching(posixpath.join(posixpath.dirname(main), posixpath.basename(path))):
                if name not in texts:
                    found[name] = files.text(name)
    return found


def _wanted(files: Files, source: tuple[str, str], main: str) -> Iterator[str]:
    name, text = source
    try:
        patterns = includes.wanted(text, name)
    except ConfigError:
        return  # Whoever reads it will say so.
    for pattern in patterns:
        yield from next((names for place in includes.places(pattern, main) if (names := files.matching(place))), ())


@dataclass(frozen=True, slots=True)
class Disk:
    """Files as they are now. With `instead`, a path below one of the keys is looked for below its value."""

    instead: tuple[tuple[str, str], ...] = ()

    def is_folder(self, name: str) -> bool:
        return os.path.isdir(self._real(name))

    def under(self, folder: str) -> list[str]:
        names = []
        for where, folders, files in os.walk(self._real(folder)):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            names += [posixpath.join(where, name) for name in files if not name.startswith(".")]
        return sorted(self._named(posixpath.normpath(name)) for name in names)

    def matching(self, pattern: str) -> list[str]:
        if not includes.is_glob(pattern):
            return [pattern] if os.path.isfile(self._real(pattern)) else []
        return sorted(self._named(name) for name in glob.glob(self._real(pattern)) if os.path.isfile(name))

    def text(self, name: str) -> str:
        try:
            with open(self._real(name), "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            what = "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
            raise ConfigError(what, file=name) from None
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"it is larger than {MAX_BYTES // 1024 // 1024} MiB", file=name)
        return raw.decode("utf-8", "surrogateescape")

    def _real(self, name: str) -> str:
        """Where a name is looked for."""
        for path, other in self.instead:
            if name == path:
                return other
            if path == "." or name.startswith(f"{path}/"):
                return posixpath.join(other, name if path == "." else name[len(path) + 1 :])
        return name

    def _named(self, real: str) -> str:
        """The name that is looked for there."""
        for path, other in self.instead:
            if real.startswith(f"{other.rstrip('/')}/"):
                rest = real[len(other.rstrip("/")) + 1 :]
                return rest if path == "." else posixpath.join(path, rest)
        return real


@dataclass(frozen=True, slots=True)
class Revision:
    """Files as they were in a revision of git."""

    revision: str
    listed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, revision: str) -> Revision:
        """UsageError where there is no such revision, or no git."""
        said = _git(".", "ls-tree", "-r", "-z", "--name-only", revision)
        if said is None or revision.startswith("-"):
            step = "name a file, a folder, or a revision of the git repository here, such as HEAD"
            raise UsageError(f"there is neither a file nor a revision {revision!r} to compare with", next_step=step)
        return cls(revision, [name for name in said.decode("utf-8", "surrogateescape").split("\0") if name])

    def is_folder(self, name: str) -> bool:
        return name == "." or any(listed.startswith(f"{name.rstrip('/')}/") for listed in self.listed)

    def under(self, folder: str) -> list[str]:
        top = "" if folder == "." else f"{folder.rstrip('/')}/"
        return sorted(name for name in self.listed if name.startswith(top))

    def matching(self, pattern: str) -> list[str]:
        return sorted(n for n in self.listed if fnmatch.fnmatchcase(n, pattern) and n.count("/") == pattern.count("/"))

    def text(self, name: str) -> str:
        folder, base = posixpath.split(name)
        raw = _git(folder or ".", "show", f"{self.revision}:./{base}")
        if raw is None:
            raise ConfigError(f"it is not in {self.revision}", file=name)
        return raw.decode("utf-8", "surrogateescape")


def base_files(base: str, paths: Sequence[str]) -> Files:
    """What a change is compared with: a folder or a file in place of the one that was given, else a git revision."""
    if os.path.isdir(base):
        folders = [path if os.path.isdir(path) else posixpath.dirname(path) or "." for path in paths]
        return Disk(tuple((folder, base) for folder in dict.fromkeys(folders)))
    if os.path.isfile(base):
        if len(paths) != 1 or os.path.isdir(paths[0]):
            raise UsageError("a file can only be compared with one file", next_step="compare a folder with a folder")
        return Disk(((paths[0], base),))
    return Revision.of(base)


def shown(path: str) -> str:
    """A path as it stands in reports and baselines: from here, where it is below here."""
    whole = os.path.abspath(path)
    here = os.getcwd()
    return Path(whole).relative_to(here).as_posix() if Path(whole).is_relative_to(here) else Path(whole).as_posix()


def _git(folder: str, *words: str) -> bytes | None:
    """What git says, None where it says no."""
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
