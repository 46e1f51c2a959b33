"""levelhead rollback: return to an earlier configuration."""

from __future__ import annotations

import click

from levelhead.cli.base import Call, options
from levelhead.cli.ordering import force_option, plane, sent, why_option, written
from levelhead.web.orders import RollbackOrder


@click.command()
@click.option("--to", type=click.IntRange(min=1), metavar="N", help="The revision to return to.")
@why_option
@force_option
@options
@click.pass_obj
def command(call: Call, to: int | None, why: str, force: str) -> None:
    """Return to an earlier configuration.

    Without --to, to the last revision that is known to have served well. See `levelhead revision list`.
    """
    sent(call, plane(call), "/v1/rollback", written(RollbackOrder, to=to, why=why, force=force))
