"""Causes that lie in the traffic itself, or in how often it is repeated."""

from __future__ import annotations

from levelhead.diagnose.base import Case
from levelhead.diagnose.cause import ELSE, Cause
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs


def _nobody(case: Case, signs: Signs) -> Servers:
    return frozenset()


SURGE = Cause(
    "traffic-surge", "More requests than were to be expected",
    {
        "volume": {"above": 8.0, ELSE: -9.0},
        "shares": {"fair": 1.0, "as-weights-say": -6.0, "unexplained": -3.0},
        "errors": {"one": -2.0},
        "down": {"one": -1.0, "some": -1.0},
        "retries": {"many": -2.0},
        "slow": {"most": 1.0},
        "rest": {"well": -6.0},
        "admin": {"some": -2.0, "all": -6.0},
        "clients": {"few": -1.0},
    },
    _nobody,
)  # fmt: skip

RETRY = Cause(
    "retry-amplification", "Retries multiply the load on a failing pool",
    {
        "retries": {"many": 7.0, "few": -9.0},
        "troubled": {"most": 3.0, "some": -3.0, "one": -6.0, "none": -4.0},
        "manner": {"refuses": -5.0},
        "zone": {"the-trouble": -5.0},
        "returned": {"rolling": -3.0},
    },
    _nobody,
)  # fmt: skip

DEPENDENCY = Cause(
    "dependency-failure", "What all servers depend on fails or is slow",
    {
        "troubled": {"most": 6.0, "some": -3.0, "one": -7.0, "none": -7.0},
        "volume": {"above": -6.0},
        "shares": {"as-weights-say": -4.0, "unexplained": -2.0},
        "retries": {"many": -4.0},
        "returned": {"rolling": -6.0, "the-trouble": -1.0},
        "loss": {"not-borne": -5.0},
        "down": {"one": -2.0, "some": -3.0, "most": -2.0},
        "before": {"slow": -3.0, "well": -2.0},
        "admin": {"some": -4.0, "all": -6.0},
        "limits": {"server": -2.0},
        "shipped": {"nothing": 1.0},
        "newcomers": {"starved": -3.0},
        "clients": {"few": -2.0},
        "twins": {"the-trouble": -3.0},
        "zone": {"the-trouble": -4.0},
        "flapping": {"many": -3.0},
    },
    _nobody,
)  # fmt: skip
