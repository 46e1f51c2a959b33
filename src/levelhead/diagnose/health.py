"""Causes that lie in health checks: what they see, what they miss, and what they do to a pool."""

from __future__ import annotations

from levelhead.diagnose.base import Case
from levelhead.diagnose.cause import ELSE, Cause
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs


def _failing(case: Case, signs: Signs) -> Servers:
    return case.failing


def _flapping(case: Case, signs: Signs) -> Servers:
    return signs.measured.flapping


def _bad(case: Case, signs: Signs) -> Servers:
    return signs.measured.bad - case.failing


SHALLOW_CHECK = Cause(
    "shallow-check", "A server fails requests while its check passes",
    {
        "errors": {"one": 5.0, "some": 2.0, "none": -9.0, "most": -6.0},
        "manner": {"answers": 3.0, "breaks": 1.0, "breaks-just-now": -5.0, "refuses": -8.0},
        "checks": {"pass": 2.0, "one": -5.0, "some": -5.0, "all": -7.0},
        "quick": {"quick-and-failing": -6.0},
        "returned": {"the-trouble": -2.0, "rolling": -6.0},
        "zone": {"the-trouble": -6.0},
        "restart": {"drain-lost": -7.0},
        "retries": {"many": -1.0},
        "shares": {"as-weights-say": -4.0},
    },
    _bad,
)  # fmt: skip

DEEP_CHECK = Cause(
    "deep-check-ejects-all", "A check on a shared dependency takes out the whole pool",
    {
        "checks": {"all": 6.0, "some": -3.0, "one": -7.0, "pass": -10.0, "unchecked": -12.0},
        "before": {"well": 3.0, "failing": 1.0, "slow": -5.0, "refused": -6.0},
        "falling": {"together": 2.0, "at-once": 2.0, "in-turn": -4.0},
        "shipped": {"check": -5.0},
        "blamed": {"yes": -4.0},
        "flapping": {"many": -2.0},
        "volume": {"above": -2.0},
        "admin": {"all": -6.0},
    },
    _failing,
)  # fmt: skip

PROTOCOL_MISMATCH = Cause(
    "check-protocol-mismatch", "The check speaks another protocol than the traffic",
    {
        "checks": {"all": 3.0, "some": -1.0, "one": -3.0, "pass": -10.0, "unchecked": -12.0},
        "shipped": {"check": 7.0, ELSE: -4.0},
        "before": {"well": 3.0, "failing": -3.0, "slow": -5.0, "refused": -6.0},
        "falling": {"together": 1.0, "at-once": 1.0, "in-turn": -2.0},
        "errors": {"some": -2.0, "most": -3.0},
    },
    _failing,
)  # fmt: skip

OVERLOAD_CASCADE = Cause(
    "overload-ejection-cascade", "Overload fails checks, ejection overloads the rest",
    {
        "before": {"slow": 6.0, "failing": -2.0, "well": -4.0, "refused": -6.0},
        "checks": {"some": 2.0, "all": 2.0, "pass": -1.0, "unchecked": -10.0},
        "falling": {"in-turn": 3.0, "at-once": -4.0},
        "flapping": {"many": 2.0, "one": -1.0},
        "pace": {"slower": 1.0, "usual": -2.0},
        "blamed": {"yes": -7.0},
        "shipped": {"check": -3.0},
        "down": {"one": -2.0},
    },
    _failing,
)  # fmt: skip

POISON = Cause(
    "poison-request-ejects-all", "A few bad requests mark every server down",
    {
        "blamed": {"yes": 5.0, "no": -10.0},
        "falling": {"at-once": 4.0, "together": 2.0, "in-turn": 0.0},
        "before": {"well": 2.0, "slow": -1.0, "refused": -3.0},
        "checks": {"all": 1.0, "one": -2.0},
        "flapping": {"many": 2.0, "one": -2.0},
        "errors": {"most": -2.0},
        "down": {"one": -1.0},
    },
    _failing,
)  # fmt: skip

FLAPPING = Cause(
    "check-flapping", "A server oscillates between up and down",
    {
        "flapping": {"one": 8.0, "many": 1.0, "none": -9.0},
        "before": {"well": 2.0, "slow": -3.0, "failing": -4.0, "refused": -4.0},
        "errors": {"one": -2.0, "some": -3.0, "most": -4.0},
        "slow": {"some": -2.0, "most": -4.0},
        "blamed": {"yes": -3.0},
        "checks": {"all": -4.0},
    },
    _flapping,
)  # fmt: skip
