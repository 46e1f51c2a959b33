"""Causes that lie in limits and in what is left when something goes."""

from __future__ import annotations

from levelhead.diagnose.base import Case
from levelhead.diagnose.cause import Cause
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs


def _nobody(case: Case, signs: Signs) -> Servers:
    return frozenset()


def _gone(case: Case, signs: Signs) -> Servers:
    return (case.failing | signs.measured.mute) - case.away


LB_MAXCONN = Cause(
    "lb-maxconn-too-low", "The balancer stalls connections while servers idle",
    {
        "limits": {"listener": 10.0, "free": -10.0, "server": -6.0},
        "pace": {"usual": 2.0, "slower": -3.0},
        "refused": {"none": 1.0, "some": -1.0, "all": -4.0},
        "errors": {"some": -2.0, "most": -3.0},
        "shipped": {"limits": 1.0},
    },
    _nobody,
)  # fmt: skip

SERVER_MAXCONN = Cause(
    "server-maxconn-too-low", "Limits per server make a healthy pool queue",
    {
        "limits": {"server": 7.0, "free": -9.0, "listener": -6.0},
        "pace": {"usual": 3.0, "slower": -5.0},
        "volume": {"above": -6.0, "as-forecast": 1.0},
        "shipped": {"limits": 2.0},
        "loss": {"not-borne": -3.0},
        "errors": {"some": -2.0, "most": -3.0},
        "admin": {"some": -2.0},
    },
    _nobody,
)  # fmt: skip

NO_HEADROOM = Cause(
    "no-failure-headroom", "Losing one server or zone overloads the rest",
    {
        "loss": {"not-borne": 7.0, "borne": -7.0, "none": -10.0},
        "down": {"one": 2.0, "some": 1.0, "most": -2.0, "none": -4.0},
        "admin": {"one": -5.0, "some": -6.0, "all": -8.0},
        "before": {"refused": 2.0, "slow": -5.0, "well": -1.0},
        "falling": {"in-turn": -3.0, "together": 1.0, "at-once": 1.0},
        "flapping": {"one": -2.0, "many": -4.0},
        "volume": {"above": -5.0},
        "returned": {"rolling": -4.0},
    },
    _gone,
)  # fmt: skip
