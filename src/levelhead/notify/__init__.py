"""Where Levelhead speaks: `deliver` tells every target of an incident and says what became of it.

    base.py      Notice, Delivery, Retry; what a target and a notifier are
    secrets.py   a target's url and headers, from where they are kept
    terminal.py  prints
    webhook.py   POSTs JSON
    slack.py     POSTs what Slack and those like it want
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO, assert_never

import httpx

from levelhead.errors import LevelheadError, NotifyError
from levelhead.notify import webhook
from levelhead.notify.base import Delivery, Kind, Notice, Notifier, Retry, Revealed, Target, TargetKind
from levelhead.notify.secrets import reveal
from levelhead.notify.slack import Slack
from levelhead.notify.terminal import Terminal
from levelhead.notify.webhook import Webhook

__all__ = [
    "Delivery", "Kind", "Notice", "Notifier", "Retry", "Revealed", "Slack", "Target", "TargetKind", "Terminal",
    "Webhook", "deliver", "notifier", "reveal", "send",
]  # fmt: skip

async def deliver(
    targets: Iterable[Target], notice: Notice, *, retry: Retry | None = None, environ: Mapping[str, str] | None = None,
    stream: TextIO | None = None, rng: random.Random | None = None, clock: Callable[[], float] = time.time,
) -> tuple[Delivery, ...]:  # fmt: skip
    """Tells every target at the same time, so that none waits for another; never raises for a target that fails.

    One `Delivery` each, in the order of the targets. Secrets come from `environ` (the process's own by default) at each
    call, a terminal is `stream` (stderr by default), `clock` gives Unix seconds.
    """
    wanted, retry = tuple(targets), retry or Retry()
    environ, stream, rng = os.environ if environ is None else environ, stream or sys.stderr, rng or random.Random()
    tls = any(target.kind != "terminal" for target in wanted)
    if tls:
        await asyncio.to_thread(webhook.tls_context)
    async with webhook.client(tls=tls, timeout_s=retry.timeout_s) as http:
        tellings = (_tell(target, notice, retry, environ, stream, http, rng, clock) for target in wanted)
        return tuple(await asyncio.gather(*tellings))


def notifier(target: Target, revealed: Revealed, stream: TextIO, http: httpx.AsyncClient) -> Notifier:
    """The notifier for a target."""
    match target.kind:
        case "terminal":
            return Terminal(target.name, stream)
        case "webhook":
            return Webhook(target.name, revealed.url, revealed.headers, http)
        case "slack":
            return Slack(target.name, revealed.url, revealed.headers, http)
        case _:
            assert_never(target.kind)


async def send(
    receiver: Notifier, notice: Notice, retry: Retry, rng: random.Random, clock: Callable[[], float]
) -> Delivery:
    """Tries one receiver until it takes the notice, it cannot, or the attempts are used up."""
    attempt = 0
    while True:
        attempt += 1
        try:
            async with asyncio.timeout(retry.timeout_s):
                await receiver.send(notice)
            return Delivery(receiver.name, attempt, True, "", clock())
        except TimeoutError:
            failure = NotifyError(f"{receiver.name}: it took longer than {retry.timeout_s:g} s")
        except NotifyError as error:
            failure = error
        if attempt >= retry.attempts or not failure.again or failure.wait_s > retry.obey_s:
            return Delivery(receiver.name, attempt, False, failure.what, clock())
        wait_s = retry.first_s * 2 ** (attempt - 1) * (1 + retry.jitter * rng.uniform(-1, 1))
        await asyncio.sleep(max(wait_s, failure.wait_s))


async def _tell(
    target: Target, notice: Notice, retry: Retry, environ: Mapping[str, str], stream: TextIO, http: httpx.AsyncClient,
    rng: random.Random, clock: Callable[[], float],
) -> Delivery:  # fmt: skip
    try:
        receiver = notifier(target, reveal(target, environ), stream, http)
    except LevelheadError as error:
        return Delivery(target.name, 0, False, error.what, clock())
    return await send(receiver, notice, retry, rng, clock)
