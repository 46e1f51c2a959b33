"""Orders to a running plane: with author and reason, answered in a sentence, refused with the objections."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from pydantic import ValidationError

from levelhead.cli import instances, screen
from levelhead.cli.base import Call, safe
from levelhead.cli.client import Client
from levelhead.cli.person import author
from levelhead.errors import RefusedForSafety, UsageError
from levelhead.web.orders import Ordered

# Orders that the guard judges, and that a person may insist on.
_FORCIBLE: Final = frozenset({"/v1/servers", "/v1/config", "/v1/rollback"})

F = TypeVar("F", bound=Callable[..., Any])
Kind = TypeVar("Kind", bound=Ordered)


def why_option(command: F) -> F:
    return click.option("--why", metavar="TEXT", default="", help="The reason, for the record.")(command)


def force_option(command: F) -> F:
    return click.option("--force", metavar="REASON", default="", help="Do it against the guard's objections; say why.")(
        command
    )


def plane(call: Call) -> Client:
    """The client of the plane that the command line means."""
    return Client(instances.running(call.instance, os.environ).socket)


def written(kind: type[Kind], **fields: object) -> Kind:
    """An order by the person at the keyboard; UsageError where a value is not possible."""
    try:
        return kind.model_validate({"who": author(os.environ), **fields})
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].removeprefix('Value error, ')}"
        raise UsageError(what, next_step="see the command's --help") from None


def sent(call: Call, client: Client, path: str, order: Ordered) -> None:
    """Sends the order and prints what became of it."""
    try:
        answer = client.order(path, order)
    except RefusedForSafety as refusal:
        if order.force or path not in _FORCIBLE:
            raise
        step = "levelhead status; to do it all the same, say why: --force REASON"
        raise RefusedForSafety(refusal.what, objections=refusal.objections, next_step=step) from None
    if call.json:
        screen.show_json(answer)
        return
    click.echo(safe(answer.text))
