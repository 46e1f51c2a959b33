"""levelhead server: list servers, drain one, take it out, put it back, set its weight."""

from __future__ import annotations

from typing import Literal

import click

from levelhead.cli import screen
from levelhead.cli.base import Call, options
from levelhead.cli.client import Client
from levelhead.cli.ordering import force_option, plane, sent, why_option, written
from levelhead.cli.status import state
from levelhead.errors import UsageError
from levelhead.plane.status import Status
from levelhead.web.answers import StatusAnswer
from levelhead.web.orders import ServerOrder

_SERVER = "[POOL/]SERVER"


@click.group()
@options
def command() -> None:
    """Drain a server, take it out, put it back, weigh it.

    A server is named SERVER, or POOL/SERVER where several pools have one of that name.
    """


@command.command("list")
@options
@click.pass_obj
def list_servers(call: Call) -> None:
    """List servers with address, state and weight."""
    status = plane(call).get("/v1/status", StatusAnswer)
    if call.json:
        screen.show_json(status)
        return
    table = screen.table("server", "address", "state", "weight", "observed", right=("weight", "observed"))
    for pool in status.pools:
        for server in pool.servers:
            word, style = state(server)
            weight = "-" if server.weight is None else f"{server.weight:g}"
            name = screen.line(f"{pool.name}/{server.name}")
            table.add_row(name, server.address, screen.line(word, style), weight, screen.share(server.observed))
    screen.console().print(table)


@command.command()
@click.argument("server", metavar=_SERVER)
@why_option
@force_option
@options
@click.pass_obj
def drain(call: Call, server: str, why: str, force: str) -> None:
    """Send no new users to a server; those it has may finish."""
    _order(call, server, "drain", why, force)


@command.command()
@click.argument("server", metavar=_SERVER)
@why_option
@force_option
@options
@click.pass_obj
def maint(call: Call, server: str, why: str, force: str) -> None:
    """Take a server out at once, checks and all."""
    _order(call, server, "maint", why, force)


@command.command()
@click.argument("server", metavar=_SERVER)
@why_option
@force_option
@options
@click.pass_obj
def ready(call: Call, server: str, why: str, force: str) -> None:
    """Put a server back."""
    _order(call, server, "ready", why, force)


@command.command()
@click.argument("server", metavar=_SERVER)
@click.argument("weight", type=click.FloatRange(0, 10000))
@why_option
@force_option
@options
@click.pass_obj
def weight(call: Call, server: str, weight: float, why: str, force: str) -> None:
    """Set the weight of a server, relative to the others (usual is 100)."""
    _order(call, server, "weight", why, force, weight)


def _order(
    call: Call,
    wanted: str,
    do: Literal["drain", "maint", "ready", "weight"],
    why: str,
    force: str,
    weight: float | None = None,
) -> None:
    client = plane(call)
    pool, server = _found(client, wanted)
    order = written(ServerOrder, pool=pool, server=server, do=do, weight=weight, why=why, force=force)
    sent(call, client, "/v1/servers", order)


def _found(client: Client, wanted: str) -> tuple[str, str]:
    """Pool and server of this name; UsageError with the names that there are."""
    status: Status = client.get("/v1/status", StatusAnswer)
    pool_name, slash, name = wanted.rpartition("/")
    matches = [
        (pool.name, server.name)
        for pool in status.pools
        for server in pool.servers
        if server.name == name and (not slash or pool.name == pool_name)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(f"{pool}/{server}" for pool, server in matches)
        raise UsageError(f"several pools have a server {name!r}", next_step=f"say which: {shown}")
    shown = ", ".join(f"{pool.name}/{server.name}" for pool in status.pools for server in pool.servers)
    raise UsageError(f"there is no server {wanted!r}", next_step=f"name one of: {shown}")
