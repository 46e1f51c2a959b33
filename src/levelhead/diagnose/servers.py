"""Causes that lie in one server, in the servers of one zone, or in what was put onto them."""

from __future__ import annotations

from levelhead.diagnose.base import Case
from levelhead.diagnose.cause import Cause
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs


def _down(case: Case, signs: Signs) -> Servers:
    return (case.failing | signs.measured.mute) - case.away


def _slow(case: Case, signs: Signs) -> Servers:
    return (signs.measured.slow - signs.measured.over) or signs.measured.slow


def _troubled(case: Case, signs: Signs) -> Servers:
    return signs.measured.troubled | case.failing


def _rolled(case: Case, signs: Signs) -> Servers:
    return signs.measured.troubled & signs.measured.returned


SERVER_DOWN = Cause(
    "server-down", "A server does not take connections",
    {
        "down": {"one": 8.0, "some": 1.0, "most": -9.0, "none": -10.0},
        "manner": {"refuses": 3.0, "breaks": -1.0, "breaks-just-now": 1.0, "answers": -5.0},
        "before": {"refused": 2.0, "well": -1.0, "failing": -2.0},
        "falling": {"in-turn": -5.0, "together": -2.0, "at-once": -5.0},
        "loss": {"borne": 1.0, "not-borne": -4.0},
        "flapping": {"one": -7.0, "many": -6.0},
        "shares": {"as-weights-say": -4.0},
        "zone": {"the-trouble": -3.0},
        "returned": {"rolling": -4.0},
        "shipped": {"check": -3.0},
    },
    _down,
)  # fmt: skip

SLOW_SERVER = Cause(
    "slow-server-gray-failure", "One slow but healthy-looking server",
    {
        "slow": {"one": 7.0, "some": -1.0, "none": -9.0, "most": -7.0},
        "errors": {"none": 1.0, "one": -4.0, "some": -3.0, "most": -4.0},
        "overfed": {"slow": -8.0, "sick": -3.0},
        "shares": {"fair": 1.0, "as-weights-say": -4.0},
        "checks": {"pass": 1.0, "one": -5.0, "some": -3.0, "all": -8.0},
        "before": {"refused": -1.0},
        "returned": {"the-trouble": -2.0, "rolling": -6.0},
        "zone": {"the-trouble": -6.0},
        "restart": {"drain-lost": -7.0},
        "twins": {"the-trouble": -6.0},
        "volume": {"above": -4.0},
        "clients": {"few": -3.0},
        "flapping": {"one": -5.0, "many": -5.0},
        "newcomers": {"starved": -2.0},
        "loss": {"not-borne": -4.0},
    },
    _slow,
)  # fmt: skip

GRAY_ZONE = Cause(
    "gray-failure-zone", "One zone loses packets, and its servers fail or are slow",
    {
        "zone": {"the-trouble": 9.0, "elsewhere": -6.0, "none": -8.0},
        "troubled": {"some": 2.0, "one": -4.0, "most": -4.0, "none": -3.0},
        "returned": {"rolling": -3.0},
        "checks": {"all": -3.0},
        "shares": {"as-weights-say": -4.0},
    },
    _troubled,
)  # fmt: skip

BAD_DEPLOY = Cause(
    "bad-deploy", "A new release fails or is slow where it was put",
    {
        "returned": {"rolling": 8.0, "the-trouble": -2.0, "well": -5.0, "none": -9.0},
        "troubled": {"some": 1.0, "most": 1.0, "one": -4.0, "none": -5.0},
        "flapping": {"many": -5.0},
        "before": {"slow": -5.0, "well": -1.0},
        "volume": {"above": -3.0},
        "checks": {"all": -4.0},
        "restart": {"drain-lost": -5.0, "restarted": -1.0},
        "blamed": {"yes": -1.0},
    },
    _rolled,
)  # fmt: skip
