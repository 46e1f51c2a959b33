"""levelhead status: every pool and server with the four shares side by side, and the sentence that says why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from levelhead.cli import instances, screen
from levelhead.cli.base import Call, options, safe
from levelhead.cli.client import Client
from levelhead.plane.status import PoolStatus, ServerStatus, Status
from levelhead.web.answers import StatusAnswer

REFRESH_S: Final = 1.0
STALE_S: Final = 3.0
# A terminal of MEDIUM columns has room for most of the table; from WIDE on, all of it is shown, and headings are words.
MEDIUM: Final = 80
WIDE: Final = 110
BAR_CELLS: Final = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """How bars are drawn: the share that fills one, and whether only ASCII can be shown."""

    full: float
    ascii_only: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of servers, and what it says of each."""

    heading: str
    short: str
    cell: Callable[[ServerStatus, Scale], Text | str]
    right: bool = True
    needs: int = MEDIUM


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Refresh every second until Ctrl-C.")
@options
@click.pass_obj
def command(call: Call, watch: bool) -> None:
    """Show pools and servers: who gets how much, and why.

    Shares are what each server is meant to get (intended), what the weights in force must produce (predicted), and
    where requests of the last seconds went (observed). "-" is unknown, not zero.
    """
    client = Client(instances.running(call.instance, os.environ).socket)
    if watch:
        _watch(call, client)
        return
    status = client.get("/v1/status", StatusAnswer)
    if call.json:
        screen.show_json(status)
        return
    out = screen.console()
    out.print(drawn(status, out))


def _watch(call: Call, client: Client) -> None:
    out = screen.console()
    if call.json or not out.is_terminal:
        while True:
            status = client.get("/v1/status", StatusAnswer)
            if call.json:
                screen.show_json(status, compact=True)
            else:
                out.print(drawn(status, out), "")
            time.sleep(REFRESH_S)
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(drawn(client.get("/v1/status", StatusAnswer), out), refresh=True)
            time.sleep(REFRESH_S)


def drawn(status: Status, out: Console) -> RenderableType:
    """The picture for a console of this width."""
    blocks: list[RenderableType] = []
    for pool in status.pools:
        blocks += [_heading(pool), _servers(pool, out), *_concerns(pool), Text("")]
    return Group(*blocks, *_footer(status))


def _heading(pool: PoolStatus) -> Text:
    facts = [f"{pool.policy}, {pool.intent} shares, mode {pool.mode}", f"{screen.number(pool.rate)} requests/s"]
    if pool.forecast is not None:
        facts[-1] += f" (forecast {screen.number(pool.forecast)})"
    facts.append("harm unknown" if pool.harmed_ratio is None else f"{pool.harmed_ratio:.1%} of requests harmed")
    if pool.p50_ms is not None:
        facts.append(f"p50 {screen.number(pool.p50_ms)} ms, p99 {screen.number(pool.p99_ms)} ms")
    return Text.assemble((safe(pool.name), "bold"), "  ", safe("; ".join(facts)))


def _servers(pool: PoolStatus, out: Console) -> Table:
    """One row per server; a narrower terminal gets shorter headings, then fewer columns."""
    columns = [column for column in COLUMNS if out.width >= column.needs]
    headings = [column.heading if out.width >= WIDE else column.short for column in columns]
    numbers = tuple(heading for heading, column in zip(headings, columns, strict=True) if column.right)
    table = screen.table(*headings, right=numbers)
    scale = Scale(max((s.observed or 0.0 for s in pool.servers), default=0.0), out.options.ascii_only)
    for server in pool.servers:
        table.add_row(*(column.cell(server, scale) for column in columns))
    return table


def _name(server: ServerStatus, _: Scale) -> Text:
    return screen.line(server.name)


def _state(server: ServerStatus, _: Scale) -> Text:
    return Text(*state(server))


def _weight(server: ServerStatus, _: Scale) -> str:
    return "-" if server.weight is None else f"{server.weight:g}"


def _bar(server: ServerStatus, scale: Scale) -> Text:
    bar = screen.bar(server.observed, scale.full, BAR_CELLS, ascii_only=scale.ascii_only)
    return Text(f"{bar:{BAR_CELLS}}", "cyan")


def _errors(server: ServerStatus, _: Scale) -> Text:
    if server.failure_ratio is None:
        return Text("-")
    return Text(f"{server.failure_ratio:.1%}", "red" if server.failure_ratio >= 0.01 else "")


def _latency(server: ServerStatus, _: Scale) -> str:
    return f"{screen.number(server.p50_ms)}/{screen.number(server.p99_ms)}"


COLUMNS: Final = (
    Column("server", "server", _name, right=False, needs=0),
    Column("state", "state", _state, right=False, needs=0),
    Column("weight", "weight", _weight),
    Column("intended", "meant", lambda server, _: screen.share(server.intended), needs=0),
    Column("predicted", "must", lambda server, _: screen.share(server.predicted), needs=0),
    Column("observed", "seen", lambda server, _: screen.share(server.observed), needs=0),
    Column("", "", _bar, right=False),
    Column("bearable", "bearable", lambda server, _: screen.bearable(server.bearable, server.borne), needs=WIDE),
    Column("req/s", "req/s", lambda server, _: screen.number(server.rate, 1), needs=0),
    Column("in flight", "held", lambda server, _: screen.number(server.in_flight)),
    Column("errors", "err", _errors, needs=0),
    Column("p50/p99 ms", "p50/99", _latency),
)


def state(server: ServerStatus) -> tuple[str, str]:
    """What a server is doing, as a word and a colour."""
    match server.state, server.health:
        case "maint", _:
            return "MAINT", "blue"
        case "drain", _:
            return "DRAIN", "blue"
        case "ready", "failing":
            return "DOWN", "bold red"
        case "ready", "passing" | "unchecked" as health:
            word = "UP" if health == "passing" else "UP unchecked"
            if server.ramp is not None and server.ramp < 1.0:
                return f"{word} starting {server.ramp:.0%}", "yellow"
            return word, "green"
        case _:
            return "unknown", "yellow"


def _concerns(pool: PoolStatus) -> Iterator[Text]:
    for signal in pool.signals:
        yield screen.line(f"! {signal}", "yellow")
    if pool.incident:
        yield screen.line(f"{pool.incident} is open ({pool.phase}): levelhead incident show {pool.incident}", "bold")
    if pool.incident and pool.proposal:
        yield screen.line(f"waiting for you: {pool.proposal}: levelhead incident approve {pool.incident}", "bold")


def _footer(status: Status) -> Iterator[Text]:
    yield screen.line(f"because  {status.because}")
    good = "known good" if status.good == status.revision else f"last good: {status.good or 'none yet'}"
    why = f", {status.revision_why}" if status.revision_why else ""
    yield screen.line(f"config   revision {status.revision} by {status.revision_author}{why} ({good})", "dim")
    yield screen.line(
        f"proxy    {status.engine} on {', '.join(status.listeners) or 'no listener'}; {_age(status)}", "dim"
    )
    for note in status.notes:
        yield screen.line(f"note     {note}", "yellow")
    if not status.engine_alive:
        yield Text("the proxy is NOT RUNNING: Levelhead tries to start it again", "bold red")


def _age(status: Status) -> str:
    if status.age_s is None:
        return "no telemetry yet"
    stale = ": STALE, these figures are old" if status.age_s > STALE_S else ""
    return f"telemetry {status.age_s:.1f} s old{stale}"
