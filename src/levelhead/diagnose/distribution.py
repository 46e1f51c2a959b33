"""Causes that send traffic where it should not go."""

from __future__ import annotations

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Case
from levelhead.diagnose.cause import ELSE, Cause
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs


def _overfed(case: Case, signs: Signs) -> Servers:
    return signs.measured.over | case.accused(Kind.SHARE)


def _twins(case: Case, signs: Signs) -> Servers:
    addresses = [s.address for s in case.pool.servers]
    return frozenset(s.name for s in case.pool.servers if addresses.count(s.address) > 1)


def _newcomers(case: Case, signs: Signs) -> Servers:
    return signs.measured.born & signs.measured.starved


def _failing_fast(case: Case, signs: Signs) -> Servers:
    m = signs.measured
    return (m.answering & (m.over | m.quick)) or m.answering


def _returned(case: Case, signs: Signs) -> Servers:
    return signs.measured.returned & signs.measured.troubled


WEIGHT_TYPO = Cause(
    "weight-typo-skew", "A wrong weight moves most of the traffic to one server",
    {
        "shares": {"as-weights-say": 5.0, "unexplained": -4.0, "fair": -8.0},
        "weights": {"skewed": 3.0, "set-behind-our-back": 5.0, "as-meant": -7.0},
        "shipped": {"weights": 3.0, "nothing": -1.0},
        "restart": {"drain-lost": -8.0},
        "quick": {"quick-and-failing": -4.0},
        "newcomers": {"starved": -3.0},
        "admin": {"all": -6.0},
    },
    _overfed,
)  # fmt: skip

DUPLICATE = Cause(
    "duplicate-server-entry", "The same address listed twice takes a double share",
    {
        "twins": {"the-trouble": 10.0, "elsewhere": -2.0, "none": -10.0},
        "troubled": {"none": -2.0},
        "volume": {"above": -4.0},
        "shipped": {"members": 1.0},
        "down": {"some": -1.0, "most": -2.0},
    },
    _twins,
)  # fmt: skip

FAST_FAIL = Cause(
    "fast-fail-black-hole", "A server that fails fast attracts the traffic",
    {
        "quick": {"quick-and-failing": 8.0, "no": -6.0},
        "policy": {"by-load": 2.0, ELSE: -5.0},
        "errors": {"one": 2.0, "none": -7.0, "most": -6.0},
        "manner": {"answers": 1.0, "breaks": -1.0, "refuses": -6.0},
        "checks": {"pass": 1.0, "one": -3.0, "all": -5.0},
        "restart": {"drain-lost": -6.0},
        "zone": {"the-trouble": -5.0},
        "returned": {"rolling": -5.0},
    },
    _failing_fast,
)  # fmt: skip

HOT_KEY = Cause(
    "hash-hot-key", "One hot key overloads one server under hash balancing",
    {
        "shares": {"unexplained": 4.0, "fair": -7.0, "as-weights-say": -5.0},
        "policy": {"by-key": 3.0, "by-source": 3.0, "affinity": -1.0, ELSE: -9.0},
        "clients": {"one-heavy": 4.0, "few": -7.0},
        "crowd": {"one": 2.0, "some": -2.0},
        "newcomers": {"starved": -4.0},
        "down": {"one": -3.0, "some": -5.0, "most": -6.0},
        "admin": {"one": -2.0, "some": -4.0},
        "overfed": {"sick": -3.0},
        "restart": {"drain-lost": -5.0},
        "returned": {"the-trouble": -1.0, "rolling": -4.0},
    },
    _overfed,
)  # fmt: skip

NAT_COLLAPSE = Cause(
    "nat-source-hash-collapse", "Source hashing behind a proxy or NAT sends everyone to one server",
    {
        "clients": {"few": 8.0, "one-heavy": -3.0, "many": -9.0},
        "policy": {"by-source": 4.0, ELSE: -9.0},
        "shares": {"unexplained": 2.0, "fair": -3.0, "as-weights-say": -4.0},
    },
    _overfed,
)  # fmt: skip

STICKY = Cause(
    "sticky-session-skew", "Affinity keeps old servers full and new ones empty",
    {
        "policy": {"affinity": 4.0, ELSE: -10.0},
        "shares": {"unexplained": 4.0, "fair": -3.0, "as-weights-say": -5.0},
        "newcomers": {"starved": 5.0},
        "shipped": {"members": 2.0},
        "crowd": {"one": -1.0},
        "errors": {"one": -2.0},
        "down": {"one": -2.0, "some": -4.0},
    },
    _overfed,
)  # fmt: skip

KEEPALIVE = Cause(
    "keepalive-pinning-after-scale-out", "Long-lived connections never reach the new servers",
    {
        "newcomers": {"starved": 6.0, "fed": -3.0, "none": -6.0},
        "connections": {"old": 4.0, "renewed": -4.0},
        "policy": {"even": 2.0, "by-load": 2.0, "affinity": -6.0, "by-key": -6.0, "by-source": -6.0},
        "shares": {"unexplained": 4.0, "fair": -3.0, "as-weights-say": -4.0},
        "shipped": {"members": 2.0},
    },
    _newcomers,
)  # fmt: skip

RESTART_FLOOD = Cause(
    "restart-flood", "A server that returns to service gets every new request",
    {
        "returned": {"the-trouble": 7.0, "rolling": -1.0, "well": -2.0, "none": -9.0},
        "policy": {"by-load": 3.0, ELSE: -6.0},
        "restart": {"drain-lost": -8.0},
        "flapping": {"one": -1.0, "many": -4.0},
        "errors": {"most": -3.0},
        "manner": {"answers": -2.0},
        "zone": {"the-trouble": -4.0},
        "volume": {"above": -2.0},
        "before": {"slow": -2.0, "well": -1.0},
        "quick": {"quick-and-failing": -4.0},
    },
    _returned,
)  # fmt: skip
