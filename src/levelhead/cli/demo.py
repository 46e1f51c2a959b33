"""levelhead demo: the founding incident on this machine, in a minute, with Levelhead beside the figures of that day."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from levelhead import postmortem
from levelhead.cli import screen
from levelhead.cli.base import Call, options, talk
from levelhead.cli.ending import to_its_end
from levelhead.cli.live import View
from levelhead.drills.score import DrillRecord, to_json
from levelhead.drills.text import parse_scenario
from levelhead.lab.library import scenarios
from levelhead.stage import Performance, Stage

NAME: Final = "march-10"


@click.command()
@click.option("--no-guard", is_flag=True, help="Levelhead looks on and does nothing (mode shadow).")
@click.option("--seed", type=int, help="Other users, the same story [7].")
@click.option("--postmortems", type=click.Path(path_type=Path), default=Path("postmortems"), show_default=True,
              metavar="DIR", help="Where the postmortem is written.")  # fmt: skip
@options
@click.pass_obj
def command(call: Call, no_guard: bool, seed: int | None, postmortems: Path) -> None:
    """Watch Levelhead meet the outage it was made for, in a minute.

    Four small web servers, 300 users, a real HAProxy. After 15 s somebody ships a wrong weight. Takes a minute and
    leaves nothing behind but the postmortem.
    """
    scenario = parse_scenario(scenarios()[NAME], NAME)
    talk(f"{scenario.title}: four servers, {scenario.users.count} users, a minute. Ctrl-C ends it at any time.")
    with View("Levelhead demo", scenario.expect.refuted, reasons="the postmortem says why") as view:
        stage = Stage(scenario, mode="shadow" if no_guard else "act", seed=seed, look=view.show)
        performance = to_its_end(stage.perform())
    written = _written(performance, postmortems)
    if call.json:
        click.echo(to_json(performance.record))
        return
    _compared(performance.record)
    for path in written:
        click.echo(f"postmortem: {path}")
    if not no_guard:
        click.echo("next: `levelhead demo --no-guard` shows the same without Levelhead; "
                   "`levelhead drill play march-10` puts you on call")  # fmt: skip


def _written(performance: Performance, folder: Path) -> list[Path]:
    paths = []
    for incident in performance.incidents:
        folder.mkdir(parents=True, exist_ok=True)
        opened = datetime.fromtimestamp(incident.clocks.detected, UTC).astimezone()
        path = folder / f"{NAME}-{opened:%Y%m%d-%H%M%S}-{incident.id}.md"
        path.write_text(postmortem.markdown(incident, tz=opened.tzinfo or UTC), encoding="utf-8")
        paths.append(path)
    return paths


def _compared(record: DrillRecord) -> None:
    """The table beside the figures of March 10, 2024."""
    clocks, harm = record.clocks_s, record.harm
    fault = clocks.fault or 0.0

    def after(at: float | None) -> str:
        return "never" if at is None else f"{at - fault:.1f} s"

    cause = record.stories[0] if record.stories else None
    surge = next((s for s in record.stories if s.cause == "traffic-surge"), None)
    refuted = surge is not None and surge.probability < 0.05 and bool(surge.evidence_against)
    table = screen.table("", "March 10, 2024", "this run")
    for row in (
        ("trouble noticed after", "(alerts at 09:00)", after(clocks.detected)),
        ("blamed first", "a traffic surge", "nothing" if refuted else "a traffic surge" if surge else "nothing"),
        ("balancer suspected after", "2 h", after(clocks.diagnosed)),
        ("configuration put right after", "2 h 30 min", after(clocks.acted)),
        ("users well after", "2 h 30 min", after(clocks.recovered)),
        ("users harmed", "about 30 %", f"{_ratio(harm.users_harmed, harm.users_total):.1%} "
                                       f"({harm.users_harmed} of {harm.users_total})"),
        ("requests harmed", "not recorded", f"{_ratio(harm.requests_harmed, harm.requests_total):.1%} "
                                            f"({harm.requests_harmed} of {harm.requests_total})"),
        ("cause named", "load balancer misconfiguration", f"{cause.cause} ({cause.probability:.0%})" if cause else "-"),
        ("traffic surge", "assumed for 30 min", "ruled out" if refuted else "not ruled out"),
    ):  # fmt: skip
        table.add_row(*row)
    click.echo()
    screen.console().print(table)
    click.echo()


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
