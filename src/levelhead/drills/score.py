"""What a drill did to its users, and whether it was passed: harm from outcomes, a record from facts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from levelhead.drills.base import Expect, Scenario
from levelhead.model import Slo
from levelhead.telemetry import Floats, Ints

SCHEMA: Final = "levelhead/drill/1"

# What stands for a status where the user got none.
NO_ANSWER: Final = -1  # refused, reset, or cut off
TIMED_OUT: Final = -2  # the user went away
UNANSWERED: Final = -3  # still open when the drill was over; its latency is its age

# A story below this probability, with evidence against it, counts as refuted.
REFUTED_BELOW: Final = 0.1

Mode = Literal["act", "shadow", "ask", "off"]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of each request, in parallel columns; `server` indexes `servers`, -1 where none answered.

    `latency_ms` counts from the planned time `at_s`, so that a request that could not even be sent is slow too.
    """

    servers: tuple[str, ...]
    at_s: Floats
    user: Ints
    status: Ints
    latency_ms: Floats
    server: Ints

    def __len__(self) -> int:
        return len(self.at_s)


@dataclass(frozen=True, slots=True)
class Harm:
    """How many requests and users there were and how many were harmed; who asked nothing does not count."""

    requests_total: int
    requests_harmed: int
    users_total: int
    users_harmed: int


@dataclass(frozen=True, slots=True)
class Series:
    """One row per planned second from 0: counts, and quantiles over the answered requests (NaN where there are none).

    `per_server` has one column per server of `servers`.
    """

    servers: tuple[str, ...]
    requests: Ints
    harmed: Ints
    failed: Ints
    p50_ms: Floats
    p99_ms: Floats
    per_server: Ints


