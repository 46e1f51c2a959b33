"""Refuses what a Fleet can say and Levelhead's HAProxy configuration does not write: nothing is ever dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import inf
from typing import Final, TypeVar

from levelhead.errors import ConfigError
from levelhead.model import (
    Check,
    Ejection,
    Fleet,
    Hash,
    LeastRequest,
    Origin,
    Pool,
    RandomPick,
    Retries,
    RoundRobin,
    Route,
    Server,
    Timeouts,
)

T = TypeVar("T", Pool, Server, Check, Ejection, Retries, Route, RoundRobin, RandomPick, Hash)

# What config.py writes out, and what steers Levelhead and not the proxy. All else must be as these have it by default.
WRITTEN: Final[Mapping[type, frozenset[str]]] = {
    Pool: frozenset(
        {"name", "servers", "policy", "check", "ejection", "timeouts", "retries", "limits", "affinity_cookie",
         "slow_start_s", "origin", "slo", "intent", "mode", "minimum_servers"}
    ),
    Server: frozenset({"name", "host", "port", "weight", "capacity", "admin", "in_flight_limit", "origin", "zone"}),
    Check: frozenset({"path", "status", "interval_s", "timeout_s", "fall", "rise", "host", "port"}),
    Ejection: frozenset({"consecutive_errors"}),
    Retries: frozenset({"attempts"}),
    Route: frozenset({"pool", "host", "prefix"}),
}  # fmt: skip
# The policies are looked at here only for what their lines cannot say.
_POLICY: Final = frozenset({"draws", "on", "name", "consistent", "bounded_load", "kind"})


def check(fleet: Fleet) -> None:
    """Raises ConfigError, with its place, for the first thing of the fleet that would be lost."""
    for listener in fleet.listeners:
        for route in listener.routes:
            _usual(route, Route(route.pool), WRITTEN[Route], f"a route of listener {listener.name}", listener.origin)
    for pool in fleet.pools:
        title = f"pool {pool.name}"
        _usual(pool, Pool(pool.name, ()), WRITTEN[Pool], title, pool.origin)
        _usual(pool.retries, Retries(), WRITTEN[Retries], title, pool.origin)
        if pool.check is not None:
            _usual(pool.check, Check(), WRITTEN[Check], f"the check of {title}", pool.origin)
        if pool.ejection is not None:
            _usual(pool.ejection, Ejection(), WRITTEN[Ejection], f"the ejection of {title}", pool.origin)
        _policy(pool, title)
        for name in (f.name for f in fields(Timeouts)):
            if getattr(pool.timeouts, name) == inf:
                raise _refusal(f"{title} has no bound on {name}", pool.origin)
        for server in pool.servers:
            usual = Server(server.name, server.host, server.port)
            _usual(server, usual, WRITTEN[Server], f"server {server.name} of {title}", server.origin)


def _policy(pool: Pool, title: str) -> None:
    policy = pool.policy
    match policy:
        case RoundRobin():
            _usual(policy, RoundRobin(), _POLICY, f"the policy of {title}", pool.origin)
        case LeastRequest(draws=None):
            pass
        case LeastRequest():
            raise _refusal(f"the policy of {title} looks at only {policy.draws} of the servers", pool.origin)
        case RandomPick():
            _usual(policy, RandomPick(), _POLICY, f"the policy of {title}", pool.origin)
        case Hash():
            _usual(policy, Hash(policy.on), _POLICY, f"the policy of {title}", pool.origin)
        case _:
            pass  # config.py has no words for it at all and says so


def _usual(part: T, usual: T, written: frozenset[str], title: str, origin: Origin) -> None:
    for name in (f.name for f in fields(usual)):
        if name not in written and getattr(part, name) != getattr(usual, name):
            raise _refusal(f"{title} has {name.replace('_', ' ')} {getattr(part, name)}", origin)


def _refusal(what: str, origin: Origin) -> ConfigError:
    return ConfigError(
        f"{what}, which Levelhead does not run", file=origin.file or "(command line)", line=origin.line,
        column=origin.column, next_step="take it out; such a fleet can be reviewed, not run",
    )  # fmt: skip
