"""levelhead drill: list the outages there are, run one with or without Levelhead, or be on call yourself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import click

from levelhead.cli import instances, screen
from levelhead.cli.base import Call, options, safe, talk
from levelhead.cli.ending import to_its_end
from levelhead.cli.live import View
from levelhead.cli.recording import record_option, recording
from levelhead.cli.verdict import compared, judged
from levelhead.drills.base import Scenario
from levelhead.drills.rehearse import rehearse
from levelhead.drills.score import DrillRecord, Mode, to_json
from levelhead.drills.text import parse_scenario
from levelhead.errors import UsageError
from levelhead.incident import Incident
from levelhead.lab.library import scenarios
from levelhead.stage import Frame, Performance, Stage, read_raw

INSTANCE: Final = "drill"
NOT_PASSED: Final = 1


@click.group()
@options
def command() -> None:
    """List, run and play outages on real proxies."""


@command.command("list")
@options
@click.pass_obj
def list_drills(call: Call) -> None:
    """List the drills that come with Levelhead."""
    found = [parse_scenario(text, name) for name, text in scenarios().items()]
    if call.json:
        rows = [{"name": s.name, "title": s.title, "teaches": list(s.teaches), "difficulty": s.difficulty,
                 "duration_s": s.duration_s} for s in found]  # fmt: skip
        screen.show_plain_json({"schema": "levelhead/drills/1", "drills": rows})
        return
    table = screen.table("name", "difficulty", "seconds", "what happens", right=("seconds",))
    for s in found:
        table.add_row(s.name, "*" * s.difficulty, f"{s.duration_s:g}", s.title)
    screen.console().print(table)
    talk("run one:  levelhead drill run march-10        be on call:  levelhead drill play march-10")


@command.command()
@click.argument("drill")
@click.option("--engine", type=click.Choice(["haproxy", "sim"]), default="haproxy", show_default=True,
              help="A real HAProxy, or the simulator (seconds).")  # fmt: skip
@click.option("--mode", type=click.Choice(["act", "shadow", "ask", "off"]), default="act", show_default=True,
              help="off: the same proxy without Levelhead.")  # fmt: skip
@click.option("--seed", type=int, help="Other users, the same story.")
@record_option
@options
@click.pass_context
def run(ctx: click.Context, drill: str, engine: str, mode: str, seed: int | None, record: Path | None) -> None:
    """Run a drill, by its name or from a file, and judge it by its own expectations. Exit 1 if it is not passed."""
    call = ctx.ensure_object(Call)
    scenario = chosen(drill)
    as_mode = cast(Mode, mode)
    with recording(record) as recorder:
        if engine == "sim":
            told = rehearse(scenario, mode=as_mode, seed=seed, recorder=recorder, read=read_raw).record
        else:
            talk(f"{scenario.title}: {scenario.duration_s:g} s on a real HAProxy; Ctrl-C ends it.")
            with View(scenario.name, scenario.expect.refuted, reasons="--json says why") as view:
                stage = Stage(scenario, mode=as_mode, seed=seed, look=view.show, recorder=recorder)
                told = to_its_end(stage.perform()).record
    if call.json:
        click.echo(to_json(told))
    else:
        judged(told)
    ctx.exit(0 if told.passed else NOT_PASSED)


@command.command()
@click.argument("drill")
@click.option("--seed", type=int, help="Other users, the same story.")
@click.option("--minutes", type=click.FloatRange(0.5, 120), default=10.0, show_default=True,
              help="How long you have at most.")  # fmt: skip
@click.option("--hints", is_flag=True, help="Show what Levelhead thinks, too.")
@options
@click.pass_obj
def play(call: Call, drill: str, seed: int | None, minutes: float, hints: bool) -> None:
    """Be on call: Levelhead looks on, the alert arrives here, and you mend it from another terminal.

    `levelhead status`, `server list|drain|ready|weight`, `revision list`, `rollback`, `incident ack|note|resolve`.
    The drill ends a moment after the incident is closed. Then your clocks are shown beside nobody's and Levelhead's.
    """
    scenario = chosen(drill)
    longer = scenario.model_copy(update={"duration_s": max(scenario.duration_s, minutes * 60)})
    instance = instances.named(INSTANCE, os.environ)
    with instance.owned():
        _forget(instance.directory)
        _briefed(longer)
        pager = _Pager()
        stage = Stage(longer, mode="shadow", seed=seed, directory=instance.directory, look=pager.hear,
                      hidden=not hints, over=pager.over)  # fmt: skip
        performance = to_its_end(stage.perform())
    _debriefed(call, scenario, performance, seed)


def chosen(drill: str) -> Scenario:
    """The packaged drill of that name, or the one in the file. UsageError where there is neither."""
    packaged = scenarios()
    if drill in packaged:
        return parse_scenario(packaged[drill], drill)
    path = Path(drill)
    try:
        return parse_scenario(path.read_text(encoding="utf-8"), drill)
    except (OSError, UnicodeDecodeError) as error:
        what = f"there is no drill called {drill}, and no such file can be read ({error})"
        raise UsageError(what, next_step=f"levelhead drill list (it has {', '.join(packaged)})") from None


class _Pager:
    """Prints the alert and what follows, once each, and knows when the drill is over."""

    # So long after the incident is closed the drill goes on, to see whether it stays well.
    AFTER_S: Final = 5.0

    def __init__(self) -> None:
        self._phases: dict[str, str] = {}
        self._closed_at: float | None = None

    def hear(self, frame: Frame) -> None:
        for incident in frame.incidents:
            phase = incident.phase.value
            if incident.id not in self._phases:
                _ring()
                talk(f"{frame.at_s:6.1f} s  ALERT {incident.id}: {safe(_alert(incident))}")
                talk("           you are on call: `levelhead status` in another terminal")
            elif self._phases[incident.id] != phase and phase in ("monitoring", "resolved"):
                words = {"monitoring": "users are well again; watching", "resolved": "closed"}[phase]
                talk(f"{frame.at_s:6.1f} s  {incident.id}: {words}")
            self._phases[incident.id] = phase
        closed = bool(frame.incidents) and not any(i.open for i in frame.incidents)
        self._closed_at = (self._closed_at or frame.at_s) if closed else None

    def over(self, frame: Frame) -> bool:
        return self._closed_at is not None and frame.at_s - self._closed_at >= self.AFTER_S


def _ring() -> None:
    if sys.stderr.isatty():
        click.echo("\a", nl=False, err=True)


def _alert(incident: Incident) -> str:
    """What a pager would say: the symptom, not the reason."""
    return next((e.text for e in incident.entries if e.kind == "symptom"), incident.title)


def _briefed(scenario: Scenario) -> None:
    talk(f"Drill {scenario.name}. You run a web application: {len(scenario.pool.servers)} servers behind HAProxy, "
         f"{scenario.users.count} users.")  # fmt: skip
    span = f"{scenario.duration_s:g} seconds" if scenario.duration_s < 120 else f"{scenario.duration_s / 60:g} minutes"
    talk(f"Sooner or later something goes wrong. You have {span}. Ctrl-C ends the drill.")
    talk("Your tools, in another terminal:")
    for command_line in (
        "levelhead status", "levelhead revision list", "levelhead incident show INC-1",
        "levelhead server drain|ready|weight SERVER", "levelhead rollback", "levelhead incident ack|note|resolve",
    ):  # fmt: skip
        talk(f"  {command_line}")


def _debriefed(call: Call, scenario: Scenario, performance: Performance, seed: int | None) -> None:
    record = performance.record
    talk("The drill is over. How would nobody, and Levelhead, have done? A moment ...")
    span = scenario.model_copy(update={"duration_s": max(round(performance.lasted_s), 1.0)})
    others: dict[str, Callable[[], DrillRecord]] = {
        "nobody": lambda: rehearse(span, mode="off", seed=seed).record,
        "levelhead": lambda: rehearse(span, mode="act", seed=seed).record,
    }
    beside = {name: run_it() for name, run_it in others.items()}
    if call.json:
        click.echo(to_json(record))
        return
    compared(scenario.title, performance, beside)


def _forget(directory: Path) -> None:
    """An earlier drill's record is not part of this one."""
    for name in ("levelhead.db", "levelhead.db-wal", "levelhead.db-shm"):
        (directory / name).unlink(missing_ok=True)
