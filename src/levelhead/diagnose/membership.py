"""Causes that lie in who is in the pool, and in states that somebody set or forgot."""

from __future__ import annotations

from levelhead.diagnose.base import Case
from levelhead.diagnose.cause import ELSE, Cause
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs
from levelhead.model import Admin


def _away(case: Case, signs: Signs) -> Servers:
    # What Levelhead took out it had a reason for.
    return case.away - case.drained


def _down(case: Case, signs: Signs) -> Servers:
    return (case.failing | signs.measured.mute) - case.away


def _undrained(case: Case, signs: Signs) -> Servers:
    meant = frozenset(s.name for s in case.pool.servers if s.admin is not Admin.READY) - case.away
    return meant or (signs.measured.returned & signs.measured.troubled) or signs.measured.returned


STALE_SLOTS = Cause(
    "stale-backend-slots", "The balancer keeps dead servers and cannot take new ones",
    {
        "down": {"some": 2.0, "most": 1.0, "one": -4.0, "none": -10.0},
        "falling": {"in-turn": 5.0, "together": -3.0, "at-once": -5.0},
        "before": {"refused": 3.0, "well": -4.0, "failing": -4.0, "slow": -5.0},
        "returned": {"none": 1.0, "rolling": -5.0, "the-trouble": -3.0, "well": -2.0},
        "shipped": {"nothing": 1.0, "members": -2.0, "check": -4.0},
        "zone": {"the-trouble": -4.0},
        "flapping": {"one": -3.0, "many": -6.0},
        "manner": {"answers": -5.0},
    },
    _down,
)  # fmt: skip

DRAIN_LOST = Cause(
    "runtime-drain-lost-on-reload", "A reload forgets drains and weights",
    {
        "restart": {"drain-lost": 11.0, ELSE: -10.0},
        "troubled": {"one": 1.0, "most": -1.0},
        "returned": {"the-trouble": 2.0},
        "shipped": {"admin": -2.0},
    },
    _undrained,
)  # fmt: skip

FORGOTTEN_DRAIN = Cause(
    "forgotten-drain", "Maintenance takes servers out and never puts them back",
    {
        "admin": {"some": 6.0, "one": 4.0, "none": -10.0, "all": -6.0},
        "loss": {"not-borne": 3.0, "borne": -3.0},
        "slow": {"most": 1.0, "one": -3.0},
        "errors": {"one": -3.0, "some": -2.0},
        "volume": {"above": -4.0},
        "shipped": {"admin": 1.0},
        "down": {"one": -2.0, "some": -2.0, "most": -3.0},
        "restart": {"drain-lost": -5.0},
        "shares": {"as-weights-say": -4.0},
    },
    _away,
)  # fmt: skip

POOL_EMPTIED = Cause(
    "pool-emptied-by-admin-state", "All servers weight 0, disabled or down",
    {
        "admin": {"all": 10.0, ELSE: -11.0},
        "refused": {"all": 2.0, "some": 1.0, "none": -3.0},
        "checks": {"all": -2.0},
    },
    _away,
)  # fmt: skip
