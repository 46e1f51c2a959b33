"""Faults at work: what each does to the machines, the checks and the crowd of one pool."""

from __future__ import annotations

from functools import partial
from typing import assert_never

from levelhead.simulate.faults import (
    Behind,
    Capacity,
    CheckFails,
    CheckFault,
    CheckFlaps,
    CheckHonest,
    CheckLies,
    CrowdFault,
    Down,
    Errors,
    Fault,
    Hang,
    HotKey,
    Poison,
    Resets,
    Restart,
    ServerFault,
    Slow,
    Stall,
    Traffic,
    Up,
)
from levelhead.simulate.proxy import PoolProxy
from levelhead.simulate.servers import Host

_WARMING_STEPS = 20


def afflict(pool: PoolProxy, fault: Fault) -> None:
    """Let this happen now. A fault of a server that the pool does not have does nothing."""
    match fault:
        case Down() | Up() | Hang() | Stall() | Errors() | Slow() | Resets() | Capacity():
            for host in pool.hosts(fault.server):
                _afflict_server(pool, host, fault)
        case CheckLies() | CheckFails() | CheckFlaps() | CheckHonest():
            for host in pool.hosts(fault.server):
                _afflict_check(pool, host, fault)
        case Traffic() | HotKey() | Behind() | Poison():
            _afflict_crowd(pool, fault)
        case Restart(graceful=graceful):
            pool.restart(graceful=graceful)
        case _:
            assert_never(fault)


def _afflict_server(pool: PoolProxy, host: Host, fault: ServerFault) -> None:
    match fault:
        case Down():
            host.refusing = True
            host.retune()
            pool.crash(host)
        case Up():
            _heal(pool, host)
        case Hang(accepts=accepts):
            host.deaf = not accepts
            host.retune()
            host.freeze()
        case Stall(for_s=for_s):
            stall = host.freeze()
            pool.agenda.at(pool.agenda.now_s + for_s, partial(_end_stall, host, stall))
        case Errors(ratio=ratio, fast=fast, status=status):
            host.error_ratio, host.fast_errors, host.error_status = ratio, fast, status
            host.retune()
        case Slow(add_ms=add_ms, factor=factor):
            host.add_s = add_ms / 1000
            host.retune(slow=factor)
        case Resets(ratio=ratio):
            host.reset_ratio = ratio
            host.retune()
        case Capacity(workers=workers):
            host.set_capacity(workers)
        case _:
            assert_never(fault)


def _afflict_check(pool: PoolProxy, host: Host, fault: CheckFault) -> None:
    match fault:
        case CheckLies():
            host.check = "lies"
        case CheckFails():
            host.check = "fails"
        case CheckHonest():
            host.check = "honest"
        case CheckFlaps(period_s=period_s):
            host.check, host.check_since_s = period_s, pool.agenda.now_s
        case _:
            assert_never(fault)


def _afflict_crowd(pool: PoolProxy, fault: CrowdFault) -> None:
    match fault:
        case Traffic(factor=factor):
            pool.crowd.set_traffic(factor, pool.agenda.now_s)
        case HotKey(share=share):
            pool.crowd.set_hot(share)
        case Behind(addresses=addresses):
            pool.crowd.set_addresses(addresses)
        case Poison(times=times, every_s=every_s):
            _poison(pool, times, every_s)
        case _:
            assert_never(fault)


def _poison(pool: PoolProxy, times: int, every_s: float) -> None:
    for _ in range(times):
        pool.poisoned()
    pool.agenda.at(pool.agenda.now_s + every_s, partial(_poison, pool, times, every_s))


def _heal(pool: PoolProxy, host: Host) -> None:
    was_down = host.refusing
    host.heal()
    host.resume()
    host.set_capacity(host.model.workers)
    if was_down and host.model.cold_s > 0:
        _warm(pool, host, pool.agenda.now_s)


def _warm(pool: PoolProxy, host: Host, since_s: float) -> None:
    """The slowness of a cold start falls evenly, in steps."""
    model, now_s = host.model, pool.agenda.now_s
    if host.refusing:
        return
    done = min(1.0, (now_s - since_s) / model.cold_s)
    host.retune(cold=model.cold_factor + (1.0 - model.cold_factor) * done)
    if done < 1.0:
        pool.agenda.at(now_s + model.cold_s / _WARMING_STEPS, partial(_warm, pool, host, since_s))


def _end_stall(host: Host, stall: int) -> None:
    if host.stall == stall:
        host.resume()
