"""Two sick servers of five, played whole: the worse is drained, that counts as a help, and the other follows."""

from dataclasses import replace

import pytest

from levelhead import control
from levelhead.control.base import Put, Report, State, View
from levelhead.model import Admin, Fleet, Pool, Revision, Server
from levelhead.simulate import Errors, ServerModel, UserModel, World

BEGAN = 1_710_061_200.0


def played(world: World, seconds: float) -> list[Put]:
    state: State = control.begin((), (), 1)
    revisions: tuple[Revision, ...] = (Revision(1, world.fleet, "levelhead", BEGAN, "first"),)
    reports: tuple[Report, ...] = ()
    puts = []
    for i in range(1, round(seconds * 4) + 1):
        world.advance(i / 4)
        sample = replace(world.sample(), at_s=BEGAN + i / 4)
        outcome = control.step(state, View(sample.at_s, sample, revisions, world.records(), reports=reports))
        state, reports = outcome.state, ()
        for put in (e for e in outcome.effects if isinstance(e, Put)):
            puts.append(put)
            world.apply(put.fleet)
            revisions = (*revisions, Revision(revisions[-1].number + 1, put.fleet, put.author, sample.at_s, put.why))
            reports = (*reports, Report(put.ticket, revisions[-1].number, "in force"))
    return puts


@pytest.mark.parametrize("seed", [1, 2])
def test_two_sick_servers_are_drained_one_after_the_other(seed: int) -> None:
    servers = tuple(Server(f"s{i}", f"10.0.0.{i}", 80, capacity=160.0) for i in range(1, 6))
    world = World(Fleet((), (Pool("web", servers),)), {}, {"web": UserModel(rps=200)}, seed=seed,
                  otherwise=ServerModel(8))  # fmt: skip
    world.inject(Errors(0.2, "s3"), 15.0)
    world.inject(Errors(0.3, "s5"), 15.0)
    puts = played(world, 30.0)
    drained = [s.name for s in puts[-1].fleet.pools[0].servers if s.admin is Admin.DRAIN]

    assert [put.author for put in puts] == ["levelhead"] * 2
    assert drained == ["s3", "s5"]
    assert not any(put.why.startswith("undo") for put in puts)
