"""levelhead revision: the configurations that were in force, by whom and why."""

from __future__ import annotations

import click

from levelhead.cli import screen
from levelhead.cli.base import Call, options
from levelhead.cli.reading import reading
from levelhead.web.answers import RevisionRow


@click.group()
@options
def command() -> None:
    """List and read the configurations that were in force."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@options
@click.pass_obj
def list_revisions(call: Call, limit: int) -> None:
    """List revisions, newest first."""
    with reading(call) as reader:
        answer = reader.revisions(limit)
    if call.json:
        screen.show_json(answer)
        return
    table = screen.table("revision", "when", "by", "state", "why", right=("revision",))
    for row in answer.revisions:
        table.add_row(str(row.number), screen.clock(row.at), screen.line(row.author), _state(row), screen.line(row.why))
    screen.console().print(table)


@command.command()
@click.argument("number", type=click.IntRange(min=1))
@click.option("--source", is_flag=True, help="Print only the text of the file it came from.")
@options
@click.pass_obj
def show(call: Call, number: int, source: bool) -> None:
    """Show a revision: who, when, why, and what it changed."""
    with reading(call) as reader:
        answer = reader.revision(number)
    if call.json:
        screen.show_json(answer)
        return
    if source:
        click.echo(answer.source, nl=False)
        return
    row, out = answer.revision, screen.console()
    out.print(screen.line(f"revision {row.number} by {row.author}, {screen.clock(row.at)} ({_state(row)})", "bold"))
    out.print(screen.line(row.why or "no reason given"))
    for change in answer.changes:
        out.print(screen.line(f"  - {change}"))
    if answer.source:
        out.print(screen.line(f"its file: levelhead revision show {row.number} --source", "dim"))


def _state(row: RevisionRow) -> str:
    words = [word for word, true in (("in force", row.in_force), ("good", row.good)) if true]
    return ", ".join(words) or "-"
