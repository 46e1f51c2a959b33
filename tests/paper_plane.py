"""A control plane on paper for tests of the API and the commands: it holds real records and answers at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from levelhead import predict
from levelhead.control.base import Acknowledge, Alter, Approve, Note, Resolve, Revise, RollBack, Wish
from levelhead.diagnose.base import Story
from levelhead.incident import Clocks, Entry, Harm, Incident, Phase, written
from levelhead.model import Admin, Fleet, Listener, Pool, Revision, Route, Server, apply
from levelhead.plane.status import Answer, PoolStatus, ServerStatus, Status
from levelhead.settings import Target
from levelhead.store import IncidentSummary
from levelhead.web.app import create_app
from levelhead.web.serve import serve

NINE = 1710061200.0  # 2024-03-10 09:00:00 UTC

FLEET = Fleet(
    listeners=(Listener("web", "127.0.0.1", 8080, (Route("web"),)),),
    pools=(
        Pool("web", tuple(Server(f"web-{i}", "127.0.0.1", 3000 + i) for i in (1, 2, 3))),
        Pool("api", (Server("api-1", "127.0.0.1", 4001),)),
    ),
)

INCIDENT = Incident(
    id="INC-1",
    pool="web",
    title="A wrong weight moves most of the traffic to one server (web-1) in web",
    phase=Phase.IDENTIFIED,
    clocks=Clocks(NINE, NINE + 0.9, NINE + 1.0),
    harm=Harm(2048, 131, 300, 36, 0.05),
    entries=(Entry(NINE + 0.9, "symptom", "levelhead", "web-1 gets 75% of 96 requests and is meant to get 33%"),),
    stories=(Story("weight-typo-skew", 0.99, ("revision 2 by eve moved web-1",), (), ("web-1",)),),
    refuted=(Story("traffic-surge", 0.001, (), ("no surge: 118 requests/s against a forecast of 120",)),),
)


class PaperPlane:
    """`plane.base.Face` in memory. Its guard knows one law: some server must be left to serve in every pool."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        self.kept = [Revision(1, fleet, "bob@desk", NINE - 3600, "first configuration", "servers: [127.0.0.1:3001]\n")]
        self.good = {1}
        self.records = {"INC-1": INCIDENT}
        self.proposal: str | None = "roll back to revision 1"
        self.asked: list[tuple[Wish, str, str, str]] = []
        self.failing: Exception | None = None
        self.age_s: float | None = 0.2
        self.engine_alive = True

    @property
    def fleet(self) -> Fleet:
        return self.kept[-1].fleet

    async def submit(
        self, wish: Wish, *, who: str, why: str, force: str = "", notify: tuple[Target, ...] | None = None
    ) -> Answer:
        if self.failing is not None:
            raise self.failing
        self.asked.append((wish, who, why, force))
        match wish:
            case Alter(changes):
                return self._put(apply(self.fleet, changes), who, why, force)
            case Revise(_, _, against) if against and not force:
                return Answer(False, "refused: ship a new configuration", against)
            case Revise(fleet, source):
                return self._put(fleet, who, why, force, source)
            case RollBack(to):
                wanted = max(self.good, default=None) if to is None else to
                found = next((r for r in self.kept if r.number == wanted), None)
                if found is None:
                    return Answer(False, f"there is no revision {to}", (f"there is no revision {to}",))
                return self._put(found.fleet, who, why, force)
            case Acknowledge(name):
                self.records[name] = replace(
                    written(self.records[name], NINE + 60, "acknowledgement", "acknowledged", who), acknowledged_by=who
                )
                return Answer(True, f"{name} acknowledged by {who}")
            case Note(name, text):
                self.records[name] = written(self.records[name], NINE + 61, "note", text, who)
                return Answer(True, f"noted in {name}")
            case Resolve(name, text):
                self.records[name] = replace(self.records[name], phase=Phase.RESOLVED, resolution=text)
                return Answer(True, f"{name} resolved by {who}")
            case Approve(name):
                if self.proposal is None:
                    reason = f"no plan of {name} waits for an approval"
                    return Answer(False, reason, (reason,))
                done, self.proposal = self.proposal, None
                return Answer(True, f"{done}: on its way")
            case _:
                assert_never(wish)

    def status(self) -> Status:
        last = self.kept[-1]
        return Status(
            at=NINE + 10, because="web: as intended (33% / 33% / 33% of 118 requests/s): nothing to do",
            engine="haproxy 2.8.25", engine_alive=self.engine_alive, age_s=self.age_s, revision=last.number,
            revision_author=last.author, revision_why=last.why, good=max(self.good, default=None),
            listeners=tuple(f"http://{li.address}" for li in last.fleet.listeners),
            pools=tuple(self._pool(pool) for pool in last.fleet.pools), notes=("the file on disk says otherwise",),
        )  # fmt: skip

    def revisions(self, limit: int) -> tuple[tuple[Revision, bool], ...]:
        return tuple((r, r.number in self.good) for r in reversed(self.kept))[:limit]

    def incidents(self, limit: int) -> tuple[IncidentSummary, ...]:
        newest = list(reversed(self.records.values()))[:limit]
        return tuple(
            IncidentSummary(i.id, i.pool, i.clocks.detected, i.clocks.resolved, i.phase.value, i.title) for i in newest
        )

    def incident(self, incident_id: str) -> Incident:
        return self.records[incident_id]

    def _put(self, fleet: Fleet, who: str, why: str, force: str, source: str = "") -> Answer:
        empty = [p.name for p in fleet.pools if not any(s.admin is Admin.READY and s.weight > 0 for s in p.servers)]
        if empty and not force:
            return Answer(
                False, "refused: the change", tuple(f"no server of {p} would be left to serve" for p in empty)
            )
        number = self.kept[-1].number + 1
        self.kept.append(Revision(number, fleet, who, NINE + number, why, source))
        return Answer(True, f"revision {number} in force by runtime after 12 ms", (), number)

    def _pool(self, pool: Pool) -> PoolStatus:
        open_ones = [i for i in self.records.values() if i.open and i.pool == pool.name]
        shares = zip(pool.servers, predict.intended(pool), predict.predicted(pool), strict=True)
        return PoolStatus(
            name=pool.name, policy=pool.policy.kind, intent=pool.intent.kind, mode=pool.mode.value, rate=118.4,
            forecast=120.0, harmed_ratio=0.064, p50_ms=12.2, p99_ms=81.0,
            servers=tuple(
                ServerStatus(
                    name=s.name, address=s.address, weight=s.weight, ramp=1.0, state=s.admin.value, health="passing",
                    intended=float(meant), predicted=float(must), observed=None if s.name == "web-3" else float(must),
                    bearable=None, borne=41.0, rate=39.5, failure_ratio=0.0, in_flight=2.0, queued=0.0,
                    p50_ms=11.0, p99_ms=80.0,
                )
                for s, meant, must in shares
            ),
            signals=tuple(i.entries[0].text for i in open_ones),
            incident=open_ones[0].id if open_ones else None, phase=open_ones[0].phase.value if open_ones else None,
            proposal=self.proposal if open_ones else None,
        )  # fmt: skip


@contextmanager
def served(plane: PaperPlane, path: Path) -> Iterator[None]:
    """The API of this plane on a real Unix socket, in a thread with a loop of its own."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serving() -> None:
        async with serve(create_app(plane), path):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serving(),))
    thread.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("the API did not come up")
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
