"""levelhead incident: list, read, acknowledge, note, approve, resolve, and write the postmortem."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from levelhead.cli import screen
from levelhead.cli.base import Call, options, talk
from levelhead.cli.ordering import plane, sent, why_option, written
from levelhead.cli.reading import at_incident, reading
from levelhead.errors import UsageError
from levelhead.incident import REMOTE, Incident, folded, remote
from levelhead.web.orders import IncidentOrder, NoteOrder, Ordered, ResolveOrder


@click.group()
@options
def command() -> None:
    """List, read, acknowledge and close incidents."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@options
@click.pass_obj
def list_incidents(call: Call, limit: int) -> None:
    """List incidents, newest first."""
    with reading(call) as reader:
        answer = reader.incidents(limit)
    if call.json:
        screen.show_json(answer)
        return
    if not answer.incidents:
        talk("no incidents on record")
        return
    table = screen.table("id", "opened", "pool", "state", "title")
    for row in answer.incidents:
        cells = (row.id, screen.clock(row.opened_at), row.pool, row.phase, row.title)
        table.add_row(*(screen.line(cell) for cell in cells))
    screen.console().print(table)


@command.command()
@click.argument("incident")
@options
@click.pass_obj
def show(call: Call, incident: str) -> None:
    """Show the record of an incident."""
    with reading(call) as reader:
        answer = reader.incident(incident)
    if call.json:
        screen.show_json(answer)
        return
    _drawn(answer, screen.console())


@command.command()
@click.argument("incident")
@why_option
@options
@click.pass_obj
def ack(call: Call, incident: str, why: str) -> None:
    """Say that you are looking at it."""
    _order(call, incident, "ack", written(IncidentOrder, why=why))


@command.command()
@click.argument("incident")
@click.argument("text")
@options
@click.pass_obj
def note(call: Call, incident: str, text: str) -> None:
    """Write a line into the record."""
    _order(call, incident, "note", written(NoteOrder, text=text))


@command.command()
@click.argument("incident")
@click.argument("text", default="")
@options
@click.pass_obj
def resolve(call: Call, incident: str, text: str) -> None:
    """Close it, with TEXT for what ended it."""
    _order(call, incident, "resolve", written(ResolveOrder, text=text))


@command.command()
@click.argument("incident")
@why_option
@options
@click.pass_obj
def approve(call: Call, incident: str, why: str) -> None:
    """Let the plan that waits for a person go ahead (mode ask)."""
    _order(call, incident, "approve", written(IncidentOrder, why=why))


@command.command()
@click.argument("incident")
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, not to stdout.")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of its clock times.")
@options
@click.pass_obj
def postmortem(call: Call, incident: str, output: Path | None, zone: str) -> None:
    """Write the postmortem, in Markdown."""
    with reading(call) as reader:
        page = reader.postmortem(incident, zone)
    if output is not None:
        try:
            output.write_text(page, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{output} cannot be written: {error.strerror}", next_step="name another --output"
            ) from None
        talk(f"written to {output}")
    if call.json:
        screen.show_plain_json({"schema": "levelhead/postmortem/1", "incident": incident, "markdown": page})
    elif output is None:
        click.echo(page, nl=False)


def _order(call: Call, incident: str, verb: str, order: Ordered) -> None:
    sent(call, plane(call), f"{at_incident(incident)}/{verb}", order)


def _drawn(incident: Incident, out: Console) -> None:
    out.print(screen.line(f"{incident.id} {incident.title}", "bold"))
    out.print(screen.line(f"state    {incident.phase.value}; {_acknowledged(incident)}"))
    out.print(screen.line(f"began    {screen.clock(incident.clocks.fault)}; {_spans(incident)}"))
    out.print(screen.line(f"harm     {_harm(incident)}"))
    for story in (*incident.stories[:1], *(s for s in incident.stories[1:3] if s.probability >= REMOTE)):
        evidence = f": {story.pro[0]}" if story.pro else ""
        out.print(screen.line(f"story    {story.cause} {story.probability:.0%}{evidence}"))
    unlikely, pages = remote(incident), f"levelhead incident postmortem {incident.id}"
    for story in incident.refuted:
        if story.cause not in unlikely or len(unlikely) < 2:
            out.print(screen.line(f"not      {story.cause}{f': {story.contra[0]}' if story.contra else ''}", "dim"))
    if len(unlikely) > 1:
        out.print(screen.line(f"not      {len(unlikely)} other causes; why: {pages}", "dim"))
    out.print()
    table = screen.table("time", "who", "what")
    for entry in folded(incident.entries, unlikely, "the postmortem says why"):
        time = screen.clock(entry.at).split(" ")
        table.add_row(time[1] if len(time) > 1 else "-", screen.line(entry.who), screen.line(entry.text))
    out.print(table)
    out.print()
    if incident.resolution:
        out.print(screen.line(f"resolved: {incident.resolution}"))
    steps = pages
    if incident.open:
        verb = "resolve" if incident.acknowledged_by else "ack"
        steps = f"levelhead incident {verb} {incident.id}, or {pages}"
    out.print(screen.line(f"next     {steps}"))


def _acknowledged(incident: Incident) -> str:
    return f"acknowledged by {incident.acknowledged_by}" if incident.acknowledged_by else "not acknowledged"


def _spans(incident: Incident) -> str:
    clocks = incident.clocks
    steps = (("detected", clocks.detected), ("explained", clocks.diagnosed), ("acted", clocks.acted),
             ("users well", clocks.recovered))  # fmt: skip
    return ", ".join(f"{word} after {at - clocks.fault:.1f} s" for word, at in steps if at is not None)


def _harm(incident: Incident) -> str:
    harm = incident.harm
    requests = f"{harm.requests_harmed:,} of {harm.requests:,} requests" if harm.requests else "requests unknown"
    if not harm.users:
        return f"{requests}; users unknown (no sampled requests)"
    sampled = " (from sampled requests)" if harm.sampled < 1 else ""
    return f"{requests}; {harm.users_harmed:,} of {harm.users:,} users{sampled}"
