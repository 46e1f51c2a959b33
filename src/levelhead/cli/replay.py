"""levelhead replay: recorded ticks through today's code, with the same decisions or the first that differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import click

from levelhead.cli import screen
from levelhead.cli.base import Call, options, safe
from levelhead.control.recording import Replayed, replay
from levelhead.errors import ConfigError
from levelhead.plane.recorder import lines

DIFFERENT: Final = 1


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--all", "-a", "everything", is_flag=True, help="Show every decision and sentence, not only the summary.")
@click.option("--most", type=click.IntRange(1), default=5, show_default=True, help="Show so many differences.")
@options
@click.pass_context
def command(ctx: click.Context, file: Path, everything: bool, most: int) -> None:
    """Put recorded ticks through this version again.

    FILE comes from `levelhead run --record FILE` or `levelhead drill run NAME --record FILE`. It holds addresses of
    servers and clients. Exit code 1 if this version decides otherwise; a tick after the first difference differs, too,
    where one follows from the other.
    """
    call = ctx.ensure_object(Call)
    ticks, differing, first, said = 0, list[Replayed](), 0.0, ""
    for played in replay(lines(file), str(file)):
        ticks += 1
        first = first or played.then.view.at
        if everything and not call.json:
            said = _shown(played, first, said)
        if not played.same:
            differing.append(played)
    if not ticks:
        raise ConfigError("there is no tick in it: it is empty, or was cut off before the first one", file=str(file),
                          next_step="make one: levelhead drill run march-10 --engine sim --record FILE")  # fmt: skip
    if call.json:
        shown = [_json(d, first) for d in differing[:most]]
        answer: dict[str, object] = {"schema": "levelhead/replay/1", "file": str(file), "ticks": ticks}
        screen.show_plain_json(answer | {"differing": len(differing), "differences": shown})
    else:
        for each in differing[:most]:
            click.echo("\n".join(_difference(each, first)))
        told = "the same decisions in all" if not differing else f"{len(differing)} decided otherwise"
        click.echo(f"{ticks} ticks replayed: {told}")
    ctx.exit(DIFFERENT if differing else 0)


def _shown(played: Replayed, first: float, said: str) -> str:
    at = f"{played.then.view.at - first:8.2f} s  "
    if played.because != said:
        click.echo(at + safe(played.because))
    for effect in played.effects:
        click.echo(f"{at}-> {safe(effect)}")
    return played.because


def _difference(played: Replayed, first: float) -> Iterator[str]:
    yield f"tick {played.then.number}, {played.then.view.at - first:.2f} s after the first:"
    then = (f"because {played.then.because}", *played.then.effects)
    now = (f"because {played.because}", *played.effects)
    yield from (f"  then  {safe(line)}" for line in then if line not in now)
    yield from (f"  now   {safe(line)}" for line in now if line not in then)


def _json(played: Replayed, first: float) -> dict[str, object]:
    return {
        "tick": played.then.number, "at_s": round(played.then.view.at - first, 3),
        "then": {"because": played.then.because, "effects": list(islice(played.then.effects, 50))},
        "now": {"because": played.because, "effects": list(islice(played.effects, 50))},
    }  # fmt: skip
