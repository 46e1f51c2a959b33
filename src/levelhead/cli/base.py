"""What every command has: --json, --instance and --debug, data on stdout and talk on stderr."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Call:
    """How this command line was called; `click.pass_obj` hands it to the command."""

    json: bool = False
    debug: bool = False
    instance: str | None = None


def options(command: F) -> F:
    """Adds the options that every command has. They may stand before the command's name or after it."""
    command = click.option(
        "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_debug, help="Show tracebacks."
    )(command)
    command = click.option(
        "--instance", metavar="NAME", expose_value=False, callback=_instance,
        help="Which running Levelhead; the only one otherwise (LEVELHEAD_INSTANCE).",
    )(command)  # fmt: skip
    return click.option(
        "--json", is_flag=True, is_eager=True, expose_value=False, callback=_json, help="Print JSON for programs."
    )(command)


def talk(text: str) -> None:
    """Says something to the person at the terminal; what data pipelines read is on stdout.

    A full disk behind it, or a terminal that was closed, is no reason to stop what is being talked about.
    """
    with suppress(OSError):
        click.echo(safe(text), err=True)


def safe(text: str) -> str:
    """Text from elsewhere without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _call(ctx).debug = True


def _json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        _call(ctx).json = True


def _instance(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        _call(ctx).instance = value


def _call(ctx: click.Context) -> Call:
    found = ctx.find_object(Call)
    if found is None:
        raise RuntimeError("a command was called without levelhead.cli.main")
    return found
