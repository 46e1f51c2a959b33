"""Measures of a case, server by server: who fails and how, who is slow, who gets too much, who is gone.

What the telemetry leaves unknown is in no set: `Measured.seen` says whether there was anything to measure at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead import predict
from levelhead.detect.base import Kind
from levelhead.detect.memory import Past
from levelhead.diagnose.base import Case
from levelhead.telemetry import Flags, Floats

# A server fails, or is slow, when this part of its attempts failed, or they take so many times as long as usual.
FAILS = 0.1
FEWEST_FAILED = 3.0
SLOW = 2.0
# It gets too much beyond this many times its due; where keys or idle servers decide, that is what it used to get.
TOO_MUCH = 1.35
TOO_MUCH_BY_KEY = 1.6
SIGMAS = 4.0
# Little traffic: below so many requests in the last seconds nothing is said of a server's pace.
FEWEST = 3.0
LATELY_S = 45.0
SECOND = 1.0
BACKLOG_S = 60.0
# What a server got under its earlier weight is forgotten after so long.
SETTLED_S = 8.0
MOSTLY = 0.7
NEW_S = 120.0
QUICK, STARVED = 0.6, 0.35
STANDS_OUT = 0.4
TURNS = 2.5

Servers = frozenset[str]


@dataclass(frozen=True, slots=True)
class Measured:
    """Sets of servers. `failing` are those whose check fails, `gone` those whom nobody can reach now.

    `answering`, `breaking` and `mute` fail requests by bad answers, by breaking them off, and by taking no connections.
    """

    seen: bool
    serving: Servers
    failing: Servers
    away: Servers
    answering: Servers
    breaking: Servers
    mute: Servers
    slow: Servers  # as slow as the slowest, by orders of magnitude
    strained: Servers  # slower than usual at all
    quick: Servers  # faster than usual
    over: Servers
    starved: Servers
    born: Servers  # added lately
    returned: Servers  # came back lately
    flapping: Servers
    failed: Floats  # ratio per server
    slowness: Floats  # pace against usual
    share: Floats
    due: Floats

    @property
    def bad(self) -> Servers:
        return self.answering | self.breaking | self.mute

    @property
    def troubled(self) -> Servers:
        """Servers that fail requests or are slow, whether or not their checks see it."""
        return self.bad | self.slow


def measured(case: Case) -> Measured:
    """All measures of a case; without a past only what checks, states and signals say."""
    names = np.asarray(case.servers, dtype=object)
    serving = frozenset(case.servers) - case.failing - case.away
    past = case.past
    if past is None:
        return _signalled(case, serving)

    def those(flags: Flags) -> Servers:
        return frozenset(names[flags].tolist())

    here = np.asarray([name in serving for name in case.servers])
    failed, manners = _failures(case, past)
    slowness, slower = _slowness(past)
    accused = np.asarray([name in case.accused(Kind.LATENCY) for name in case.servers])
    late = (accused & ~((past.requests >= 10) & (slowness < 1.3))) | _late(past)
    # What a server was given too much of it must work off: until then its queue says nothing about its pace.
    relieved = case.at - past.relieved_at <= BACKLOG_S
    strained = (slower | late) & here & ~manners[2] & ~relieved
    # Beside a very slow server the others' small troubles are chance, or what it left them.
    worst = float(np.max(slowness[strained & ~np.isnan(slowness)], initial=1.0))
    slow = strained & ~(slowness < worst**STANDS_OUT)
    share, due = _shares(case, past, here, here & slower)
    spread = SIGMAS * np.sqrt(np.maximum(due * (1 - due), 0.0) / max(float(past.requests.sum()), 1.0))
    most = TOO_MUCH_BY_KEY if predict.moves_by_key(case.pool) else TOO_MUCH
    return Measured(
        True, serving, case.failing, case.away,
        answering=those(manners[0]), breaking=those(manners[1]), mute=those(manners[2]),
        slow=those(slow), strained=those(strained), quick=those(here & (past.requests >= FEWEST) & (slowness <= QUICK)),
        over=those(here & ~(case.at - past.relieved_at <= SETTLED_S) & (share > most * due) & (share > due + spread)),
        starved=those(here & (share < STARVED * due) & (share < due - spread)),
        born=those(past.born_at >= case.at - NEW_S), returned=those(_came_back(case, past, here)),
        flapping=those(past.turns >= TURNS), failed=failed, slowness=slowness, share=share, due=due,
    )  # fmt: skip


def _failures(case: Case, past: Past) -> tuple[Floats, Flags]:
    """The failed part of each server's attempts, and [manner, server]: who fails by answers, breaking off, refusing."""
    failures = np.stack([past.answered, past.broken, past.refused_by])
    total, seen = failures.sum(axis=0), np.maximum(past.requests, 1.0)
    failed = np.minimum(total / seen, 1.0)
    everywhere = float(total.sum() / seen.sum())
    # Where the whole pool fails, a server with little traffic need not show it thrice.
    alike = (everywhere >= FAILS) & (failed >= 0.5 * everywhere) & (total >= 0.7)
    accused = np.asarray([name in case.accused(Kind.ERRORS) for name in case.servers])
    bad = ((failed >= FAILS) & (total >= FEWEST_FAILED)) | alike | (accused & (total > 0))
    worst = failures.argmax(axis=0)
    # Who takes connections again is no longer mute, however many it refused before.
    bad &= (worst != 2) | ~(past.mute_at < case.at - 2 * SECOND)
    flags: Flags = bad & (worst == np.arange(3)[:, None])
    return failed, flags


