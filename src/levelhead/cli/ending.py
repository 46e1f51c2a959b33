"""Runs work to its end in the foreground, and lets it put everything away when SIGTERM comes, as Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import click

# As a shell shows a process that SIGTERM ended.
TERMINATED: Final = 128 + signal.SIGTERM

T = TypeVar("T")


def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns. Raises KeyboardInterrupt after Ctrl-C and click's Exit after SIGTERM, when all is away."""
    return asyncio.run(_heeding(work))


async def _heeding(work: Coroutine[Any, Any, T]) -> T:
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        mine = asyncio.current_task()
        if mine is not None and mine.cancelling():
            raise
        raise click.exceptions.Exit(TERMINATED) from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
