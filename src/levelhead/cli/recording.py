"""--record FILE: a recording of ticks beside what a command does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from levelhead.cli.base import talk
from levelhead.plane.recorder import TickFile

F = TypeVar("F", bound=Callable[..., Any])


def record_option(command: F) -> F:
    return click.option(
        "--record", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
        help="Write every tick there, for `levelhead replay`; it holds addresses of clients.",
    )(command)  # fmt: skip


@contextmanager
def recording(path: Path | None) -> Iterator[TickFile | None]:
    """The recorder into the file, if one is wished for. UsageError where it cannot be written."""
    if path is None:
        yield None
        return
    with TickFile(path, talk) as recorder:
        yield recorder
