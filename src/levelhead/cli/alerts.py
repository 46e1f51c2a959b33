"""levelhead explain alert: what raises one, from which single setting its thresholds follow, and what was learnt."""

from __future__ import annotations

import os
from typing import Final

import click
import numpy as np

from levelhead.cli import instances, screen
from levelhead.cli.base import Call
from levelhead.cli.client import Client
from levelhead.detect import shares
from levelhead.detect.base import HOLD, TESTS, TICKS_PER_MONTH, thresholds
from levelhead.detect.meanings import MEANINGS
from levelhead.errors import UnreachableError
from levelhead.plane.status import Status
from levelhead.web.answers import StatusAnswer

SIZES: Final = (2, 4, 10, 50)
# How many times its share a server gets.
TIMES: Final = (1.4, 2.0, 3.0)


def explained(call: Call) -> None:
    """Prints it all; what was learnt only where a control plane runs."""
    status = _status(call)
    if call.json:
        screen.show_plain_json(_json(status))
        return
    out = screen.console()
    click.echo("Thresholds follow from one setting, false_alarms_per_month (1 unless levelhead.yaml says otherwise).")
    click.echo("A test gathers evidence request by request, in nats; it alarms when it has at least")
    click.echo(
        f"ln(servers x {TESTS} tests x {TICKS_PER_MONTH:,} ticks a month / false alarms). So many requests to the"
    )
    click.echo("pool are then needed at least to see that a server gets so many times its share. What has passed")
    click.echo(f"stands until it is refuted at odds of e^{HOLD:g}:\n")
    table = screen.table(
        "servers",
        "nats",
        *(f"{times:g} times" for times in TIMES),
        right=("servers", "nats", *(f"{times:g} times" for times in TIMES)),
    )
    for size in SIZES:
        table.add_row(str(size), f"{_threshold(size):.1f}", *(_needed(size, times) for times in TIMES))
    out.print(table)
    click.echo("\nWhat raises an alert:\n")
    kinds = screen.table("signal", "by", "what it says")
    for kind, meaning in MEANINGS.items():
        kinds.add_row(kind.value, meaning.by, meaning.text)
    out.print(kinds)
    click.echo("\nWhat was learnt:\n")
    if status is None:
        click.echo("no control plane is running; while one is, its baselines are shown here")
        return
    for pool in status.pools:
        times = f"{screen.number(pool.p50_ms)} ms at the median and {screen.number(pool.p99_ms)} ms at p99"
        click.echo(f"{pool.name}: {screen.number(pool.forecast, 1)} requests/s are to be expected, {times}")
        for server in pool.servers:
            bears = screen.bearable(server.bearable, server.borne)
            click.echo(
                f"  {server.name}: meant to get {screen.share(server.intended)}, bears {bears} of the traffic now"
            )


def _status(call: Call) -> Status | None:
    try:
        return Client(instances.running(call.instance, os.environ).socket).get("/v1/status", StatusAnswer)
    except UnreachableError:
        if call.instance:
            raise
        return None


def _threshold(servers: int) -> float:
    return float(thresholds(np.asarray([servers]), 1.0)[0])


def _needed(servers: int, times: float) -> str:
    """The fewest requests by Lorden's bound; a server cannot get more than everything."""
    share = times / servers
    return f"{shares.noticed(1 / servers, share, _threshold(servers)):,.0f}" if share < 1 else "-"


def _json(status: Status | None) -> dict[str, object]:
    return {
        "schema": "levelhead/alerts/1",
        "tests": TESTS, "ticks_per_month": TICKS_PER_MONTH,
        "thresholds": {str(size): _threshold(size) for size in SIZES},
        "signals": [{"signal": k.value, "by": m.by, "text": m.text} for k, m in MEANINGS.items()],
        "learnt": None if status is None else [
            {"pool": p.name, "forecast": p.forecast, "p50_ms": p.p50_ms, "p99_ms": p.p99_ms,
             "servers": [{"server": s.name, "intended": s.intended, "bearable": s.bearable, "borne": s.borne}
                         for s in p.servers]}
            for p in status.pools
        ],
    }  # fmt: skip
