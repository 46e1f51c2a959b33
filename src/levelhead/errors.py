"""Every exception Levelhead raises on purpose, as one tree; each text says what to do next.

    LevelheadError                 exit 2 unless said otherwise
    ├── UsageError                 the command line asks for something that cannot be (exit 2)
    ├── ConfigError                a file is wrong; knows file, line and column (exit 2)
    ├── EngineError                the proxy could not be started, reached or changed (exit 3)
    │   └── EngineRefused          the proxy read the configuration and said no (exit 2)
    ├── UnreachableError           no control plane answers on the socket (exit 3)
    ├── RefusedForSafety           the guard said no, and why (exit 4)
    ├── StoreError                 the record of incidents and revisions cannot be read or written (exit 3)
    ├── LabError                   a server or the users of a drill could not be started or steered (exit 3)
    └── NotifyError                a notice did not reach its target (exit 3)

Decisions are return values (`Refusal`, `Finding`); exceptions are for the world and for bugs.
"""

from __future__ import annotations


class LevelheadError(Exception):
    """Root of all: `what` failed, and the `next_step` that a person can take."""

    exit_code = 2

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.next_step}" if self.next_step else self.what


class UsageError(LevelheadError):
    """The command line asks for something that cannot be."""


class ConfigError(LevelheadError):
    """A file is wrong at a place: `file:line:column: what`."""

    def __init__(self, what: str, *, file: str, line: int = 0, column: int = 0, next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.file, self.line, self.column = file, line, column

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        text = f"{place}: {self.what}"
        return f"{text}\n  next: {self.next_step}" if self.next_step else text


class EngineError(LevelheadError):
    """The proxy could not be started, reached or changed."""

    exit_code = 3


class EngineRefused(EngineError):
    """The proxy read the configuration and said no; the old one goes on."""

    exit_code = 2


class UnreachableError(LevelheadError):
    """No control plane answers on the socket."""

    exit_code = 3


class RefusedForSafety(LevelheadError):
    """The guard said no; `objections` are whole sentences."""

    exit_code = 4

    def __init__(self, what: str, *, objections: tuple[str, ...] = (), next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.objections = objections


class StoreError(LevelheadError):
    """The record of incidents and revisions cannot be read or written."""

    exit_code = 3


class LabError(LevelheadError):
    """A server or the users of a drill could not be started or steered."""

    exit_code = 3


class NotifyError(LevelheadError):
    """A notice did not reach its target. `again` says whether another attempt may help, `wait_s` how soon at best."""

    exit_code = 3

    def __init__(self, what: str, *, again: bool = True, wait_s: float = 0.0, next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.again, self.wait_s = again, wait_s
