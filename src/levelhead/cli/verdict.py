"""How a drill ended: what was expected and missed, and a player's clocks beside nobody's and Levelhead's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import click

from levelhead.cli import screen
from levelhead.cli.base import safe
from levelhead.control.base import LEVELHEAD
from levelhead.drills.score import DrillRecord
from levelhead.incident import FIRST_BLAMED, REMOTE, Incident
from levelhead.stage import SOMEBODY, Performance

_NOT_YOU: Final = (LEVELHEAD, SOMEBODY)


def judged(record: DrillRecord) -> None:
    """One run: clocks, harm, stories, actions, and whether it was passed."""
    table = screen.table("", record.drill)
    for name, text in _rows(record):
        table.add_row(name, text)
    for action in record.actions:
        undone = " (undone)" if action.undone else ""
        table.add_row("done", f"{action.at_s:.1f} s: {action.what}{undone}, because {action.because}")
    for i, story in enumerate(record.stories):
        if i > 0 and story.probability < REMOTE and story.cause != FIRST_BLAMED:
            continue
        reasons = story.evidence_for or story.evidence_against
        table.add_row("story", f"{story.cause} {story.probability:.0%}: {'; '.join(reasons) or 'no evidence'}")
    screen.console().print(table)
    click.echo("passed" if record.passed else "not passed")
    for sentence in record.missed:
        click.echo(f"  - {sentence}")


def compared(truth: str, performance: Performance, beside: Mapping[str, DrillRecord]) -> None:
    """A player's drill beside the same story with nobody and with Levelhead, rehearsed on the same seed.

    `truth` is what really happened.
    """
    yours = performance.record
    columns = {"you": yours, **beside}
    table = screen.table("", *columns)
    for i, (name, _) in enumerate(_rows(yours)):
        table.add_row(name, *(_rows(record)[i][1] for record in columns.values()))
    screen.console().print(table)
    click.echo("times count from the fault; nobody and levelhead were rehearsed in the simulator, with the same seed "
               "and for as long")  # fmt: skip
    click.echo("\nwhat you did, in seconds after the alert:")
    for line in _deeds(performance.incidents):
        click.echo(safe(line))
    click.echo(f"\n{_ending(performance.incidents)}")
    click.echo(f"what really happened: {safe(truth)}")
    cause = yours.stories[0] if yours.stories else None
    if cause is not None:
        click.echo(f"what Levelhead saw, and kept from you: {cause.cause} at {cause.probability:.0%}")
        for sentence in cause.evidence_for:
            click.echo(f"  - {safe(sentence)}")


def _deeds(incidents: tuple[Incident, ...]) -> list[str]:
    """What people did, in the order of time, each with what came of it."""
    if not incidents:
        return ["  nothing: there was no alert"]
    alert = incidents[0].clocks.detected
    deeds = sorted(((at, lines) for i in incidents for at, lines in _deeds_in(i)), key=lambda deed: deed[0])
    told = [f"  {at - alert:6.1f}  {lines[0]}" if i == 0 else f"          {line}"
            for at, lines in deeds for i, line in enumerate(lines)]  # fmt: skip
    return told or ["  nothing"]


def _deeds_in(incident: Incident) -> Iterator[tuple[float, list[str]]]:
    for action in incident.actions:
        if action.who not in _NOT_YOU:
            yield action.at, [action.what, f"why: {action.because}", f"effect: {action.effect or 'not measured'}"]
    for entry in incident.entries:
        if entry.who in _NOT_YOU:
            continue
        match entry.kind:
            case "refusal":
                wanted, _, against = entry.text.removeprefix(f"{entry.who} wanted to ").partition("; refused: ")
                yield entry.at, [f"refused: {wanted}", f"because: {against}"]
            case "acknowledgement":
                yield entry.at, [f"{incident.id} {entry.text}"]
            case "note":
                yield entry.at, [f"noted: {entry.text}"]
            case "resolution":
                well = "" if incident.clocks.recovered is not None else " (users were not well)"
                yield entry.at, [f"{incident.id} closed{well}: {entry.text}"]
            case _:
                continue


def _ending(incidents: tuple[Incident, ...]) -> str:
    left = [i.id for i in incidents if i.open]
    return f"at the end {', '.join(left)} was still open" if left else "at the end no incident was open"


def _rows(record: DrillRecord) -> list[tuple[str, str]]:
    clocks, harm = record.clocks_s, record.harm

    def after(at: float | None) -> str:
        return "never" if at is None or clocks.fault is None else f"{at - clocks.fault:.1f} s"

    return [
        ("alert after", after(clocks.detected)),
        ("first action after", after(clocks.acted)),
        ("users well after", after(clocks.recovered)),
        ("users harmed", _part(harm.users_harmed, harm.users_total)),
        ("requests harmed", _part(harm.requests_harmed, harm.requests_total)),
    ]


def _part(harmed: int, total: int) -> str:
    return f"{harmed} of {total} ({harmed / total:.1%})" if total else "none were sent"
