"""Passive checks as each engine does them: which failures count, how many, for how long, and of how much of a pool.

HAProxy acts on its active check (mark-down, fail-check, sudden-death, fastinter), which brings the server back. nginx
and Envoy take it out beside their active checks, for a time: nginx after so many failures within a time, Envoy after so
many in a row, or when its success rate stands out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

import numpy as np

from levelhead.model import Ejection, Failure, Outliers, Pool
from levelhead.simulate.servers import Agenda, Row


class Ejector:
    """Blames the rows of one pool, and takes out whom its configuration says.

    `fell` is called for a server that counts as down for its active check, `failed` for one failed check more, `hurry`
    to check it at once; `changed` when somebody went or came back beside the checks.
    """

    def __init__(
        self, pool: Pool, agenda: Agenda, *, fell: Callable[[Row], None], failed: Callable[[Row], None],
        hurry: Callable[[Row], None], changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._pool, self._agenda = pool, agenda
        self._fell, self._failed, self._hurry, self._changed = fell, failed, hurry, changed
        self._rows: list[Row] = []
        self._comparing: Outliers | None = None
        self._round = 0
        self._seen: dict[int, tuple[float, float]] = {}  # by serial: requests and failures when last compared

    def configure(self, pool: Pool, rows: list[Row]) -> None:
        """A new configuration; who is out and may no longer be ejected comes back."""
        self._pool, self._rows = pool, rows
        for row in rows:
            if row.ejected and pool.ejection_of(row.server) is None:
                row.ejected = False
        outliers = pool.ejection.outliers if pool.ejection is not None else None
        if outliers != self._comparing:
            self._comparing = outliers
            self._round += 1
            if outliers is not None:
                self._agenda.at(self._agenda.now_s + outliers.interval_s, partial(self._compare, self._round))

    def blame(self, row: Row, failure: Failure) -> None:
        """A request failed there."""
        ejection = self._pool.ejection_of(row.server)
        if ejection is None or failure not in ejection.counts:
            return
        now_s = self._agenda.now_s
        if ejection.within_s is not None and now_s - row.blamed_s > ejection.within_s:
            row.failures, row.blamed_s = 0, now_s
        row.failures += 1
        if not row.up or row.ejected or not 0 < ejection.consecutive_errors <= row.failures:
            return
        row.failures = 0
        if ejection.away_s is not None:
            self._out_for_a_time(row, ejection, ejection.away_s)
        elif self._pool.check_of(row.server) is not None:
            self._act(row, ejection)

    def readmitted(self, row: Row) -> None:
        """Its active check passes: where that says more than failures, it is back before its time."""
        ejection = self._pool.ejection_of(row.server)
        if row.ejected and (ejection is None or ejection.check_readmits):
            row.ejected = False
            self._changed()

    def _act(self, row: Row, ejection: Ejection) -> None:
        """What HAProxy makes of it (`on-error`)."""
        match ejection.acts:
            case "out":
                self._fell(row)
            case "fail-check":
                self._failed(row)
            case "last-check":
                check = self._pool.check_of(row.server)
                row.health = min(row.health, check.rise if check is not None else row.health)
            case "hurry":
                self._hurry(row)

    def _out_for_a_time(self, row: Row, ejection: Ejection, away_s: float) -> None:
        out = sum(r.ejected for r in self._rows)
        room = out + 1 <= ejection.most * len(self._rows) + 1e-9
        if not room and not (ejection.one_always and out == 0):
            return
        row.ejected = True
        row.ejections += 1
        longest = ejection.longest_away_s
        longer_s = away_s if longest is None else min(away_s * row.ejections, max(longest, away_s))
        self._agenda.at(self._agenda.now_s + longer_s, partial(self._back, row, row.ejections))
        self._changed()

    def _back(self, row: Row, ejections: int) -> None:
        if row.ejected and row.ejections == ejections:
            row.ejected, row.failures = False, 0
            self._changed()

    def _compare(self, number: int) -> None:
        """Envoy's sweep: whose success rate stands out among those with enough requests since the last one."""
        outliers, ejection = self._comparing, self._pool.ejection
        if number != self._round or outliers is None or ejection is None:
            return
        self._agenda.at(self._agenda.now_s + outliers.interval_s, partial(self._compare, number))
        seen = {row.serial: (float(row.requests), _failures(row)) for row in self._rows}
        asked = {s: now[0] - self._seen.get(s, (0.0, 0.0))[0] for s, now in seen.items()}
        failed = {s: now[1] - self._seen.get(s, (0.0, 0.0))[1] for s, now in seen.items()}
        self._seen = seen
        for row in self._rows:
            if row.up and not row.ejected and row.serial in _standing_out(outliers, asked, failed):
                self._out_for_a_time(row, ejection, ejection.away_s if ejection.away_s is not None else inf)


def _standing_out(outliers: Outliers, asked: dict[int, float], failed: dict[int, float]) -> set[int]:
    rates = {s: 1 - min(failed[s] / n, 1.0) for s, n in asked.items() if n > 0}
    enough = [s for s in rates if asked[s] >= outliers.volume]
    found: set[int] = set()
    if outliers.deviations is not None and enough and len(enough) >= outliers.hosts:
        of_them = np.asarray([rates[s] for s in enough])
        least = float(of_them.mean() - outliers.deviations * of_them.std())
        found |= {s for s in enough if rates[s] < least}
    many = [s for s in rates if asked[s] >= outliers.failing_volume]
    if outliers.failing is not None and many and len(many) >= outliers.failing_hosts:
        found |= {s for s in many if 1 - rates[s] >= outliers.failing}
    return found


def _failures(row: Row) -> float:
    """Failed attempts of this row, each counted once."""
    return float(row.errors_5xx + max(row.response_errors, row.connect_errors + row.retries + row.redispatches))