def _slowness(past: Past) -> tuple[Floats, Flags]:
    """Each server's pace against its usual one (where that is unknown, its peers'), and who is slow by it."""
    usual = np.where(np.isnan(past.pace_s), _middle(past.pace_s), past.pace_s)
    slowness = (past.pace_now_s + 0.005) / (usual + 0.005)
    # Few requests, a rough figure: the fewer, the more it takes.
    flags: Flags = (past.requests >= FEWEST) & (slowness >= SLOW + 3.0 / np.sqrt(np.maximum(past.requests, 1.0)))
    return slowness, flags


def _signalled(case: Case, serving: Servers) -> Measured:
    """What the signals alone say, where nothing is remembered."""
    none: Servers = frozenset()
    bad = case.accused(Kind.ERRORS)
    mute = frozenset(s for s in bad if case.unconnected[case.index(s)] > MOSTLY)
    blank = np.full(len(case.servers), np.nan)
    return Measured(
        False, serving, case.failing, case.away, answering=bad - mute, breaking=none, mute=mute,
        slow=case.accused(Kind.LATENCY), strained=case.accused(Kind.LATENCY), quick=none,
        over=case.accused(Kind.SHARE, Kind.UNPREDICTED), starved=none, born=none,
        returned=none, flapping=none, failed=case.failure_ratio, slowness=blank, share=case.observed,
        due=blank,
    )  # fmt: skip


def _came_back(case: Case, past: Past, here: Flags) -> Flags:
    """Who was failing, away or mute lately and serves now."""
    since = case.at - LATELY_S
    mute = (past.mute_at >= since) & (past.mute_at < case.at - 2 * SECOND)
    flags: Flags = here & ((past.rose_at >= since) | (past.back_at >= since) | mute)
    return flags


def _shares(case: Case, past: Past, here: Flags, slow: Flags) -> tuple[Floats, Floats]:
    """What each server gets, and what it should get: by its weight, or as it used to where keys or pace decide."""
    blank, total = np.full(len(case.servers), np.nan), float(past.requests.sum())
    if total < 1:
        return blank, blank
    weight = np.where(np.isnan(case.weight), 1.0, case.weight)
    wish = np.where(here, weight, 0.0)
    if predict.moves_by_key(case.pool) or predict.adapts(case.pool):
        got = np.where(np.isnan(past.got), _middle(past.got), past.got)
        wish = np.where(here, np.where(np.isnan(got), weight, got), 0.0)
    if wish.sum() <= 0:
        return past.requests / total, blank
    due = wish / wish.sum()
    if predict.adapts(case.pool) and slow.any() and due[~slow].sum() > 0:
        # What a slow server loses goes to the others, as it should.
        due = np.where(slow, due, due / due[~slow].sum())
    return past.requests / total, due


def _late(past: Past) -> Flags:
    """Whose sampled answers are late, and more often than the others' are."""
    mine, others = past.late / np.maximum(past.records, 1.0), past.late.sum() - past.late
    theirs = others / np.maximum(past.records.sum() - past.records, 1.0)
    flags: Flags = (past.late >= 3) & (mine >= 0.25) & (mine >= 3 * theirs)
    return flags


def _middle(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
