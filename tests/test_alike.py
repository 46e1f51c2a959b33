"""What befalls all servers alike accuses none of them, however long it lasts: nothing is done to a server."""

from __future__ import annotations

from dataclasses import replace

from levelhead import control
from levelhead.control.base import Put, View
from levelhead.detect.base import Kind
from levelhead.model import Pool, Revision, Server, Slo
from levelhead.simulate import Errors, Flows, ServerModel, UserModel

BEGAN = 1_710_000_000.0


def test_errors_on_all_servers_get_none_of_them_drained() -> None:
    """A server's error budget burns too where all fail, and one of them is the first to be said."""
    servers = tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(1, 6))
    pool = Pool("web", servers, slo=Slo(1000.0, 0.999))
    flows = Flows(pool, 12, UserModel(rps=20.0, exponent=0.5), seed=11, otherwise=ServerModel(4), record_share=0.05)
    revisions = (Revision(1, flows.fleet, "ann", BEGAN, "first"),)
    state, puts, accused = control.begin((), (), 1), list[Put](), set[Kind]()
    for tick in range(1, 4 * 150):
        if tick == 4 * 50:
            flows.inject(Errors(0.05))
        flows.advance(tick * 0.25)
        sample = replace(flows.sample(), at_s=BEGAN + tick * 0.25)
        outcome = control.step(state, View(sample.at_s, sample, revisions, flows.records()))
        state = outcome.state
        puts += [e for e in outcome.effects if isinstance(e, Put)]
        accused |= {s.kind for s in outcome.signals if s.server}

    assert puts == []
    assert accused == {Kind.BURN}