@dataclass(frozen=True, slots=True)
class Glance:
    """The last seconds, for a display: answers per second, shares of the servers among answered requests."""

    rps: float
    p50_ms: float
    p99_ms: float
    failed_share: float
    harmed_share: float
    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class StoryLine:
    """A story as the record keeps it: cause, probability, sentences for and against."""

    cause: str
    probability: float
    evidence_for: tuple[str, ...] = ()
    evidence_against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """What was done, under which plan and why; `undone` says that it was taken back because it did not help."""

    at_s: float
    plan: str
    what: str
    because: str
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Clocks:
    """When what happened first, in seconds since the drill's start; None if never."""

    fault: float | None = None
    detected: float | None = None
    diagnosed: float | None = None
    acted: float | None = None
    recovered: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a drill is scored by. `changed_weights` names servers whose weight is not what the operator had set."""

    engine: str
    mode: Mode
    seed: int
    harm: Harm
    stories: tuple[StoryLine, ...] = ()
    clocks: Clocks = Clocks()
    actions: tuple[Action, ...] = ()
    changed_weights: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """The record "levelhead/drill/1"; `missed` has a sentence for each expectation that was not met."""

    drill: str
    engine: str
    mode: Mode
    seed: int
    stories: tuple[StoryLine, ...]
    clocks_s: Clocks
    harm: Harm
    actions: tuple[Action, ...]
    missed: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return not self.missed


def score(scenario: Scenario, facts: Facts) -> DrillRecord:
    """The record of a drill, judged by what its scenario expects; every mode is judged alike."""
    expect = scenario.expect
    missed = (
        *_missed_diagnosis(expect, facts.stories),
        *_missed_plan(expect, facts.actions),
        *_missed_clocks(expect, facts.clocks),
        *_missed_harm(expect, facts.harm),
        *_missed_weights(expect, facts.changed_weights),
    )
    return DrillRecord(
        drill=scenario.name,
        engine=facts.engine,
        mode=facts.mode,
        seed=facts.seed,
        stories=_likeliest_first(facts.stories),
        clocks_s=facts.clocks,
        harm=facts.harm,
        actions=facts.actions,
        missed=missed,
    )


def to_json(record: DrillRecord) -> str:
    """The record as others read it; unknown numbers are null."""
    clocks, harm = record.clocks_s, record.harm
    document = {
        "schema": SCHEMA,
        "drill": record.drill,
        "engine": record.engine,
        "mode": record.mode,
        "seed": record.seed,
        "stories": [
            {
                "cause": s.cause,
                "probability": _number(s.probability),
                "for": list(s.evidence_for),
                "against": list(s.evidence_against),
            }
            for s in record.stories
        ],
        "clocks_s": {
            "fault": _number(clocks.fault),
            "detected": _number(clocks.detected),
            "diagnosed": _number(clocks.diagnosed),
            "acted": _number(clocks.acted),
            "recovered": _number(clocks.recovered),
        },
        "requests": {"total": harm.requests_total, "harmed": harm.requests_harmed},
        "users": {"total": harm.users_total, "harmed": harm.users_harmed},
        "actions": [
            {"at_s": _number(a.at_s), "what": a.what, "because": a.because, "undone": a.undone} for a in record.actions
        ],
        "passed": record.passed,
        "missed": list(record.missed),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def harmed(outcomes: Outcomes, slo: Slo) -> NDArray[np.bool_]:
    """Per request: it failed, or took longer than was promised; one still open is harmed once it is older than that."""
    return np.asarray(_failed(outcomes) | (outcomes.latency_ms > slo.latency_ms))


def harm(outcomes: Outcomes, slo: Slo) -> Harm:
    """How many requests and users were harmed."""
    hurt = harmed(outcomes, slo)
    return Harm(
        requests_total=len(outcomes),
        requests_harmed=int(hurt.sum()),
        users_total=len(np.unique(outcomes.user)),
        users_harmed=len(np.unique(outcomes.user[hurt])),
    )


def per_second(outcomes: Outcomes, slo: Slo, duration_s: float) -> Series:
    """The drill second by second, by the planned time of the requests."""
    n = int(np.ceil(duration_s))
    second = np.minimum(outcomes.at_s.astype(np.int64), n - 1)
    answered = outcomes.status > 0
    per_server = np.zeros((n, len(outcomes.servers)), np.int64)
    reached = outcomes.server >= 0
    np.add.at(per_server, (second[reached], outcomes.server[reached]), 1)
    latencies = [outcomes.latency_ms[answered & (second == s)] for s in range(n)]
    return Series(
        servers=outcomes.servers,
        requests=np.bincount(second, minlength=n).astype(np.int64),
        harmed=np.bincount(second[harmed(outcomes, slo)], minlength=n).astype(np.int64),
        failed=np.bincount(second[_failed(outcomes)], minlength=n).astype(np.int64),
        p50_ms=np.asarray([_quantile(column, 0.5) for column in latencies]),
        p99_ms=np.asarray([_quantile(column, 0.99) for column in latencies]),
        per_server=per_server,
    )


def glance(outcomes: Outcomes, slo: Slo, seconds: float) -> Glance:
    """These outcomes of the last `seconds` in a few numbers; quantiles and shares are NaN if nothing was answered."""
    total = len(outcomes)
    counts = np.bincount(outcomes.server[outcomes.server >= 0], minlength=len(outcomes.servers))
    reached = int(counts.sum())
    latency = outcomes.latency_ms[outcomes.status > 0]
    return Glance(
        rps=total / seconds,
        p50_ms=_quantile(latency, 0.5),
        p99_ms=_quantile(latency, 0.99),
        failed_share=float(_failed(outcomes).mean()) if total else float("nan"),
        harmed_share=float(harmed(outcomes, slo).mean()) if total else float("nan"),
        shares=tuple(
            (name, float(count) / reached if reached else float("nan"))
            for name, count in zip(outcomes.servers, counts, strict=True)
        ),
    )


def _failed(outcomes: Outcomes) -> NDArray[np.bool_]:
    status = outcomes.status
    return np.asarray((status >= 500) | (status == NO_ANSWER) | (status == TIMED_OUT))


def _quantile(column: Floats, q: float) -> float:
    return float(np.quantile(column, q)) if len(column) else float("nan")


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def _likeliest_first(stories: tuple[StoryLine, ...]) -> tuple[StoryLine, ...]:
    return tuple(sorted(stories, key=lambda s: -s.probability))


def _missed_diagnosis(expect: Expect, stories: tuple[StoryLine, ...]) -> Iterator[str]:
    if expect.cause is not None:
        if not stories:
            yield f"cause: expected {expect.cause}, nothing was diagnosed"
        elif (first := _likeliest_first(stories)[0]).cause != expect.cause:
            yield f"cause: expected {expect.cause}, the likeliest story was {first.cause} ({first.probability:.2f})"
    for cause in expect.refuted:
        story = next((s for s in stories if s.cause == cause), None)
        if story is None:
            yield f"refuted: {cause} was not considered"
        elif story.probability >= REFUTED_BELOW:
            yield f"refuted: {cause} was left at a probability of {story.probability:.2f}"
        elif not story.evidence_against:
            yield f"refuted: {cause} has no evidence against it"


def _missed_plan(expect: Expect, actions: tuple[Action, ...]) -> Iterator[str]:
    if expect.plan is None:
        return
    done = ", ".join(f"{a.plan} (undone)" if a.undone else a.plan for a in actions)
    if expect.plan == "none":
        if actions:
            yield f"plan: nothing was to be done, but there was {done}"
    elif not any(a.plan == expect.plan and not a.undone for a in actions):
        yield f"plan: expected {expect.plan}, there was {done or 'nothing'}"


def _missed_clocks(expect: Expect, clocks: Clocks) -> Iterator[str]:
    rows = (("detected", expect.detect_s, clocks.detected), ("recovered", expect.recover_s, clocks.recovered))
    for word, limit_s, at_s in rows:
        if limit_s is None:
            continue
        if clocks.fault is None:
            yield f"{word}: the fault never happened"
        elif at_s is None:
            yield f"{word}: never, expected within {limit_s:g} s of the fault"
        elif at_s - clocks.fault > limit_s:
            yield f"{word}: {at_s - clocks.fault:.2f} s after the fault, expected within {limit_s:g} s"


def _missed_harm(expect: Expect, found: Harm) -> Iterator[str]:
    rows = (
        ("users", expect.harmed_users, found.users_harmed, found.users_total),
        ("requests", expect.harmed_requests, found.requests_harmed, found.requests_total),
    )
    for word, limit, hurt, total in rows:
        if limit is None:
            continue
        if total == 0:
            yield f"{word}: there were none"
        elif hurt > limit * total:
            yield f"{word}: {hurt} of {total} harmed ({hurt / total:.1%}), expected at most {limit:.1%}"


def _missed_weights(expect: Expect, changed: tuple[str, ...]) -> Iterator[str]:
    if expect.unchanged_weights and changed:
        yield f"weights: those of {', '.join(changed)} were changed, expected none"
