"""How a drill ended: what was expected and missed, and a player's clocks beside nobody's and Levelhead's."""

from __future__ import annotations

from collections.abc import Mapping

import click

from levelhead.cli import screen
from levelhead.cli.base import safe
from levelhead.drills.score import DrillRecord
from levelhead.incident import Incident
from levelhead.stage import Performance


def judged(record: DrillRecord) -> None:
    """One run: clocks, harm, stories, actions, and whether it was passed."""
    table = screen.table("", record.drill)
    for name, text in _rows(record):
        table.add_row(name, text)
    for action in record.actions:
        undone = " (undone)" if action.undone else ""
        table.add_row("done", f"{action.at_s:.1f} s: {action.what}{undone}, because {action.because}")
    for story in record.stories[:3]:
        reasons = story.evidence_for or story.evidence_against
        table.add_row("story", f"{story.cause} {story.probability:.0%}: {'; '.join(reasons) or 'no evidence'}")
    screen.console().print(table)
    click.echo("passed" if record.passed else "not passed")
    for sentence in record.missed:
        click.echo(f"  - {sentence}")


def compared(performance: Performance, beside: Mapping[str, DrillRecord]) -> None:
    """A player's drill beside the same story with nobody and with Levelhead, rehearsed on the same seed."""
    yours = performance.record
    columns = {"you": yours, **beside}
    table = screen.table("", *columns)
    for i, (name, _) in enumerate(_rows(yours)):
        table.add_row(name, *(_rows(record)[i][1] for record in columns.values()))
    table.add_row("acknowledged after", _acknowledged(performance), *("-" for _ in beside))
    screen.console().print(table)
    click.echo("nobody and levelhead were rehearsed in the simulator with the same seed and length")
    click.echo("what you did:")
    done = [a for i in performance.incidents for a in i.actions]
    for action in done:
        click.echo(f"  {action.what} ({action.because}): {action.effect or 'effect not measured'}")
    refused = [e for i in performance.incidents for e in i.entries if e.kind == "refusal" and e.who != "levelhead"]
    for entry in refused:
        click.echo(f"  refused: {safe(entry.text)}")
    if not done and not refused:
        click.echo("  nothing")
    cause = yours.stories[0] if yours.stories else None
    if cause is not None:
        click.echo(f"what it was: {cause.cause} ({'; '.join(cause.evidence_for)})")


def _rows(record: DrillRecord) -> list[tuple[str, str]]:
    clocks, harm = record.clocks_s, record.harm

    def after(at: float | None) -> str:
        return "never" if at is None or clocks.fault is None else f"{at - clocks.fault:.1f} s"

    return [
        ("detected after", after(clocks.detected)),
        ("acted after", after(clocks.acted)),
        ("users well again after", after(clocks.recovered)),
        ("users harmed", f"{harm.users_harmed} of {harm.users_total}"),
        ("requests harmed", f"{harm.requests_harmed} of {harm.requests_total}"),
    ]


def _acknowledged(performance: Performance) -> str:
    times = [_seconds(i) for i in performance.incidents]
    known = [t for t in times if t is not None]
    return f"{known[0]:.1f} s after the alert" if known else "never"


def _seconds(incident: Incident) -> float | None:
    at = next((e.at for e in incident.entries if e.kind == "acknowledgement"), None)
    return None if at is None else at - incident.clocks.detected
