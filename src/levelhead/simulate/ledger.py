"""What became of the users: totals and one bit per user always, single requests only where asked for.

The proxy writes five numbers per answered request into one flat list, which becomes columns when it is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from levelhead.simulate.base import Harm, Outcomes
from levelhead.telemetry import Floats, Ints

_WIDTH = 5
_UNREAD = 1 << 14  # requests written before they become columns, about
_UNCOUNTED = 64  # readings before they are counted
_BUFFER = 1 << 16  # requests kept for one reading of the records, at most


@dataclass(frozen=True, slots=True)
class Drawn:
    """Requests sampled since the last reading, by the serial of their row; each stands for `weight` requests."""

    serial: Ints
    status: Ints
    latency_ms: Floats
    user: Ints
    weight: float


class Ledger:
    """Answered requests of one pool. `lines` takes planned_s, user, status, answered_s and the row's serial in turn."""

    def __init__(self, users: int, slo_latency_ms: float, rng: np.random.Generator, *, keep: bool) -> None:
        self.lines: list[float] = []
        self._slo_latency_ms = slo_latency_ms
        self._rng = rng
        self._keep = keep
        self._kept: list[Floats] = []
        self._fresh: list[Floats] = []
        self._fresh_count = 0
        self._uncounted: list[Floats] = []
        self._seen = np.zeros(users, dtype=np.bool_)
        self._harmed = np.zeros(users, dtype=np.bool_)
        self._requests = 0
        self._harmed_requests = 0

    @property
    def full(self) -> bool:
        return len(self.lines) > _WIDTH * _UNREAD

    def set_slo(self, latency_ms: float) -> None:
        """The limit for requests answered from now on."""
        self._count()
        self._slo_latency_ms = latency_ms

    def flush(self) -> None:
        """Turn the lines into columns."""
        if not self.lines:
            return
        table = np.fromiter(self.lines, np.float64, len(self.lines)).reshape(-1, _WIDTH)
        self.lines.clear()
        if self._keep:
            self._kept.append(table)
        self._uncounted.append(table)
        if len(self._uncounted) >= _UNCOUNTED:
            self._count()
        self._fresh.append(table)
        self._fresh_count += len(table)
        while self._fresh_count > _BUFFER and len(self._fresh) > 1:
            self._fresh_count -= len(self._fresh.pop(0))

    def harm(self, arrived: int) -> Harm:
        self._count()
        return Harm(arrived, self._requests, self._harmed_requests, int(self._seen.sum()), int(self._harmed.sum()))

    def outcomes(self) -> Outcomes:
        """All requests answered since this was last asked; empty where outcomes are not kept."""
        self.flush()
        table = _joined(self._kept)
        self._kept.clear()
        return Outcomes(
            planned_s=table[:, 0].copy(),
            user=table[:, 1].astype(np.int64),
            status=table[:, 2].astype(np.int64),
            latency_ms=(table[:, 3] - table[:, 0]) * 1000,
        )

    def draw(self, wanted: float) -> Drawn:
        """About `wanted` of the requests answered since this was last asked, each with the same chance."""
        self.flush()
        table = _joined(self._fresh)
        self._fresh.clear()
        self._fresh_count = 0
        total = len(table)
        if total > wanted:
            table = table[self._rng.random(total) < wanted / total]
        return Drawn(
            serial=table[:, 4].astype(np.int64),
            status=table[:, 2].astype(np.int64),
            latency_ms=(table[:, 3] - table[:, 0]) * 1000,
            user=table[:, 1].astype(np.int64),
            weight=total / len(table) if len(table) else 1.0,
        )

    def _count(self) -> None:
        """Add to the totals what is not in them yet."""
        self.flush()
        if not self._uncounted:
            return
        table = _joined(self._uncounted)
        self._uncounted.clear()
        user, status = table[:, 1].astype(np.int64), table[:, 2]
        harmed = (status < 0) | (status >= 500) | ((table[:, 3] - table[:, 0]) * 1000 > self._slo_latency_ms)
        self._seen[user] = True
        self._harmed[user[harmed]] = True
        self._requests += len(table)
        self._harmed_requests += int(harmed.sum())


def _joined(tables: list[Floats]) -> Floats:
    if len(tables) == 1:
        return tables[0]
    return np.concatenate(tables) if tables else np.zeros((0, _WIDTH))
