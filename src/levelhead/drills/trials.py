"""Plays a case of `drills.cases` in virtual time, and hands over what the loop would make of it, touching nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from levelhead import detect
from levelhead.control.base import View
from levelhead.control.cases import case_of, known
from levelhead.control.pools import HARMLESS
from levelhead.detect import memory
from levelhead.diagnose.base import Case
from levelhead.drills.cases import POOL, Ship, Trial
from levelhead.drills.rehearse import BEGAN, TICK_S
from levelhead.model import Fleet, Revision
from levelhead.simulate import World
from levelhead.telemetry import Missing, between


@dataclass(frozen=True, slots=True)
class Played:
    """`case` is as at the last tick of trouble (None: there was none), `first_s` when trouble was first seen.

    Trouble counts from the time on at which the case's begins; `early` says that there was some before.
    """

    trial: Trial
    case: Case | None
    first_s: float
    early: bool


def play(trial: Trial, within_s: float = inf) -> Played:
    """Runs the trial to its end, or until so long after trouble was first seen."""
    world = World(trial.fleet, {}, {POOL: trial.users}, seed=trial.seed, proxy=trial.proxy, otherwise=trial.servers)
    revisions: tuple[Revision, ...] = (Revision(1, trial.told or trial.fleet, "levelhead", BEGAN, "first"),)
    detection, past, before = None, None, None
    last: Callable[[], Case] | None = None
    first_s, early = inf, False
    waiting = list(trial.happenings)
    for i in range(1, round(trial.until_s / TICK_S) + 1):
        now_s = i * TICK_S
        if now_s > first_s + within_s:
            break
        while waiting and waiting[0][0] <= now_s:
            at_s, what = waiting.pop(0)
            world.advance(at_s)
            if not isinstance(what, Ship):
                world.inject(what)
                continue
            world.apply(what.fleet)
            if what.told:
                revisions = (*revisions, _revision(revisions, what.fleet, what.author, BEGAN + at_s))
        world.advance(now_s)
        sample = world.sample()
        sample, records = replace(sample, at_s=BEGAN + sample.at_s), world.records()
        tick = between(before, sample, records) if before is not None else Missing(sample.at_s, "the first look")
        before = sample
        if isinstance(tick, Missing):
            continue
        fleet = revisions[-1].fleet
        detection = detection or detect.begin(sample.layout, fleet)
        detection, signals = detect.detect(detection, tick, fleet)
        past, signals = memory.remembered(past, tick, fleet, signals)
        if not known(fleet.pools[0], tick) or all(s.kind in HARMLESS for s in signals):
            continue
        early = early or now_s < trial.from_s
        if now_s >= trial.from_s:
            first_s = min(first_s, now_s)
            view = View(at=BEGAN + now_s, sample=sample, revisions=revisions, records=records)
            # The case is built at the end, of the last tick in trouble: who looks at every tick pays for it.
            last = partial(case_of, fleet.pools[0], view, detection, tick, signals, past)
    return Played(trial, last() if last is not None else None, first_s, early)


def _revision(revisions: tuple[Revision, ...], fleet: Fleet, author: str, at: float) -> Revision:
    return Revision(revisions[-1].number + 1, fleet, author, at, "shipped")
