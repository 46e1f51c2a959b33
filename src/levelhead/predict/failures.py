"""For how long a failing server keeps its requests, and how many attempts one request can become."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import Final, Literal

import numpy as np

from levelhead.model import Check, Ejection, Failure, Pool, Server
from levelhead.predict.shares import predicted

Trouble = Literal["dead", "hung", "failing", "slow"]

_SHOWS_AS: Final[dict[str, Failure]] = {"dead": "refused", "hung": "hung", "failing": "status"}


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a server in trouble keeps its requests, in seconds: from `least_s` to `most_s`, inf for ever.

    NaN where nobody can tell. `requests` is after how many failed ones a passive check takes it out, None where none
    does; without a rate, `most_s` counts only the waiting for these and not the time until they come. `early_s` is
    the most while the engine has not seen any traffic yet (Envoy's no_traffic_interval). `again_s`: after so long it
    gets requests again although nothing is mended; inf for not before it is. `why` is a sentence.
    """

    least_s: float
    most_s: float
    why: str
    requests: int | None = None
    early_s: float = nan
    again_s: float = inf


def kept_s(pool: Pool, trouble: Trouble, *, server: str = "", rps: float | None = None) -> Kept:
    """How long this server keeps its requests; without a name, the one that keeps them longest.

    `dead` refuses connections; `hung` takes them and never answers; `failing` answers all requests with a 5xx while
    its check passes; `slow` answers everything late, and passes its check. `rps` is what the pool gets. Formulas: an
    active check needs the rest of an interval, then `fall` failures, one (fast) interval apart, each as long as its
    timeout if nothing answers (HAProxy and Envoy count the interval from the end of a check). KeyError for a server
    that is not there.
    """
    if not server:
        each = [kept_s(pool, trouble, server=s.name, rps=rps) for s in pool.servers]
        return max(each, key=lambda kept: kept.most_s) if each else Kept(nan, nan, "its servers are not known")
    found = pool.server(server)
    if found is None:
        raise KeyError(f"{pool.name}/{server}")
    if trouble == "slow":
        return Kept(inf, inf, "nothing here looks at how long answers take")
    active = _by_check(pool, found, trouble)
    passive = _by_ejection(pool, found, trouble, rps)
    if active is None and passive is None:
        return Kept(inf, inf, _why_never(pool, found, trouble))
    if active is None or passive is None:
        return active or passive or Kept(nan, nan, "")
    return Kept(
        least_s=min(active.least_s, passive.least_s),
        most_s=min(active.most_s, passive.most_s) if rps is not None else active.most_s,
        why=f"{passive.why}; or {active.why}",
        requests=passive.requests,
        early_s=passive.most_s if rps is not None else active.early_s,
        again_s=inf if trouble != "failing" else passive.again_s,
    )


def amplification(pool: Pool) -> float:
    """The most attempts that one request can become, 1 without retries; NaN where a name hides how many servers.

    HAProxy: 1 + `retries`. nginx: `proxy_next_upstream_tries`, at most each server once. Envoy: 1 + `num_retries` of
    the route that has most. What a bound on time or a retry budget cuts off is not taken away.
    """
    if not pool.retries.after or pool.retries.attempts <= 0:
        return 1.0
    if pool.engine == "nginx" and any(server.many for server in pool.servers):
        return nan
    return 1.0 + pool.retries.attempts


def _by_check(pool: Pool, server: Server, trouble: Trouble) -> Kept | None:
    check = pool.check_of(server)
    connects_only = check is not None and check.path is None and not check.speaks
    if check is None or trouble == "failing" or (trouble == "hung" and connects_only):
        return None
    fast = check.interval_s if check.fast_interval_s is None else check.fast_interval_s
    fall = max(check.fall, 1)
    each = check.timeout_s if trouble == "hung" else 0.0
    failures_s = fall * each + (fall - 1) * fast
    idle = check.idle_interval_s
    return Kept(
        least_s=failures_s,
        most_s=check.interval_s + failures_s,
        why=f"{fall} failed checks, one each {check.interval_s:g} s, take it out",
        early_s=nan if idle is None else idle + failures_s,
    )


def _by_ejection(pool: Pool, server: Server, trouble: Trouble, rps: float | None) -> Kept | None:
    ejection = pool.ejection_of(server)
    if ejection is None or ejection.acts == "hurry" or not _may_eject(pool, ejection):
        return None
    if _SHOWS_AS[trouble] not in ejection.counts or ejection.consecutive_errors < 1:
        return _by_outliers(pool, ejection, trouble)
    check = pool.check_of(server)
    fall = max(check.fall, 1) if check is not None else 1
    errors = ejection.consecutive_errors * (fall if ejection.acts == "fail-check" else 1)
    waiting = pool.timeouts.server_s if trouble == "hung" else 0.0
    share = float(predicted(pool)[pool.servers.index(server)])
    coming = errors / (rps * share) if rps is not None and rps * share > 0 else 0.0
    if ejection.within_s is not None and coming > ejection.within_s:
        return None
    return Kept(
        least_s=waiting,
        most_s=waiting + coming,
        why=f"{errors} failed request{'s' if errors > 1 else ''} take it out",
        requests=errors,
        again_s=_again_s(ejection, check),
    )


def _by_outliers(pool: Pool, ejection: Ejection, trouble: Trouble) -> Kept | None:
    """By comparison with the others: one of N can stand out by 1.9 deviations only if N is at least 5.

    The deviation of one bad server among N is sqrt(N - 1) (the standard deviation is that of the whole population).
    """
    outliers = ejection.outliers
    if outliers is None or trouble != "failing":
        return None
    count = len(pool.servers)
    compared = outliers.deviations is not None and count >= outliers.hosts and np.sqrt(count - 1) > outliers.deviations
    counted = outliers.failing is not None and count >= outliers.failing_hosts
    if not compared and not counted:
        return None
    why = f"success rates are compared every {outliers.interval_s:g} s, if each server has enough requests by then"
    return Kept(0.0, outliers.interval_s, why, again_s=ejection.away_s or inf)


def _may_eject(pool: Pool, ejection: Ejection) -> bool:
    """Whether the bound on how much may be out leaves room for one (Envoy's max_ejection_percent)."""
    return ejection.one_always or ejection.most * len(pool.servers) + 1e-9 >= 1.0 or pool.engine != "envoy"


def _again_s(ejection: Ejection, check: Check | None) -> float:
    """When it is asked again although nothing is mended: after its time, or when its check, which passes, says so."""
    away = ejection.away_s if ejection.away_s is not None else inf
    if check is None or not ejection.check_readmits:
        return away
    interval = check.interval_s if check.down_interval_s is None else check.down_interval_s
    # Envoy takes it back at its next passing check, HAProxy after `rise` of them.
    readmitted = check.interval_s if ejection.away_s is not None else max(check.rise, 1) * interval
    return min(away, readmitted)


def _why_never(pool: Pool, server: Server, trouble: Trouble) -> str:
    check, ejection = pool.check_of(server), pool.ejection_of(server)
    if check is None and ejection is None:
        return "it has no check, active or passive"
    if ejection is not None and not _may_eject(pool, ejection):
        return f"at most {ejection.most:.0%} of {len(pool.servers)} servers may be ejected, which is none"
    if trouble == "hung" and check is not None:
        return "its check only connects, and a server that hangs takes connections"
    return "its check passes, and nothing counts failed answers"
