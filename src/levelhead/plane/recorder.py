"""A recording of ticks in a compressed file: written while the plane runs, read back line by line."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from levelhead.control.base import Outcome, View
from levelhead.control.recording import Opening, Script
from levelhead.errors import ConfigError, UsageError

# So many ticks may be lost when the process is killed: a minute of them.
_FLUSH_TICKS: Final = 240
_MAGIC: Final = b"\x1f\x8b"


class TickFile:
    """A recorder into a file. When it cannot be written any more, `failed` is told once, and the plane goes on."""

    def __init__(self, path: Path, failed: Callable[[str], None]) -> None:
        self._path, self._failed = path, failed
        self._script = Script(self._say)
        self._ticks = 0
        try:
            self._file: gzip.GzipFile | None = gzip.GzipFile(path, "wb")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}", next_step="name another --record") from None

    def begin(self, opening: Opening) -> None:
        self._script.begin(opening)

    def tick(self, view: View, outcome: Outcome) -> None:
        if self._file is None:
            return
        self._script.tick(view, outcome)
        self._ticks += 1
        if self._ticks % _FLUSH_TICKS == 0:
            self._attempt(self._file.flush)

    def close(self) -> None:
        if self._file is not None:
            self._attempt(self._file.close)

    def __enter__(self) -> TickFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _say(self, line: str) -> None:
        file = self._file
        if file is not None:
            self._attempt(lambda: file.write(f"{line}\n".encode()))

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            self._file = None
            self._failed(f"the recording ends here: {self._path} cannot be written ({error.strerror})")


def lines(path: Path) -> Iterator[str]:
    """The lines of a recording, compressed or not; one that was cut off ends where it was cut."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_MAGIC)) == _MAGIC
            raw.seek(0)
            whole = gzip.GzipFile(fileobj=raw) if packed else raw
            try:
                for line in whole:
                    yield line.decode("utf-8", errors="replace")
            except EOFError:
                return
            except (gzip.BadGzipFile, ValueError) as error:
                raise ConfigError(f"it is damaged ({error})", file=str(path), next_step="copy it again") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", next_step="name a recording") from None
