"""Bound the load of a hashed pool, so that a hot key overflows to the next server instead of drowning one."""

from __future__ import annotations

from dataclasses import replace

from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, one_step, with_pool
from levelhead.model import Hash

# A server may have this multiple of the mean load: the usual choice of Mirrokni, Thorup and Zadimoghaddam (2016).
BOUND = 1.25


def bound(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that bounds a server's load at `BOUND` times the mean; only keys beyond that move.

    Bounded load needs consistent hashing; to go over to it would move nearly every key, and is not done.
    """
    pool = situation.case.pool
    if not isinstance(pool.policy, Hash):
        return Refusal((f"{pool.name} does not spread by a key of the request",))
    if not pool.policy.consistent:
        return Refusal((f"{pool.name} hashes without a ring: bounding its load would move nearly every key",))
    if pool.policy.bounded_load is not None and pool.policy.bounded_load <= BOUND:
        return Refusal((f"the load of {pool.name} is bounded at {pool.policy.bounded_load:g} times the mean already",))
    if pool.affinity_cookie is not None:
        return Refusal(("a cookie ties users to their server: a bound would not move them",))
    target = with_pool(situation.fleet, replace(pool, policy=replace(pool.policy, bounded_load=BOUND)))
    return one_step("bound-load", situation, story, target, f"bound each server's load at {BOUND:g} times the mean")
