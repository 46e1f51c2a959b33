"""A seeded world in virtual time: users, a proxy's policies, checks and queues, servers that work, and faults.

    base.py        what is simulated: ServerModel, UserModel, ProxyModel; what came of it: Outcomes, Harm
    faults.py      what can happen: the closed union Fault
    chance.py      one seed, a stream of numbers for everything by name
    servers.py     a server as the machine that works and as the proxy sees it, on one agenda
    users.py       when requests come, from whom, with which key
    policies.py    how the next server is chosen
    checks.py      active checks, slow start
    ejection.py    passive checks of each engine
    ledger.py      what became of the users
    proxy.py       one pool, request by request
    trouble.py     faults at work
    world.py       World: all pools, seen as an engine would report them
    flows.py       Flows: many copies of a simple pool side by side, as fast as numpy goes

World(fleet, servers, users, seed=7), then advance(until_s), sample(), records(), apply(fleet), inject(fault).
"""

from levelhead.simulate.base import (
    Bursts,
    Diurnal,
    Exponential,
    Fixed,
    Harm,
    Lognormal,
    Outcomes,
    ProxyModel,
    Ramp,
    ServerModel,
    Service,
    Shape,
    Steady,
    UserModel,
)
from levelhead.simulate.faults import (
    Behind,
    Capacity,
    CheckFails,
    CheckFlaps,
    CheckHonest,
    CheckLies,
    Down,
    Errors,
    Fault,
    Hang,
    HotKey,
    Poison,
    Resets,
    Restart,
    Slow,
    Stall,
    Traffic,
    Up,
)
from levelhead.simulate.flows import Flows
from levelhead.simulate.world import World

__all__ = [
    "Behind",
    "Bursts",
    "Capacity",
    "CheckFails",
    "CheckFlaps",
    "CheckHonest",
    "CheckLies",
    "Diurnal",
    "Down",
    "Errors",
    "Exponential",
    "Fault",
    "Fixed",
    "Flows",
    "Hang",
    "Harm",
    "HotKey",
    "Lognormal",
    "Outcomes",
    "Poison",
    "ProxyModel",
    "Ramp",
    "Resets",
    "Restart",
    "ServerModel",
    "Service",
    "Shape",
    "Slow",
    "Stall",
    "Steady",
    "Traffic",
    "Up",
    "UserModel",
    "World",
]
